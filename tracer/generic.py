"""Notes for any transformer of diffusers, made from what its code was seen to do.

Nothing here knows a family. Convolutions whose stride is their kernel cut patches, attention is where queries meet
keys, the linear layers before it make them, results called shift, scale and gate modulate. What is not recognised
stays without a stage. The axes of a remark are the trace's own, so that they cannot be wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tracer.blocks import Blocks, fitting
from tracer.calls import Call, Remark, Trace
from tracer.formula import abbreviate
from tracer.notation import render
from tracer.notes import shown
from tracer.shapes import TensorSpec
from tracer.spots import (
    CONVOLUTIONS,
    CORE,
    Linear,
    Mark,
    Spot,
    axis,
    cores,
    count,
    cuts_patches,
    first,
    floating,
    linear,
    linears,
    modulating,
    norm,
    tables,
    vectors,
    waves,
)  # fmt: skip
from tracer.words import Words

_LAYS_OUT = ("flatten", "reshape", "view", "transpose", "permute")


def annotate_by_code(trace: Trace) -> Trace:
    """The trace with a stage and a remark on every call that is recognised by what it does.

    Works on any trace of a transformer, with or without formulas and family. Stages and remarks that it had are
    replaced; of a pipeline, those inside its transformer.
    """
    if trace.root.kind == "function":
        return dataclasses.replace(trace, root=_inside(trace.root, trace))
    root = Spot(trace.root)
    _Reader(root, trace).read()
    return dataclasses.replace(trace, root=_rebuilt(root, trace))


def _inside(call: Call, trace: Trace) -> Call:
    """A pipeline's call with the notes of its denoiser, wherever it is called."""
    if call.kind == "module":
        if not call.path.startswith(("transformer", "unet")) or "." in call.path:
            return call
        noted = annotate_by_code(dataclasses.replace(trace, root=call)).root
        return dataclasses.replace(noted, stage=call.stage, remark=call.remark)
    return dataclasses.replace(call, children=tuple(_inside(c, trace) for c in call.children))


def _rebuilt(spot: Spot, trace: Trace) -> Call:
    mark, children = spot.mark, tuple(_rebuilt(kid, trace) for kid in spot.kids)
    remark = None
    if mark is not None and mark.label:
        claimed = "|".join(_claim(spec, trace) for spec in shown(spot.call))
        remark = Remark(mark.label, claimed, mark.why, _because(spot), mark.brief)
    return dataclasses.replace(
        spot.call, children=children, stage=mark.stage if mark is not None else None, remark=remark
    )


def _claim(spec: TensorSpec, trace: Trace) -> str:
    return " ".join(render(abbreviate(d.expression(), trace.short), {}, compact=True) for d in spec.shape)


def _because(spot: Spot) -> str:
    """The reason that can be looked up: a weight that is used, or else the code that made the call."""
    for s in spot.below():
        for name in s.call.weights:
            return "tensor:" + (f"{s.call.pattern}.{name}" if s.call.pattern else name)
    place = spot.call.defined or spot.call.source
    if place is None:
        return f"tensor:{next(iter(spot.call.inputs), '')}"
    module = place.file.removesuffix(".py").replace("/", ".")
    return f"source:{module}:{place.function.partition('.<locals>')[0]}"


def has_core(spot: Spot) -> bool:
    """Whether attention happens at or below a call."""
    return bool(cores(spot))


class _Reader:
    """Reads a model from its inputs to its output, and marks what it recognises."""

    def __init__(self, root: Spot, trace: Trace) -> None:
        self.root = root
        self.words = Words(trace)
        inputs = [(n, s) for n, s in root.call.inputs.items() if floating(s)]
        self.latents = next((s for _, s in inputs if len(s.shape) >= 3), None)
        texts = [(n, s) for n, s in inputs if len(s.shape) == 3 and s is not self.latents]
        self.tokens = {axis(s, 1): "image" if "image" in n else "text" for n, s in texts}
        self.pooled = {axis(s, 1) for n, s in inputs if len(s.shape) == 2 and not _is_table(n)}
        self.kind = _kind_of(self.latents, trace)
        self.waved = False  # whether a number has become cosines and sines
        self.offset = False  # whether the last vector was an offset's
        self.cut: TensorSpec | None = None  # the latents as vectors of the model's width
        self.blocks, self.refiners = self._find_blocks()

    def _find_blocks(self) -> tuple[list[Spot], list[Spot]]:
        found: list[Spot] = []

        def visit(spot: Spot) -> None:
            for kid in spot.kids:
                last = kid.call.path.rpartition(".")[2]
                if kid.call.kind == "module" and last.isdigit() and has_core(kid):
                    found.append(kid)
                else:
                    visit(kid)

        visit(self.root)
        main = next((i for i, s in enumerate(found) if not self._only_text(s)), 0)
        return found[main:], found[:main]

    def _only_text(self, block: Spot) -> bool:
        specs = [s for s in block.call.outputs.values() if len(s.shape) >= 3]
        return bool(specs) and all(axis(s, -2) in self.tokens for s in specs)

    # reading

    def read(self) -> None:
        """Mark everything."""
        for refiner in self.refiners:
            refiner.mark = Mark(
                "token-refiner", fitting(refiner.call.name),
                f"A block that only sees the text: it attends to itself, before it meets the {self.kind}.",
            )  # fmt: skip
        own = [axis(s, -2) for b in self.blocks for s in b.call.outputs.values() if len(s.shape) >= 3]
        Blocks(self.blocks, {**dict.fromkeys(own, self.kind), **self.tokens}, set(self.tokens), self.words).read()
        if not self.blocks:
            return
        inner = set(self.blocks)
        kids = _opened(self.root, inner)
        start, end = (kids.index(block) for block in (self.blocks[0], self.blocks[-1]))
        for kid in kids[:start]:
            self._before(kid)
        self._sum(kids[:start])
        self._masks(kids[:start])
        self._as_tokens(kids[:start])
        for kid in kids[start:end]:
            if kid not in inner:
                self._between(kid)
        self._after(kids[end + 1 :])

    def _before(self, spot: Spot) -> None:
        if any(r in self.refiners for r in spot.below()):
            if spot not in self.refiners:
                spot.mark = Mark("token-refiner", spot.name, "The text comes in, and leaves refined.", brief=False)
                own = {s for r in self.refiners for s in r.below()}
                for inside, _ in linears(spot):
                    if inside not in own:
                        self._text(inside)
            return
        found = (
            self._waves(spot) or self._tables(spot) or self._pooling(spot) or self._vectors(spot)
            or self._text(spot) or self._patches(spot) or self._between(spot)
        )  # fmt: skip
        if not found:
            for kid in spot.kids:
                self._before(kid)
            self._sum(spot.kids)

    # the conditioning

    def _waves(self, spot: Spot) -> bool:
        if not waves(spot):
            return False
        self.waved = True
        spot.mark = Mark(
            self._moment(spot), spot.name,
            "No weights: a number for each sample becomes cosines and sines at falling frequencies.",
            brief=False,
        )  # fmt: skip
        return True

    def _moment(self, spot: Spot) -> str:
        """What is embedded: the timestep, unless a name says otherwise."""
        words = spot.words()
        if "guidance" in words:
            return "guidance-embedding"
        return "offset-embedding" if "ofs" in words or "offset" in words else "time-embedding"

    def _vectors(self, spot: Spot) -> bool:
        found = vectors(spot)
        if found is None:
            return False
        given, made = (self.words.axis(s.shape[-1]) for s in found)
        layers = linears(spot)
        if len(layers) == 1 and self.waved and _times(found) >= 2:
            spot.mark = Mark(
                "modulation", f"linear {given} → {made}",
                f"One linear layer for the whole model: from the conditioning, {_times(found)} vectors as wide as the "
                "model, which each block is to shift, scale and gate with.",
            )  # fmt: skip
            return True
        many = "Linear layers" if len(layers) > 1 else "A linear layer"
        if axis(found.given, -1) in self.pooled:
            spot.mark = Mark(
                "pooled-text", spot.name,
                f"{many} on one vector for the whole prompt, from {given} numbers to {made}.",
            )  # fmt: skip
            return True
        if not self.waved:
            return False
        stage = self._moment(spot)
        self.offset = stage == "offset-embedding"
        spot.mark = Mark(
            stage, spot.name,
            f"{many}, from {given} numbers to {made}: where the learning happens. One vector for each sample.",
        )  # fmt: skip
        return True

    def _pooling(self, spot: Spot) -> bool:
        """Attention before the blocks that leaves one vector of a sequence."""
        made = spot.call.output
        if spot.call.kind != "module" or made is None or len(spot.call.outputs) > 1 or len(made.shape) != 2:
            return False
        if not has_core(spot):
            return False
        spot.mark = Mark(
            "pooled-text", spot.name,
            "Attention with a single query: the whole prompt becomes one vector, which joins the timestep's.",
        )  # fmt: skip
        return True

    def _sum(self, kids: Iterable[Spot]) -> None:
        sums: list[Spot] = []
        for spot in kids:
            call = spot.call
            specs = [*call.inputs.values(), *call.outputs.values()]
            if call.kind != "op" or call.name != "add" or len(call.inputs) != 2 or not self.waved:
                continue
            if all(len(s.shape) == 2 and floating(s) for s in specs) and spot.mark is None:
                name = next((n for n in call.outputs if not n.isdigit()), "sum")
                stage = "offset-embedding" if self.offset else "time-embedding"
                spot.mark = Mark(stage, name, "Added up: one vector that conditions every block.")
                for before in sums:
                    before.mark = Mark(stage, name, "Added up, on the way to one vector.", False)
                sums.append(spot)

    # text and latents

    def _text(self, spot: Spot) -> bool:
        """Linear layers that are given text, and nothing else."""
        layers = linears(spot)
        if not layers or spot.call.kind != "module" or spot.has(CORE, *CONVOLUTIONS):
            return False
        given, made = first(spot.call), spot.call.output
        if given is None or made is None or len(given.shape) != 3 or axis(given, 1) not in self.tokens:
            return False
        if any(len(x.given.shape) != 3 or axis(x.given, 1) != axis(given, 1) for _, x in layers):
            return False
        kind = self.tokens[axis(given, 1)]
        wide, narrow = (self.words.axis(s.shape[-1]) for s in (given, made))
        spot.mark = Mark(
            f"{kind}-projection", spot.name,
            f"Each {kind} token is brought from the encoder's {wide} numbers to {narrow}, as the blocks want it.",
        )  # fmt: skip
        return True

    def _patches(self, spot: Spot) -> bool:
        given = first(spot.call)
        if cuts_patches(spot) and given and self.latents and count(given) == count(self.latents):
            spot.mark = Mark(
                "patch-embed", "conv, stride = kernel",
                "The stride of this convolution is its kernel: each square of latents becomes one vector.",
            )  # fmt: skip
            self.cut = spot.call.output
            return True
        layer = linear(spot)
        if layer is None or self.cut is not None or self.latents is None or len(layer.given.shape) != 3:
            return False
        if count(layer.given) != count(self.latents):
            return False
        packed = self.latents.sizes == layer.given.sizes
        wide, narrow = (self.words.axis(s.shape[-1]) for s in layer)
        spot.mark = Mark(
            "patch-embed", f"{spot.name}: tokens",
            f"A linear layer on every latent there is, from {wide} numbers to {narrow}"
            + (": they come as tokens already, in a row." if packed else "; they were laid out as patches before."),
        )  # fmt: skip
        self.cut = layer.made
        return True

    def _as_tokens(self, kids: Iterable[Spot]) -> None:
        """The last operation before the blocks that lays patches out as an axis of tokens."""
        if self.cut is None or len(self.cut.shape) == 3:
            return
        laid = [
            s for kid in kids for s in kid.below()
            if s.call.kind == "op" and s.call.name in _LAYS_OUT and (out := s.call.output) is not None
            and len(out.shape) == 3 and out.sizes[-1] == self.cut.sizes[1] and count(out) == count(self.cut)
        ]  # fmt: skip
        if laid and laid[-1].mark is None:
            laid[-1].mark = Mark(
                "patch-embed", f"{self.kind} tokens",
                ("Frames, rows" if self.kind == "video" else "Rows")
                + " and columns of patches, one after the other: an axis of tokens.",
            )  # fmt: skip

    def _masks(self, kids: Iterable[Spot]) -> None:
        masks = [k for k in kids if k.call.kind == "op" and any("mask" in name for name in k.call.outputs)]
        if masks:
            masks[-1].mark = Mark(
                "attention-mask", next(iter(masks[-1].call.outputs)),
                "Which tokens count, in the form in which attention takes it.",
            )  # fmt: skip

    def _tables(self, spot: Spot) -> bool:
        if not tables(spot):
            return False
        spot.mark = Mark(
            "rope-tables", "cos, sin",
            "Cosines and sines of positions, without a weight: a row for each token, which queries and keys are "
            "turned by.",
        )  # fmt: skip
        return True

    def _between(self, spot: Spot) -> bool:
        """Operations on whole sequences outside of the blocks: a table added, two joined."""
        call = spot.call
        specs = list(call.inputs.values())
        if call.kind != "op" or call.output is None or len(call.output.shape) != 3 or len(specs) < 2:
            return False
        same = all(len(s.shape) == 3 and floating(s) and s.sizes[2] == specs[0].sizes[2] for s in specs)
        if call.name == "add" and same and specs[0].sizes[1] == specs[1].sizes[1]:
            single = [s.shape[0].size == 1 and s.shape[0].formula is None for s in specs]
            if single.count(True) == 1 or any("pos" in name for name in call.inputs):
                spot.mark = Mark(
                    "position-embedding", "+ position table",
                    "A table with one row for each token, the same for every sample, is added.",
                )  # fmt: skip
                return True
        if call.name == "cat" and same and any(axis(s, 1) in self.tokens for s in specs):
            kinds = [self.tokens.get(axis(s, 1), self.kind) for s in specs]
            spot.mark = Mark("concat", ", then ".join(dict.fromkeys(kinds)), "Two sequences become one.")
            return True
        return False

    # the end

    def _after(self, kids: list[Spot]) -> None:
        """From the last block to the output: a last modulation, and tokens back to latents."""
        layers = [k for k in kids if linear(k) is not None and len(k.call.output.shape if k.call.output else ()) >= 3]
        last = layers[-1] if layers else None
        end = kids.index(last) if last is not None else len(kids)
        for kid in kids[:end]:
            self._norm_out(kid)
        if last is None or last.call.output is None:
            return
        last.mark = Mark(
            "unpatchify", last.name,
            f"Each token becomes {self.words.axis(last.call.output.shape[-1])} numbers: those of its place in the "
            "latents.",
        )  # fmt: skip
        rest = [k for k in kids[end + 1 :] if k.call.kind == "op" and k.call.output is not None]
        grid = next((k for k in rest if k.call.name in ("reshape", "view", "unflatten")), None)
        if grid is not None and grid is not rest[-1]:
            grid.mark = Mark("unpatchify", "back on the grid", "The token axis is read as the grid it was made of.")
        if rest:
            rest[-1].mark = Mark("unpatchify", "latents", "Places within a patch move to their rows and columns.")

    def _norm_out(self, spot: Spot) -> None:
        out = spot.call.output
        if modulating(spot):
            spot.mark = Mark("norm-out", ", ".join(spot.call.outputs), "The last ones, from the conditioning.", False)
        elif spot.call.kind == "module" and out is not None and len(out.shape) >= 3:
            modulates = not norm(spot)
            spot.mark = Mark(
                "norm-out", spot.name,
                "Normalised, then shifted and scaled by the conditioning, for the last time." if modulates
                else "Normalised for the last time.",
            )  # fmt: skip


def _opened(spot: Spot, blocks: set[Spot]) -> list[Spot]:
    """The calls in a call, those that hold blocks opened."""
    out: list[Spot] = []
    for kid in spot.kids:
        holds = kid not in blocks and not blocks.isdisjoint(kid.below())
        out += _opened(kid, blocks) if holds else [kid]
    return out


def _kind_of(latents: TensorSpec | None, trace: Trace) -> str:
    """What the latents are of: a video has frames, as an axis or as a letter."""
    axes = 0 if latents is None else len(latents.shape)
    if axes == 5 or "F" in trace.values:
        return "video"
    return "image" if axes == 4 or "H" in trace.values else "latents"


def _times(found: Linear) -> int:
    """How many times as wide the result is; 0 where that is no whole number."""
    given, made = (s.sizes[-1] for s in found)
    return made // given if made % given == 0 else 0


def _is_table(name: str) -> bool:
    return any(word in name for word in ("ids", "rotary", "rope", "freqs", "mask", "timestep"))
