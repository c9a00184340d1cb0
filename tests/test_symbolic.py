"""The second derivation: torch's own algebra must give the formulas that the probes gave."""

import pytest
import torch
from torch import nn

from tracer import families
from tracer.api import letters_of, run, trace, with_formulas
from tracer.build import build_model, full_config
from tracer.calls import Attr, Call, Slice
from tracer.formula import Formula
from tracer.notation import parse
from tracer.recorder import record
from tracer.shapes import Dim
from tracer.symbolic import dim_of, symbolic_sizes

GRID = {"B": 3, "f": 17, "y": 38, "x": 46}  # frames, rows and columns of patches; far from published sizes
DEPTHS = {"num_layers": 2}
HUNYUAN = {"num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1}


def sizes_of(call: Call) -> dict[str, Dim]:
    """Every number of a call, by its place; bytes of operations, of which the others are sums."""
    out: list[tuple[str, Dim]] = []
    for what in ("inputs", "outputs", "weights"):
        for key, spec in getattr(call, what).items():
            out += [(f"{what}.{key}.{i}", d) for i, d in enumerate(spec.shape)]

    def attribute(place: str, value: Attr) -> None:
        if isinstance(value, Dim):
            out.append((place, value))
        elif isinstance(value, Slice | tuple):
            for i, inner in enumerate(value):
                attribute(f"{place}.{i}", inner)

    for key, value in call.attrs.items():
        attribute(f"attrs.{key}", value)
    out += [("flops", call.cost.flops), ("params", call.cost.params)]
    return dict(out) | ({"bytes": call.cost.bytes} if call.kind == "op" else {})


@pytest.mark.parametrize(
    ("name", "text", "changes", "fixed"),
    [
        ("cogvideox-5b", 301, DEPTHS, set()),
        ("cogvideox1.5-5b", 301, DEPTHS, set()),
        ("cogvideox-2b", 226, DEPTHS, {("L", 226)}),
        ("hunyuanvideo", 301, HUNYUAN, set()),
    ],
)
def test_both_derivations_agree_on_every_call(name, text, changes, fixed):
    family, checkpoint = families.find(name)
    config = full_config(family.model, {**checkpoint.config, **changes})
    patches = config["patch_size_t"] or 1
    sizes = {"F": GRID["f"] * patches, "H": GRID["y"] * config["patch_size"], "W": GRID["x"] * config["patch_size"]}
    values = {**letters_of(family, config, checkpoint.request), "B": GRID["B"], "L": text, **sizes}
    probed = with_formulas(run(family, config, values, "bfloat16"), family, config, values, "bfloat16")

    grid = {"F": f"{patches}*f", "H": "p*y", "W": "p*x"}
    numbers = {s: v for s, v in values.items() if s not in (*sizes, "B", "L")}
    numbers |= {depth: config[depth] for depth in family.depths}
    put_in = {**{s: parse(g).substitute({"p": values["p"]}) for s, g in grid.items()}, **numbers}

    model = build_model(family.model, config)
    with symbolic_sizes({**GRID, "L": text}) as symbolic:
        symbolic.adopt(model)
        given: dict[str, object] = {}
        for item in family.inputs(config):
            axes = [parse(axis).substitute(put_in) for axis in item.axes.split()]
            tensor = symbolic.empty(axes, "bfloat16" if item.dtype == "model" else item.dtype)
            head, _, index = item.name.partition(".")
            given[head] = (*given.get(head, ()), tensor) if index else tensor
        recording = record(model)
        with torch.no_grad(), recording:
            model(**given, return_dict=False)

    ours, theirs = list(probed.unfold().walk()), list(recording.trace.unfold().walk())
    assert [(c.path, c.name) for c in ours] == [(c.path, c.name) for c in theirs]
    held = {letter: Formula.constant(number) for letter, number in fixed}
    named = 0
    for mine, other in zip(ours, theirs, strict=True):
        seen, symbols = sizes_of(mine), sizes_of(other)
        if mine.fresh != other.fresh:  # attention lays its result out as the device likes; meta is not cpu
            assert mine.name in ("reshape", "flatten", "contiguous")
            del seen["bytes"], symbols["bytes"]
        assert all(place.startswith("attrs.") for place in seen.keys() ^ symbols.keys())
        for place in seen.keys() & symbols.keys():
            a, b = seen[place], symbols[place]
            assert a.size == b.size, (mine.path, mine.name, place)
            expected = a.expression().substitute(put_in).substitute(held)
            assert b.expression().substitute(held) == expected, (mine.path, mine.name, place)
            named += a.formula is not None
    assert named > 1000

    # all that torch had to assume is what the checkpoint fixes, and that this is not the published grid
    assumed = [g for g in symbolic.guards if g.letters and not g.differs]
    assert {g.fixed for g in assumed} == fixed, list(map(str, symbolic.guards))
    assert {letter for letter, _ in fixed} == set(family.fixed(config))


def test_at_the_published_grid_the_sizes_of_2b_are_constants():
    # the reason to derive away from it: the position table is compared with the request, and they are equal
    config = full_config("CogVideoXTransformer3DModel", {"num_layers": 1, "num_attention_heads": 2})
    model = build_model("CogVideoXTransformer3DModel", config)
    with symbolic_sizes({"B": 2, "L": 226, "f": 13, "y": 30, "x": 45}) as symbolic:
        symbolic.adopt(model)
        with torch.no_grad():
            model(
                symbolic.empty("B f 16 2*y 2*x", "bfloat16"),
                symbolic.empty("B L 4096", "bfloat16"),
                symbolic.empty("B", "int64"),
                return_dict=False,
            )
    assert {g.fixed for g in symbolic.guards if g.fixed} == {("L", 226), ("f", 13), ("y", 30), ("x", 45)}


def shapes(module: nn.Module, axes: str, **values: int) -> list[Dim]:
    with symbolic_sizes(values) as symbolic, record(symbolic.adopt(module)) as recording:
        module(symbolic.empty(axes))
    return list(recording.trace.root.output.shape)


class Folds(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0] // 2, -1, 4).flatten(1)


def test_sizes_become_polynomials():
    assert [str(d.expression()) for d in shapes(nn.Linear(6, 5), "B L+2*S 6", B=2, L=7, S=11)] == ["B", "L + 2·S", "5"]
    assert [str(d.expression()) for d in shapes(Folds(), "2*a 3*b 4", a=5, b=7)] == ["a", "24·b"]


def test_a_rounded_size_stays_a_number():
    batch, rounded = shapes(nn.AvgPool1d(2), "B L", B=3, L=9)
    assert (batch.size, str(batch.formula)) == (3, "B")
    assert (rounded.size, rounded.formula) == (4, None)


def test_plain_numbers_need_no_symbols():
    assert dim_of(7) == Dim(7)


class Picky(nn.Module):
    def forward(self, x):
        return x + 1 if x.shape[0] == 5 else x


def test_guards_are_told_in_the_given_names():
    with symbolic_sizes({"B": 5, "L": 7}) as symbolic:
        Picky()(symbolic.empty("B L"))
    assert [(str(g), g.letters, g.fixed) for g in symbolic.guards] == [("Eq(B, 5)", {"B"}, ("B", 5))]


@pytest.mark.parametrize("value", [0, 1])
def test_values_that_torch_takes_for_constants_are_refused(value):
    with pytest.raises(ValueError, match=f"L = {value} would not stay a name"):
        symbolic_sizes({"L": value})


def test_a_division_is_refused():
    with symbolic_sizes({"H": 6}) as symbolic, pytest.raises(ValueError, match="patch grid"):
        symbolic.size("H/2")


def test_the_published_trace_and_the_test_speak_of_the_same_letters():
    assert {"B", "F", "H", "W", "L", "p"} <= set(trace("cogvideox-5b", formulas=False).values)
