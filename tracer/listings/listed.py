"""Which of the functions that ran are shown: all, those of a name, or those that tell most. Renders nothing."""

from __future__ import annotations

from tracer.calls import Call, Trace
from tracer.errors import BadRequest, TracerError, UnknownName
from tracer.listings.listing import Function, Listing, Read, definition_at, inside_of, listing_of, place_in

EMBEDDINGS = frozenset({
    "time-embedding", "offset-embedding", "guidance-embedding", "pooled-text", "rope-tables", "text-projection",
    "image-projection", "camera", "patch-embed", "history", "position-embedding", "rope",
})  # fmt: skip
"""Stages whose functions are shown when nobody asks for one."""
_CODERS = frozenset({"text-encoder", "image-encoder", "vae-encode", "vae-decode"})
_ATTENTION = "scaled_dot_product_attention"


def listings(trace: Trace, read: Read, name: str = "") -> tuple[list[Listing], list[str]]:
    """Functions with their lines, in the order in which they first ran, and the names of those that are not among them.

    name: a function, a class, a path of a module or a stage. Without one: the forward or the pipeline's call, one block
    of each kind, attention, rotary positions and embeddings. Functions of torch are shown when they are asked for.
    Raises UnknownName for a name that is none of these, BadRequest where lines were not counted, and a TracerError that
    says why where no source can be read.
    """
    if not any(call.lines for call in trace.walk()):
        raise BadRequest("This trace has no lines: record it with lines=True.")
    found = _functions(trace, read)
    chosen = _chosen(trace, found, name)
    out = [listing_of(f, read) for f in chosen]
    if out and all(page.trouble for page in out):
        raise BadRequest(out[0].trouble)
    shown = {page.name for page in out}
    return out, [n for n in dict.fromkeys(f.name for f in found if not _foreign(f.file)) if n not in shown]


def _functions(trace: Trace, read: Read) -> list[Function]:
    found: dict[tuple[str, int | str, frozenset[int]], Function] = {}

    def visit(call: Call, times: int, starred: frozenset[int]) -> None:
        times *= call.repeat
        parts = call.path.split(".")
        if call.kind == "module" and call.repeat > 1 and parts[-1].isdigit():
            starred |= {len(parts) - 1}
        place = place_in(call) if call.lines else None
        if place is not None:
            name, node, trouble = "", None, f"{place.file} has no function at line {place.line}."
            try:
                name, node = definition_at(read(place.file), place.line)
            except TracerError as error:
                trouble = str(error)
            except SyntaxError:
                trouble = f"{place.file} is in a Python that this one does not read."
            name = name or place.function
            key = (place.file, node.lineno if node is not None else name, frozenset(call.lines or ()))
            mine = found.setdefault(key, Function(place.file, name, node, trouble))
            mine.calls.append(call)
            mine.times.append(times)
            mine.where = mine.where or ".".join("*" if i in starred else part for i, part in enumerate(parts))
        for child in call.children:
            inside = not call.path or child.path == call.path or child.path.startswith(f"{call.path}.")
            visit(child, times, starred if inside else frozenset())

    visit(trace.root, 1, frozenset())
    return list(found.values())


def _foreign(file: str) -> bool:
    """Whether a file is torch's, or what this package puts in a pipeline's place of tokenizers."""
    return file.startswith("torch/") or (file.startswith("tracer/") and not file.startswith("tracer/models/"))


def _chosen(trace: Trace, found: list[Function], name: str) -> list[Function]:
    own = [f for f in found if not _foreign(f.file)]
    if not name:
        main = _main(trace)
        return [f for f in own if not main or any(id(call) in main for call in f.calls)]
    named = [f for f in found if name in _names(f)]
    if not named:
        named = [f for f in found if any(call.kind == "module" and name in (call.path, call.pattern)
                                         for call in f.calls)]  # fmt: skip
    if not named and name in trace.stages():
        named = [f for f in own if any(_in_stage(call, name) for call in f.calls)]
    if not named:
        known = dict.fromkeys(n for f in own for n in _names(f)[1:] or _names(f))
        raise UnknownName("function or stage of this trace", name, [*known, *trace.stages()])
    return named


def _names(f: Function) -> list[str]:
    """What a function is asked for by: its full name, its class, its last name unless that is anybody's."""
    last = f.name.rpartition(".")[2]
    owner = f.name.removesuffix(".forward").removesuffix(".__call__")
    return list(dict.fromkeys([f.name, owner, *([last] if last not in ("forward", "__call__") else [])]))


def _main(trace: Trace) -> set[int]:
    """The ids of the calls that are shown when nobody asks for one; none in a trace without stages."""
    stages = set(trace.stages())
    if not stages:
        return set()
    main = {id(trace.root)}

    def visit(call: Call) -> bool:
        """Whether there is attention in the functions below a call."""
        if call.stage in _CODERS:
            return False
        attends = call.name == _ATTENTION
        for child in inside_of(call):
            below = visit(child)
            if below and child.kind == "function" and call.kind == "module":
                main.add(id(child))  # the attention processor
            attends = attends or (below and child.kind != "module")
        block = call.stage == "block" or (call.kind == "module" and call.repeat > 1 and "block" not in stages)
        if block or call.stage in EMBEDDINGS or any(c.stage in EMBEDDINGS for c in inside_of(call)):
            main.add(id(call))
        return attends

    visit(trace.root)
    return main


def _in_stage(call: Call, stage: str) -> bool:
    return call.stage == stage or any(c.stage == stage for c in inside_of(call))
