"""What a pipeline is put together from: its class, its parts with their configs, and how it is called. Data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracer.errors import BadRequest

MOST_STEPS = 100
"""Denoising steps of one traced call: every one is run, and all are alike."""


@dataclass(frozen=True)
class Part:
    """A model, scheduler or guider: its class and the config fields that differ from the class's defaults.

    kind: a class of diffusers or transformers. params: what its parameters add up to, counted on the meta device;
    0 where it has none. dtype: empty for the pipeline's own. source and confidence: as at a checkpoint. 'verified'
    where the published config, or a copy saved from it unchanged, was seen whole; 'derived' where it follows from
    converters or fine-tunes.
    """

    kind: str
    config: Mapping[str, Any]
    source: str
    confidence: str
    params: int = 0
    dtype: str = ""


@dataclass(frozen=True)
class Layout:
    """How a tokenizer lays out a prompt: runs of (id, count) before and after the prompt's own tokens.

    word: the id of every prompt token. pad: the id behind the end. longest: the model_max_length. special: ids that the
    pipeline asks for by name. keeps_end: whether a prompt that is too long loses its own last tokens, and not those
    after it.
    """

    before: tuple[tuple[int, int], ...] = ()
    after: tuple[tuple[int, int], ...] = ()
    word: int = 1000
    pad: int = 0
    longest: int = 512
    special: Mapping[str, int] = field(default_factory=dict)
    keeps_end: bool = True


@dataclass(frozen=True)
class Picture:
    """An image processor: one picture becomes (1, 3, side, side), whatever its size."""

    side: int


@dataclass(frozen=True)
class Saying:
    """Why a call between the models gives what it gives: the function's name, and one to three sentences."""

    call: str
    why: str


Component = Part | Layout | Picture


@dataclass(frozen=True)
class Pipeline:
    """A pipeline at its published size.

    parts: what its constructor takes beside the transformer. arguments: what its call is given beside the prompt and
    the sizes, where that is not the default. prompt: tokens of the prompt, as many as the encoder takes. quoted:
    whether the prompt is a text to be written into the picture, which has an encoder of its own. picture: whether it
    starts from one. sized: whether the call takes height and width. tiled: whether its VAE works in tiles only.
    least_steps: what its schedule needs. sayings: what its calls are for.
    """

    kind: str
    parts: Mapping[str, Component]
    prompt: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    quoted: bool = False
    picture: bool = False
    sized: bool = True
    tiled: bool = False
    least_steps: int = 1
    sayings: tuple[Saying, ...] = ()


def check_steps(steps: int, least: int = 1) -> None:
    """Raise BadRequest for a number of denoising steps that is not run."""
    if type(steps) is not int or not least <= steps <= MOST_STEPS:
        raise BadRequest(
            f"--steps {steps} is not possible: it is a whole number from {least} to {MOST_STEPS}; steps are alike, "
            "and two show all."
        )
