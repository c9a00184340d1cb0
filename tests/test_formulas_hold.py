"""The central promise: a formula of the default trace gives what any other run has, for every number of every call."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tracing import TRACES

from tracer import families, trace
from tracer.api import letters_of, make_request
from tracer.build import full_config
from tracer.calls import Attr, Call, Slice, Trace
from tracer.errors import BadConfig, BadRequest, ForwardFailed
from tracer.families.base import Checkpoint, Family, with_fields
from tracer.formula import Formula
from tracer.shapes import Dim

EVERY = [(f, c) for f in families.all_families() for c in f.checkpoints]
IDS = [c.name for _, c in EVERY]


def numbers(call: Call) -> dict[str, Dim]:
    """Every number of a call, by its place."""
    out = {"repeat": call.times, "flops": call.cost.flops, "params": call.cost.params, "bytes": call.cost.bytes}
    for what in ("inputs", "outputs", "weights"):
        for key, spec in getattr(call, what).items():
            out |= {f"{what}.{key}.{i}": d for i, d in enumerate(spec.shape)}

    def attribute(place: str, value: Attr) -> None:
        if isinstance(value, Dim):
            out[place] = value
        elif isinstance(value, Slice | tuple):
            for i, inner in enumerate(value):
                attribute(f"{place}.{i}", inner)

    for key, value in call.attrs.items():
        attribute(f"attrs.{key}", value)
    return out


def at(dim: Dim, values: Mapping[str, int], known: dict[Formula, int]) -> int:
    """The number that a size must have at these values."""
    if dim.formula is None:
        return dim.size
    if dim.formula not in known:
        known[dim.formula] = dim.formula.evaluate(values)
    return known[dim.formula]


def disagreements(
    known: Trace, fresh: Trace, values: Mapping[str, int], *, may_stray: bool = False, count_bytes: bool = True
) -> list[str]:
    """Places where the formulas of one trace do not give the numbers of another.

    may_stray: another path through the code is allowed; what is written (bytes) is then compared elsewhere only.
    """
    out: list[str] = []
    cache: dict[Formula, int] = {}

    def visit(a: Call, b: Call) -> bool:
        """Compares two calls; whether they did the same things."""
        where = f"{a.path} {a.name}"
        if (a.kind, a.name) != (b.kind, b.name):
            out.append(f"{where}: another call, {b.path} {b.name}")
            return False
        same = len(a.children) == len(b.children)
        if same:
            for one, other in zip(a.children, b.children, strict=True):
                same &= visit(one, other)
        elif not may_stray:
            out.append(f"{where}: other children")
        ours, theirs = numbers(a), numbers(b)
        if ours.keys() != theirs.keys():
            out.append(f"{where}: other places {sorted(ours.keys() ^ theirs.keys())}")
        for place in ours.keys() & theirs.keys():
            if place == "bytes" and not (same and count_bytes):
                continue
            expected = at(ours[place], values, cache)
            if expected != theirs[place].size:
                out.append(f"{where} {place}: {ours[place].expression()} is {expected}, traced {theirs[place].size}")
        return same

    visit(known.root, fresh.root)
    return out


def values_of(
    family: Family, config: Mapping[str, Any], checkpoint: Checkpoint, asked: Mapping[str, int]
) -> dict[str, int]:
    """The letters at a request and a config."""
    request = make_request(family.adapt(config, checkpoint.request), asked)
    depths = {depth: config[depth] for depth in family.depths}
    return letters_of(family, config, request) | depths


def holds(family: Family, checkpoint: Checkpoint, asked: Mapping[str, int], changes: Mapping[str, Any],
          **how: bool) -> None:  # fmt: skip
    changes = {**dict.fromkeys(family.depths, 2), **changes}  # as few blocks as tell a count from one
    config = full_config(family.model, {**checkpoint.config, **changes})
    fresh = trace(checkpoint.name, **asked, config=changes, formulas=False)
    values = values_of(family, config, checkpoint, asked)
    # with a position table, another grid than the published one has its table computed anew: more operations
    pinned = family.limited(config) != family.limited(full_config(family.model, checkpoint.config))
    how.setdefault("may_stray", bool(family.fixed(config)) or pinned)
    how.setdefault("count_bytes", family.notes is not None)  # the other families join axes of which one is often 1
    found = disagreements(TRACES[checkpoint.name], fresh, values, **how)
    assert not found, "\n".join(found[:10])


def accepted(family: Family, checkpoint: Checkpoint, asked: Mapping[str, int]) -> bool:
    config = full_config(family.model, checkpoint.config)
    return not family.check(config, make_request(checkpoint.request, asked)).errors


def free(family: Family, checkpoint: Checkpoint, asked: Mapping[str, int]) -> dict[str, int]:
    """The request without the sizes this checkpoint fixes, or whose formulas are for one value."""
    config = full_config(family.model, checkpoint.config)
    alone = {letter for letter, some in family.limited(config).items() if len(set(some)) <= 1}
    taken = {"L": "text_tokens", "H": "height", "W": "width", "F": "frames", "B": "batch"}
    fixed = {taken[letter] for letter in {*family.fixed(config), *alone} if letter in taken}
    return {k: v for k, v in asked.items() if k not in fixed}


# requests

OTHERS = [
    {"frames": 17, "height": 320, "width": 512, "batch": 1, "text_tokens": 77},
    {"frames": 33, "height": 256, "width": 256, "batch": 3},
    {"frames": 5, "height": 64, "width": 1024, "text_tokens": 12},
]


@pytest.mark.parametrize(("family", "checkpoint"), EVERY, ids=IDS)
def test_formulas_hold_for_other_requests(family, checkpoint):
    for other in OTHERS:
        asked = free(family, checkpoint, other)
        assert accepted(family, checkpoint, asked)
        holds(family, checkpoint, asked, {})


@settings(
    deadline=None, max_examples=8, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    which=st.sampled_from(EVERY),
    frames=st.integers(1, 40).map(lambda n: 4 * n + 1),
    rows=st.integers(2, 60).map(lambda n: 16 * n),
    columns=st.integers(2, 90).map(lambda n: 16 * n),
    batch=st.integers(1, 5),
    text=st.integers(1, 600),
)
def test_formulas_hold_for_any_request(which, frames, rows, columns, batch, text):
    family, checkpoint = which
    sizes = {"frames": frames, "height": rows, "width": columns, "batch": batch, "text_tokens": text}
    asked = free(family, checkpoint, sizes)
    if accepted(family, checkpoint, asked):
        holds(family, checkpoint, asked, {})


@pytest.mark.parametrize(("family", "checkpoint"), EVERY, ids=IDS)
def test_formulas_hold_for_a_single_image(family, checkpoint):
    # what is written may be less: torch need not copy to join axes of which one is 1
    space = 2 * family.compression[1]
    asked = free(family, checkpoint, {"frames": 1, "height": space, "width": 2 * space, "batch": 1, "text_tokens": 1})
    holds(family, checkpoint, asked, {}, count_bytes=False)


# configs


def varied(family: Family, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Each numeric field of the config changed alone, with what must follow it."""
    config = full_config(family.model, checkpoint.config)
    totals = {x.field: x for x in family.letters(config) if x.total}
    multiples = {x.field: x.multiple for x in family.letters(config)}
    parts = {x.symbol: x for x in family.letters(config)}
    together = {place: x for x in family.letters(config) for place in x.fields}
    out: dict[str, dict[str, Any]] = {}
    for field, value in config.items():
        entries = value if isinstance(value, tuple | list) else (value,)
        for i, number in enumerate(entries):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            place = f"{field}.{i}" if isinstance(value, tuple | list) else field
            step = 8 if place in totals else multiples.get(place, 1)
            other = number * 2 if number < 4 else number + step
            changes: dict[str, Any] = {field: type(value)(v if j != i else other for j, v in enumerate(entries))
                                       if isinstance(value, tuple | list) else other}  # fmt: skip
            if place in together:  # fields that always have the same value
                fields = with_fields(config, together[place], other)
                changes = {k: v for k, v in fields.items() if v != config[k]}
            if place in totals:  # a sum moves with its last part
                head, _, index = parts[totals[place].total[-1]].field.partition(".")
                entries_ = list(config[head])
                entries_[int(index)] += other - number
                changes[head] = tuple(entries_)
            for total, letter in totals.items():
                if place in {parts[s].field for s in letter.total}:
                    changes[total] = config[total] + other - number
            values = letters_of(family, config | changes, checkpoint.request)
            out[place] = changes | family.probe_config(config | changes, values, values)
    return out


def kind(family: Family, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Checkpoints of one kind have the same letters."""
    return tuple(x.symbol for x in family.letters(full_config(family.model, checkpoint.config)))


CHANGES = [
    pytest.param(f, c, place, changes, id=f"{c.name}-{place}")
    for f in families.all_families()
    for c in {kind(f, c): c for c in reversed(f.checkpoints)}.values()
    for place, changes in varied(f, c).items()
]


@pytest.mark.parametrize(("family", "checkpoint", "place", "changes"), CHANGES)
def test_every_size_that_a_config_field_moves_has_it_in_its_formula(family, checkpoint, place, changes):
    # what a field moves and no formula says would be a literal number, wrong for the next config
    stuck = family.fixed(full_config(family.model, checkpoint.config)).get(place)
    if stuck:
        pytest.skip(f"its number stands in the formulas, and the header says so: {stuck}"[:150])
    asked = free(family, checkpoint, {"frames": 29, "height": 192, "width": 192})
    try:
        holds(family, checkpoint, asked, changes)
    except (BadRequest, BadConfig, ForwardFailed) as error:
        pytest.skip(f"this field does not move alone: {error}"[:150])


@pytest.mark.parametrize(("family", "checkpoint"), [(f, f.checkpoints[0]) for f in families.all_families()],
                         ids=[f.name for f in families.all_families()])  # fmt: skip
def test_formulas_hold_for_another_model_altogether(family, checkpoint):
    config = full_config(family.model, checkpoint.config)
    changes: dict[str, Any] = {depth: 3 + i for i, depth in enumerate(family.depths)}
    letters = {x.symbol: x for x in family.letters(config)}
    fields = with_fields(config, letters["h"], 6)
    if "p" in letters:
        fields = with_fields(fields, letters["p"], 4)
    if not letters["d"].total:
        fields = with_fields(fields, letters["d"], 96)
    changes |= {k: v for k, v in fields.items() if v != config[k]}
    values = letters_of(family, config | changes, checkpoint.request)
    changes |= family.probe_config(config | changes, values, values)
    asked = free(family, checkpoint, {"frames": 17, "height": 384, "width": 256, "text_tokens": 50, "batch": 3})
    holds(family, checkpoint, asked, changes)


@pytest.mark.parametrize(("family", "checkpoint"), EVERY, ids=IDS)
def test_nothing_in_a_default_trace_is_unexplained(family, checkpoint):
    known = TRACES[checkpoint.name]
    letters = set(known.values) | set(family.depths)
    for call in known.walk():
        for place, dim in numbers(call).items():
            if dim.formula is not None:
                assert dim.formula.symbols <= letters, (call.path, call.name, place)
                assert dim.formula.evaluate(known.values) == dim.size, (call.path, call.name, place)
            elif place in ("flops", "params") and dim.size:
                weights = [d for c in call.walk() for spec in c.weights.values() for d in spec.shape]
                written = weights and not any(d.formula for d in weights)  # widths that stand in the code
                assert place == "params", (call.path, call.name, place)
                assert written, (call.path, call.name, place)


def test_a_wrong_formula_is_noticed():
    known = TRACES["cogvideox-2b"]
    wrong = known.map(lambda c: dataclasses.replace(c, repeat_formula=None) if c.repeat > 1 else c)
    family, checkpoint = families.find("cogvideox-2b")
    config = full_config(family.model, {**checkpoint.config, "num_layers": 2})
    fresh = trace("cogvideox-2b", config={"num_layers": 2}, formulas=False)
    values = values_of(family, config, checkpoint, {})
    assert not disagreements(known, fresh, values)
    assert [d for d in disagreements(wrong, fresh, values) if "repeat" in d]
