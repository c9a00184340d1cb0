"""A trace whose every name is an attack, for the views to show as nothing but text."""

from tracer.calls import Call, Header, Remark, Source, Symbol, Trace
from tracer.shapes import Dim, TensorSpec

NAMES = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a|b", "`rm`", "**bold** _i_",
    "[x](http://evil.example)",
    "=cmd()", "+1", "-2", "@SUM(A1)", "\t=1", "\r\n=2", "line\nbreak", "\u202egnp.exe", "\u2066\u200f", "שלום",
    "# head", "1. item", "- item", "&lt;", '"quoted"', "]]>", "</style>", "$x$", "~~gone~~", "www.evil.example", "end",
    "\ud800", "%%{init: {}}%%", "click n0 call x()", "\x1b[31m", "x" * 10_000_000, "\\", "~~~",
    "![x](//evil.example/p.png)",
]  # fmt: skip


def spec(*sizes):
    return TensorSpec(tuple(map(Dim, sizes)), "float32")


def hostile(stages):
    """A model with a call for each name, each handing its result to the next; with stages or without."""
    calls, before = [], spec(2, 3)
    for name in NAMES:
        after = spec(2, 3)
        calls.append(
            Call(
                "module",
                name,
                name,
                {name: before},
                {name: after},
                source=Source(name, 7, name),
                stage=name if stages else None,
                remark=Remark(name, "B D", name, name) if stages else None,
            )
        )
    header = Header(NAMES[0], NAMES[2], legend=(Symbol("B", NAMES[0], 2, NAMES[3]),), warnings=tuple(NAMES))
    root = Call("module", "", NAMES[0], {"x": before}, {NAMES[-3]: before}, children=tuple(calls))
    return Trace(header, root)
