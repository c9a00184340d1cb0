"""The page that sets this package beside other tools. Its numbers come from benchmarks/peers.json alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracer.views.markdown import pipes

DATA = Path(__file__).resolve().parents[3] / "benchmarks" / "peers.json"
OURS = "this package"
MODELS = {"cogvideox-5b": "CogVideoX-5b", "hunyuanvideo": "HunyuanVideo", "cogvideox, tiny": "tiny CogVideoX"}
REFUSES = "torchlens, with values"
"""Takes no tensors without values: in the table of what outputs show it has no column."""

INTRO = """
# Beside other tools

torchinfo, torchlens, torchview and torch.export also say how tensors flow through a model. Here they and this package
were given the same two models, at their published size and without weights: CogVideoX-5b, where {cog_text} text tokens
and {cog_video} video tokens become {cog_joined}, and HunyuanVideo, with {hyv_joined}. Each tool had the options that
show most. What an output lets its reader see was decided by a program, which asks all tools the same questions.
"""

SHOWS = """
## What each output shows

*yes*: it is there. *partly*: a part of it is. *wrong*: something else stands in its place. *no*: it is not there.
Where the two models differ, both answers are given, CogVideoX first. A tool with several outputs is judged by the best.
"""

NOTES = """
Two columns need a word. torchlens prints neither inputs nor source lines in its summary; they come from the objects
that its trace keeps, which the benchmark printed row by row. And `Dim.AUTO` shows formulas in place of numbers, so its
symbols were replaced by the sizes of the inputs before any question about numbers was asked.
"""

COSTS = """
## What it costs

Times are ratios to the bare forward on tensors without values, which ran in turns with the tool in the same process,
in CPU time on one thread: the median of up to {rounds} rounds, fewer where a call took very long. Machines are busy
with other things too, so read them as *about as long* or *many times as long*. This package's time is that of its whole
answer: it builds the model anew, and runs it at several small sizes for the formulas. Lines are those of the shortest
output and of the longest.
"""

COUNTS = """
## Parameters and FLOPs

The count to compare with is a formula written by hand from the architecture: two for each multiply-add of a matrix
product, convolution or attention, nothing for the rest. torchinfo's mult-adds are taken twice.
"""

INSTEAD = """
## When another tool is the better one

What is tried below was tried on a tiny CogVideoX with random weights on the CPU.
"""

ADVICE = {
    "torchinfo": (
        "You want parameters, module by module, of any model, now. It costs little more than the forward, and takes a "
        "shape in place of inputs. Do not read attention or FLOPs off it "
        "([its issue on mult-adds](https://github.com/TylerYep/torchinfo/issues/226))."
    ),
    "torchlens": (
        "You have weights and want the numbers inside: every intermediate tensor, gradients, a change made halfway. "
        "This package keeps shapes and never values, but for the few that a [probe](../l1.md) asks for. Its summary "
        "folds equal blocks too."
    ),
    "torchview": (
        "You want a picture of a small model, arrows between its operations, or a graphviz graph to go on with. For "
        "these models the full graph is too long to look at; `depth=1` is one box for each block, with both of its "
        "outputs. Equal blocks are drawn one after the other "
        "([asked for](https://github.com/mert-kurttutan/torchview/issues/118))."
    ),
    "torch.export": (
        "You want a graph that a program goes on with: run it, save it, compile it, hand it to another runtime. It is "
        "exact about every operation, and knows no modules, so blocks and their two outputs are gone."
    ),
    "torch.export, Dim.AUTO": (
        "You want formulas of a model that this package has no family for, and can wait. They are right, in symbols "
        "such as `s31` whose meaning you look up at the inputs "
        "([asked for](https://github.com/pytorch/pytorch/issues/144273))."
    ),
    OURS: (
        "Every question above is about reading a video transformer, which is what this package is for. It gives no "
        "values, gradients, graph that runs or file for another viewer, and formulas only for the families that it "
        "knows; `tracer.record(model)` gives the shapes of any module."
    ),
}
"""What the tables come to, in words. tests/test_peers.py holds each statement against the file."""

REPEAT = """
## Repeat it

```
python -m venv peers && peers/bin/pip install -c constraints.txt -e ".[bench]"
peers/bin/python -m benchmarks.peers --keep outputs
```

It takes minutes and no network, writes `benchmarks/peers.json`, which this page is made from,
and keeps what every tool printed in `outputs`. The questions are short functions in `benchmarks/peers/criteria.py`,
each with a hit and a miss in `tests/test_peers.py`.
"""


def files() -> Iterator[tuple[str, str]]:
    """The page."""
    yield "reference/peers.md", page(json.loads(DATA.read_text(encoding="utf-8")))


def page(data: Mapping[str, Any]) -> str:
    """The Markdown of the page for one file of results."""
    found = {(r["tool"], r["model"]): r for r in data["results"]}
    tools = list(dict.fromkeys(tool for tool, _ in found))
    full = list(data["models"])
    cog, hyv = (data["models"][name] for name in full)
    intro = INTRO.format(
        cog_text=cog["symbols"]["L"], cog_video=number(cog["symbols"]["S"]), cog_joined=number(cog["joined"]),
        hyv_joined=number(hyv["joined"]),
    )  # fmt: skip
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    shown = [tool for tool in tools if tool != REFUSES]
    return "\n\n".join(
        part.strip()
        for part in (
            intro, f"Measured on {data['date']} with {versions}.",
            SHOWS, shows(data, found, shown, full), NOTES, details(data, found, shown, full),
            COSTS.format(rounds=data["rounds"]), costs(found, tools, full),
            COUNTS, counts(data, found, tools, full),
            INSTEAD, *(advice(tool, found) for tool in ADVICE), REPEAT,
        )
    ) + "\n"  # fmt: skip


def shows(data: Mapping[str, Any], found: Mapping[Any, Any], tools: list[str], models: list[str]) -> str:
    """Questions by tools."""
    rows = []
    for key, question in data["questions"].items():
        cells = []
        for tool in tools:
            answers = [found[tool, model]["shows"][key]["answer"] for model in models if found[tool, model]["ran"]]
            cells.append(" / ".join(dict.fromkeys(answers)) or "did not run")
        rows.append([question["title"], *cells])
    return table(["", *tools], rows)


def details(data: Mapping[str, Any], found: Mapping[Any, Any], tools: list[str], models: list[str]) -> str:
    """Folded: what was asked, and what decided each answer about the first model."""
    model = models[0]
    lines = [f'??? note "What decided each answer, for {MODELS[model]}"', ""]
    for key, question in data["questions"].items():
        lines += [f"    **{question['title'][0].upper()}{question['title'][1:]}.** {question['asks']}", ""]
        for tool in tools:
            if not found[tool, model]["ran"]:
                continue
            answer = found[tool, model]["shows"][key]
            seen = f": `` {answer['seen']} ``" if answer["seen"] else ""
            lines.append(f"    - {tool}: {answer['answer']}, {answer['why']} ({answer['output']}){seen}")
        lines.append("")
    return "\n".join(lines)


def costs(found: Mapping[Any, Any], tools: list[str], models: list[str]) -> str:
    """Ratios and lines."""
    heads = ["", "called as", *(f"{MODELS[m]}: {what}" for m in models for what in ("time", "lines"))]
    rows = []
    for tool in tools:
        row = [tool, f"`{found[tool, models[0]]['call']}`"]
        for model in models:
            entry = found[tool, model]
            if entry["ran"]:
                row += [
                    f"{entry['ratio']:.1f}×",
                    " / ".join(number(n) for n in sorted({min(entry["lines"].values()), max(entry["lines"].values())})),
                ]
            else:
                row += ["did not run", f"`{entry['error']}`"]
        rows.append(row)
    refused = [
        f"{tool} on {MODELS[model]}: `{e['error']}`, *{e['says']}*"
        for (tool, model), e in found.items()
        if not e["ran"]
    ]
    return table(heads, rows) + ("\n\n" + "\n\n".join(refused) if refused else "")


def counts(data: Mapping[str, Any], found: Mapping[Any, Any], tools: list[str], models: list[str]) -> str:
    """Parameters and FLOPs as reported, with their ratio to the count by hand."""
    rows = [["by hand", *(x for m in models for x in ("", tera(data["models"][m]["flops by hand"])))]]
    for tool in tools:
        row = [tool]
        for model in models:
            entry = found[tool, model]
            if not entry["ran"]:
                row += ["did not run", "did not run"]
                continue
            params, flops, hand = entry["parameters"], entry["flops"], entry["flops by hand"]
            row.append(number(params) if params else "not given")
            row.append(f"{tera(flops)}, {verdict(flops, hand)}" if flops else "not given")
        if any(cell not in ("not given", "did not run") for cell in row[1:]):
            rows.append(row)
    return table(["", *(f"{MODELS[m]}: {what}" for m in models for what in ("parameters", "FLOPs"))], rows)


def advice(tool: str, found: Mapping[Any, Any]) -> str:
    """When to take a tool, what its output gets wrong, and what it was seen to do besides."""
    also = dict(found[tool, "cogvideox, tiny"].get("also", {}))
    if tool == "torchlens":
        also |= found[REFUSES, "cogvideox, tiny"]["also"]
    done = [what for what, result in also.items() if result is True]
    wrong = {
        key: answer["why"]
        for model in ("hunyuanvideo", "cogvideox-5b")
        if found[tool, model]["ran"]
        for key, answer in found[tool, model]["shows"].items()
        if answer["answer"] == "wrong"
    }
    for model in ("cogvideox-5b", "hunyuanvideo"):
        entry = found[tool, model]
        if entry["ran"] and entry["flops"] and abs(entry["flops"] / entry["flops by hand"] - 1) > 0.02:
            wrong[f"FLOPs of {MODELS[model]}"] = verdict(entry["flops"], entry["flops by hand"])
    text = [f"### {tool[0].upper() + tool[1:] if tool == OURS else tool}", ADVICE[tool]]
    if done:
        text.append(f"Tried and true: {'; '.join(done)}.")
    if wrong:
        text.append("Wrong in its output: " + "; ".join(f"{key} ({why})" for key, why in wrong.items()) + ".")
    return "\n\n".join(text)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown of cells that may hold signs of tables."""
    return pipes(heads, [[cell.replace("|", r"\|") for cell in row] for row in rows])


def number(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def tera(flops: int) -> str:
    """FLOPs in TFLOP, to four digits."""
    return f"{flops / 1e12:,.4g} TFLOP" if flops < 1e16 else f"{flops / 1e12:,.0f} TFLOP"


def verdict(flops: int, hand: int) -> str:
    """How far a count is from the one by hand."""
    if flops == hand:
        return "exactly"
    if abs(flops / hand - 1) < 0.02:
        return f"{100 * (flops / hand - 1):+.1f} %"
    return f"{hand / flops:,.0f} times too low" if flops < hand / 2 else f"{flops / hand:.2f} times it"
