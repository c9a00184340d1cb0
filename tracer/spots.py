"""A trace as a tree that can be looked at from every call: what is above, what is below, and what a call does.

Questions about single calls that need no knowledge of a model: is it a linear layer, does it cut patches, is it
attention. Used by `generic`, which says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tracer.calls import Call
from tracer.formula import Formula
from tracer.shapes import TensorSpec, product

CORE = "scaled_dot_product_attention"
_PRODUCTS = ("matmul", "bmm", "baddbmm")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_NORMS = ("layer_norm", "rms_norm", "rsqrt", "group_norm")
_TURNS = ("rotary", "rope")
_ANGLES = ("rotary", "rope", "freqs", "cos", "sin")


@dataclass(frozen=True)
class Mark:
    """What a call was recognised as. Without a label it has only the stage."""

    stage: str
    label: str = ""
    why: str = ""
    brief: bool = True


class Linear(NamedTuple):
    """What goes into a linear layer and what comes out."""

    given: TensorSpec
    made: TensorSpec


class Spot:
    """One call with its place in the tree."""

    __slots__ = ("call", "kids", "mark", "up")

    def __init__(self, call: Call, up: Spot | None = None) -> None:
        self.call = call
        self.up = up
        self.mark: Mark | None = None
        self.kids = [Spot(child, self) for child in call.children]

    def below(self) -> Iterator[Spot]:
        """This call and everything below it, in the order of the run."""
        yield self
        for kid in self.kids:
            yield from kid.below()

    def above(self) -> Iterator[Spot]:
        """What this call is in, the innermost first."""
        spot = self.up
        while spot is not None:
            yield spot
            spot = spot.up

    @property
    def name(self) -> str:
        """The last part of a module's path that is no number; the name of anything else."""
        if self.call.kind != "module":
            return self.call.name
        return next((part for part in reversed(self.call.path.split(".")) if not part.isdigit()), self.call.name)

    @property
    def module(self) -> Spot:
        """The module around an operation or a function."""
        return next((s for s in self.above() if s.call.kind == "module"), self)

    def has(self, *names: str) -> bool:
        """Whether an operation of one of these names is here or below."""
        return any(s.call.kind == "op" and s.call.name in names for s in self.below())

    def words(self) -> str:
        """Names of its path, its arguments and its results, in one text."""
        return " ".join((self.call.path, *self.call.outputs, *self.call.inputs)).lower()


def axis(spec: TensorSpec, index: int) -> Formula:
    """An axis as a formula; a number without one is itself."""
    return spec.shape[index].expression()


def count(spec: TensorSpec) -> int:
    """How many numbers a tensor holds."""
    return product(spec.shape).size


def first(call: Call) -> TensorSpec | None:
    """The first tensor that goes in."""
    return next(iter(call.inputs.values()), None)


def floating(spec: TensorSpec) -> bool:
    """Whether it holds numbers with a fraction: no ids, no mask."""
    return "float" in spec.dtype


def linear(spot: Spot) -> Linear | None:
    """A linear layer: the module that is one, or an operation that stands in no such module."""
    call = spot.call
    own = call.kind == "module" and _plain(spot)
    free = call.kind == "op" and call.name == "linear" and not (spot.up is not None and _plain(spot.up))
    given, made = first(call), call.output
    return Linear(given, made) if (own or free) and given is not None and made is not None else None


def _plain(spot: Spot) -> bool:
    kids = [k.call for k in spot.kids]
    return spot.call.kind == "module" and any(c.name == "linear" for c in kids) and all(c.kind == "op" for c in kids)


def linears(spot: Spot) -> list[tuple[Spot, Linear]]:
    """The linear layers at or below a call."""
    return [(s, found) for s in spot.below() if (found := linear(s)) is not None]


def cores(spot: Spot) -> list[Spot]:
    """Where queries meet keys: attention kernels, or the products that stand for one where it is written out."""
    kernels = [s for s in spot.below() if s.call.name == CORE]
    homes = {s.module for s in kernels}
    products: dict[Spot, list[Spot]] = {}
    for s in spot.below():
        if s.call.kind == "op" and s.call.name in _PRODUCTS:
            products.setdefault(s.module, []).append(s)
    for home, found in products.items():
        if home not in homes and len(found) > 1 and len(linears(home)) > 2:
            kernels += found
    return kernels


def cuts_patches(spot: Spot) -> bool:
    """A module that is a convolution whose stride is its kernel."""
    call = spot.call
    if call.kind != "module" or sum(s.call.kind == "module" for s in spot.below()) > 1:
        return False
    return any(_steps_by_kernel(s.call) for s in spot.below() if s.call.name in CONVOLUTIONS)


def _steps_by_kernel(conv: Call) -> bool:
    weight = conv.inputs.get("weight")
    given, made = first(conv), conv.output
    if weight is None or given is None or made is None:
        return False
    triples = zip(given.sizes[2:], made.sizes[2:], weight.sizes[2:], strict=True)
    return all(size // kernel == steps for size, steps, kernel in triples)


def norm(spot: Spot) -> bool:
    """A module that normalises: same shape in and out, no matrix product."""
    call, given = spot.call, first(spot.call)
    if call.kind != "module" or given is None or call.output is None or given.sizes != call.output.sizes:
        return False
    return spot.has(*_NORMS) and not spot.has("linear", CORE, *CONVOLUTIONS)


def waves(spot: Spot) -> bool:
    """A row of numbers becomes cosines and sines: one vector for each, without weights."""
    call, given = spot.call, first(spot.call)
    if call.kind == "op" or given is None or len(call.outputs) != 1 or call.output is None:
        return False
    if len(given.shape) != 1 or len(call.output.shape) != 2 or given.sizes[0] != call.output.sizes[0]:
        return False
    return spot.has("sin") and spot.has("cos") and not spot.has("linear")


def tables(spot: Spot) -> bool:
    """A pair of tables of cosines and sines."""
    made = list(spot.call.outputs.values())
    if spot.call.kind == "op" or len(made) != 2 or made[0].sizes != made[1].sizes or len(made[0].shape) < 2:
        return False
    named = any(word in name for name in spot.call.outputs for word in _ANGLES)
    return not spot.has("linear") and (named or (spot.has("sin") and spot.has("cos")))


def turns(spot: Spot) -> bool:
    """A function that turns queries or keys by angles."""
    call, given = spot.call, first(spot.call)
    if call.kind != "function" or given is None or call.output is None or given.sizes != call.output.sizes:
        return False
    angles = any(word in name for name in call.inputs for word in _ANGLES) and not spot.has("linear", CORE)
    return angles and (any(word in call.name for word in _TURNS) or spot.has("stack", "neg", "view_as_complex"))


def vectors(spot: Spot) -> Linear | None:
    """A module of linear layers on vectors, one for each sample; what goes in and what comes out."""
    call, given, layers = spot.call, first(spot.call), linears(spot)
    if call.kind != "module" or not layers or given is None or call.output is None or len(call.outputs) != 1:
        return None
    if any(len(x.given.shape) != 2 for _, x in layers) or len(given.shape) != 2 or len(call.output.shape) != 2:
        return None
    return Linear(given, call.output)


def modulating(spot: Spot) -> bool:
    """An operation that cuts a tensor into shifts, scales and gates."""
    call = spot.call
    named = sum(any(word in name for word in ("shift", "scale", "gate")) for name in call.outputs)
    return call.kind == "op" and named >= 2
