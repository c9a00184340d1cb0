"""What a family file has to say: letters, inputs, checkpoints, limits, notes. Data, and a few small functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracer.errors import UnknownName
from tracer.notes import Note

Config = Mapping[str, Any]
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Letter:
    """A letter of the formulas that the config sets.

    field: the config field, `name.i` for the i-th entry of a list. multiple: what its values are multiples of
    (head sizes must halve, and halve again). number: print the value, not the letter. total: letters it is
    the sum of.
    """

    symbol: str
    name: str
    field: str
    meaning: str
    multiple: int = 1
    number: bool = False
    total: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """One argument of the forward: its axes as formulas, and its dtype ('model' for the run's own).

    Arguments named `x.0`, `x.1` are handed over as a tuple. `ones` fills a real tensor with ones, not noise.
    """

    name: str
    axes: str
    dtype: str = "model"
    ones: bool = False


@dataclass(frozen=True)
class Request:
    """What a person asks for, in pixels: sizes of one call of the transformer."""

    batch: int
    frames: int
    height: int
    width: int
    text_tokens: int

    def as_dict(self) -> dict[str, int]:
        """The fields by name, in order."""
        return {k: getattr(self, k) for k in ("batch", "frames", "height", "width", "text_tokens")}


@dataclass(frozen=True)
class Checkpoint:
    """One published set of weights: the config fields that differ from the class's defaults.

    params: counted on the meta device and compared with what was published. confidence: 'verified' where the
    published config was seen whole, 'derived' where it follows from converters or derivatives.
    """

    name: str
    hub: str
    config: Config
    request: Request
    params: int
    dtype: str
    source: str
    confidence: str


@dataclass
class Findings:
    """What is wrong with a request (errors), and what will differ from it (warnings): whole sentences."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def nothing_fixed(config: Config) -> Mapping[str, str]:
    """Every letter of the request can be changed."""
    return {}


def nothing_follows(config: Config, real: Sizes, point: Sizes) -> dict[str, Any]:
    """No config field is tied to the sizes of a run."""
    return {}


def unchanged(config: Config, request: Request) -> Request:
    """The request as it is."""
    return request


@dataclass(frozen=True)
class Family:
    """The code that runs a checkpoint, and how to speak of it.

    letters, inputs, constraints, fixed, notes: data that depend on the config. sizes: values of B, F, H, W, L.
    check: what is wrong with a request. adapt: the default request of a config that fixes some of its sizes.
    probe_config: fields that must follow the probed sizes, so that a probe takes the path of the real run.
    depths: fields that count equal blocks.
    """

    name: str
    title: str
    model: str
    summary: str
    checkpoints: tuple[Checkpoint, ...]
    letters: Callable[[Config], Sequence[Letter]]
    inputs: Callable[[Config], Sequence[Input]]
    sizes: Callable[[Config, Request], dict[str, int]]
    check: Callable[[Config, Request], Findings]
    constraints: Callable[[Config], Sequence[str]]
    depths: tuple[str, ...]
    notes: Callable[[Config], Sequence[Note]]
    adapt: Callable[[Config, Request], Request] = unchanged
    fixed: Callable[[Config], Mapping[str, str]] = nothing_fixed
    probe_config: Callable[[Config, Sizes, Sizes], dict[str, Any]] = nothing_follows

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name; the family's own name means the first one."""
        if name == self.name:
            return self.checkpoints[0]
        for checkpoint in self.checkpoints:
            if name.lower() in (checkpoint.name.lower(), checkpoint.hub.lower()):
                return checkpoint
        raise UnknownName("checkpoint", name, [c.name for c in self.checkpoints])


def field_of(config: Config, path: str) -> Any:
    """A config field; `name.i` is the i-th entry of a list."""
    name, _, index = path.partition(".")
    value = config[name]
    return value[int(index)] if index else value


def nearest(value: int, multiple: int, most: int | None = None) -> str:
    """The nearest multiples, none above the most, as words: '480 or 496'."""
    below = (value if most is None else min(value, most)) // multiple * multiple
    above = below + multiple
    return str(above) if not below else str(below) if most is not None and above > most else f"{below} or {above}"


def load(name: str) -> Family:
    """The family of a file in this folder."""
    family = importlib.import_module(f"tracer.families.{name}").FAMILY
    assert isinstance(family, Family)
    return family
