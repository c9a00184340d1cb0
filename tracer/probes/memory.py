"""What a pipeline's weights will take, before any is loaded: from the headers of its safetensors files."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tracer.errors import BadConfig
from tracer.words import amount

_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_STORED = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}
_HEADER = 100_000_000
"""Bytes of a header, as the safetensors library allows."""


@dataclass(frozen=True)
class Memory:
    """Bytes of weights: of each component, and of the largest module that has weights of its own."""

    parts: Mapping[str, int]
    largest_module: int

    def at_once(self, offload: str | None) -> int:
        """On the device at the same time; what computing needs comes on top."""
        if offload == "sequential":
            return self.largest_module
        return max(self.parts.values(), default=0) if offload == "model" else sum(self.parts.values())

    def sentence(self, device: str, dtype: str, offload: str | None, workers: int = 1) -> str:
        """What to say before a sweep."""
        each = ", ".join(f"{name} {amount(size, 'B')}" for name, size in self.parts.items())
        how = f" with --offload {offload}" if offload else ""
        many = f" in each of {workers} workers" if workers > 1 else ""
        need = f"{amount(self.at_once(offload), 'B')} at once on {device}{how}{many}"
        return f"weights in {dtype}: {each}; {need}, and what computing takes on top."


def weights(folder: Path, dtype: str) -> Memory:
    """What a pipeline's folder takes in a dtype. Numbers that are no floats stay as they are.

    Raises BadConfig for a file that is no safetensors file.
    """
    parts, largest = {}, 0
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        sizes: dict[str, int] = {}
        for file in sorted(place.glob("*.safetensors")):
            sizes |= {name: _size(kind, shape, dtype) for name, (kind, shape) in _header(file).items()}
        if not sizes:
            continue
        parts[place.name] = sum(sizes.values())
        modules: dict[str, int] = {}
        for name, size in sizes.items():
            owner = name.rpartition(".")[0]
            modules[owner] = modules.get(owner, 0) + size
        largest = max(largest, *modules.values())
    return Memory(dict(sorted(parts.items(), key=lambda item: -item[1])), largest)


def of_parameters(count: int, dtype: str) -> str:
    """What to say of a transformer whose files are not here yet."""
    parameters, size = amount(count, "").strip(), amount(count * _BYTES[dtype], "B")
    return f"the transformer has {parameters} parameters, {size} in {dtype}; text encoders and VAE come on top."


def _size(kind: str, shape: list[int], dtype: str) -> int:
    each = _BYTES[dtype] if kind in _FLOATS else _STORED.get(kind, 8)
    return math.prod(shape) * each


def _header(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Name to dtype and shape; the first eight bytes say how long the JSON behind them is."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            data = json.loads(file.read(min(length, _HEADER)))
        return {name: (held["dtype"], held["shape"]) for name, held in data.items() if name != "__metadata__"}
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadConfig(f"'{path}' is no whole safetensors file.") from error
