"""What a family file has to say: letters, inputs, checkpoints, limits, notes. Data, and a few small functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracer.errors import BadConfig, UnknownName
from tracer.notes import Note
from tracer.rope.rope3d import NoRope, Rope3D

if TYPE_CHECKING:
    from tracer.frames import FrameRule

Config = Mapping[str, Any]
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Letter:
    """A letter of the formulas beyond B, F, H, W and L: what the config sets, or one more size of a run.

    field: the config field, `name.i` for the i-th entry of a list; empty for a size of the run, which the family's
    `sizes` knows. also: fields that always have the same value. value: what it is, where it follows from the config
    without being a field. multiple: what its values are multiples of (head sizes must halve, and halve again). number:
    print the value, not the letter. total: letters it is the sum of. `p` and `p_t` are the sides of a patch, in rows
    and columns and in frames: a probe takes whole patches of H, W and F only where these letters are there. Sizes are
    read as products and sums of letters, so let the number of heads and the width of one be letters, not a width that
    is divided by the heads.
    """

    symbol: str
    name: str
    field: str
    meaning: str
    multiple: int = 1
    number: bool = False
    total: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    value: Callable[[Config], int] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Every config field it sets."""
        return (self.field, *self.also) if self.field else ()


@dataclass(frozen=True)
class Input:
    """One argument of the forward: its axes as formulas, and its dtype ('model' for the run's own).

    Arguments named `x.0`, `x.1` are handed over as a tuple, `x.0.1` as one of tuples. fill: what a real tensor
    holds: 'noise', 'ones', 'zeros' or 'count' (0, 1, 2, ... along the last axis); 'number' hands over one whole
    number instead of a tensor. assume: for models that read this argument, what is taken for granted, in words; a
    run without weights then knows its values too.
    """

    name: str
    axes: str
    dtype: str = "model"
    fill: str = "noise"
    assume: str = ""


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
    published config, or a copy saved from it unchanged, was seen whole; 'derived' where it follows from converters or
    fine-tunes.
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


def nothing_limited(config: Config) -> Mapping[str, Sequence[int]]:
    """Every letter may have any value in a probe."""
    return {}


def nothing_fitted(point: dict[str, int], real: Sizes) -> None:
    """The letters of a probe are free of each other."""


def nothing_follows(config: Config, real: Sizes, point: Sizes) -> dict[str, Any]:
    """No config field is tied to the sizes of a run."""
    return {}


def no_sums(config: Config) -> Sequence[str]:
    """No sum that a search would not find."""
    return ()


def no_rope(config: Config) -> Rope3D | NoRope:
    """Positions are not turned into queries and keys."""
    return NoRope("adds its positions to the tokens and turns nothing")


def tokens_and_width(config: Config) -> Mapping[str, tuple[str, str, str]]:
    """S and D of a model that cuts latents into patches: letter -> name, formula, meaning."""
    grid = "F*(H/p)*(W/p)" + ("/p_t" if config.get("patch_size_t") else "")
    return {"S": ("tokens", grid, "video tokens"), "D": ("hidden", "h*d", "width of the residual stream")}


def unchanged(config: Config, request: Request) -> Request:
    """The request as it is."""
    return request


@dataclass(frozen=True)
class Family:
    """The code that runs a checkpoint, and how to speak of it.

    model: name of a class of diffusers, or of one that the family's own file defines or imports. letters, inputs,
    constraints, fixed, notes: data that depend on the config. sizes: values of B, F, H, W, L. check: what is wrong with
    a request. adapt: the default request of a config that fixes some of its sizes. probe_config: fields that must
    follow the probed sizes, so that a probe takes the path of the real run. limited: letters that only some values work
    for, and those values, three of which are probed; any other value of the run itself, or none given, means that one
    alone. fit: makes the letters of a probe agree with each other, as they do in the real run. sums: formulas of sizes
    with many parts, which are tried before any search. short: abbreviations of the legend, letter -> name, formula,
    meaning; those in letters that a model has not are left out. depths: fields that count equal blocks. compression: of
    the VAE, frames and rows or columns of pixels to one latent. video: whether it has frames at all. frames: what its
    pipeline makes of a frame count. notes: None where the default notes serve. rope: how positions turn queries and
    keys; a family that leaves it out turns nothing.
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
    notes: Callable[[Config], Sequence[Note]] | None = None
    adapt: Callable[[Config, Request], Request] = unchanged
    fixed: Callable[[Config], Mapping[str, str]] = nothing_fixed
    probe_config: Callable[[Config, Sizes, Sizes], dict[str, Any]] = nothing_follows
    limited: Callable[[Config], Mapping[str, Sequence[int]]] = nothing_limited
    fit: Callable[[dict[str, int], Sizes], None] = nothing_fitted
    sums: Callable[[Config], Sequence[str]] = no_sums
    short: Callable[[Config], Mapping[str, tuple[str, str, str]]] = tokens_and_width
    compression: tuple[int, int] = (4, 8)
    video: bool = True
    frames: FrameRule | None = None
    rope: Callable[[Config], Rope3D | NoRope] = no_rope

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name; the family's own name means the first one."""
        if name == self.name:
            return self.checkpoints[0]
        for checkpoint in self.checkpoints:
            if name and name.lower() in (checkpoint.name.lower(), checkpoint.hub.lower()):
                return checkpoint
        raise UnknownName("checkpoint", name, [c.name for c in self.checkpoints])


def field_of(config: Config, path: str) -> Any:
    """A config field; `name.i` is the i-th entry of a list."""
    name, _, index = path.partition(".")
    value = config[name]
    return value[int(index)] if index else value


def value_of(config: Config, letter: Letter) -> int:
    """What a letter is at a config. Raises KeyError for one that is a size of the run."""
    return letter.value(config) if letter.value is not None else int(field_of(config, letter.field))


def with_fields(config: Config, letter: Letter, value: int) -> dict[str, Any]:
    """The config in which a letter has this value."""
    fields = dict(config)
    for path in letter.fields:
        name, _, index = path.partition(".")
        if index:
            fields[name] = tuple(value if i == int(index) else v for i, v in enumerate(fields[name]))
        else:
            fields[name] = type(config[name])(value)
    return fields


def nearest(value: int, multiple: int, most: int | None = None) -> str:
    """The nearest multiples, none above the most, as words: '480 or 496'."""
    below = (value if most is None else min(value, most)) // multiple * multiple
    above = below + multiple
    return str(above) if not below else str(below) if most is not None and above > most else f"{below} or {above}"


def load(name: str) -> Family:
    """The family of a file. Raises BadConfig for a file that cannot be run, or that holds none of its name."""
    try:
        module = importlib.import_module(f"tracer.families.{name}")
    except Exception as error:  # whatever a file of the user's raises
        said = " ".join(str(error).split()).rstrip(".")
        raise BadConfig(f"The family file {name}.py cannot be loaded: {type(error).__name__}: {said}.") from error
    family = getattr(module, "FAMILY", None)
    if not isinstance(family, Family) or family.name != name:
        raise BadConfig(f"'{module.__file__}' is no family file: it has no FAMILY = Family(name=\"{name}\", ...).")
    return family
