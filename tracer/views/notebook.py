"""The trace as HTML for a notebook cell and for the site: a table that unfolds, with classes and two palettes.

No script, no fixed inline colours, everything from the trace escaped.
"""

from __future__ import annotations

from html import escape

from tracer.calls import Trace
from tracer.notes import STAGES
from tracer.outline import Options, Row, cautions, percent, rows, summary, title

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
.tracer td.in1{padding-left:1.2em}
.tracer td.in2{padding-left:2.4em}
.tracer .block td{font-weight:700}
.tracer td.shape{color:var(--shape)}
.tracer td.share{color:var(--share);text-align:right}
.tracer summary{cursor:pointer}
.tracer details p{max-width:46em;min-width:22em;padding:.1em 0 .4em 1em}
"""


def render_html(trace: Trace, options: Options | None = None) -> str:
    """One `<div class="tracer">` with its style; each row's reason opens under its name."""
    head, *more = title(trace)
    lines = "".join(f'<p class="soft">{escape(line)}</p>' for line in more)
    foot = "".join(f"<p>{escape(line)}</p>" for line in summary(trace))
    foot += "".join(f'<p class="soft">{escape(line)}</p>' for line in cautions(trace))
    return (
        f'<div class="tracer" tabindex="0" role="region" aria-label="{escape(head, quote=True)}">'
        f"<style>{STYLE}</style>"
        f'<p class="head">{escape(head)}</p>{lines}<table>{_body(rows(trace, options or Options()))}</table>{foot}</div>'
    )


def _body(found: list[Row]) -> str:
    out = []
    before = None
    for row in found:
        stage = row.stage if (row.level, row.stage) != before else ""
        before = (row.level, row.stage)
        about = f' title="{escape(STAGES.get(stage, ""), quote=True)}"' if stage else ""
        label = escape(row.label)
        if row.why:
            label = f"<details><summary>{label}</summary><p>{escape(row.why)}</p></details>"
        block = ' class="block"' if row.call.repeat > 1 or row.stage == "block" else ""
        share = percent(row.share) if row.share is not None else ""
        out.append(
            f'<tr{block}><th class="stage" scope="row"{about}>{escape(stage)}</th>'
            f'<td class="in{min(row.level, 2)}">{label}</td>'
            f'<td class="shape">{"<br>".join(map(escape, row.shapes))}</td>'
            f"<td>{'<br>'.join(map(escape, row.sizes))}</td>"
            f'<td class="share">{share}</td></tr>'
        )
    return "".join(out)
