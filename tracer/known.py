"""Values that tensors of the meta device carry along, for models that read their inputs.

Some forwards ask what is in a tensor: how many text tokens a mask keeps, whether an image is there, which frame
an index names. On the meta device there is nothing to read. Under `Known`, a tensor whose value was declared has
a twin on the CPU; an operation whose tensors all have twins is done on the twins too, so the answer is
there when the code asks. Everything else stays without values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Self
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

from tracer.errors import RecordingError

LARGEST = 1 << 24
"""Numbers of a value that is carried along; larger ones are let go."""

_ATEN = torch.ops.aten
_READS = frozenset({_ATEN._local_scalar_dense.default, _ATEN.equal.default, _ATEN.is_nonzero.default})
_SIZED_BY_VALUES = frozenset({
    _ATEN.nonzero.default, _ATEN.masked_select.default, _ATEN.repeat_interleave.Tensor, _ATEN._unique2.default,
    _ATEN.unique_dim.default, _ATEN.unique_consecutive.default,
})  # fmt: skip
_SEEDED = torch.Tag.nondeterministic_seeded
_ANYTHING = frozenset({
    _ATEN.normal_, _ATEN.uniform_, _ATEN.random_, _ATEN.bernoulli_, _ATEN.exponential_,
    _ATEN.empty, _ATEN.empty_like, _ATEN.empty_strided, _ATEN.new_empty, _ATEN.new_empty_strided,
})  # fmt: skip
_INDEXING = frozenset({_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default})
_COPIES = frozenset({_ATEN._to_copy.default, _ATEN.copy_.default})


class Results:
    """What operations on the meta device gave, so that an equal one need not be worked out again.

    Only operations that neither write nor return a view; their results are new memory, whatever was there before.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def of(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result of an operation."""
        if not _is_pure(func):
            return func(*args, **kwargs)
        key = (func, _described(args), tuple([(k, _described(v)) for k, v in kwargs.items()]))
        try:
            made = self._made.get(key)
        except TypeError:
            return func(*args, **kwargs)
        if made is None:
            result = func(*args, **kwargs)
            one = isinstance(result, torch.Tensor)
            parts = [result] if one else result
            if isinstance(parts, list | tuple) and all(isinstance(t, torch.Tensor) and t.is_meta for t in parts):
                kind = None if one else type(parts)
                self._made[key] = kind, [(t.shape, t.stride(), t.dtype) for t in parts]
            return result
        kind, described = made
        tensors = [torch.empty_strided(s, stride, dtype=t, device="meta") for s, stride, t in described]
        return tensors[0] if kind is None else kind(tensors)


class Known(TorchDispatchMode):
    """The context in which declared values are carried along; those of CPU tensors are, too, when they move.

    Code that asks for a value which is not known raises RecordingError inside the context.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._twins: Any = WeakIdKeyDictionary()
        self._spoilt: dict[int, Any] = {}  # memory of twins that was overwritten by something unknown
        self._undo = contextlib.ExitStack()
        self._seen = Results()

    def __enter__(self) -> Self:
        self._undo.enter_context(_autocast_on_meta())
        self._undo.enter_context(_Crossing(self))
        try:
            super().__enter__()  # type: ignore[no-untyped-call]
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._undo.close()

    def declare(self, value: torch.Tensor) -> torch.Tensor:
        """A meta tensor of this value."""
        with torch._C._DisableTorchDispatch():
            tensor = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        self._twins[tensor] = value
        return tensor

    def assume(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        """Take it for granted that a meta tensor has this value from now on."""
        self._twins[tensor] = value

    def value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The value of a tensor: itself where it is on the CPU, None where nothing is known."""
        if not tensor.is_meta:
            return tensor
        twin: torch.Tensor | None = self._twins.get(tensor)
        return None if twin is None or _memory(twin) in self._spoilt else twin

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        given: list[torch.Tensor] = []
        _gather((args, kwargs), given)
        on_meta = any(t.is_meta for t in given) or str(kwargs.get("device")) == "meta"
        if not on_meta:
            with torch._C.DisableTorchFunction():  # what has no torch function of its own, as from_numpy, is no call
                return func(*args, **kwargs)
        twins = [self.value(t) for t in given]
        if any(t is None for t in twins) or func.overloadpacket in _ANYTHING or _SEEDED in func.tags:
            return self._without(func, args, kwargs, given)
        flat, shape = tree_flatten((list(args), kwargs))
        known = iter(twins)
        real_args, real_kwargs = tree_unflatten(
            [next(known) if isinstance(x, torch.Tensor) else _on_cpu(x) for x in flat], shape
        )
        if func in _READS or (func in _COPIES and not _to_meta(func, args, kwargs)):
            return func(*real_args, **real_kwargs)
        if func in _SIZED_BY_VALUES or (func is _ATEN.index.Tensor and any(map(_is_mask, args[1]))):
            real = func(*real_args, **real_kwargs)
            return tree_map(lambda x: self.declare(x) if isinstance(x, torch.Tensor) else x, real)
        result = func(*args, **kwargs)
        outputs = [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
        if sum(t.numel() for t in outputs) > LARGEST and not any(True for _ in _written(func, args, kwargs)):
            return result
        real = func(*real_args, **real_kwargs)
        values = [x for x in tree_flatten(real)[0] if isinstance(x, torch.Tensor)]
        for tensor, value in zip(outputs, values, strict=True):
            self._twins[tensor] = value
        return result

    def _without(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], given: list[torch.Tensor]) -> Any:
        """An operation on tensors of which at least one has no value."""
        written = _written(func, args, kwargs)
        for tensor in written:
            twin = self._twins.pop(tensor, None)
            if twin is not None:
                self._spoilt[_memory(twin)] = twin
        if func in _READS or func in _SIZED_BY_VALUES or (func in _COPIES and not _to_meta(func, args, kwargs)):
            unknown = next(t for t in given if self.value(t) is None)
            raise _unknown(unknown, func.overloadpacket.__name__)
        if func in _INDEXING:
            indices = [i for index in args[1] for i in self._counted(index)]
            return func(args[0], indices, *args[2:], **kwargs)
        return self._seen.of(func, args, kwargs)

    def _counted(self, index: Any) -> list[Any]:
        """An index in which a mask of known value has become the places it keeps."""
        value = self.value(index) if _is_mask(index) else None
        return [index] if value is None else [self.declare(i) for i in value.nonzero(as_tuple=True)]


def _unknown(tensor: torch.Tensor, reader: str) -> RecordingError:
    return RecordingError(
        f"The code reads the values of a {tuple(tensor.shape)} tensor of {str(tensor.dtype).removeprefix('torch.')} "
        f"({reader}), which a run without weights does not have."
    )


@cache
def _is_pure(func: Any) -> bool:
    """Whether an operation's results are new tensors, and their sizes follow from its arguments' sizes."""
    if torch.Tag.dynamic_output_shape in func.tags or torch.Tag.data_dependent_output in func.tags:
        return False
    ends = (*func._schema.arguments, *func._schema.returns)
    return all(end.alias_info is None for end in ends)


def _described(value: Any) -> Any:
    """An argument as far as the sizes of a result can depend on it; hashes where it can."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype, value.device.type
    if isinstance(value, list | tuple):
        return tuple([_described(v) for v in value])
    return type(value), value


def _memory(tensor: torch.Tensor) -> int:
    number: int = tensor.untyped_storage()._cdata
    return number


def _on_cpu(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "meta" else value


def _to_meta(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a copy ends on the meta device."""
    if func is _ATEN.copy_.default:
        return bool(args[0].device.type == "meta")
    device = kwargs.get("device")
    return (torch.device(device) if device is not None else args[0].device).type == "meta"


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that an operation writes into."""
    for i, name in _targets(func):
        value = args[i] if i < len(args) else kwargs.get(name)
        yield from (x for x in tree_flatten(value)[0] if isinstance(x, torch.Tensor))


@cache
def _targets(func: Any) -> list[tuple[int, str]]:
    """Place and name of the arguments that an operation writes into."""
    ends = [(i, a.name, a.alias_info) for i, a in enumerate(func._schema.arguments)]
    return [(i, name) for i, name, alias in ends if alias is not None and alias.is_write]


def _gather(value: Any, found: list[torch.Tensor]) -> None:
    """Every tensor in the arguments of an operation, in the order they stand in."""
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, list | tuple):
        for part in value:
            _gather(part, found)
    elif isinstance(value, dict):
        for part in value.values():
            _gather(part, found)


_MADE: frozenset[Any] = frozenset({torch.tensor, torch.as_tensor, torch.Tensor.new_tensor})
_SHOWN: frozenset[Any] = frozenset((torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__format__))


class _Crossing(TorchFunctionMode):
    """Between Python or numpy and the meta device: what is made of numbers keeps them, and gives them back."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self._known = known

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _MADE:
            device = (kwargs or {}).get("device")
            if device is None and func is torch.Tensor.new_tensor:
                device = args[0].device
            if device is not None and torch.device(device).type == "meta":
                return func(*args, **{**(kwargs or {}), "device": "cpu"}).to("meta")
        elif func in _SHOWN and args[0].is_meta:
            value = self._known.value(args[0])
            if value is None:
                raise _unknown(args[0], func.__name__)
            return func(value, *args[1:], **(kwargs or {}))
        elif func is torch.Tensor.__setitem__ and type(args[2]) in (int, float) and self._known.value(args[0]) is None:
            return None  # a number among values that nobody knows: some models fill masks of billions this way
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _autocast_on_meta() -> Iterator[None]:
    """Let `torch.autocast("meta")` do nothing, instead of refusing: there is no kernel to choose."""
    real = torch.autocast

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext() if device_type == "meta" else real(device_type, *args, **kwargs)

    with mock.patch.object(torch, "autocast", autocast):
        yield
