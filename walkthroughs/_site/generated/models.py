"""A page for each checkpoint, made from its trace, and a table of them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from rendered import keeper
from stored import ROOT, stored

from tracer import families
from tracer.families.base import Checkpoint, Family
from tracer.frame_steps import counted
from tracer.views.markdown import pipes, plain, render_markdown
from tracer.words import amount

if TYPE_CHECKING:
    from tracer.calls import Trace

SURE = {
    "verified": "Verified: the published config, or an unchanged copy of it, was seen whole.",
    "derived": "Derived: it follows from converters or fine-tunes.",
}
"""How sure a config is, in a sentence."""

_PALETTES = re.compile(r"svg\{color-scheme:[^;]*;([^}]*)\}@media\(prefers-color-scheme:dark\)\{svg\{([^}]*)\}\}")
_RULE = re.compile(r"([^{}]+)(\{[^}]*\})")
_STYLE = re.compile(r"<style>(.*?)</style>\n?", re.DOTALL)

kept = keeper(__file__)


def files() -> Iterator[tuple[str, str]]:
    """`models/CHECKPOINT.md` for every checkpoint, and `models/index.md`."""
    for family in families.all_families():
        for checkpoint in family.checkpoints:
            name = checkpoint.name
            lesson = family.name if (ROOT / "walkthroughs" / f"{family.name}.py").exists() else ""
            text = kept(f"{name}-{lesson}", partial(page, family, checkpoint, lesson))
            yield f"models/{name}.md", text
    yield "models/index.md", kept("all", index)


def nav() -> list[Any]:
    """The pages as a part of the site's navigation: the table, then each family's checkpoints."""
    every = families.all_families()
    return ["models/index.md", *({f.title: [{c.name: f"models/{c.name}.md"} for c in f.checkpoints]} for f in every)]


def with_models(given: list[Any] | None) -> list[Any] | None:
    """A site's navigation in which the one page of the models stands for all of them."""
    return [{"Models": nav()} if entry == {"Models": "models/index.md"} else entry for entry in given or []] or None


# one checkpoint


def page(family: Family, checkpoint: Checkpoint, lesson: str = "") -> str:
    """The Markdown of a checkpoint's page. lesson: the page of the family's lesson, where there is one."""
    trace = stored(checkpoint.name)
    head, body = walk(trace)
    parts = [
        f"---\ndescription: Every stage of {checkpoint.name} with its shapes, formulas and costs.\n---",
        head,
        links(family, checkpoint, lesson),
        body,
        *frames(family, checkpoint),
        *rope(family, checkpoint, trace),
        "## Diagram { #diagram }",
        "An arrow carries the shapes of what is handed on, as a formula and as numbers.",
        diagram(trace),
        *sources(checkpoint),
    ]
    return "\n\n".join(parts) + "\n"


def walk(trace: Trace) -> tuple[str, str]:
    """Title and request, and all that follows: letters, stages, costs. Headings are addresses: `#rope`."""
    text = render_markdown(trace)
    text = re.sub(r"(?m)^(#{2,4}) ([a-z][a-z0-9-]*)$", r"\1 `\2`", text).replace("## `costs`", "## Costs")
    head, letters, body = text.partition("| letter |")
    return head.strip(), f"## Letters\n\n{letters}{body}".strip()


def links(family: Family, checkpoint: Checkpoint, lesson: str) -> str:
    """Where to go on from here."""
    name = checkpoint.name
    ways = [f"[every call, to explore](../explore/{name}.html)"]
    ways += [f"[the lesson on {family.title}](../{lesson}.md)"] * bool(lesson)
    # Not as Markdown: mkdocs looks for an anchor, and the calculator reads what stands behind # as a request.
    ways += [f'<a href="../../calculator/#{name}">other sizes: the calculator</a>']
    ways += ["[words and letters: the glossary](../glossary.md)", "[all models](index.md)"]
    return f"{' · '.join(ways)}\n\n``` sh\ntrace-shapes {name}\n```"


def frames(family: Family, checkpoint: Checkpoint) -> Iterator[str]:
    """What its pipeline makes of the published frame count, and why."""
    if family.frames is None:
        return
    from tracer.planning import plan_frames

    plan = plan_frames(checkpoint.name, costs=False)
    yield "## Frames { #frames }"
    returned = "and the pipeline fails" if plan.frames is None else f"and {counted(plan.frames, 'frame')} come out"
    asked, latents = counted(plan.asked, "frame"), counted(plan.latents, "latent frame")
    yield f"{asked} asked for are {latents}, {returned}. The places are in {plain(family.frames.origin)}."
    yield "\n".join(f"- {plain(line.text)} (`{line.source}`)" for line in plan.lines)
    yield f"[How frame counts are made](../frames.md). At another N: `plan-frames {checkpoint.name} N`."


def rope(family: Family, checkpoint: Checkpoint, trace: Trace) -> Iterator[str]:
    """How positions turn queries and keys, or why nothing is turned."""
    from tracer.rope import AXES, said
    from tracer.rope.rope3d import NoRope
    from tracer.rope.showing import show_rope

    yield "## Rotary positions { #rotary-positions }"
    found = family.rope(trace.header.config)
    if isinstance(found, NoRope):
        yield f"{plain(checkpoint.name)} {plain(found.reason)}."
        return
    shown = show_rope(checkpoint.name)
    axes = " + ".join(f"{axis.numbers} ({name})" for name, axis in zip(AXES, shown.axes, strict=True))
    lines = [("numbers of a head", f"{shown.rope.head_dim} = {axes}"), ("pairing", said.pairing(shown))]
    lines += [("positions", said.positions(shown)), ("rotated", said.rotated(shown)), ("tables", said.tables(shown))]
    yield pipes(["what", "here"], [[name, plain(text)] for name, text in lines])
    yield f"[How rotary positions work](../rope.md). All of it: `show-rope {checkpoint.name}`."


def diagram(trace: Trace) -> str:
    """The flow as an SVG inside the page, with the page's light and dark, in a box that scrolls."""
    from tracer.diagrams.diagram import flow
    from tracer.views.diagram_svg import render_diagram

    drawing = render_diagram(flow(trace))
    style = _STYLE.search(drawing)
    assert style is not None
    drawing = _STYLE.sub("", drawing).replace("<svg ", '<svg aria-labelledby="diagram" role="img" ', 1)
    return (
        '<div class="model-diagram" role="group" aria-label="Diagram" tabindex="0" data-search-exclude>\n'
        f"<style>{scoped(style[1])}</style>\n{drawing.strip()}\n</div>"
    )


def scoped(style: str) -> str:
    """The style of a drawing, for its own box alone, in the palette that the page shows."""
    palettes = _PALETTES.search(style)
    assert palettes is not None
    light, dark = palettes.groups()
    rest = _PALETTES.sub("", style)
    inside = _RULE.sub(lambda m: f"{','.join(f'.model-diagram {one}' for one in m[1].split(','))}{m[2]}", rest)
    return f".model-diagram svg{{{light}}}[data-md-color-scheme=slate] .model-diagram svg{{{dark}}}{inside}"


def sources(checkpoint: Checkpoint) -> Iterator[str]:
    """Where the config is from."""
    yield "## Where the config is from { #source }"
    yield f"{SURE[checkpoint.confidence]} Source: {plain(checkpoint.source)}."


# all of them


def index() -> str:
    """The Markdown of the table of checkpoints."""
    every = families.all_families()
    number = sum(len(f.checkpoints) for f in every)
    parts = [
        "---\ndescription: All checkpoints that can be traced, with parameters, requests, tokens and FLOPs.\n---",
        "# Models",
        f"{number} checkpoints of {len(every)} families. Parameters, tokens and FLOPs are those of a run of the "
        "transformer at its published size, made when the site was built; a multiply-add is two FLOPs. A forward is "
        "one call at that batch: guidance with two passes takes two samples in one call, or two calls. A config is "
        "verified where the published one, or an unchanged copy of it, was seen whole; else it is derived.",
        "[Other sizes: the calculator](../calculator.md)",
    ]
    for family in every:
        parts += [f"## {family.title}", f"{family.summary[:1].upper()}{plain(family.summary[1:])}.", table(family)]
        parts += ["\n".join(origin(c) for c in family.checkpoints)]
    return "\n\n".join(parts) + "\n"


HEAD = ("checkpoint", "parameters", "request", "batch", "tokens", "FLOPs a forward", "config", "")


def table(family: Family) -> str:
    """A family's checkpoints, a row each."""
    body = []
    for checkpoint in family.checkpoints:
        trace = stored(checkpoint.name)
        asked = trace.header.request
        sizes = f"{asked['height']}×{asked['width']}"
        request = f"{asked['frames']}\u00a0×\u00a0{sizes}" if family.video else sizes
        body.append([
            f"[{checkpoint.name}]({checkpoint.name}.md)",
            f"{trace.root.cost.params.size:,}",
            request,
            str(asked["batch"]),
            f"{trace.values['S']:,}" if "S" in trace.values else "",
            amount(trace.root.cost.flops.size, "FLOP"),
            checkpoint.confidence,
            f"[explore](../explore/{checkpoint.name}.html)",
        ])  # fmt: skip
    return pipes(HEAD, body, right=("parameters", "batch", "tokens", "FLOPs a forward"))


def origin(checkpoint: Checkpoint) -> str:
    """Where a config is from, as an item of a list."""
    hub = f" (`{checkpoint.hub}`)" if checkpoint.hub else ""
    return f"- {checkpoint.name}{hub}, {checkpoint.confidence}: {plain(checkpoint.source)}."
