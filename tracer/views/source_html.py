"""The model's own source as HTML for the site: lines with their margins, notes between them, two palettes.

No script, no fixed inline colours, everything from the trace and from the source escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tracer.calls import Trace
from tracer.listings.listing import Line, Listing
from tracer.outline import Options
from tracer.words import Words, clean, counted, sizes_of

STYLE = """
.tracer-source{--line:#d0d7de;--soft:#57606a;--shape:#116329;--stage:#0b5cad;--times:#8250df;--note:#0b5cad0d;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media (prefers-color-scheme:dark){.tracer-source{--line:#3d444d;--soft:#9aa4ae;--shape:#7ee787;--stage:#79c0ff;
--times:#d2a8ff;--note:#79c0ff14}}
[data-md-color-scheme=default] .tracer-source{--line:#d0d7de;--soft:#57606a;--shape:#116329;--stage:#0b5cad;
--times:#8250df;--note:#0b5cad0d}
[data-md-color-scheme=slate] .tracer-source{--line:#3d444d;--soft:#9aa4ae;--shape:#7ee787;--stage:#79c0ff;
--times:#d2a8ff;--note:#79c0ff14}
.tracer-source figure{margin:1em 0 2em;border:1px solid var(--line);border-radius:4px}
.tracer-source figcaption{padding:.5em .8em;border-bottom:1px solid var(--line);font:inherit;max-width:none;
text-align:left;font-style:normal;overflow-wrap:anywhere;margin:0}
.tracer-source figcaption b{color:var(--stage)}
.tracer-source .soft{color:var(--soft)}
.tracer-source ol{list-style:none;margin:0;padding:.4em 0;font:inherit}
.tracer-source li{display:grid;grid-template-columns:4em minmax(0,1fr) minmax(0,28ch);margin:0;font:inherit}
.tracer-source li>i{color:var(--soft);text-align:right;padding-right:.8em;font-style:normal;user-select:none}
.tracer-source li>code{background:none;padding:0 1em 0 .6em;font:inherit;white-space:pre-wrap;overflow-wrap:anywhere;
border-left:2px solid var(--shape);color:inherit}
.tracer-source li.idle>code{border-left:2px dotted var(--line);color:var(--soft)}
.tracer-source li.text>code{font-style:italic}
.tracer-source li>span{color:var(--shape);padding-right:.8em;overflow-wrap:anywhere}
.tracer-source li>span b{color:var(--times);font-weight:400}
.tracer-source li>span span{display:inline-block}
.tracer-source li.note{display:block;background:var(--note);padding:.2em 1em .2em 4.8em;
font-family:system-ui,sans-serif}
.tracer-source li.note b{color:var(--stage)}
@media (max-width:40em){.tracer-source li{grid-template-columns:3.2em minmax(0,1fr)}
.tracer-source li>span{grid-column:2;padding-left:.8em}.tracer-source li.note{padding-left:1em}}
"""


def render_html(
    trace: Trace, pages: Sequence[Listing], others: Sequence[str] = (), options: Options | None = None
) -> str:
    """One `<div class="tracer-source">` with its style: a figure for each function.

    Lines that did not run have the class `idle`, notes the class `note` and their stage as `data-stage`. others: the
    names of functions that are not shown.
    """
    options = options or Options()
    words = Words(trace, pixels=options.pixels)
    figures = "".join("".join(_figure(page, words, options.show != "formulas")) for page in pages)
    more = f'<p class="soft">also ran: {escape(", ".join(map(clean, others)))}</p>' if others else ""
    return f'<div class="tracer-source"><style>{STYLE}</style>{figures}{more}</div>'


def _figure(page: Listing, words: Words, numbers: bool) -> Iterator[str]:
    place = [f"{page.file}:{page.first}" if page.first else page.file, *page.said]
    yield f"<figure><figcaption><b>{escape(clean(page.name))}</b>"
    yield f'<br><span class="soft">{escape(clean(" · ".join(place)))}</span></figcaption>'
    yield f"<p>{escape(clean(page.trouble))}</p>" if page.trouble else "<ol>"
    for line in page.lines:
        for stage, remark in line.remarks:
            yield f'<li class="note" data-stage="{escape(clean(stage), quote=True)}"><b>{escape(clean(stage))}</b> '
            yield f"{escape(clean(remark.label))}. {escape(clean(remark.why, 2000))}</li>"
        yield _line(line, words, numbers)
        if line.hidden:
            yield f'<li class="text"><i>⋮</i><code>… {line.hidden} more lines of text</code></li>'
    yield "</figure>" if page.trouble else "</ol></figure>"


def _line(line: Line, words: Words, numbers: bool) -> str:
    kinds = " ".join(["idle"] * (not line.ran) + ["text"] * line.comment)
    start = f'<li class="{kinds}">' if kinds else "<li>"
    about = ' title="did not run"' if not line.ran else ""
    shapes = [f"{name} {sizes_of(spec) if numbers else words.shape(spec)}".strip() for name, spec in line.made]
    beside = [f"<b>×{line.times:,}</b>"] if line.times is not None else []
    beside += [f"<span>{escape(clean(text))}</span>" for text in counted(shapes, 4)]
    margin = f"<span>{' | '.join(beside)}</span>" if beside else ""
    text = escape(clean(line.text.expandtabs(4), 2000))
    return f"{start}<i{about}>{line.number}</i><code>{text}</code>{margin}</li>"
