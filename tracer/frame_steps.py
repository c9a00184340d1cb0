"""The steps of frame rules: what a VAE and a pipeline do to a frame count, one small class each.

A step is data with a place in the code; called with the state it changes it and says so in a sentence, or
leaves it alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tracer.errors import BadRequest

Config = Mapping[str, Any]


def ceil(value: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-value // by)


def rounded(frames: int, temporal: int) -> int:
    """A frame count as temporal·k + 1: kept where it is one, else the largest multiple below it, plus one."""
    return frames if frames % temporal == 1 else frames // temporal * temporal + 1


def by_parity(frames: int, temporal: int) -> int:
    """Latent frames: ceil(N/temporal) for an even N, ceil((N - 1)/temporal) + 1 for an odd one."""
    return ceil(frames - 1, temporal) + 1 if frames % 2 else ceil(frames, temporal)


def counted(n: int, one: str) -> str:
    """'1 frame', '2 frames'."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def _is(n: int, one: str, verb: str = "are", single: str = "is") -> str:
    """'1 frame is', '2 frames are'."""
    return f"{counted(n, one)} {single if n == 1 else verb}"


class Line(NamedTuple):
    """One step of the reasoning: a sentence, and the place in the code that it is read from."""

    text: str
    source: str


@dataclass(frozen=True)
class Vae:
    """What a causal video VAE does to sizes: rows and columns by `spatial`, frames by `temporal`."""

    spatial: int
    temporal: int
    channels: int | None = None

    @staticmethod
    def parse(code: str) -> Vae:
        """The sizes in a name such as '884-16c-hy0801': 8 by 8 in space, 4 in time (the last digit), 16 channels.

        A name without three digits means frames that are not compressed. Raises BadRequest for digits that
        cannot be: rows and columns shrink alike, and by one at least.
        """
        found = re.match(r"(\d)(\d)(\d)-(\d+)c", code)
        if found is None:
            return Vae(8, 1)
        rows, columns, frames, channels = map(int, found.groups())
        if rows != columns or not rows or not frames or not channels:
            raise BadRequest(
                f"'{code}' is no VAE code: two equal digits for rows and columns, one for frames, then the "
                "channels, as in 884-16c-hy0801."
            )
        return Vae(rows, frames, channels)

    def latents(self, frames: int) -> int:
        """Latent frames: the first alone, then one for every `temporal`; a rest is dropped."""
        return (frames - 1) // self.temporal + 1

    def frames(self, latents: int) -> int:
        """Frames that decode from that many latent frames."""
        return self.temporal * (latents - 1) + 1


@dataclass(frozen=True)
class Clip:
    """One run of the denoising loop among several, or `times` equal ones in a row.

    latents: latent frames it sees. frames: what it adds to the video. count, rope_count: the frame counts that
    the code is told for the latents and for the rotary positions, where it is told any. tokens: filled in by the
    plan, which knows the patches; flops and written by whoever has the trace.
    """

    name: str
    latents: int
    rope: int
    frames: int
    count: int | None = None
    rope_count: int | None = None
    times: int = 1
    tokens: int = 0
    flops: int | None = None
    written: int | None = None


@dataclass(frozen=True)
class State:
    """How far the steps have come.

    frames: pixel frames, of the request at first, of the video at last. latents: latent frames that are
    decoded. seen: those the transformer sees in one pass, the largest where they differ. runs: how often the
    denoising loop runs. blank: frames that come out without content. fault: why the pipeline fails.
    breaks: what the published code has against it, where it would have to be changed.
    """

    vae: Vae
    config: Config
    height: int
    width: int
    asked: int
    frames: int
    latents: int = 0
    seen: int = 0
    runs: int = 1
    blank: int = 0
    clips: tuple[Clip, ...] = ()
    breaks: tuple[Line, ...] = ()
    lines: tuple[Line, ...] = ()
    fault: str | None = None

    def say(self, text: str, source: str, **changes: Any) -> State:
        """The state after a step, with its sentence."""
        return replace(self, lines=(*self.lines, Line(text, source)), **changes)


class Step(Protocol):
    """One step of a rule: it changes the state and says so, or leaves it as it is."""

    def __call__(self, state: State) -> State:
        """The state after the step."""
        ...


@runtime_checkable
class Chunked(Protocol):
    """A step that makes the video in clips of equal length, which can be changed."""

    @property
    def chunk(self) -> int:
        """Frames of one clip."""
        ...

    def of_chunk(self, frames: int) -> Step:
        """The step with clips of that many frames."""
        ...


@dataclass(frozen=True)
class Round:
    """The pipeline changes N itself, to a multiple of the VAE's `temporal` plus one."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with N rounded."""
        t, n = state.vae.temporal, state.frames
        made = rounded(n, t)
        if made == n:
            return state
        way = "up" if made > n else "down"
        return state.say(f"N {n} is not {t}k + 1: the pipeline rounds it {way} to {made}.", self.source, frames=made)


@dataclass(frozen=True)
class Encode:
    """The size of the noise: (N - 1)//temporal + 1 latent frames."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with its latent frames."""
        t, n = state.vae.temporal, state.frames
        latents = state.vae.latents(n)
        rest = n - state.vae.frames(latents)
        lost = f"; {rest} of them {'fills' if rest == 1 else 'fill'} none" if rest else ""
        text = f"{_is(n, 'frame')} ({n} - 1)//{t} + 1 = {counted(latents, 'latent frame')}{lost}."
        return state.say(text, self.source, latents=latents, seen=latents)


@dataclass(frozen=True)
class EncodeEach:
    """No compression in time: a latent frame for each frame."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with its latent frames."""
        n = state.frames
        text = f"The VAE makes one latent frame of each frame: {n}."
        return state.say(text, self.source, latents=n, seen=n)


@dataclass(frozen=True)
class EncodeByParity:
    """ceil(N/temporal) latent frames for an even N, ceil((N - 1)/temporal) + 1 for an odd one."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with its latent frames."""
        t, n = state.vae.temporal, state.frames
        latents = by_parity(n, t)
        how = f"ceil(({n} - 1)/{t}) + 1, as {n} is odd" if n % 2 else f"ceil({n}/{t}), as {n} is even"
        text = f"{_is(n, 'frame')} {counted(latents, 'latent frame')}: {how}."
        return state.say(text, self.source, latents=latents, seen=latents)


@dataclass(frozen=True)
class Fill:
    """Latent frames are added until whole temporal patches fit, and dropped again after denoising."""

    source: str
    field: str = "patch_size_t"

    def __call__(self, state: State) -> State:
        """The state with what the transformer sees."""
        patch = state.config[self.field] or 1
        seen = ceil(state.latents, patch) * patch
        added = seen - state.latents
        if not added:
            return state
        text = (
            f"{_is(state.latents, 'latent frame')} no whole temporal patches of {patch}: the pipeline adds "
            f"{added}, the transformer sees {seen}, and the first {added} {'goes' if added == 1 else 'go'} again "
            "before decoding."
        )
        return state.say(text, self.source, seen=seen)


@dataclass(frozen=True)
class Sections:
    """The video is made in sections of equal length; with the picture's own latent frame all are decoded."""

    source: str
    vae: Vae
    window: int

    @property
    def chunk(self) -> int:
        """Frames that one section stands for."""
        return self.vae.frames(self.window)

    def runs(self, frames: int) -> int:
        """Sections that so many frames take."""
        return max(1, ceil(frames, self.chunk))

    def latents(self, frames: int) -> int:
        """Latent frames of all sections, with the picture's."""
        return self.window * self.runs(frames) + 1

    def of_chunk(self, frames: int) -> Sections:
        """The same with sections of another length. Raises BadRequest for one that whole latent frames do not make."""
        window = self.vae.latents(frames)
        whole = self.vae.frames(window)
        if frames != whole:
            t = self.vae.temporal
            raise BadRequest(
                f"--chunk {frames} is not possible: a section is whole latent frames, which stand for {t}k + 1 frames; "
                f"use {whole} or {whole + t}."
            )
        return replace(self, window=window)

    def __call__(self, state: State) -> State:
        """The state with its sections."""
        runs, latents = self.runs(state.frames), self.latents(state.frames)
        text = (
            f"A section is {counted(self.window, 'latent frame')}, which {'stands' if self.window == 1 else 'stand'} "
            f"for {counted(self.chunk, 'frame')}: {_is(state.frames, 'frame', 'take', 'takes')} "
            f"{counted(runs, 'section')}, and with the picture {self.window}·{runs} + 1 = {latents} latent frames, "
            "decoded section by section with blended overlaps."
        )
        return state.say(text, self.source, latents=latents, seen=self.window, runs=runs)


@dataclass(frozen=True)
class Only:
    """The transformer's table of frame positions is for one length; a single frame goes without it."""

    source: str
    field: str

    def __call__(self, state: State) -> State:
        """The state, at fault where the length is another."""
        length = state.config[self.field]
        if state.seen in (1, length):
            return state
        fault = f"The transformer's position table is for {length} frames ({self.field}): {state.seen} fail in it."
        return state.say(fault, self.source, fault=fault)


@dataclass(frozen=True)
class Decode:
    """The first latent frame gives one frame, every other one temporal."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with decoded frames."""
        t, latents = state.vae.temporal, state.latents
        frames = state.vae.frames(latents)
        decode = _is(latents, "latent frame", "decode", "decodes")
        text = f"{decode} to {t}·({latents} - 1) + 1 = {counted(frames, 'frame')}."
        return state.say(text, self.source, frames=frames)


@dataclass(frozen=True)
class DecodeEach:
    """No compression in time: a frame for each latent frame."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with decoded frames."""
        return state.say(f"Each decodes to one frame: {state.latents}.", self.source, frames=state.latents)


@dataclass(frozen=True)
class DecodeInPairs:
    """Decoding goes by two latent frames; only a first chunk of three (odd counts) keeps its first frame single."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with decoded frames."""
        t, latents = state.vae.temporal, state.latents
        if latents % 2:
            return Decode(self.source)(state)
        frames = t * latents
        text = (
            f"{latents} latent frames, an even count, decode in chunks of 2, each to {2 * t}: {frames} frames. Only an "
            f"odd count keeps the first frame single."
        )
        return state.say(text, self.source, frames=frames)


@dataclass(frozen=True)
class DecodeInTiles:
    """Decoding by overlapping tiles of fixed size; what no whole tile reaches stays zero."""

    source: str
    tile: tuple[int, int, int]
    stride: tuple[int, int, int]

    def __call__(self, state: State) -> State:
        """The state with decoded frames, and those that stay grey."""
        t, s = state.vae.temporal, state.vae.spatial
        (size, *area), (step, *steps) = self.tile, self.stride
        made = t * state.latents
        tiles = (state.latents - size // t) // (step // t) + 1
        decode = _is(state.latents, "latent frame", "decode", "decodes")
        state = state.say(f"{decode} to {t}·{state.latents} = {made} frames.", self.source, frames=made)
        if tiles < 0:
            fault = (
                f"Decoding goes by tiles of {size} frames, {size // t} latent frames: with {state.latents} the count "
                "of tiles comes out negative, and the decoder fails."
            )
            return state.say(fault, self.source, fault=fault)
        reached = size + step * (tiles - 1) if tiles else 0
        if reached < made:
            text = (
                f"Decoding goes by {counted(tiles, 'whole tile')} of {size} frames, {step} apart: frames from "
                f"{reached + 1} on are reached by none and come out plain grey."
            )
            state = state.say(text, self.source, blank=made - reached)
        pixels = (("rows", state.height), ("columns", state.width))
        for (name, value), side, stride in zip(pixels, area, steps, strict=True):
            count = max(0, (value // s - side // s) // (stride // s) + 1)
            whole = side + stride * (count - 1) if count else 0
            if whole < value:
                state = state.say(
                    f"Tiles are {side} pixels, {stride} apart: {name} from {whole + 1} on come out plain grey.",
                    self.source,
                )
        return state


@dataclass(frozen=True)
class Drop:
    """The pipeline cuts off the first frames, where the config says so."""

    source: str
    frames: int
    when: tuple[str, Any]

    def __call__(self, state: State) -> State:
        """The state with what is left."""
        name, value = self.when
        if state.config[name] != value:
            return state
        left = max(0, state.frames - self.frames)
        text = (
            f"With {name} {value} the pipeline drops the first {self.frames} decoded frames: {left} of "
            f"{state.frames} are left."
        )
        return state.say(text, self.source, frames=left)


@dataclass(frozen=True)
class Crop:
    """The pipeline cuts the video to N frames."""

    source: str

    def __call__(self, state: State) -> State:
        """The state with what is left."""
        over = state.frames - state.asked
        if over <= 0:
            return state
        text = f"The pipeline cuts the video to the {state.asked} asked for: {counted(over, 'frame')} go."
        return state.say(text, self.source, frames=state.asked, blank=max(0, state.blank - over))
