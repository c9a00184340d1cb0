"""This package beside torchinfo, torchlens, torchview and torch.export: `python -m benchmarks.peers`."""
