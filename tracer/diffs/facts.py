"""What a diff says at its head: which two, the answer in sentences, facts and totals as words. Renders nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tracer.calls import Symbol
from tracer.cost import attention_share
from tracer.diffs.diff import Diff, Fact, Status
from tracer.words import Words, amount, clean, percent

UNTOLD = ("old", "new")
"""Names of two sides that nothing tells apart."""


@dataclass(frozen=True)
class Said:
    """A fact as words; ratio where both are counts. about: what the model takes, what it is, what it was asked for."""

    label: str
    old: str
    new: str
    ratio: str = ""
    about: Literal["costs", "model", "request"] = "costs"


def calls_of(n: int) -> str:
    """A number of calls."""
    return f"{n:,} call{'s' * (n != 1)}"


def names(d: Diff) -> tuple[str, str]:
    """What to call the two sides: by what tells them apart."""
    a, b = d.old.header, d.new.header
    one, other = a.checkpoint or a.model, b.checkpoint or b.model
    if one == other:
        apart = [k for k in {**a.request, **b.request} if a.request.get(k) != b.request.get(k)]
        if len(apart) == 1:
            one, other = (_asked(apart[0], h.request.get(apart[0])) for h in (a, b))
        elif a.dtype != b.dtype and not apart:
            one, other = str(a.dtype), str(b.dtype)
        elif len(d.versions) == 1 and not apart:
            ((package, pair),) = d.versions.items()
            one, other = (f"{package} {v}" for v in pair)
        else:
            one, other = UNTOLD
    return clean(one, 60), clean(other, 60)


def _asked(name: str, value: int | None) -> str:
    counts = name in ("frames", "text_tokens") and value is not None
    return f"{value} {name.replace('_', ' ')}" if counts else f"{name} {'–' if value is None else value}"


def title(d: Diff, sides: tuple[str, str]) -> list[tuple[str, ...]]:
    """The head: which two, what both have in common, and other versions of packages."""
    a, b = d.old.header, d.new.header
    same = [a.checkpoint] if a.checkpoint == b.checkpoint and a.checkpoint else []
    common = [a.model] if a.model == b.model else []
    sized = ("frames", "height", "width")
    if all(k in a.request and a.request[k] == b.request.get(k) for k in sized):
        frames = f"{a.request['frames']} frames of " if "F" in d.old.values else ""
        common.append(f"{frames}{a.request['height']}×{a.request['width']} pixels")
    package = a.versions.get("diffusers")
    common += [f"diffusers {package}"] if package and "diffusers" not in d.versions else []
    lines = [(*same, f"{sides[0]} → {sides[1]}"), tuple(common)]
    if d.versions:
        moved = [f"{d.moved} calls at other places of the source"] if d.moved else []
        lines.append((*(f"{k} {old or '–'} → {new or '–'}" for k, (old, new) in d.versions.items()), *moved))
    return [tuple(clean(text) for text in line) for line in lines if line]


def verdict(d: Diff) -> list[str]:
    """The answer in sentences."""
    counts = d.counts
    total = sum(counts.values())
    if d.equal:
        return [f"No difference: {calls_of(total)}, with the same formulas and the same numbers."]
    moved, kept = counts.get("numbers", 0), counts.get("same", 0) + counts.get("numbers", 0)
    said: tuple[tuple[Status, str], ...] = (("removed", "gone"), ("added", "new"), ("changed", "changed"))
    parts = [f"{calls_of(counts[status])} {word}" for status, word in said if status in counts]
    letters = [clean(f.name, 20) for f in d.facts if f.topic == "letter" and f.old and f.new and not f.new.number]
    letters += ["the dtype"] if d.old.header.dtype != d.new.header.dtype else []
    why = f", since {_and(letters)} differ{'s' * (len(letters) == 1)}" if letters else ""
    if not parts:
        text = f"The same {calls_of(total)} with the same formulas"
        out = [f"{text}; {moved} of them have other numbers{why}." if moved else f"{text} and the same numbers."]
    else:
        rest = f"; the other {kept} are the same" if kept else ""
        rest += f", {moved} of them with other numbers{why}" if moved else ""
        out = [f"{', '.join(parts)}{rest}."]
    for word, gone in (("Stages that are new", [s.stage for s in d.stages if s.old is None]),
                       ("Stages that are gone", [s.stage for s in d.stages if s.new is None])):  # fmt: skip
        out += [f"{word}: {', '.join(clean(s, 60) for s in gone)}."] if gone else []
    return out


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


REMARKS = {"constraints": "holds while ", "assumptions": "taken for granted: ", "warnings": "note: "}
"""What of the head is told below the calls, and how it begins."""
_ASKED = frozenset("BNFHWLS")
_NAMES = {"model": "model class", "params": "parameters", "buffers": "stored buffers", "compression": "pixels a latent",
          "error": "stopped"}  # fmt: skip


def facts(d: Diff) -> list[Said]:
    """What differs at the head, and the totals, as words."""
    words = Words(d.old), Words(d.new)
    alone = [f for f in d.facts if f.topic == "config" and (f.old is None or f.new is None)]
    if d.old.header.model == d.new.header.model:
        alone = []  # of two classes, fields that only one has say little
    told = [_said(f, words) for f in d.facts if f not in alone and (f.topic != "run" or f.name not in REMARKS)]
    if alone:
        counts = [sum(getattr(f, side) is not None for f in alone) for side in ("old", "new")]
        told.append(Said("config fields of its own", str(counts[0]), str(counts[1]), about="model"))
    by_topic = {about: [s for s in told if s.about == about] for about in ("costs", "model", "request")}
    return [*by_topic["costs"], *_totals(d), *by_topic["model"], *by_topic["request"]]


def _totals(d: Diff) -> list[Said]:
    a, b = d.old.root, d.new.root
    flops, written = ((getattr(a.cost, part).size, getattr(b.cost, part).size) for part in ("flops", "bytes"))
    shares = [percent(float(attention_share(c))) if c.cost.flops.size else "–" for c in (a, b)]
    totals = [
        Said("FLOPs", amount(flops[0], "FLOP"), amount(flops[1], "FLOP"), _ratio(*flops)),
        Said("attention's share of them", shares[0], shares[1]),
        Said("activations", amount(written[0], "B"), amount(written[1], "B"), _ratio(*written)),
    ]
    return [s for s in totals if s.old != s.new or s.ratio]


def _said(fact: Fact, words: tuple[Words, Words]) -> Said:
    pair = fact.old, fact.new
    symbol = next((s for s in pair if isinstance(s, Symbol)), None)
    label = _NAMES.get(fact.name, fact.name.replace("_", " ") if fact.topic == "request" else fact.name)
    if symbol is None:
        texts = [_value(v) for v in pair]
        counts = [v for v in pair if isinstance(v, int) and not isinstance(v, bool)]
    else:
        label = (symbol.field or symbol.name) if symbol.number else f"{symbol.name.replace('_', ' ')} {symbol.symbol}"
        formulas = [w.written(s.formula, but=s.symbol) if s and s.formula is not None else ""
                    for s, w in zip(pair, words, strict=True)]  # fmt: skip
        told = len(set(formulas)) > 1
        label += f" = {formulas[0]}" if formulas[0] and not told else ""
        texts = [f"{s.value}{f' = {text}' if text and told else ''}" if s else "–"
                 for s, text in zip(pair, formulas, strict=True)]  # fmt: skip
        counts = [s.value for s in pair if s]
    ratio = _ratio(*counts) if len(counts) == 2 and fact.topic in ("run", "letter") else ""
    about: Literal["costs", "model", "request"] = "model"
    if fact.name in ("params", "buffers"):
        about = "costs"
    elif fact.topic == "request" or (fact.topic == "letter" and fact.name in _ASKED):
        about = "request"
    return Said(clean(label, 80), clean(texts[0], 120), clean(texts[1], 120), ratio, about)


def _value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if value >= 10_000 else str(value)
    if isinstance(value, tuple | list):
        return ", ".join(map(_value, value[:20])) or "–"
    return "–" if value is None else str(value)


def _ratio(old: int, new: int) -> str:
    if old <= 0 or new <= 0 or old == new:
        return ""
    ratio = new / old
    return f"{(ratio - 1) * 100:+.2g} %" if 0.98 < ratio < 1.02 else f"×{ratio:.3g}"


def remarks(d: Diff, sides: tuple[str, str]) -> list[str]:
    """Constraints, assumptions and warnings that only one side has, a line each."""
    out = []
    for fact in d.facts:
        if fact.topic == "run" and fact.name in REMARKS:
            for side, texts in zip(sides, (fact.old, fact.new), strict=True):
                out += [clean(f"{side}: {REMARKS[fact.name]}{text}", 1000) for text in texts]
    return out
