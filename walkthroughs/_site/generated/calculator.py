"""The calculator: a page with fields for a request, and the data of each checkpoint that its script reads.

The data are those of the explorer (the tables of a trace, and what a family makes of each size), with the plan of every
frame count beside them. A checkpoint that makes its video in clips of several kinds has a table for each kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from html import escape
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from rendered import keeper
from stored import stored

from tracer import families
from tracer.errors import BadRequest
from tracer.families.base import Checkpoint, Family
from tracer.settings import MOST, Outcome, Setting, settings_of, to_data, told

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.frames import FrameRule, Plan

FIELDS = (
    ("frames", "frames", ""), ("height", "height", "px"), ("width", "width", "px"), ("batch", "batch", ""),
    ("text_tokens", "text tokens", ""), ("steps", "steps", ""), ("passes", "passes a step", ""),
)  # fmt: skip
"""Fields of the page: name, label, unit."""

kept = keeper(__file__)


def files() -> Iterator[tuple[str, str]]:
    """`calculator.md`, the script it shares with the explorer, and `assets/calculator/CHECKPOINT.json`."""
    yield "calculator.md", page()
    yield "assets/numbers.js", resources("tracer.views").joinpath("assets", "numbers.js").read_text(encoding="utf-8")
    for family in families.all_families():
        for checkpoint in family.checkpoints:
            text = kept(checkpoint.name, partial(data, family, checkpoint))
            yield f"assets/calculator/{checkpoint.name}.json", text


# the data of one checkpoint


def data(family: Family, checkpoint: Checkpoint) -> str:
    """What the script reads, as JSON."""
    trace = stored(checkpoint.name)
    sizes = settings_of(trace)
    letters = [s for x in sizes if not x.fixed for s in x.letters]
    plans, kinds = planned(family, trace), {"": trace}
    if plans is not None and plans.letters[FIXED:]:
        kinds |= {name: clip(family, checkpoint, name) for name in plans.letters[FIXED:]}
    found = {
        "name": checkpoint.name,
        "family": family.title,
        "params": f"{trace.root.cost.params.size:,}",
        "video": family.video,
        "settings": [to_data(s) for s in sizes],
        "values": trace.values,
        "kinds": {name: table(one, letters) for name, one in kinds.items()},
        "plan": to_data(plans) if plans is not None else None,
        "reach": reach(family.frames) if family.frames is not None else 0,
        "clips": bool(family.frames is not None and family.frames.chunk),
        "steps": steps(family, checkpoint),
    }
    return json.dumps(found, separators=(",", ":"))


def table(trace: Trace, letters: list[str]) -> dict[str, Any]:
    """The counts of one forward over the letters that may change, and the values of all letters."""
    from tracer.shapes import Dim
    from tracer.tables import Tables
    from tracer.views.page import attention

    tables, cost = Tables(trace, letters), trace.root.cost
    tokens = next((s for s in trace.header.legend if s.symbol == "S" and s.formula is not None), None)
    wanted = {"flops": cost.flops, "bytes": cost.bytes, "attention": attention(trace.root)}
    wanted |= {"tokens": Dim(tokens.value, tokens.formula)} if tokens is not None else {}
    at = {name: tables.count(dim) for name, dim in wanted.items()}
    found = tables.to_data()
    return {"letters": found["letters"], "counts": found["counts"], "at": at, "values": trace.values}


# frames

LETTERS = ("latents", "seen", "returned", "blank", "runs")
FIXED = len(LETTERS)
"""What a plan says of every count; behind these stand the numbers of clips of each kind."""


def reach(rule: FrameRule) -> int:
    """How far from a count the nearest exact one is looked for."""
    from tracer.frames import SEARCH

    return max(SEARCH, 2 * (rule.chunk or 0))


def planned(family: Family, trace: Trace) -> Setting | None:
    """The plan of every frame count as data; None for images. Sentences that speak of rows and columns are left out."""
    from tracer.frames import run

    if family.frames is None:
        return None
    asked, own = trace.header.request, []
    for n in range(1, MOST["frames"] + reach(family.frames) + 1):
        here, other = (
            run(family.frames, trace.header.config, n, asked["height"] * k, asked["width"] * k) for k in (1, 2)
        )
        own.append((numbers(here), [line.text for line in here.lines if line in other.lines], here.fault))
    names = list(dict.fromkeys(name for found, _, _ in own for name in found))
    outcomes = [
        Outcome({name: found.get(name, 0) for name in names}, (fault,) if fault else (), tuple(lines))
        for found, lines, fault in own
    ]
    return told(Setting("frames", asked["frames"], len(own), letters=tuple(names)), outcomes)


def numbers(plan: Plan) -> dict[str, int]:
    """The numbers of a plan by name, and how many clips there are of each kind; 0 frames are returned by a fault."""
    values = (plan.latents, plan.seen, plan.frames or 0, plan.blank, plan.runs)
    found = dict(zip(LETTERS, values, strict=True))
    for one in plan.clips:
        found[str(one.count)] = found.get(str(one.count), 0) + one.times
    return found


def clip(family: Family, checkpoint: Checkpoint, name: str) -> Trace:
    """The trace of one kind of clip: that of the checkpoint of the same weights which is asked for so many frames."""
    same = [c for c in family.checkpoints if c.hub == checkpoint.hub and str(c.request.frames) == name]
    return stored(same[0].name)


def steps(family: Family, checkpoint: Checkpoint) -> int | None:
    """The denoising steps that the pipeline takes unless told otherwise; None where no pipeline is known."""
    import inspect

    import diffusers

    try:
        kind = getattr(diffusers, families.pipeline_of(family, checkpoint).kind)
    except BadRequest:
        return None
    found = inspect.signature(kind.__call__).parameters["num_inference_steps"].default
    return found if isinstance(found, int) else None


# the page


def page() -> str:
    """The Markdown of the page: fields, and what answers without a script."""
    options = "".join(
        f'<optgroup label="{escape(f.title)}">{"".join(f"<option>{escape(c.name)}</option>" for c in f.checkpoints)}'
        "</optgroup>"
        for f in families.all_families()
    )
    fields = "".join(field(*one) for one in FIELDS)
    return f"""---
description: Frames that come out, latents, tokens, FLOPs and activations of a request, for every model.
---

# Calculator

What a request really becomes: frames that come out, tokens, FLOPs and what is written, from the formulas of the
traces and the models' own rules. Everything is worked out in your browser, with whole numbers.

<p id="calculate-not">This page works things out with JavaScript. Without it, two commands answer the same:
<code>plan-frames cogvideox-5b 50</code> and
<code>trace-shapes cogvideox-5b --frames 50 --costs</code>.</p>

<div id="calculate" class="calculator" hidden>
<form aria-label="Request">
<div class="calculator-field calculator-model"><label for="ask-model">model</label>
<select id="ask-model">{options}</select></div>
{fields}
<p class="calculator-line"><button type="reset">as published</button></p>
</form>
<div class="calculator-answer">
<p id="answer-said" role="status"></p>
<dl id="answer"></dl>
<p id="answer-near"></p>
<details id="answer-why"><summary>why so many frames</summary><ol></ol></details>
<p id="answer-links"></p>
</div>
</div>

A forward is one call of the transformer. A multiply-add is two FLOPs; elementwise work is not counted. What is written
is the sum of all results, not what is held at one time; with a batch of 1 some results are not copied, and it may be a
little less. Guidance by two passes takes two samples in one batch or two passes a step: a batch of 2 holds both.

<script src="../assets/numbers.js"></script>
<script src="../assets/calculator.js"></script>
"""


def field(name: str, label: str, unit: str) -> str:
    """One field of the form, with a place for its sentence."""
    more = f" <small>{unit}</small>" if unit else ""
    return (
        f'<div class="calculator-field" id="field-{name}"><label for="ask-{name}">{label}{more}</label>'
        f'<input id="ask-{name}" name="{name}" type="number" inputmode="numeric" min="1" autocomplete="off" '
        f'aria-describedby="said-{name}"><p id="said-{name}" aria-live="polite"></p></div>'
    )
