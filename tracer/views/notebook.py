"""The trace as HTML for a notebook cell and for the site: a table that unfolds, classes, two palettes.

No script, no fixed inline colours, everything from the trace escaped.
"""

from __future__ import annotations

from html import escape

from tracer.calls import Trace
from tracer.notes import STAGES
from tracer.outline import Options, Row, cautions, rows, summary, title
from tracer.words import percent

STYLE = """
.tracer{--line:#d0d7de;--soft:#57606a;--shape:#116329;--share:#8250df;--stage:#0b5cad;--bar:#8250df33;
font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-x:auto;padding:.2em 0}
@media (prefers-color-scheme:dark){.tracer{--line:#3d444d;--soft:#9aa4ae;--shape:#7ee787;--share:#d2a8ff;
--stage:#79c0ff;--bar:#d2a8ff33}}
[data-md-color-scheme=default] .tracer{--line:#d0d7de;--soft:#57606a;--shape:#116329;--share:#8250df;
--stage:#0b5cad;--bar:#8250df33}
[data-md-color-scheme=slate] .tracer{--line:#3d444d;--soft:#9aa4ae;--shape:#7ee787;--share:#d2a8ff;
--stage:#79c0ff;--bar:#d2a8ff33}
.tracer p{margin:.1em 0;white-space:normal}
.tracer .head{font-weight:700}
.tracer .soft{color:var(--soft)}
.tracer table{border-collapse:collapse;margin:.6em 0;font:inherit;min-width:100%}
.tracer td,.tracer th{padding:.12em .9em .12em 0;border:0;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top;background:none;white-space:nowrap;font-weight:400}
.tracer th.stage{color:var(--stage)}
INDENTS.tracer th{color:var(--soft)}
.tracer tbody th,.tracer td{unicode-bidi:isolate}
.tracer .above td{color:var(--soft);font-style:italic;border-bottom:0}
.tracer .block td{font-weight:700}
.tracer td.shape{color:var(--shape)}
.tracer td.share{color:var(--share);text-align:right}
.tracer td.wide{white-space:normal;min-width:17em;overflow-wrap:anywhere}
.tracer summary{cursor:pointer}
.tracer details p{max-width:46em;min-width:22em;padding:.1em 0 .4em 1em}
""".replace("INDENTS", "".join(f".tracer td.in{i}{{padding-left:{1.2 * i:.1f}em}}\n" for i in range(1, 13)))

LIMIT = 2000
"""Rows of one table; a page with more is no help to anybody, and slow."""


def render_html(trace: Trace, options: Options | None = None) -> str:
    """One `<div class="tracer">` with its style; each row's reason opens under its name."""
    options = options or Options()
    head, *more = (" · ".join(phrases) for phrases in title(trace, options))
    lines = "".join(f'<p class="soft">{escape(line)}</p>' for line in more)
    foot = "".join(f"<p>{escape(line)}</p>" for line in summary(trace, options))
    foot += "".join(f'<p class="soft">{escape(line)}</p>' for line in cautions(trace, options))
    found = rows(trace, options)
    if len(found) > LIMIT:
        foot = f"<p>… {len(found) - LIMIT:,} more rows</p>" + foot
    return (
        f'<div class="tracer" tabindex="0" role="region" aria-label="{escape(head, quote=True)}">'
        f'<style>{STYLE}</style><p class="head">{escape(head)}</p>{lines}'
        f"{_table(trace, found[:LIMIT], options)}{foot}</div>"
    )


def _table(trace: Trace, found: list[Row], options: Options) -> str:
    walk = options.walk(trace)
    formulas = options.show != "numbers" and any(row.shapes != row.sizes for row in found)
    numbers = options.show != "formulas" or not formulas
    shares = any(row.share is not None for row in found)
    names = ["stage"] * walk + ["call"] + ["formula"] * formulas + ["numbers"] * numbers + ["FLOPs"] * shares
    out = [
        '<table class="walk"><thead><tr>',
        *(f'<th scope="col">{name}</th>' for name in names),
        "</tr></thead><tbody>",
    ]
    for row in found:
        if row.above:
            out.append(f'<tr class="above"><td colspan="{len(names)}">{escape(row.above)}</td></tr>')
        label = escape(row.label)
        if row.why:
            label = f"<details><summary>{label}</summary><p>{escape(row.why)}</p>"
            label += f'<p class="soft">{escape(row.grounds)}</p></details>'
        out.append('<tr class="block">' if row.important else "<tr>")
        if walk:
            about = f' title="{escape(STAGES[row.stage], quote=True)}"' if row.stage in STAGES else ""
            out.append(f'<th class="stage" scope="row"{about}>{escape(row.stage)}</th>')
        kinds = [f"in{min(row.level, 12)}"] * bool(row.level) + ["wide"] * (not walk)
        indent = f' class="{" ".join(kinds)}"' if kinds else ""
        out.append(f"<td{indent}>{label}</td>")
        out += [f'<td class="shape">{"<br>".join(map(escape, row.shapes))}</td>'] * formulas
        out += [f"<td>{'<br>'.join(map(escape, row.sizes))}</td>"] * numbers
        out += [f'<td class="share">{percent(row.share) if row.share is not None else ""}</td>'] * shares
        out.append("</tr>")
    return "".join([*out, "</tbody></table>"])
