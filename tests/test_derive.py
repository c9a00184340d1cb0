"""Reading formulas back from numbers: what is found is true, and what is not found is said."""

import dataclasses
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracer.calls import Call, Header, Slice, Trace
from tracer.cost import with_costs
from tracer.derive import Reader, attach, largest_prime
from tracer.families import all_families
from tracer.families.base import Letter, nothing_fitted
from tracer.formula import Formula
from tracer.notation import parse
from tracer.probing import grid_formulas, points, with_grid
from tracer.shapes import Dim, TensorSpec

LETTERS = [
    Letter("p", "patch_size", "patch_size", "", number=True),
    Letter("p_t", "patch_size_t", "patch_size_t", "", number=True),
    Letter("h", "heads", "heads", ""),
    Letter("d", "head_dim", "head_dim", "", multiple=16),
    Letter("C", "channels", "channels", ""),
    Letter("T", "time_embed", "time_embed", "", multiple=2),
]
DEPTHS = ("blocks", "singles")
REAL = {"B": 2, "L": 226, "F": 26, "H": 60, "W": 90, "p": 2, "p_t": 2, "h": 48, "d": 64, "C": 16, "T": 512}
PROBED = points(LETTERS, DEPTHS)
POINTS = [*PROBED, with_grid({**REAL, "blocks": 42, "singles": 20})]


def reader() -> Reader:
    return Reader(POINTS, [s for s in PROBED[0] if s not in DEPTHS and s not in "FHW"], DEPTHS)


def read(function, *, by=None):
    """What the reader makes of a function of the letters, its grid letters replaced."""
    found = (by or reader()).size(tuple(int(function(p)) for p in POINTS))
    return found.substitute(grid_formulas(REAL)) if found is not None else None


PLANTED = [
    "B", "h*d", "6*h*d", "d/2", "h*d/2", "3*h*d/8", "4*C", "C*p*p*p_t", "B*F", "B*F/p_t", "B*h", "T",
    "F/p_t*(H/p)*(W/p)", "F*H*W/p/p", "(H/p)*(W/p)", "H", "W", "F", "F/p_t",
    "L + F/p_t*(H/p)*(W/p)", "L + F*H*W/p/p", "B*(L + F/p_t*(H/p)*(W/p))", "2*L + 4", "L + 1", "L - 1", "B + 1",
    "F*H*W/p/p/p_t - H*W/p/p", "L + F*H*W/p/p/p_t - H*W/p/p", "F/p_t - 1", "B*F - B", "h*d + T",
    "2*h*d + 2*T", "h*d*4 + 3*h*d", "L*L", "-L", "-F/p_t*(H/p)*(W/p)",
]  # fmt: skip


@pytest.mark.parametrize("text", PLANTED)
def test_planted_formulas_are_found(text):
    formula = parse(text)
    assert read(formula.evaluate) == formula


@given(
    st.lists(st.sampled_from(["B", "h", "d", "C", "T", "f", "y", "x"]), max_size=3),
    st.integers(1, 64),
    st.sampled_from([1, 2, 4]),
)
def test_products_are_found(letters, times, parts):
    formula = Formula.constant(times) / parts
    for letter in letters:
        formula = formula * Formula.symbol(letter)
    numbers = [sum(c * math.prod(p[s] ** e for s, e in m) for m, c in formula.terms) for p in POINTS]
    assume(all(n.denominator == 1 for n in numbers))
    found = reader().size(tuple(int(n) for n in numbers))
    assert found == (formula if letters else None)


@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from(["f*y*x", "y*x", "h*d", "B"]))
def test_what_is_found_holds_in_every_run(a, b, other):
    formula = Formula.symbol("L") * a + parse(other) * b
    numbers = tuple(formula.evaluate(p) for p in POINTS)
    by = reader()
    found = by.size(numbers)
    if found is not None:
        assert tuple(found.evaluate(p) for p in POINTS) == numbers
    if a and b:
        assert found == formula


@pytest.mark.parametrize("number", [0, 1, 7, 226, 3072])
def test_a_number_that_nothing_moves_is_a_constant(number):
    by = reader()
    assert read(lambda p: number, by=by) is None
    assert not by.unread


@pytest.mark.parametrize(
    "function",
    [
        lambda p: min(p["L"], 512),  # one case at the request, another at the probes
        lambda p: max(p["L"], 1000),
        lambda p: p["L"] if p["L"] != 226 else 227,
        lambda p: 3072 if p["L"] == 226 else p["h"] * p["d"] + 1,  # h·d at the request, by coincidence
        lambda p: -(-p["L"] // 512) * 512,
        lambda p: p["L"].bit_length() * 4 if p["L"] != 1_000_003 else 81,
    ],
)
def test_a_coincidence_is_not_attached_and_is_reported(function):
    by = reader()
    assert read(function, by=by) is None
    assert by.unread == {tuple(function(p) for p in POINTS)}


def test_a_formula_that_rounds_is_no_match():
    by = reader()
    assert not by.holds(parse("L/2"), tuple(p["L"] // 2 for p in POINTS))


def test_counts_are_known_by_their_depth():
    by = reader()
    assert by.repeat(tuple(p["blocks"] for p in POINTS)) == parse("blocks")
    assert by.repeat(tuple(p["singles"] for p in POINTS)) == parse("singles")
    assert by.repeat((1, 1, 1, 1)) is None
    assert by.repeat((1, 1, 1, 5)) is None


# whole trees


def spec(*sizes: int) -> TensorSpec:
    return TensorSpec(tuple(map(Dim, sizes)), "float32")


def tree(p, *, stray: bool = False) -> Trace:
    """A model by hand: repeated blocks, each with a linear layer, and an operation of fixed size."""
    tokens, hidden = p["L"] + p["f"] * p["y"] * p["x"], p["h"] * p["d"]
    linear = Call(
        "op", "blocks.0", "linear",
        {"x": spec(p["B"], tokens, hidden), "w": spec(3 * hidden, hidden)},
        {"0": spec(p["B"], tokens, 3 * hidden)},
        {"2": Slice(Dim(p["L"]), None, Dim(2)), "3": (Dim(hidden), 0.5, "same"), "4": Dim(7)}, fresh=(True,),
    )  # fmt: skip
    block = Call(
        "module", "blocks.0", "Block", linear.inputs, linear.outputs, weights={"w": spec(3 * hidden, hidden)},
        children=(linear,), repeat=p["blocks"],
    )  # fmt: skip
    odd = Call("op", "", "odd", {}, {"0": spec(min(p["L"], 512), p["B"])}, fresh=(True,))
    extra = (odd,) if stray else ()
    last = Call("module", "last", "Last", {"x": spec(p["B"])}, {"0": spec(p["B"])}, children=(odd, *extra))
    return with_costs(Trace(Header("m"), Call("module", "", "Model", children=(block, last))))


def attached(*, stray: bool = False):
    by = reader()
    probes = [tree(p, stray=stray) for p in PROBED]
    return attach(tree(POINTS[-1]), probes, by, grid_formulas(REAL)), by


def test_a_whole_tree_is_read():
    trace, by = attached()
    block, last = trace.root.children
    (linear,) = block.children
    tokens = parse("L + F/p_t*(H/p)*(W/p)")
    assert [d.formula for d in linear.output.shape] == [parse("B"), tokens, parse("3*h*d")]
    assert block.repeat_formula == parse("blocks")
    assert linear.attrs["2"] == Slice(Dim(226, parse("L")), None, Dim(2))
    assert linear.attrs["3"] == (Dim(3072, parse("h*d")), 0.5, "same")
    assert linear.attrs["4"] == Dim(7)
    assert block.cost.flops.formula == parse("6*B*h*h*d*d") * tokens
    assert block.cost.params.formula == parse("3*h*h*d*d")
    assert trace.root.cost.flops.formula == parse("6*blocks*B*h*h*d*d") * tokens
    assert by.strayed == []
    assert [d.formula for d in last.output.shape] == [parse("B")]


def test_a_size_without_formula_takes_it_from_the_costs_above():
    # as a constant it would make a formula that is right here and wrong elsewhere
    trace, by = attached()
    odd = trace.one(name="odd")
    assert [d.formula for d in odd.output.shape] == [None, parse("B")]
    assert by.unread == {(512, 512, 512, 226)}
    for call in (odd, trace.one("last"), trace.root):
        assert call.cost.bytes.formula is None
        assert call.cost.bytes.size > 0
    assert trace.one("blocks.0", kind="module").cost.bytes.formula is not None


def test_numbers_are_those_of_the_full_run():
    plain, (trace, _) = tree(POINTS[-1]), attached()
    assert trace.map(without_formulas) == plain.map(without_formulas)


def without_formulas(call: Call) -> Call:
    def bare(value):
        if isinstance(value, Dim):
            return Dim(value.size)
        if isinstance(value, Slice):
            return Slice(*map(bare, value))
        if isinstance(value, tuple):
            return tuple(map(bare, value))
        if isinstance(value, TensorSpec):
            return TensorSpec(bare(value.shape), value.dtype)
        return value

    maps = {w: {k: bare(v) for k, v in getattr(call, w).items()} for w in ("inputs", "outputs", "weights", "attrs")}
    cost = type(call.cost)(*(bare(d) for d in (call.cost.flops, call.cost.params, call.cost.bytes)))
    return dataclasses.replace(call, **maps, cost=cost, repeat_formula=None)


def test_where_a_probe_takes_another_path_numbers_stay_plain():
    trace, by = attached(stray=True)
    last = trace.one("last")
    assert by.strayed == ["last"]
    assert [d.formula for d in last.output.shape] == [parse("B")]
    assert all(d.formula is None for c in last.children for s in c.outputs.values() for d in s.shape)
    assert last.cost.bytes.formula is None
    assert trace.one("blocks.0", kind="module").cost.flops.formula is not None


def test_another_call_in_its_place_keeps_plain_numbers():
    by = reader()
    probes = [tree(p) for p in PROBED]
    other = dataclasses.replace(probes[0].root.children[1], name="Other")
    probes[0] = dataclasses.replace(
        probes[0], root=dataclasses.replace(probes[0].root, children=(probes[0].root.children[0], other))
    )
    trace = attach(tree(POINTS[-1]), probes, by, grid_formulas(REAL))
    assert by.strayed == ["last"]
    assert trace.one("last") == tree(POINTS[-1]).one("last")


# where to probe


@pytest.mark.parametrize("family", all_families(), ids=lambda f: f.name)
def test_every_letter_has_a_prime_of_its_own(family):
    from tracer.api import letters_of, probe_points
    from tracer.build import full_config

    for checkpoint in family.checkpoints:
        config = full_config(family.model, checkpoint.config)
        letters = family.letters(config)
        probed, free = probe_points(family, config, letters_of(family, config, checkpoint.request))
        for point in probed:
            primes = [largest_prime(point[s]) for s in free]
            assert len(set(primes)) == len(primes) or family.fit is not nothing_fitted
            # letters that a family ties together may share a prime at some point; at all of them only those that
            # are one and the same there, such as the sides of a square
            values = {tuple(p[s] for p in probed) for s in free}
            assert len({tuple(map(largest_prime, column)) for column in values}) == len(values)
            assert all(point[x.symbol] % x.multiple == 0 for x in letters if x.symbol in free and not x.total)
            assert all(point[x.symbol] == sum(point[s] for s in x.total) for x in letters if x.total)
        counts = [tuple(point[d] for point in probed) for d in family.depths]
        assert len(set(counts)) == len(counts)


@given(st.integers(1, 10**6))
def test_the_largest_prime_divides(n):
    p = largest_prime(n)
    assert n % p == 0
    assert all(p % k for k in range(2, math.isqrt(p) + 1))
    assert all(largest_prime(n // p) <= p for _ in range(1))
