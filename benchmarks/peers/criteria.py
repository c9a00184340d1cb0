"""What an output lets its reader see: questions that a program answers from the text, the same for every tool.

Each is a function of an output and of the facts about the model. It answers yes, partly, no, or wrong, and says what it
found. Nobody's opinion is asked, and no tool has a question of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.reading import Output, Row, has, rows, symbolic, value
from benchmarks.peers.subjects import Facts

ANSWERS = ("yes", "partly", "wrong", "no")
"""Best first: of several outputs of one tool, the best one speaks for it."""


@dataclass(frozen=True)
class Found:
    """An answer, and the words for it; `seen` is the piece of the output that decided."""

    answer: str
    why: str
    seen: str = ""


_JOIN = re.compile(r"(?<![a-z])(?:cat|concat|concatenate)(?:_\d+)*(?![a-z])")
_RESHAPE = re.compile(r"(?<![a-z])(?:view|transpose|reshape|unflatten|permute)(?:_\d+)*(?![a-z])|split into heads")
_CUT = re.compile(r"slice|getitem|setitem|rotary|rope|\[(?::, ?)*:?[\w−-]*:?\]", re.IGNORECASE)
_ATTENTION = re.compile(r"scaled_?dot_?product_?attention", re.IGNORECASE)
_SENTENCE = re.compile(r"[A-Z][a-z']*(?:[ ,;:]+[A-Za-z0-9'’+×=()-]+){7,}\.(?= |$)")
_FIELD_WORDS = re.compile(r"\b(?:tokens?|heads?|frames?|video|text|attention|timestep|latents?|sequence)\b")


def _seen(row: Row) -> str:
    """A row, short and without paths or source code of others."""
    text = re.sub(r"\S*/(?=\w+\.py)", "", re.sub(r"code: .*", "", row.text))
    return " ".join(text.split())[:150]


def _first(rows: Iterable[Row], test: Callable[[Row], object]) -> Row | None:
    return next((row for row in rows if test(row)), None)


def concat(out: Output, facts: Facts) -> Found:
    """The joined length, at the operation that joins, together with both lengths that make it."""
    joining = [r for r in out.rows if _JOIN.search(r.text) and any(has(r.made, joined) for *_, joined in facts.joins)]
    for first, second, joined in facts.joins:
        if row := _first(joining, lambda r: has(r.given, first) and has(r.given, second) and has(r.made, joined)):  # noqa: B023
            return Found("yes", "the operation, both inputs and the result", _seen(row))
    if joining:
        return Found("partly", "the operation and its result, not its inputs", _seen(joining[0]))
    seen = re.search(rf"(?<!\d){facts.joined}(?!\d)", out.text)
    return Found("no", "the joined length only, at other operations" if seen else "not there")


def head_split(out: Output, facts: Facts) -> Found:
    """Width cut into heads, at the operation that does it."""
    if row := _first(out.rows, lambda r: has(r.made, facts.heads) and _RESHAPE.search(r.text)):
        return Found("yes", "the reshaping with its result", _seen(row))
    if row := _first(out.rows, lambda r: has(r.text, facts.heads)):
        return Found("partly", "the shape, at an operation after it", _seen(row))
    return Found("no", "not there")


def rope_slice(out: Output, facts: Facts) -> Found:
    """Which part of the sequence rope turns: the slice and its shape."""
    found = [r for r in out.rows if has(r.text, facts.turned) and _CUT.search(r.text)]
    if row := _first(found, lambda r: re.search(facts.turned_by, r.text)):
        return Found("yes", "the slice and its shape", _seen(row))
    if found:
        return Found("partly", "the shape of what is turned, not where it was cut", _seen(found[0]))
    return Found("no", "not there")


def attention(out: Output, facts: Facts) -> Found:
    """Attention as the one operation that runs."""
    N = facts.joined
    if row := _first(out.rows, lambda r: _ATTENTION.search(r.text) and has(r.made, facts.attention)):
        return Found("yes", "one operation with its shape", _seen(row))
    if row := _first(out.rows, lambda r: re.search(rf"{N}, ?{N}\D", r.text)):
        return Found("wrong", "as products with a table of all scores, which does not exist", _seen(row))
    return Found("no", "not there")


def both_outputs(out: Output, facts: Facts) -> Found:
    """Both results of a two-stream block, in the block's row."""
    found = [r for r in out.rows if re.search(rf"\b{facts.block}\b", r.text)]
    video, text = facts.streams
    if row := _first(found, lambda r: has(r.made, video) and has(r.made, text)):
        return Found("yes", "both", _seen(row))
    for shape, lost in ((video, "text"), (text, "video")):
        if row := _first(found, lambda r: has(r.made, shape)):  # noqa: B023
            return Found("wrong", f"one of two, as if it were all; the {lost} is lost", _seen(row))
    return Found("no", "blocks have a row without shapes" if found else "blocks have no row")


def block_inputs(out: Output, facts: Facts) -> Found:
    """The tensors that a block is handed, by keyword or not: their shapes, and their names."""
    found = [r for r in out.rows if re.search(rf"\b{facts.block}\b", r.text)]
    video, text = facts.streams
    shown = [r for r in found if has(r.given, video) and has(r.given, text)]
    if row := _first(shown, lambda r: all(name in r.given for name in facts.names)):
        return Found("yes", "shapes and names", _seen(row))
    if shown:
        return Found("partly", "shapes without names", _seen(shown[0]))
    if row := _first(found, lambda r: has(r.given, video) or has(r.given, text)):
        return Found("partly", "one of two", _seen(row))
    if _first(out.rows, lambda r: all(f"{name}: " in r.given for name in facts.names)):
        return Found("partly", "those of the whole model only")
    return Found("no", "blank" if found else "not there")


def unpatchify(out: Output, facts: Facts) -> Found:
    """From tokens back to latents: the grid with its patches, and the result."""
    grid = _first(out.rows, lambda r: has(r.made, facts.grid))
    if grid and any(has(r.made, facts.latents) for r in out.rows):
        return Found("yes", "the grid and the latents", _seen(grid))
    if row := _first(out.rows, lambda r: has(r.made, facts.latents)):
        return Found("partly", "the result only", _seen(row))
    return Found("no", "not there")


def _formulas(out: Output, facts: Facts) -> list[str] | None:
    """The sizes of a joined sequence in symbols: where they come to its shape, else those that have a sum."""
    shapes = (facts.attention, *(joined for *_, joined in facts.joins))
    candidates = [
        (sizes, shape)
        for row in rows(out.text)
        if _ATTENTION.search(row.text) or _JOIN.search(row.text)
        for shape in shapes
        if (sizes := symbolic(row.text, shape))
    ]
    right = [x for x, shape in candidates if [value(size, out.symbols) for size in x] == list(shape)]
    return next(iter([*right, *(x for x, _ in candidates if any(re.search(r"[+]", size) for size in x))]), None)


def formulas(out: Output, facts: Facts) -> Found:
    """The joined length as a formula of the request; right means that it comes to the number."""
    sums = [size for size in _formulas(out, facts) or () if "+" in size]
    for size in sums:
        if value(size, out.symbols) == facts.joined:
            return Found("yes", "comes to the number", size)
    return Found("wrong", "does not come to the number", sums[0]) if sums else Found("no", "numbers only")


def named_dimensions(out: Output, facts: Facts) -> Found:
    """Sizes as letters that the output explains."""
    sizes = _formulas(out, facts)
    letters = {word for size in sizes or () for word in re.findall(r"[A-Za-z_]\w*", size)}
    if not letters:
        return Found("no", "numbers only")
    head = "\n".join(out.text.splitlines()[:8])
    told = {x for x in letters if re.search(rf"[a-z]{{4,}}(?: \w+)? {re.escape(x)} (?:=|\d)", head)}
    if told == letters:
        return Found("yes", "letters, and a legend", " ".join(sorted(letters)))
    return Found("partly", "symbols without a meaning", " ".join(sorted(letters - told)))


def source_line(out: Output, facts: Facts) -> Found:
    """The source line of an operation inside the attention processor: that of attention itself."""
    found = [r for r in out.rows if _ATTENTION.search(r.text) and has(r.made, facts.attention)]
    if row := _first(found, lambda r: r.at in facts.lines):
        return Found("yes", "right", row.at)
    if row := _first(found, lambda r: r.at):
        return Found("wrong", f"another line; it is {' or '.join(facts.lines)}", row.at)
    return Found("no", "no line" if found else "attention is not there")


def folding(out: Output, facts: Facts) -> Found:
    """Equal blocks as one row with a count."""
    if all(re.search(rf"[x×] ?{n}\b|\b{n} ?[x×]", out.text) for n in facts.repeats):
        return Found("yes", "one row and a count")
    found = sum(bool(re.search(rf"\b{facts.block}\b|transformer_blocks[._]\d+", r.text)) for r in out.rows)
    return Found("no", f"{found:,} rows name a block" if found else "all copies, without their names")


def explanation(out: Output, facts: Facts) -> Found:
    """Sentences about the architecture: five or more with a word of the field."""
    text = " ".join(re.sub(r"[│├└─]", " ", out.text).split())
    count = sum(bool(_FIELD_WORDS.search(s)) for s in set(_SENTENCE.findall(text)))
    return Found("yes" if count >= 5 else "no", f"{count} sentences" if count else "no sentence")


def config_fields(out: Output, facts: Facts) -> Found:
    """The config fields that sizes come from, by name and value."""
    named = [k for k, v in facts.fields.items() if re.search(rf"\b{k} ?= ?{re.escape(str(v))}\b", out.text)]
    return Found("yes" if len(named) >= 2 else "no", ", ".join(named) or "none named")


Question = Callable[[Output, Facts], Found]
QUESTIONS: Mapping[str, tuple[str, Question]] = {
    "concat": ("text and video joined, with both lengths", concat),
    "head split": ("width cut into heads", head_split),
    "rope": ("which slice rope turns", rope_slice),
    "attention": ("attention as one operation", attention),
    "both outputs": ("both outputs of a block", both_outputs),
    "block inputs": ("what a block is given", block_inputs),
    "unpatchify": ("tokens back to latents", unpatchify),
    "named dimensions": ("sizes as letters with a meaning", named_dimensions),
    "formulas": ("the joined length as a formula", formulas),
    "source line": ("the source line of attention", source_line),
    "folding": ("equal blocks as one row", folding),
    "explanation": ("sentences that explain", explanation),
    "config fields": ("config fields that set sizes", config_fields),
}


def judge(outputs: Sequence[Output], facts: Facts) -> dict[str, dict[str, str]]:
    """The best answer to every question, and which output gave it."""
    found = {}
    for key, (_, ask) in QUESTIONS.items():
        answers = [(ask(out, facts), out.name) for out in outputs]
        best, where = min(answers, key=lambda pair: ANSWERS.index(pair[0].answer))
        found[key] = {"answer": best.answer, "why": best.why, "seen": best.seen, "output": where}
    return found
