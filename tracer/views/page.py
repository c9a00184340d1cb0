"""The trace as one HTML file to explore: a tree that folds, and fields that recompute every number.

Complete without its script, which only adds: it evaluates the tables of the trace with whole numbers when a size is
changed, searches, folds and keeps the state in the address. A tree of calls that is there already is referred to,
and put in its place by the script. The file asks nobody for anything, and its policy forbids it to. All that comes
from a trace is cleaned, cut to a length and escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from itertools import groupby

from tracer.alike import FEW, Alike, marked_id, marked_path, unmarked
from tracer.calls import Call, Trace
from tracer.formula import Formula
from tracer.notes import STAGES, shown
from tracer.outline import QUIET, cautions, title
from tracer.overview import is_pipeline
from tracer.settings import Setting, settings_of, to_data
from tracer.shapes import DTYPE_SHORT, ZERO, Dim, TensorSpec
from tracer.tables import Tables
from tracer.words import Words, amount, clean, label_of, percent, sizes_of

LIMIT = 10_000
"""Calls on one page; a page with more opens slowly everywhere."""

ROWS = 12
"""Results in the row of a call; what opens under it has them all."""

TENSORS = 40
"""Tensors of one call that get a row."""

_SLUG = re.compile(r"(?!ui-)[a-z][a-z0-9-]{0,59}")
_EQUALS = re.compile(r"\b([A-Z]\w*) (=|≤) (\d+)")
_SIZES_SAID = {"text_tokens": "text tokens"}


def render_page(trace: Trace) -> str:
    """The whole file as text.

    Its numbers move where the trace has formulas and its family is known; else it says that they do not.
    """
    return _Page(trace).text()


class _Page:
    """One page in the making: the tables fill up while the rows are written."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.words = trace, Words(trace)
        self.settings = settings_of(trace)
        self.tables = Tables(trace, [s for x in self.settings if not x.fixed for s in x.letters])
        self.live = bool(self.tables.letters)
        self.total = trace.root.cost.flops
        self.anchors: set[str] = set()
        self.alike = Alike()
        self.left = LIMIT

    def text(self) -> str:
        tree = unmarked(self.row(self.trace.root, 0, Dim(1), "", "", ""))
        name = self.trace.header.checkpoint or self.trace.header.model or self.trace.root.name
        side, legend, holds = self.side(), self.legend(), self.holds()  # they fill the tables too
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
            f'<title>{_safe(name)} · shapes</title><link rel="icon" href="data:,"><style>{_asset("page.css")}</style>'
            "</head>"
        )
        more = f'<p class="note">… {-self.left:,} more calls are left out.</p>' if self.left < 0 else ""
        return (
            f'{head}<body><a class="skip" href="#ui-tree">Skip to the tree of calls</a>{self.head(name)}'
            f'<div class="columns"><aside aria-label="Request and totals">{side}</aside><main>{self.tools()}'
            f'<ul class="tree" id="ui-tree">{tree}</ul>{more}{legend}{holds}</main></div>'
            f'<script type="application/json" id="ui-data">{self.data()}</script>'
            f"<script>{_script()}</script></body></html>\n"
        )

    def data(self) -> str:
        """What the script reads, as JSON that cannot end its element."""
        data = self.tables.to_data() | {
            "settings": [to_data(s) for s in self.settings],
            "values": {s: self.trace.values[s] for s in self.tables.letters},
            "pipeline": is_pipeline(self.trace),
        }
        return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")

    # head and side

    def head(self, name: str) -> str:
        first, *more = title(self.trace)
        lines = "".join(f'<p class="sub still">{_joined(line)}</p>' for line in more)
        return (
            f'<header><div><h1>{_safe(name)}</h1><p class="sub">'
            f"{_joined(t for t in first if t != clean(name))}</p>{lines}"
            '</div><button type="button" id="ui-theme" hidden>dark</button></header>'
        )

    def side(self) -> str:
        return f"{self.fields()}{self.totals()}{self.stages()}"

    def fields(self) -> str:
        if not self.live:
            why = (
                "Sizes of a whole pipeline are plain numbers, those of this one call: they cannot be recomputed here. "
                "A page of the transformer alone can."
                if is_pipeline(self.trace)
                else "This trace has no formulas over the sizes of a request, so its numbers stay as they are."
            )
            return f'<section class="card"><h2>Request</h2><p class="note">{why}</p></section>'
        fields = "".join(self.field(s) for s in self.settings)
        return (
            '<section class="card" id="ui-ask" aria-labelledby="ui-ask-h" hidden><h2 id="ui-ask-h">Request</h2>'
            f'<form>{fields}<p class="became"><span id="ui-became"></span></p>'
            '<button type="reset" id="ui-reset">as published</button></form>'
            '<p class="said" id="ui-said" role="status"></p></section>'
            '<noscript><p class="note">With JavaScript, fields here recompute every number.</p></noscript>'
        )

    def field(self, s: Setting) -> str:
        said = _SIZES_SAID.get(s.name, s.name)
        unit = " <small>px</small>" if s.name in ("height", "width") else ""
        why = _safe(s.fixed or "", 1000)
        fixed = " readonly" if s.fixed else f' min="1" max="{s.most}"'
        slider = f'<input type="range" data-of="{s.name}" aria-label="{said}, slider" min="0" max="1" value="0">'
        return (
            f'<div class="field"><label for="ui-{s.name}">{said}{unit}</label>'
            f'<input id="ui-{s.name}" name="{s.name}" type="number" inputmode="numeric" value="{s.value}"'
            f' aria-describedby="ui-{s.name}-said"{fixed}>{"" if s.fixed else slider}'
            f'<p class="said" id="ui-{s.name}-said" aria-live="polite">{"fixed: " * bool(why)}{why}</p></div>'
        )

    def totals(self) -> str:
        cost = self.trace.root.cost
        cells = []
        symbol = next((s for s in self.trace.header.legend if s.symbol == "S" and s.formula is not None), None)
        if symbol is not None:
            of = _safe(self.words.written(symbol.formula or self.tables.formula(ZERO), but="S"))
            count = self.count(Dim(symbol.value, symbol.formula))
            cells.append((_safe(symbol.meaning), f"<b>{count}</b> <i>S = {of}</i>"))
        if cost.flops.size:
            of_what = "a call" if is_pipeline(self.trace) else "a forward"
            share = self.share(attention(self.trace.root), "attention")
            cells.append((f"FLOPs of {of_what}", f"<b>{self.amount(cost.flops, 'FLOP')}</b> <i>{share}</i>"))
        if cost.bytes.size:
            cells.append(("activations written", f'<b id="ui-bytes">{self.amount(cost.bytes, "B")}</b>'))
        if self.trace.header.params:
            cells.append(("parameters", f"<b>{self.trace.header.params:,}</b>"))
        rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in cells)
        return f'<section class="card"><h2>Totals</h2><dl>{rows}</dl></section>' if rows else ""

    def stages(self) -> str:
        costs = self.trace.stage_costs()
        rows = []
        for slug in [*self.trace.stages(), "other"]:
            if slug not in costs:
                continue
            share = self.bar(costs[slug].flops)
            name = _safe(slug, 60)
            link = f'<a href="#{name}">{name}</a>' if slug in self.anchors else f"<span>{name}</span>"
            about = f' title="{_safe(STAGES[slug])}"' if slug in STAGES else ""
            rows.append(f"<li{about}>{link}{share}</li>")
        if not rows[1:]:
            return ""
        return (
            '<nav class="card" aria-labelledby="ui-nav-h"><details open id="ui-nav"><summary><h2 id="ui-nav-h">Stages '
            f"<small>share of FLOPs</small></h2></summary><ol>{''.join(rows)}</ol></details></nav>"
        )

    def tools(self) -> str:
        slugs = "".join(f'<option value="{_safe(s, 60)}">{_safe(s, 60)}</option>' for s in self.trace.stages())
        choose = (
            f'<label>stage <select id="ui-stage"><option value="">all</option>{slugs}</select></label>' if slugs else ""
        )
        return (
            '<div class="tools" id="ui-tools" role="search" hidden><label class="find"><span>search</span> '
            '<input type="search" id="ui-find" placeholder="name, shape, path, note" '
            f'autocomplete="off" spellcheck="false"></label>{choose}'
            '<label>show <select id="ui-show"><option value="">both</option>'
            '<option value="formulas">formulas</option><option value="numbers">numbers</option></select></label>'
            '<label class="check"><input type="checkbox" id="ui-ops"> casts and slices</label>'
            '<span class="pair"><button type="button" id="ui-fold">fold all</button>'
            '<button type="button" id="ui-unfold">unfold all</button></span>'
            '<p id="ui-found" role="status"></p></div>'
        )

    # the tree

    def row(self, call: Call, level: int, times: Dim, stage: str, home: str, file: str) -> str:
        """One call as a list item, with everything below it.

        times: how often it is made. stage, home, file: of the call above: its stage, the path of its module, and the
        file it is made in, which is said again only where a stage begins.
        """
        self.left -= 1
        if self.left < 0:
            self.left -= sum(1 for _ in call.walk()) - 1
            return ""
        own, times = call.stage or "", times * call.times
        home = clean(call.pattern) if call.kind == "module" else home
        anchor = ""
        if own and own not in self.anchors and _SLUG.fullmatch(own):
            self.anchors.add(own)
            anchor = marked_id(own)
        quiet = call.kind == "op" and call.name in QUIET and call.remark is None
        opened = " open" if level == 0 or (level == 1 and call.repeat > 1 and not is_pipeline(self.trace)) else ""
        tag = f"<em>{_safe(own, 60)}</em>" if own and own != stage else ""
        share = self.bar(call.cost.flops * times) if call.cost.flops.size else ""
        kind = " class=q" if quiet else "" if call.kind == "op" else f" class={call.kind[0]}"
        more = self.panel(call, file if not tag else "")
        if call.children and not _sole(call):
            left, own_file = self.left, _file(call) or file
            below = [self.row(child, level + 1, times, own or stage, home, own_file) for child in call.children]
            if left - self.left < FEW or self.left < 0:  # few, or not all of them
                more += f"<ul>{''.join(below)}</ul>"
            else:
                name = f"{call.name}()" if call.kind == "function" else home or call.name
                more = self.alike.inside(more, "".join(below), _safe(name), _safe(home))
        return (
            f"<li{anchor}{kind}><details{opened}><summary><span class=n>{self.label(call)}{tag}</span>"
            f"<span class=t>{self.results(call)}</span>{share}</summary>{more}</details>"
        )

    def label(self, call: Call) -> str:
        text = label_of(call, self.words)
        text = text.removesuffix(f" ×{call.repeat}") if call.repeat > 1 else text
        name, _, kind = text.partition(" ") if call.kind == "module" and " " in text else (text, "", "")
        more = f" <small>{_safe(kind)}</small>" if kind else ""
        count = f" <strong>×{call.repeat}</strong>" if call.repeat > 1 else ""
        said = clean(call.remark.label) if call.remark is not None else ""
        said = f" <q>{_safe(said)}</q>" if said and said not in text else ""
        given, _, name = name.rpartition(" = ") if call.outputs and call.kind in ("op", "function") else ("", "", name)
        given = f"<small>{_safe(given)} =</small> " if given else ""
        return f"{given}<code>{_safe(name)}</code>{more}{count}{said}"

    def results(self, call: Call) -> str:
        specs = [(self.words.shape(s), self.tables.shape(s), s) for s in shown(call)[:TENSORS]]
        cells = []
        for (text, place), group in groupby(specs, lambda s: s[:2]):
            same = list(group)
            cells.append(self.shape_cells(text, place, same[0][2], len(same)))
        out = "".join(f"<i>{text}</i><b{live}>{number}</b>" for text, live, number in cells[:ROWS])
        return out + (f"<i>… {len(cells) - ROWS} more</i>" if len(cells) > ROWS else "")

    def shape_cells(self, text: str, place: int, spec: TensorSpec, times: int = 1) -> tuple[str, str, str]:
        """Formula, place in the table and number of a tensor, with how often it stands there."""
        more = f" ×{times}" if times > 1 else ""
        again = f" data-n={times}" if times > 1 else ""
        moves = self.live and any(self.tables.formula(d).symbols for d in spec.shape)
        live = f" data-s={place}{again}" if moves else ""
        return f"{_safe(text, 1000)}{more}", live, f"{_safe(sizes_of(spec), 1000)}{more}"

    def panel(self, call: Call, file: str) -> str:
        """What opens under a row: why, every tensor, what it costs, where it is."""
        why = f"<p class=w>{_safe(call.remark.why, 2000)}" if call.remark is not None else ""
        rows = "".join(
            self.tensors(kind, specs)
            for kind, specs in (("in", call.inputs), ("out", call.outputs), ("weight", call.weights))
            if kind != "out" or call.kind != "op"  # what an operation gives is in its row
        )
        table = f"<table>{rows}</table>" if rows else ""
        counts = [
            f"{self.amount(dim, unit)}{said}"
            for dim, unit, said in (
                (call.cost.flops, "FLOP", ""),
                (call.cost.bytes, "B", " written"),
                (call.cost.params, "", " parameters"),
            )
            if dim.size
        ]
        if counts and call.repeat > 1:
            counts[0] = f"each: {counts[0]}"
        if call.kind == "op":
            kinds = dict.fromkeys(s.dtype for s in call.outputs.values())
            counts[:0] = [f"gives {', '.join(_safe(DTYPE_SHORT.get(k, k), 20) for k in kinds)}"] * bool(kinds)
        places = [("", call), *((f"{op.name} in ", op) for op in call.children if _sole(call))]
        place = [
            _safe(f"{by}line {c.source.line}" if _file(c) == file else f"{by}{str(c.source).rpartition('/')[2]}")
            for by, c in places
            if c.source is not None
        ]
        path = [marked_path(_safe(call.pattern))] if call.kind == "module" and call.path else []
        grounds = [_safe(text) for text in self.fields_of(call)]
        said = [_safe(call.opaque)] if call.opaque else []
        foot = " · ".join([*counts, *said, *grounds, *path, *place])
        return f"<div class=x>{why}{table}<p class=g>{foot}</div>"

    def fields_of(self, call: Call) -> list[str]:
        """The config fields that come into the shape here."""

        def symbols(specs: Iterable[TensorSpec]) -> set[str]:
            return {s for spec in specs for d in spec.shape if d.formula is not None for s in d.formula.symbols}

        new = symbols(call.outputs.values()) - symbols(call.inputs.values())
        new |= call.repeat_formula.symbols if call.repeat_formula is not None else set()
        return [f"{s.field} = {s.value}" for s in self.trace.header.legend if s.field and s.symbol in new]

    def tensors(self, kind: str, specs: Mapping[str, TensorSpec]) -> str:
        out = []
        for name, spec in list(specs.items())[:TENSORS]:
            text, live, number = self.shape_cells(self.words.shape(spec), self.tables.shape(spec), spec)
            dtype = DTYPE_SHORT.get(spec.dtype, spec.dtype)
            out.append(f"<tr><th>{kind} <b>{_safe(name, 80)}</b> {_safe(dtype, 20)}<td>{text}<td{live}>{number}")
        more = len(specs) - TENSORS
        return "".join(out) + (f"<tr><th>{kind}<td colspan=2>… {more:,} more" if more > 0 else "")

    # numbers

    def count(self, dim: Dim) -> str:
        live = f" data-c={self.tables.count(dim)}" if self.live else ""
        return f"<span{live}>{dim.size:,}</span>"

    def amount(self, dim: Dim, unit: str) -> str:
        if not unit:
            return f"{dim.size:,}"
        live = f" data-c={self.tables.count(dim)} data-u={unit}" if self.live else ""
        exact = "" if live else f' title="{dim.size:,} {unit}"'  # the script says it where the number moves
        return f"<span{live}{exact}>{amount(dim.size, unit)}</span>"

    def share(self, dim: Dim, said: str) -> str:
        live = f' data-p={self.tables.count(dim)} data-w="{said}"' if self.live else ""
        return f"<span{live}>{percent(dim.size / self.total.size)} {said}</span>" if self.total.size else ""

    def bar(self, dim: Dim) -> str:
        share = dim.size / self.total.size if self.total.size else 0.0
        live = f" data-p={self.tables.count(dim)}" if self.live and dim.size else ""
        if share < 0.0005:
            return f"<span class=p{live}></span>"
        return f"<span class=p{live} style=--p:{share:.4f}>{percent(share)}</span>"

    # foot

    def legend(self) -> str:
        rows = []
        for s in self.trace.header.legend:
            of = f"= {self.words.written(s.formula, but=s.symbol)}" if s.formula is not None else ""
            value = self.count(Dim(s.value, s.formula or Formula.symbol(s.symbol)))
            notes = " · ".join(text for text in (s.field or "", f"fixed: {s.fixed}" if s.fixed else "") if text)
            rows.append(
                f"<tr><th scope=row><code>{_safe(s.symbol, 60)}</code><td class=v>{value}<td><i>{_safe(of, 1000)}</i>"
                f"<td>{_safe(s.meaning)}<td><small>{_safe(notes)}</small>"
            )
        if not rows:
            return ""
        return (
            '<section class="foot" aria-labelledby="ui-legend"><h2 id="ui-legend">Letters</h2><div class="wide">'
            '<table class="legend"><thead><tr><th scope=col>letter<th scope=col class=v>here<th scope=col>formula'
            f"<th scope=col>meaning<th scope=col>set by</thead><tbody>{''.join(rows)}</table></div></section>"
        )

    def holds(self) -> str:
        h = self.trace.header
        rows = []
        for text in h.constraints:
            found = _EQUALS.findall(text.partition(": ")[0])
            here = [[s, sign, int(n)] for s, sign, n in found if s in self.tables.letters]
            when = f' data-if="{escape(json.dumps(here), quote=True)}"' if here else ""
            rows.append(f"<li{when}>holds while {_safe(text, 1000)}</li>")
        live = {f"note: {w}" for s in self.settings if not s.fixed for w in s.at(s.value).warnings}
        # what is said at the fields moves with them
        others = [text for text in cautions(self.trace) if not text.startswith("holds") and text not in live]
        rows += [f"<li>{_safe(text, 1000)}</li>" for text in others]
        rows += [f"<li>published numbers from {_safe(h.source, 1000)}</li>"] if h.source else []
        if not rows:
            return ""
        return (
            '<section class="foot" aria-labelledby="ui-holds"><h2 id="ui-holds">What this rests on</h2>'
            f"<ul>{''.join(rows)}</ul></section>"
        )


def _sole(call: Call) -> bool:
    """Whether a module is one operation: a Linear and its linear, whose tensors are the same and are shown once."""
    if call.kind != "module" or len(call.children) != 1:
        return False
    op = call.children[0]
    same = [s.sizes for s in op.outputs.values()] == [s.sizes for s in call.outputs.values()]
    return op.kind == "op" and op.repeat == 1 and op.remark is None and op.stage is None and same


def _file(call: Call) -> str:
    return str(call.source).rpartition(":")[0] if call.source is not None else ""


def attention(call: Call) -> Dim:
    """FLOPs of attention at and below a call."""
    if call.name == "scaled_dot_product_attention":
        return call.cost.flops
    total = ZERO
    for child in call.children:
        total = total + attention(child) * child.times
    return total


def _safe(text: str, limit: int = 240) -> str:
    return escape(clean(text, limit), quote=True)


def _joined(phrases: Iterable[str]) -> str:
    return " · ".join(f"<span>{_safe(text)}</span>" for text in phrases)


def _asset(name: str) -> str:
    return files("tracer.views").joinpath("assets", name).read_text(encoding="utf-8")


def _script() -> str:
    """What is worked out, which other pages use too, and this page; without the indents and the lines of comments."""
    lines = [line.strip() for line in (_asset("numbers.js") + _asset("page.js")).splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _policy() -> str:
    """Nothing is fetched, and no script runs but the page's own."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
