"""The trace as Markdown for a README, an issue or a paper's appendix: headings by stage, tables, notes.

GitHub, Python-Markdown and pandoc read it alike: pipe tables, no HTML. Everything from the trace is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tracer.calls import Trace
from tracer.formula import Formula
from tracer.notes import STAGES
from tracer.outline import Options, Row, cautions, rows, summary, title
from tracer.words import Words, amount, clean, percent

_MARKUP = re.compile(r"[\\`*{}\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # an underscore inside a word is one
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "~": "&#126;", "$": "&#36;"})
_LINKS = re.compile(r"(?i)(?<=[a-z]):(?=//)|(?<=mailto):|(?<=www)\.|(?<=\w)@(?=\w)")
_OPENING = re.compile(r"^(\d+)([.)])(?=\s|$)|^([#+\-=:])")
_INDENT = "\u2003"
"""A wide blank, which no reader of Markdown folds."""


def render_markdown(trace: Trace, options: Options | None = None) -> str:
    """Head, letters, a table for each stage with its reasons below, costs. Raises UnknownName for an unknown stage."""
    options = options or Options()
    found = rows(trace, options)
    parts = [*_head(trace, options, ""), _letters(trace, options)]
    if options.walk(trace):
        parts += _walk(found, options)
    else:
        if options.stage is not None:
            parts.append(f"## {plain(options.stage)}")
            parts += [plain(_sentence(STAGES[options.stage]))] if options.stage in STAGES else []
        parts += _tables(found, options)
    parts += [plain(_sentence(line)) for line in summary(trace, options)]
    if options.plain and trace.root.cost.flops.size:
        parts += ["## costs", *_costs(trace)]
    parts += [plain(_sentence(line), 1000) for line in cautions(trace, options)]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_costs(trace: Trace) -> str:
    """The costs of the stages, the dearest first, alone."""
    parts = [*_head(trace, Options(), ": costs"), _letters(trace, Options()), *_costs(trace)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(trace: Trace, options: Options, of: str) -> list[str]:
    """What ran, and at which sizes; the letters have a table of their own."""
    known = {f" {s.symbol} " for s in trace.header.legend}
    first, *more = title(trace, options)
    rest = [phrase for line in more for phrase in line if not any(k in f" {phrase} " for k in known)]
    return [f"# {plain(first[0])}{of}", plain(" · ".join(first[1:])), plain(" · ".join(rest))]


def _letters(trace: Trace, options: Options) -> str:
    """A table of the letters, with what they are in this run."""
    words = Words(trace, pixels=options.pixels)
    body = []
    for s in trace.header.legend:
        if s.number:
            continue
        formula = s.formula or (Formula.symbol(s.symbol) if words.pixels and s.symbol in "FHW" else None)
        value = (f"{words.written(formula, but=s.symbol)} = " if formula is not None else "") + str(s.value)
        said = f"{s.meaning}; {s.fixed}" if s.fixed else s.meaning
        body.append([code(s.symbol), plain(s.name.replace("_", " ")), code(value), plain(said)])
    return pipes(["letter", "name", "here", "meaning"], body) if body else ""


def plain(text: str, limit: int = 2000) -> str:
    """Text that no reader of Markdown takes for markup, a link, a formula or a list."""
    text = _MARKUP.sub(lambda m: "\\" + m[0], clean(text, limit)).translate(_ENTITIES)
    text = _LINKS.sub(lambda m: f"&#{ord(m[0])};", text)
    return _OPENING.sub(lambda m: f"{m[1]}&#{ord(m[2])};" if m[1] else f"&#{ord(m[0])};", text)


def code(text: str) -> str:
    """A shape in the type of code; where it holds what cannot stand there, as plain text."""
    return plain(text) if set(text) & set("`|\\") or not text.strip() else f"`{clean(text)}`"


def _sentence(text: str) -> str:
    text = text if text.endswith((".", "?", "!")) else f"{text}."
    return text[:1].upper() + text[1:]


def _walk(found: Sequence[Row], options: Options) -> Iterator[str]:
    """A heading for each stage; those inside a block one level lower."""
    start = 0
    for i in range(1, len(found) + 1):
        if i < len(found) and not found[i].stage:
            continue
        part = found[start:i]
        yield f"{'#' * (min(part[0].level, 3) + 2)} {plain(part[0].stage or 'other')}"
        yield plain(_sentence(STAGES[part[0].stage])) if part[0].stage in STAGES else ""
        yield _table(part, options, level=part[0].level)
        yield from _notes(part)
        start = i


def _tables(found: Sequence[Row], options: Options) -> Iterator[str]:
    """One table, or one for each place that the rows are in."""
    start = 0
    for i in range(1, len(found) + 1):
        if i < len(found) and not (found[i].above and not found[i].level):
            continue
        part = found[start:i]
        yield f"### {plain(part[0].above)}" if part[0].above else ""
        yield _table(part, options)
        yield from _notes(part)
        start = i


def _table(found: Sequence[Row], options: Options, level: int = 0) -> str:
    formulas = options.show != "numbers" and any(row.shapes != row.sizes for row in found)
    numbers = options.show != "formulas" or not formulas
    shares = any(row.share is not None for row in found)
    lines = options.stage is not None
    head = ["call"] + ["formula"] * formulas + ["numbers"] * numbers + ["FLOPs"] * shares + ["line"] * lines
    body = []
    for row in found:
        cells = [_INDENT * max(row.level - level, 0) + plain(row.label)]
        cells += [_several(row.shapes)] * formulas + [_several(row.sizes)] * numbers
        cells += [percent(row.share) if row.share is not None else ""] * shares
        cells += [str(row.source.line) if row.source else ""] * lines
        body.append(cells)
    return pipes(head, body, right=("FLOPs", "line"))


def _several(texts: Iterable[str]) -> str:
    return ", ".join(code(text) for text in texts if text)


def _notes(found: Iterable[Row]) -> Iterator[str]:
    said = [row for row in found if row.why]
    if said:
        grounds = (f" ({plain(row.grounds)})" if row.grounds else "" for row in said)
        yield "\n".join(
            f"- **{plain(row.label)}**: {plain(row.why)}{more}" for row, more in zip(said, grounds, strict=True)
        )


def _costs(trace: Trace) -> Iterator[str]:
    words, total = Words(trace), trace.root.cost.flops.size
    costs = trace.stage_costs()
    body = []
    for stage in [*sorted(costs, key=lambda s: costs[s].flops.size, reverse=True), "total"]:
        cost = trace.root.cost if stage == "total" else costs[stage]
        flops = cost.flops
        body.append([
            plain(stage),
            amount(flops.size, "FLOP") if flops.size else "",
            percent(flops.size / total) if flops.size >= 0.0005 * total > 0 else "",
            f"{cost.params.size:,}" if cost.params.size else "",
            amount(cost.bytes.size, "B") if cost.bytes.size else "",
            code(words.written(flops.formula)) if flops.size and flops.formula is not None else "",
        ])  # fmt: skip
    head = ["stage", "FLOPs", "share", "parameters", "activations", "FLOPs as a formula"]
    if not any(row[-1] for row in body):
        head, body = head[:-1], [row[:-1] for row in body]
    yield "A multiply-add is two FLOPs; elementwise work is not counted. Activations are what is written."
    yield pipes(head, body, right=head[1:5])


def pipes(head: Sequence[str], body: Iterable[Sequence[str]], right: Iterable[str] = ()) -> str:
    """A pipe table; columns named in `right` are set flush right. Cells are escaped already."""
    rule = ["---:" if name in right else "---" for name in head]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))
