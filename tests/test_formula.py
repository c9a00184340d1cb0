"""Formulas: exact arithmetic, and how they are written and read."""

import json
import math
import re
import unicodedata
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer import families
from tracer.build import full_config
from tracer.formula import Formula, abbreviate
from tracer.notation import Pixels, parse, render

LETTERS = ["B", "F", "H", "W", "L", "S", "D", "p", "p_t", "text_dim"]
VALUES = st.fixed_dictionaries({s: st.integers(1, 12) for s in LETTERS})
COEFFICIENTS = st.fractions(-9, 9, max_denominator=8)
MONOMIALS = st.dictionaries(st.sampled_from(LETTERS), st.sampled_from([-2, -1, 1, 2, 3]), max_size=3).map(
    lambda powers: tuple(sorted(powers.items()))
)
FORMULAS = st.dictionaries(MONOMIALS, COEFFICIENTS, max_size=4).map(Formula.of)
PLAIN = st.dictionaries(
    st.dictionaries(st.sampled_from(LETTERS), st.integers(1, 3), max_size=3).map(lambda p: tuple(sorted(p.items()))),
    st.integers(-9, 9),
    max_size=4,
).map(Formula.of)  # whole coefficients, nothing divides: every value is whole


@given(FORMULAS, FORMULAS, FORMULAS)
def test_formulas_are_a_ring(a, b, c):
    zero, one = Formula.constant(0), Formula.constant(1)
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a * b == b * a
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + zero == a == a * one
    assert a - a == zero == a * zero
    assert hash(a + b) == hash(b + a)


@given(FORMULAS, MONOMIALS, COEFFICIENTS.filter(bool))
def test_division_by_one_term_undoes_the_product(a, monomial, coefficient):
    divisor = Formula.of({monomial: coefficient})
    assert a * divisor / divisor == a


@given(PLAIN, PLAIN, VALUES)
def test_evaluation_is_a_homomorphism(a, b, values):
    assert (a + b).evaluate(values) == a.evaluate(values) + b.evaluate(values)
    assert (a - b).evaluate(values) == a.evaluate(values) - b.evaluate(values)
    assert (a * b).evaluate(values) == a.evaluate(values) * b.evaluate(values)


@given(PLAIN, PLAIN, VALUES)
def test_substitute_and_evaluate_agree(a, b, values):
    assert a.substitute({"D": b}).evaluate(values) == a.evaluate({**values, "D": b.evaluate(values)})
    assert a.substitute(values) == Formula.constant(a.evaluate(values))


@given(FORMULAS)
def test_json_and_back_is_the_same(formula):
    assert Formula.from_json(json.loads(json.dumps(formula.to_json()))) == formula


@given(FORMULAS)
def test_what_is_written_reads_as_the_same(formula):
    assert parse(render(formula)) == formula
    assert parse(render(formula, compact=True)) == formula
    assert " " not in render(formula, compact=True)


@given(FORMULAS, VALUES)
def test_numbers_put_in_read_as_the_same(formula, values):
    numbers = {s: values[s] for s in ("p", "p_t", "text_dim")}
    assert parse(render(formula, numbers)) == formula.substitute(numbers)


@given(FORMULAS)
def test_abbreviations_can_be_written_out_again(formula):
    short = {"T": parse("F*H*W/p/p"), "U": parse("3*L*S")}
    assert abbreviate(formula, short).substitute(short) == formula


SHORT = {"S": parse("F*(H/p)*(W/p)"), "D": parse("h*d")}


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("L + F*(H/p)*(W/p)", "L + F·(H/2)·(W/2)"),
        ("F*(H/p)*(W/p)", "F·(H/2)·(W/2)"),
        ("F*(H/p)*(W/p)/p_t", "(F/2)·(H/2)·(W/2)"),
        ("6*D", "6·D"),
        ("B*F", "B·F"),
        ("3*D/8", "3·D/8"),
        ("H/p", "H/2"),
        ("S + L", "L + S"),
        ("6 + S + L", "L + S + 6"),
        ("S - L", "S − L"),
        ("p*p*C", "4·C"),
        ("F - 1", "F − 1"),
        ("-L", "−L"),
        ("L - L", "0"),
        ("42", "42"),
        ("1/L", "1/L"),
        ("F*H*W/p/p - H*W/p/p", "(H/2)·(W/2)·(F − 1)"),
        ("2*D*T*B + 2*T*T*B", "2·B·T·(D + T)"),
        ("2*B*D*D*S + 2*B*D*D*L", "2·B·D²·(L+S)"),
        ("4*B*D*(L+S)*(L+S)", "4·B·D·(L+S)²"),
        ("B*D*(24*T + 4*S*S + 4*L*L + 8*S*L + 24*S*D + 24*L*D)", "B·D·(4·(L+S)² + 24·D·(L+S) + 24·T)"),
        ("B*D*(240*(L+S)*(L+S) + 8*L*L + 48*L*D)", "B·D·(240·(L+S)² + 8·L² + 48·L·D)"),
        ("4*B*(L + F*(H/p)*(W/p))*(L + F*(H/p)*(W/p))", "4·B·(L+F·(H/2)·(W/2))²"),
        ("text_dim*B*L + D*B*L", "B·L·(4096 + D)"),
    ],
)
def test_formulas_are_written_as_people_write_them(formula, text):
    assert render(parse(formula), {"p": 2, "p_t": 2, "text_dim": 4096}) == text


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("S + L", "L+S"),
        ("F*(H/p)*(W/p)", "F·H/2·W/2"),
        ("L + F*(H/p)*(W/p)", "L+F·H/2·W/2"),
        ("B*F", "B·F"),
        ("6*D", "6·D"),
        ("D/2", "D/2"),
        ("B*(L+S)", "B·(L+S)"),
        ("S - L", "S−L"),
    ],
)
def test_axes_are_written_without_spaces(formula, text):
    assert render(parse(formula), {"p": 2}, compact=True) == text


def test_a_patch_of_one_is_not_written():
    assert render(parse("F/p_t*(H/p)"), {"p": 2, "p_t": 1}) == "F·(H/2)"


def test_numbers_that_meet_are_added_up():
    formula = parse("layers*D + blocks*D + 3*D")
    assert render(formula, {"layers": 20, "blocks": 40}) == "63·D"


# in pixels


def value_of(text: str, values: dict[str, int]) -> Fraction:
    """What the printed text says, read by Python and not by us; `/` is exact."""
    code = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: "**" + unicodedata.normalize("NFKC", m[0]), text)
    code = code.translate(str.maketrans({"·": "*", "−": "-", "⌊": "floor(", "⌋": ")"}))
    code = re.sub(r"\b[0-9]+\b", r"Fraction(\g<0>)", code)
    return Fraction(eval(code, {"floor": math.floor, "Fraction": Fraction}, dict(values)))


@pytest.mark.parametrize(
    ("formula", "pixels", "text"),
    [
        ("L + F*(H/p)*(W/p)", Pixels(frames=49), "L + ((N−1)/4+1)·(height/16)·(width/16)"),
        ("L + F*(H/p)*(W/p)", Pixels(frames=50), "L + (⌊(N−1)/4⌋+1)·(height/16)·(width/16)"),
        ("L + F*(H/p)*(W/p)", Pixels(), "L + (⌊(N−1)/4⌋+1)·(height/16)·(width/16)"),
        ("F*(H/p)*(W/p)/p_t", Pixels(whole=2, frames=81), "((N−1)/8+1)·(height/16)·(width/16)"),
        ("F*(H/p)*(W/p)/p_t", Pixels(whole=2, frames=85), "(⌊(N−1)/8⌋+1)·(height/16)·(width/16)"),
        ("F", Pixels(whole=2), "2·(⌊(N−1)/8⌋+1)"),
        ("F", Pixels(frames=49), "(N−1)/4+1"),
        ("B*F", Pixels(frames=49), "B·((N−1)/4+1)"),
        ("H", Pixels(), "height/8"),
        ("H", Pixels(space=32), "height/32"),
        ("4*B*(L + F*(H/p)*(W/p))*(L + F*(H/p)*(W/p))", Pixels(frames=49),
         "4·B·(L+((N−1)/4+1)·(height/16)·(width/16))²"),
        ("F*H", Pixels(time=1, space=1), "N·height"),
    ],
)  # fmt: skip
def test_formulas_in_pixels(formula, pixels, text):
    assert render(parse(formula), {"p": 2, "p_t": 2}, pixels=pixels) == text


@given(
    PLAIN.map(lambda f: f * parse("F*(H/p)*(W/p)/p_t") + f),
    st.integers(1, 200),
    st.integers(1, 9),
    st.integers(1, 9),
    VALUES,
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_what_is_written_in_pixels_is_what_the_latents_give(formula, frames, rows, columns, values, patch, told):
    pixels = Pixels(whole=patch, frames=frames if told else None)
    video = {"N": frames, "height": rows * 16, "width": columns * 16}
    values = {**values, "p": 2, "p_t": patch} | pixels.latents(frames, video["height"], video["width"])
    for compact in (False, True):
        text = render(formula, {"p": 2, "p_t": patch}, pixels=pixels, compact=compact)
        assert value_of(text, values | video) == formula.evaluate(values)


def every_checkpoint():
    return [(f, c) for f in families.all_families() for c in f.checkpoints]


@pytest.mark.parametrize(("family", "checkpoint"), every_checkpoint(), ids=lambda x: x.name)
def test_the_frame_rule_is_that_of_every_checkpoint(family, checkpoint):
    config = full_config(family.model, checkpoint.config)
    if "F" in family.fixed(config) or not family.video:
        pytest.skip("its number of frames is fixed, and --pixels falls back to letters")
    whole = config.get("patch_size_t") or 1
    time, space = family.compression
    for frames in range(1, 100, time):  # between these a pipeline may round, and --pixels falls back to letters
        request = replace(checkpoint.request, frames=frames)
        latents = Pixels(time=time, space=space, whole=whole).latents(frames, request.height, request.width)
        assert latents.items() <= family.sizes(config, request).items()


# reading


@pytest.mark.parametrize("text", ["", "L +", "(L", "L)", "L & S", "L/(L+S)", "L/0", "2 L", "²", "é"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match=r"formula|bracket"):
        parse(text)


def test_powers_are_read():
    assert parse("(L+S)²") == parse("L*L + 2*L*S + S*S")
    assert parse("D¹⁰").terms == (((("D", 10),), 1),)
    assert parse("-L + 3") == Formula.constant(3) - Formula.symbol("L")


def test_a_number_that_is_not_whole_is_refused():
    with pytest.raises(ValueError, match=r"7/2 at .* not a whole number"):
        parse("L/2").evaluate({"L": 7})
    with pytest.raises(ValueError, match="divides by zero"):
        parse("1/L").evaluate({"L": 0})
    with pytest.raises(KeyError):
        parse("L").evaluate({})
    with pytest.raises(ValueError, match="one term"):
        parse("L") / parse("L + S")


def test_halves_may_add_up_to_a_whole():
    assert parse("L/2 + S/2").evaluate({"L": 3, "S": 5}) == 4


def test_symbols():
    formula = parse("4*B*L*L + S/p")
    assert formula.symbols == {"B", "L", "S", "p"}
