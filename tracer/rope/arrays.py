"""What is done to numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracer.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def is_torch(x: Any) -> bool:
    """Whether this is a torch tensor; torch is not loaded to tell."""
    return hasattr(x, "new_empty")


def is_array(x: Any) -> bool:
    """Whether this is a numpy array or a torch tensor."""
    return is_torch(x) or hasattr(x, "__array_interface__")


def inverse_order(order: list[int]) -> list[int]:
    """The order that puts things back."""
    out = [0] * len(order)
    for place, column in enumerate(order):
        out[column] = place
    return out


def join(parts: tuple[Any, ...], axis: int) -> Any:
    """All of them along an axis, in the library that they come from."""
    if is_torch(parts[0]):
        import torch

        return torch.cat(parts, dim=axis)
    import numpy as np

    return np.concatenate(parts, axis=axis)


def single(tensor: Any) -> Any:
    """An empty tensor on the same device that is at least float32: half a float is too coarse for tables."""
    empty = tensor.new_empty(0)
    return empty if tensor.element_size() >= 4 else empty.float()


def as_like(values: Floats, tensor: Any) -> Any:
    """These values in the other's library, on its device, and in its dtype where that is a floating one."""
    if not is_array(tensor):
        raise BadRequest(f"tables like a {type(tensor).__name__}: like is a torch tensor or a numpy array.")
    if not is_torch(tensor):
        return values.astype(tensor.dtype) if tensor.dtype.kind == "f" else values
    import torch

    dtype = tensor.dtype if tensor.is_floating_point() else torch.float64
    return torch.as_tensor(values, device=tensor.device).to(dtype)
