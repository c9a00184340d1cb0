"""What happens inside a transformer block, recognised by what the code does. See `generic`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from tracer.formula import Formula
from tracer.shapes import TensorSpec
from tracer.spots import (
    CONVOLUTIONS,
    CORE,
    Linear,
    Mark,
    Spot,
    axis,
    cores,
    first,
    floating,
    linear,
    linears,
    modulating,
    norm,
    turns,
)
from tracer.words import Words

_PARTS = (("att", "attention"), ("ff", "ff"), ("mlp", "ff"))
LABEL = 28
"""Characters of a label."""

_TO_HEADS = ("unflatten", "view", "reshape")
_CUTS = ("split", "split_with_sizes", "getitem", "chunk", "tensor_split")


class Blocks:
    """Marks the blocks of a model and what is in them.

    blocks: outermost first, in the order of the run. tokens: what sequences of these lengths are of; guests: the
    lengths of those that condition.
    """

    def __init__(
        self, blocks: Sequence[Spot], tokens: Mapping[Formula, str], guests: Collection[Formula], words: Words
    ) -> None:
        self.blocks = blocks
        self.tokens = tokens
        self.guests = guests
        self.words = words
        self.told: set[tuple[str, str, str, str]] = set()  # rows that a block already has

    def read(self) -> None:
        """Mark all of them. The inside of a block that is like an earlier one of its list is kept off the screen."""
        lists: dict[str, list[Spot]] = {}
        for block in self.blocks:
            lists.setdefault(block.call.pattern, []).append(block)
        for block in self.blocks:
            row = lists[block.call.pattern]
            again, alike = block is not row[0], [b for b in row if _seen(b) == _seen(row[0])]
            self.told.clear()
            self._block(block, again, last=block is self.blocks[-1])
            if not again and len(alike) > 1:
                block.mark = Mark("block", f"first of {len(alike)} blocks", f"{block.call.name}. They take turns with "
                                  "the blocks of another list, each as large as this one.")  # fmt: skip
            for spot in block.below() if again else ():
                if block in alike and spot.mark is not None:
                    spot.mark = Mark(spot.mark.stage)
                elif spot is not block and spot.mark is not None:
                    spot.mark = Mark(spot.mark.stage, spot.mark.label, spot.mark.why, False)

    def _block(self, block: Spot, again: bool, *, last: bool) -> None:
        kinds = [self._kind(s) for s in block.call.outputs.values() if len(s.shape) >= 3]
        streams = " and ".join(dict.fromkeys(kinds))
        what = f"Takes and returns tokens of {streams}." if streams else "One block."
        if again:
            what = f"One more of the same list, which does something else than those before it. {what}"
        single = again and last and block.call.repeat == 1
        block.mark = Mark("block", "last block" if single else fitting(block.call.name), what)
        found = cores(block)
        homes = list(dict.fromkeys(c.module for c in found))
        for home in homes:
            self._attention(home, [c for c in found if c.module is home], whole=home is block)
        self._rest(block, set(homes))

    def _kind(self, spec: TensorSpec) -> str:
        return self.tokens.get(axis(spec, -2), "all")

    def _set(self, spot: Spot, stage: str, label: str, why: str, *, brief: bool = True) -> None:
        """A mark; what the block has told already, of a tensor of that shape, is not told again."""
        if spot.mark is not None:
            return
        key = (stage, label, why, str(spot.call.output))
        spot.mark = Mark(stage) if key in self.told else Mark(stage, label, why, brief)
        self.told.add(key)

    # attention

    def _attention(self, home: Spot, kernels: list[Spot], *, whole: bool) -> None:
        """The module in which queries meet keys: what makes them, what joins and cuts, what comes out."""
        inside = list(home.below())[1:]
        begin, end = (inside.index(c) for c in (kernels[0], kernels[-1]))
        stage = "cross-attention" if all(map(_crosses, kernels)) else "attention"
        cross = stage == "cross-attention"
        before = [s for s in inside[:begin] if not any(a in kernels for a in s.below())]
        layers = [(s, x) for s in before if (x := linear(s)) is not None and len(x.given.shape) >= 3]
        if whole and layers:
            wide = axis(layers[-1][1].made, -1)
            layers = [(s, x) for s, x in layers if axis(x.made, -1) == wide][-3:]
        self._projections(layers, stage if cross else "qkv")
        norms = [s for s in before if norm(s) and not any(map(norm, s.above()))]
        if whole and layers:  # those in front of the projections are of the block
            norms = [s for s in norms if before.index(s) > before.index(layers[-1][0])]
        self._norms(norms, stage if cross else "qk-norm")
        for spot in before:
            self._prepared(spot, home, stage if cross else "")
        for core in kernels:
            self._core(core, stage)
        after = inside[end + 1 :]
        out = [(s, x) for s in after if (x := linear(s)) is not None]
        main = next((s for s, x in out if axis(x.given, -2) not in self.guests), None)
        if whole:  # the first for each sequence; what follows is feed-forward
            firsts: dict[Formula, tuple[Spot, Linear]] = {}
            for spot, x in out:
                firsts.setdefault(axis(x.given, -2), (spot, x))
            out = list(firsts.values())
        for spot, x in out:
            made = self.words.axis(x.made.shape[-1])
            self._set(
                spot, stage, spot.name,
                f"A linear layer mixes what the heads found: {made} numbers for each token again.",
                brief=spot is main,
            )  # fmt: skip
        for spot in after:
            self._cut(spot)

    def _projections(self, layers: Sequence[tuple[Spot, Linear]], stage: str) -> None:
        groups: dict[tuple[Formula, Formula], list[Spot]] = {}
        for spot, x in layers:
            groups.setdefault((axis(x.given, -2), axis(x.given, -1)), []).append(spot)
        for (length, _), group in groups.items():
            names = " ".join(s.name for s in group)
            head = group[0]
            what = "Linear layers" if len(group) > 1 else "A linear layer"
            self._set(
                head, stage, fitting(names),
                f"{what} on {self.tokens.get(length, 'all')} tokens, just before attention: {names}.",
            )  # fmt: skip
            for other in group[1:]:
                other.mark = Mark(stage)

    def _norms(self, norms: Sequence[Spot], stage: str) -> None:
        groups: dict[str, list[Spot]] = {}
        for spot in norms:
            groups.setdefault(str(spot.call.output), []).append(spot)
        for group in groups.values():
            spec = group[0].call.output
            over = self.words.axis(spec.shape[-1]) if spec is not None else ""
            self._set(
                group[0], stage, fitting(" ".join(s.name for s in group)),
                f"Normalised over {over} numbers, so that dot products stay in range.",
                brief=stage == "qk-norm" and group is next(iter(groups.values())),
            )  # fmt: skip
            for other in group[1:]:
                other.mark = Mark(stage)

    def _prepared(self, spot: Spot, home: Spot, cross: str) -> None:
        """What is done to queries and keys between their projection and attention."""
        call, out = spot.call, spot.call.output
        if turns(spot) and not any(turns(a) for a in spot.above()):
            what = next((n for n in call.outputs if not n.isdigit()), "query")
            self._set(
                spot, "rope", f"turn {what}",
                "Pairs of numbers rotate by the angle of the token's position; how far two tokens are apart is what "
                "a dot product then sees.",
                brief="key" not in what,
            )  # fmt: skip
        elif call.kind != "op" or spot.module is not home:
            return
        elif call.name == "setitem" and any(turns(s) for s in home.below()):
            self._set(spot, "rope", "written back", "What was turned goes back to its place, in memory.", brief=False)
        elif call.name == "cat":
            self._joined(spot)
        elif call.name in _TO_HEADS and out is not None and _splits_heads(spot):
            self._set(
                spot, cross or "qkv", "split into heads",
                f"The width is read as {self.words.axis(out.shape[-2])} heads of {self.words.axis(out.shape[-1])} "
                "numbers.",
                brief=False,
            )  # fmt: skip

    def _joined(self, spot: Spot) -> None:
        """Two sequences that become one: along tokens, whichever axis that is."""
        parts = list(spot.call.inputs.values())
        out = spot.call.output
        if out is None or len({len(p.shape) for p in parts}) != 1 or not floating(out):
            return
        grown = [i for i in range(len(out.shape)) if any(p.sizes[i] != out.sizes[i] for p in parts)]
        if len(grown) != 1 or not any(axis(p, grown[0]) in self.guests for p in parts):
            return
        kinds = [self.tokens.get(axis(p, grown[0]), "others") for p in parts]
        self._set(
            spot, "concat", ", then ".join(dict.fromkeys(kinds)),
            "Sequences become one along the tokens: whatever comes next sees all of them.",
        )  # fmt: skip

    def _core(self, core: Spot, stage: str) -> None:
        if core.call.name != CORE:
            self._set(core, stage, "product", "Attention written out: a product of queries, keys or values.")
            return
        query, key = list(core.call.inputs.values())[:2]
        seen, looks = self.words.axis(key.shape[-2]), self.words.axis(query.shape[-2])
        if stage == "cross-attention":
            kind = self.tokens.get(axis(key, -2), "other")
            why = f"Queries and keys are of different sequences: each of {looks} tokens looks at {seen} {kind} tokens."
        else:
            why = f"Each of {looks} tokens looks at all {seen} of them, so that the work grows with the square."
            if len(core.call.inputs) > 3:
                why += " A mask says which ones count; the work is that of the whole square all the same."
        self._set(core, stage, stage, why)

    def _cut(self, spot: Spot) -> None:
        """One sequence that becomes two again."""
        call, given = spot.call, first(spot.call)
        if call.kind != "op" or call.name not in _CUTS or given is None or len(given.shape) != 3:
            return
        if axis(given, 1) in self.guests or any(len(s.shape) != 3 for s in call.outputs.values()):
            return
        parts = [axis(s, 1) for s in call.outputs.values()]
        whole = axis(given, 1)
        apart = [p for p in parts if p != whole and (p in self.guests or whole - p in self.guests)]
        if apart and len(apart) == len(parts):
            again = any(k.mark is not None and k.mark.stage == "split" for k in spot.up.kids) if spot.up else False
            self._set(
                spot, "split", " | ".join(self.tokens.get(p, "others") for p in parts),
                "The sequence is cut where two were joined.", brief=not again,
            )  # fmt: skip

    # around attention

    def _rest(self, block: Spot, homes: set[Spot]) -> None:
        """Modulation, gates and feed-forward: everything of a block outside of attention."""
        for i, kid in enumerate(kids := list(self._outside(block, homes))):
            if kid in homes or kid.mark is not None:
                continue
            if _is_modulation(kid):
                self._modulation(kid)
            elif modulating(kid):
                self._vectors(kid)
            elif norm(kid) and kid.call.kind == "module":
                self._norm(kid, kids[i + 1 :], homes)
            elif kid.call.name == "cat" and not any(map(turns, kid.above())):
                self._side_by_side(kid)
            elif kid.call.name == "add" and _is_residual(kid):
                self._residual(kid, kids[:i], homes)
            elif linear(kid) is not None or (kid.call.kind == "module" and linears(kid)):
                self._feed_forward(kid)
            elif kid.call.kind == "module" and kid.has(*CONVOLUTIONS):
                self._set(kid, "feed-forward", kid.name, "Convolutions on the grid, in place of linear layers.")
            else:
                self._cut(kid)

    def _outside(self, spot: Spot, homes: set[Spot]) -> Iterable[Spot]:
        """Calls of a block, containers of attention opened."""
        for kid in spot.kids:
            if kid not in homes and (kid.call.kind == "function" or not homes.isdisjoint(kid.below())):
                yield from self._outside(kid, homes)
            else:
                yield kid

    def _modulation(self, module: Spot) -> None:
        for spot in module.below():
            if modulating(spot):
                self._vectors(spot)
            elif (x := linear(spot)) is not None:
                given, made = (self.words.axis(s.shape[-1]) for s in x)
                self._set(
                    spot, "modulation", f"linear {given} → {made}",
                    f"From the conditioning vector, {given} numbers, to {made}, which are then cut.", brief=False,
                )  # fmt: skip
        out = module.call.output
        kind = self._kind(out) if out is not None and len(out.shape) >= 3 else ""
        self._set(
            module, "modulation", module.name,
            f"Normalises {kind and 'the ' + kind + ' '}and applies what a linear layer made of the conditioning "
            "vector: the timestep acts here.",
            brief=False,
        )  # fmt: skip

    def _vectors(self, spot: Spot) -> None:
        names = [_role(n) for n in spot.call.outputs]
        once = list(dict.fromkeys(names))
        times = len(names) // len(once)
        self._set(
            spot, "modulation", " ".join(once) + (f" ×{times}" if times > 1 else ""),
            f"Cut into {len(names)} vectors as wide as a token: {', '.join(spot.call.outputs)}.",
        )  # fmt: skip

    def _norm(self, spot: Spot, later: Sequence[Spot], homes: set[Spot]) -> None:
        following = next((k for k in later if k.call.kind == "module"), None)
        direct = following in homes and not any(k.call.name in ("mul", "add") for k in later[: later.index(following)])
        crosses = following is not None and direct and _home_crosses(following)
        self._set(
            spot, "cross-attention" if crosses else "modulation", spot.name,
            "Each token is normalised, before it is looked at." if crosses
            else "Each token is normalised; shift and scale come from the conditioning.",
            brief=False,
        )  # fmt: skip

    def _residual(self, spot: Spot, before: Sequence[Spot], homes: set[Spot]) -> None:
        out = spot.call.output
        kind = self._kind(out) if out is not None else "all"
        names = [*spot.call.inputs]
        for kid in reversed(before):
            if kid.call.name == "add" and _is_residual(kid):
                break
            names += [*kid.call.inputs, *kid.call.outputs]
        if any("gate" in name for name in names):
            what = next((w for part, w in _PARTS if any(part in name for name in names)), "result")
            if what == "attention" and any(name.startswith("mlp") for name in names):
                what = "result"  # of attention and feed-forward side by side
            self._set(
                spot, "gate", f"{kind} + gate·{what}",
                "The residual: what came out is weighed channel by channel by the gate, and added to what went in.",
                brief=kind not in self.tokens.values() or not any(self.tokens.get(g) == kind for g in self.guests),
            )  # fmt: skip
        elif before and before[-1] in homes and _home_crosses(before[-1]):
            self._set(
                spot, "cross-attention", f"{kind} + result", "Added to what went in, without a gate.", brief=False
            )

    def _side_by_side(self, spot: Spot) -> None:
        parts, out = list(spot.call.inputs.values()), spot.call.output
        if out is None or len(out.shape) < 3 or any(len(p.shape) != len(out.shape) for p in parts):
            return
        if all(p.sizes[:-1] == out.sizes[:-1] for p in parts):
            self._set(
                spot, "concat", "side by side",
                "Along the channels, not the tokens: what follows takes all of them at once.",
            )  # fmt: skip
        else:
            self._joined(spot)

    def _feed_forward(self, spot: Spot) -> None:
        layers = linears(spot)
        if any(len(x.given.shape) < 3 for _, x in layers):
            return
        x, last = layers[0][1], layers[-1][1]
        given, wide, made = (self.words.axis(s.shape[-1]) for s in (x.given, x.made, last.made))
        kind = self._kind(last.made)
        if len(layers) > 1:
            why = f"Each {kind} token on its own: from {given} numbers to {wide}, and back to {made}."
        elif x.made.sizes[-1] > x.given.sizes[-1]:
            why = f"Each token on its own is made wider, from {given} numbers to {wide}."
        else:
            why = f"Back from {given} numbers to {made}, for each token on its own."
        self._set(spot, "feed-forward", spot.name, why)


def _seen(block: Spot) -> list[tuple[str, str]]:
    """What a block was seen to do: names of calls and shapes of results, without where it stands."""
    return [(s.call.name, str(s.call.output)) for s in block.below()]


def fitting(label: str) -> str:
    """A label that fits its column: without what all its words end in, or fewer words; of one long word its end."""
    ends = {word.rpartition("_")[2] for word in label.split()}
    if len(label) > LABEL and " " in label and len(ends) == 1:
        label = label.replace(f"_{ends.pop()}", "")
    while len(label) > LABEL and " " in label:
        label = label.rpartition(" ")[0]
    while len(label) > LABEL:
        label = re.sub(r"^[A-Z]?[^A-Z_]*_?", "", label) or label[-LABEL:]
    return label


def _crosses(core: Spot) -> bool:
    if core.call.name != CORE:
        return False
    query, key = list(core.call.inputs.values())[:2]
    return axis(query, -2) != axis(key, -2)


def _home_crosses(home: Spot) -> bool:
    found = cores(home)
    return bool(found) and all(map(_crosses, found))


def _splits_heads(spot: Spot) -> bool:
    given, out = first(spot.call), spot.call.output
    return (
        given is not None and out is not None and len(out.shape) == len(given.shape) + 1 == 4
        and out.sizes[-1] * out.sizes[-2] == given.sizes[-1]
    )  # fmt: skip


def _is_modulation(spot: Spot) -> bool:
    """A module whose linear layers take the conditioning only, and which works on tokens."""
    layers, out = linears(spot), spot.call.output
    if spot.call.kind != "module" or not layers or out is None or len(out.shape) < 3:
        return False
    return linear(spot) is None and all(len(x.given.shape) == 2 for _, x in layers)


def _is_residual(spot: Spot) -> bool:
    specs, out = list(spot.call.inputs.values()), spot.call.output
    return out is not None and len(out.shape) >= 3 and len(specs) == 2 and all(s.sizes == out.sizes for s in specs)


def _role(name: str) -> str:
    return next((word for word in ("shift", "scale", "gate") if word in name), name)
