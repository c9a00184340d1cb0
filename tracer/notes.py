"""What a call means: stages, notes, and how they find their calls.

A note points at a call by the path of its module and, for functions and operations, by name; it claims the
axes of the result and gives a reason. `annotate` puts it on the call; `misfits` says where a note and a trace
do not agree, which the tests take for an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tracer.calls import Call, Remark, Trace
from tracer.formula import Formula
from tracer.notation import parse
from tracer.shapes import TensorSpec

PIPELINE_STAGES = {
    "pre-processing": "the given picture or video as a tensor of the size asked for",
    "text-encoder": "the prompt becomes vectors",
    "image-encoder": "the given picture becomes vectors, as a prompt is",
    "vae-encode": "pixels become latents",
    "latents": "the noise to start from, and the latents of what was given",
    "schedule": "which noise levels the steps go through",
    "denoising-step": "one prediction, and one step towards the video",
    "guidance": "predictions with and without the prompt are put together",
    "scheduler-step": "from the prediction to slightly less noisy latents",
    "vae-decode": "latents become pixels, some frames at a time",
    "post-processing": "pixels in the form that was asked for",
}
"""Slugs of the stages around the model, in the order of a run, with a line on each."""

STAGES = {
    "time-embedding": "one vector that tells every block how noisy the input is",
    "offset-embedding": "a second, constant vector of the 1.5 image-to-video models",
    "guidance-embedding": "the guidance scale as an input, in place of a second pass",
    "pooled-text": "one vector for the whole prompt",
    "rope-tables": "angles for every token, by its place",
    "text-projection": "text vectors brought to the model's width",
    "image-projection": "what was seen in the given picture, brought to the model's width",
    "token-refiner": "the text attends to itself before it meets the video",
    "camera": "where the camera looks, as tokens added to those of the video",
    "patch-embed": "squares of latents become tokens",
    "history": "earlier latents become tokens, the older the coarser",
    "concat": "sequences become one",
    "position-embedding": "where a token stands, added to it",
    "attention-mask": "which text tokens are padding",
    "block": "one transformer block",
    "modulation": "shift, scale and gate from the conditioning vector",
    "qkv": "queries, keys and values, split into heads",
    "qk-norm": "queries and keys normalised",
    "rope": "queries and keys turned by their position",
    "attention": "every token looks at every token",
    "cross-attention": "every video token looks at the text",
    "split": "one sequence is cut apart again",
    "gate": "the gated residual",
    "feed-forward": "each token on its own",
    "norm-out": "the last modulation",
    "unpatchify": "tokens become latents",
    **PIPELINE_STAGES,
}
"""Slugs of all stages, which are their link anchors too, with a line on each."""


@dataclass(frozen=True)
class Note:
    """Why one call's shape is what it is.

    stage: slug. at: path of the module, block numbers starred. label: the row's name. shape: axes of the
    result, `B L+S D`; several results by `|`, a written-in-place tensor by its own axes. why: one to three
    sentences. because: 'config:FIELD', 'source:MODULE:NAME' or 'tensor:NAME'.
    op: name of the function or operation, empty for the module itself. nth: which of several. out: only
    results with this variable name. within: only inside this function. row: False keeps it out of the
    one-screen view.
    """

    stage: str
    at: str
    label: str
    shape: str
    why: str
    because: str
    op: str = ""
    nth: int = 0
    out: str = ""
    within: str = ""
    brief: bool = True
    also: tuple[str, ...] = ()


def _places(call: Call, scopes: tuple[str, ...] = ()) -> Iterator[tuple[Call, tuple[str, ...]]]:
    yield call, scopes
    inner = (*scopes, call.name) if call.kind == "function" else scopes
    for child in call.children:
        yield from _places(child, () if child.kind == "module" and call.kind == "module" else inner)


def _matches(note: Note, call: Call, scopes: tuple[str, ...]) -> bool:
    if call.pattern != note.at or (call.kind == "module") != (note.op == ""):
        return False
    return (
        (not note.op or call.name == note.op)
        and (not note.out or note.out in call.outputs)
        and (not note.within or note.within in scopes)
    )


def locate(trace: Trace, notes: Sequence[Note]) -> dict[Note, Call]:
    """The call each note points at; notes without one are missing from the result."""
    seen: dict[Note, int] = dict.fromkeys(notes, 0)
    found: dict[Note, Call] = {}
    by_path: dict[str, list[Note]] = {}
    for note in notes:
        by_path.setdefault(note.at, []).append(note)
    for call, scopes in _places(trace.root):
        for note in by_path.get(call.pattern, ()):
            if note not in found and _matches(note, call, scopes):
                if seen[note] == note.nth:
                    found[note] = call
                seen[note] += 1
    return found


def _key(call: Call) -> str:
    return call.pattern if call.kind == "module" else f"{call.pattern} {call.name}"


def annotate(trace: Trace, notes: Sequence[Note]) -> Trace:
    """The trace with stage and remark on every call that a note points at.

    Calls without a note belong to the stage of the call around them.
    """
    by_call = {id(call): note for note, call in locate(trace, notes).items()}
    stages = {key: note.stage for note in notes for key in note.also}

    def visit(call: Call) -> Call:
        children = tuple(visit(c) for c in call.children)
        note = by_call.get(id(call))
        if note is not None:
            remark = Remark(note.label, note.shape, note.why, note.because, note.brief)
            return dataclasses.replace(call, children=children, stage=note.stage, remark=remark)
        stage = stages.get(_key(call))
        same = stage is None and all(a is b for a, b in zip(children, call.children, strict=True))
        return call if same else dataclasses.replace(call, children=children, stage=stage)

    return dataclasses.replace(trace, root=visit(trace.root))


def annotate_inside(trace: Trace, path: str, notes: Sequence[Note]) -> Trace:
    """The trace of a pipeline with a model's notes on every call of that model; `path` is its component's name."""

    def under(key: str) -> str:
        return f"{path}.{key}" if key and key[0] != " " else path + key

    moved = [dataclasses.replace(n, at=under(n.at), also=tuple(map(under, n.also))) for n in notes]

    def visit(call: Call) -> Call:
        if call.kind == "module" and call.path == path:
            return annotate(dataclasses.replace(trace, root=call), moved).root
        children = tuple(visit(c) for c in call.children)
        same = all(a is b for a, b in zip(children, call.children, strict=True))
        return call if same else dataclasses.replace(call, children=children)

    return dataclasses.replace(trace, root=visit(trace.root))


def shown(call: Call) -> list[TensorSpec]:
    """The tensors a remark speaks of: the results, or what was written in place."""
    return list(call.outputs.values()) or list(call.inputs.values())[:1]


def claim(shape: str, short: Mapping[str, Formula]) -> list[list[Formula]]:
    """The axes a note states, abbreviations written out."""
    return [[parse(axis).substitute(short) for axis in part.split()] for part in shape.split("|")]


def misfits(trace: Trace, notes: Sequence[Note]) -> list[str]:
    """Every disagreement between notes and trace: no call, other axes, another formula."""
    out = []
    found = locate(trace, notes)
    keys = {_key(call) for call in trace.walk()}
    for note in notes:
        call = found.get(note)
        where = f"note '{note.label}' ({note.stage}) at {note.at} {note.op}".rstrip()
        if call is None:
            out.append(f"{where} matches no call")
            continue
        out += [f"{where} names '{key}' too, which matches no call" for key in note.also if key not in keys]
        claims, specs = claim(note.shape, trace.short), shown(call)
        if len(claims) != len(specs):
            out.append(f"{where} claims {len(claims)} results, there are {len(specs)}")
            continue
        for axes, spec in zip(claims, specs, strict=True):
            real = [d.expression() for d in spec.shape]
            if real != axes:
                out.append(f"{where} claims ({', '.join(map(str, axes))}), traced is ({', '.join(map(str, real))})")
    return out
