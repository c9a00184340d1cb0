"""How the parts of a trace are said: formulas and shapes, operations, amounts. Text in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tracer.calls import TENSOR, Attr, Call, Slice, Trace
from tracer.formula import Formula, abbreviate
from tracer.notation import Pixels, render
from tracer.shapes import Dim, TensorSpec

LONGEST = 240
"""Characters of a label; no model of a family comes near, but a module may be named by anyone."""

MOST = 12
"""Results of one call that get a line; a call that returns hundreds says how many more there are."""


_UNDER = ("p", "p_t")  # patch sizes stay under H, W and F; other numbers of the config are put in


def clean(text: str, limit: int = LONGEST) -> str:
    """Text that cannot steer a terminal or a page: no control or direction signs, and not without end."""
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Words:
    """Formulas and counts of one trace as text."""

    def __init__(self, trace: Trace, *, pixels: bool = False) -> None:
        self.pixels = pixels_of(trace) if pixels else None
        hidden = {k: v for k, v in trace.short.items() if k != "S"}
        self.short = hidden if self.pixels else trace.short
        self.numbers = {s.symbol: s.value for s in trace.header.legend if s.number}
        self._known: dict[tuple[Formula, bool, str], str] = {}

    def written(self, formula: Formula, *, compact: bool = False, but: str = "") -> str:
        """A formula with the abbreviations of the legend, all but one of them."""
        key = (formula, compact, but)
        if key not in self._known:
            inner = {k: v for k, v in self.numbers.items() if k not in _UNDER}
            short = {k: v for k, v in self.short.items() if k != but}
            text = abbreviate(formula.substitute(inner), short)
            self._known[key] = clean(render(text, self.numbers, compact=compact, pixels=self.pixels), 1000)
        return self._known[key]

    def axis(self, dim: Dim) -> str:
        """The formula of an axis without spaces, or its number."""
        return str(dim.size) if dim.formula is None else self.written(dim.formula, compact=True)

    def shape(self, spec: TensorSpec) -> str:
        """All axes of a tensor."""
        return " ".join(self.axis(d) for d in spec.shape) or "scalar"

    def attr(self, value: Attr) -> str:
        """An argument as the source has it, with formulas for numbers."""
        if isinstance(value, Dim):
            return self.axis(value)
        if isinstance(value, Slice):
            start, stop = (self.axis(v) if v is not None else "" for v in value[:2])
            return f"{start}:{stop}" + (f":{self.axis(value.step)}" if value.step is not None else "")
        if isinstance(value, tuple):
            return ", ".join(self.attr(v) for v in value[:LONGEST])
        return "_" if value == TENSOR else f"{value:g}" if isinstance(value, float) else clean(str(value), 60)


def pixels_of(trace: Trace) -> Pixels | None:
    """How the latents of this trace follow from the video it was made for; None where they do not."""
    r, v = trace.header.request, trace.values
    if not {"frames", "height", "width"} <= r.keys() or not {"H", "W"} <= v.keys():
        return None
    time, space = trace.header.compression or (4, 8)
    pixels = Pixels(time=time, space=space, whole=v.get("p_t", 1), frames=r["frames"])
    latents = pixels.latents(r["frames"], r["height"], r["width"])
    same = all(v[k] == n for k, n in latents.items() if k != "F" or k in v)  # an image has no frames
    return pixels if same else None


def sizes_of(spec: TensorSpec) -> str:
    """The numbers of a shape."""
    return " ".join(map(str, spec.sizes)) or "scalar"


def counted(texts: Sequence[str], most: int = MOST) -> tuple[str, ...]:
    """Equal neighbours as one: 'B D ×6'; a very long list ends in how many more there are."""
    out = []
    for text, group in groupby(texts):
        n = len(list(group))
        out.append(f"{text} ×{n}" if n > 1 else text)
    return tuple(out) if len(out) <= most else (*out[: most - 1], f"… {len(out) - most + 1} more")


def label_of(call: Call, words: Words) -> str:
    """A call as a line of a tree: `attn1 Attention`, `out = cast to bfloat16`, `hidden_states[:, L:]`."""
    times = f" ×{call.repeat}" if call.repeat > 1 else ""
    if call.kind == "module":
        last = call.path.rpartition(".")[2]
        if last.isdigit():  # a block of a list: with the list's name
            number = "*" if call.repeat > 1 else last
            last = f"{call.path.split('.')[-2]}.{number}" if "." in call.path else number
        return clean(f"{last} {call.name}".strip()) + times
    text = f"{call.name}()" if call.kind == "function" else _operation(call, words)
    names = [n for n in call.outputs if not n[:1].isdigit()]
    return clean((", ".join(names) + " = " if names else "") + text) + times


_CASTS = {"float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "bool": "bool",
          "int": "int32", "long": "int64"}  # fmt: skip


def _operation(call: Call, words: Words) -> str:
    given = {k: v for k, v in call.attrs.items() if k not in ("device", "layout", "inplace", "training", "p")}
    if call.name in ("getitem", "setitem"):
        index = words.attr(next(iter(given.values()))) if given else ""
        name = next(iter(call.inputs), "")
        written = " = …" if call.name == "setitem" else ""
        return f"{'_' if name[:1].isdigit() else name}[{index}]{written}"
    if call.name in _CASTS and not given:
        return f"cast to {_CASTS[call.name]}"
    if call.name == "to":
        kinds = [v for v in given.values() if isinstance(v, str) and v != "device"]
        moved = "device" in (*call.attrs, *call.attrs.values())
        return "cast to " + kinds[0] if kinds else "move to the device in use" if moved else "cast or move"
    arguments = [words.attr(v) if k.isdigit() else f"{k}={words.attr(v)}" for k, v in given.items() if v is not None]
    return f"{call.name} {', '.join(arguments)}".strip()


_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: float, unit: str) -> str:
    """A count with three digits and a unit: 664 TFLOP."""
    for size, letter in _UNITS:
        if value >= size * 0.9995:  # what rounds to a thousand is one of the next unit
            scaled = value / size
            digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f} {letter}{unit}"
    return f"{value:g} {unit}"


def percent(share: float) -> str:
    """A share: '49 %', '0.3 %'."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.0995 else f"{share:.1%}".replace("%", " %")
