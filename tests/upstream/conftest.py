"""What the checks of upstream facts share: recorders that watch diffusers run, and a fixed seed."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


@pytest.fixture(autouse=True)
def _seeded_inference():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture
def calls_of():
    """A module's calls, from now on: a list that grows by (args, kwargs, output) with each forward."""

    def watch(module):
        calls = []

        def note(_module, args, kwargs, output):
            calls.append(SimpleNamespace(args=args, kwargs=kwargs, output=output))

        module.register_forward_hook(note, with_kwargs=True)
        return calls

    return watch


class _Attention(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask")
            given = dict(zip(names, args, strict=False)) | kwargs  # by place or by name, as the caller likes
            self.calls.append(SimpleNamespace(**{name: given.get(name) for name in names}))
        return func(*args, **kwargs)


@pytest.fixture
def attention_in():
    """What reaches scaled_dot_product_attention while a function runs, one entry for each call."""

    def watch(run):
        with _Attention() as mode:
            run()
        return mode.calls

    return watch
