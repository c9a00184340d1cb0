"""What a call costs, from shapes alone: FLOPs, parameters, activation bytes. Numbers and formulas together.

FLOPs count a multiply-add as two and only what torch's FlopCounterMode counts: matrix products, convolutions
and attention. Attention is counted from the shapes of query, key and value, whether a mask is given or not,
because no kernel for these models skips masked tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction

from tracer.calls import Call, Cost, Trace
from tracer.shapes import ZERO, Dim, TensorSpec, product


def _operands(call: Call, *names: str) -> list[TensorSpec]:
    """The tensors an operation was given for these parameters.

    Positional ones come in order, under the names of the caller's variables. Keywords may come in any order,
    which shows in all of the parameters' own names being there.
    """
    if all(name in call.inputs for name in names):
        return [call.inputs[name] for name in names]
    return list(call.inputs.values())[: len(names)]


def _linear(call: Call) -> Dim:
    x, _ = _operands(call, "input", "weight")
    return _made(call) * x.shape[-1] * 2


def _made(call: Call) -> Dim:
    """How many numbers the first output holds."""
    return product(call.output.shape) if call.output is not None else ZERO


def _convolution(call: Call) -> Dim:
    _, weight = _operands(call, "input", "weight")  # (out, in / groups, *kernel): groups are counted already
    return _made(call) * product(weight.shape[1:]) * 2


def _transposed_convolution(call: Call) -> Dim:
    x, weight = _operands(call, "input", "weight")  # (in, out / groups, *kernel): every input is spread
    return product(x.shape) * product(weight.shape[1:]) * 2


def _attention(call: Call) -> Dim:
    query, key, value = _operands(call, "query", "key", "value")
    scores = product(query.shape[:-1]) * key.shape[-2] * 2  # of all query heads, shared keys or not
    return scores * query.shape[-1] + scores * value.shape[-1]


def _matmul(call: Call) -> Dim:
    a, _ = _operands(call, "input", "other" if call.name == "matmul" else "mat2")
    return _made(call) * a.shape[-1] * 2 if a.shape else ZERO


def _added_product(*names: str) -> Callable[[Call], Dim]:
    """Addmm and its kin: what is added comes first, then the two factors."""

    def count(call: Call) -> Dim:
        _, a, _ = _operands(call, "input", *names)
        return _made(call) * a.shape[-1] * 2

    return count


def _einsum(call: Call) -> Dim:
    """Pairs of operands from left to right; an index that only one of them has is summed away before."""
    equation = next((v for v in call.attrs.values() if isinstance(v, str)), "")
    given, arrow, wanted = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    specs = list(call.inputs.values())
    if len(terms) != len(specs) or len(specs) < 2:
        return ZERO
    sizes: dict[str, Dim] = {}
    operands: list[set[str]] = []
    for term, spec in zip(terms, specs, strict=True):
        head, dots, tail = term.partition("...")
        hidden = len(spec.shape) - len(head) - len(tail) if dots else 0
        letters = [*head, *(f".{hidden - i}" for i in range(hidden)), *tail]  # hidden axes align at the right
        operands.append(set(letters))
        for letter, dim in zip(letters, spec.shape, strict=True):
            if letter not in sizes or sizes[letter].size == 1:  # one is spread over the other's size
                sizes[letter] = dim
    out = {letter for operand in operands for letter in operand if letter[0] == "."}
    if arrow:
        out |= set(wanted.replace(".", ""))
    else:
        out |= {letter for letter in given if letter.isalpha() and given.count(letter) == 1}
    total = ZERO
    left = operands[0]
    for i, right in enumerate(operands[1:], start=2):
        later = out.union(*operands[i:])
        left = {x for x in left if x in right or x in later}
        right = {x for x in right if x in left or x in later}
        if not left | right <= later:  # else nothing is summed, and torch multiplies number by number
            total = total + product(sizes[x] for x in sorted(left | right)) * 2
        left = (left | right) & later
    return total


FLOPS: dict[str, Callable[[Call], Dim]] = {
    "linear": _linear,
    "conv1d": _convolution, "conv2d": _convolution, "conv3d": _convolution,
    "conv_transpose1d": _transposed_convolution, "conv_transpose2d": _transposed_convolution,
    "conv_transpose3d": _transposed_convolution,
    "scaled_dot_product_attention": _attention,
    "matmul": _matmul, "bmm": _matmul, "mm": _matmul,
    "addmm": _added_product("mat1", "mat2"), "addmm_": _added_product("mat1", "mat2"),
    "baddbmm": _added_product("batch1", "batch2"), "baddbmm_": _added_product("batch1", "batch2"),
    "einsum": _einsum,
}  # fmt: skip
"""FLOPs of an operation by its name; anything else counts as none."""


def own_cost(call: Call) -> Cost:
    """The cost of a call without its children."""
    if call.kind == "op":
        count = FLOPS.get(call.name)
        written = ZERO
        for spec, fresh in zip(call.outputs.values(), call.fresh, strict=False):
            if fresh:
                written = written + spec.nbytes
        try:
            flops = count(call) if count else ZERO
        except (ValueError, IndexError):  # another operation of that name: not the arguments that belong to it
            flops = ZERO
        return Cost(flops=flops, bytes=written)
    params = ZERO
    for spec in call.weights.values():
        params = params + product(spec.shape)
    return Cost(params=params)


def with_costs(trace: Trace) -> Trace:
    """The trace with the cost of every call, children included and repeats multiplied."""
    return trace.map(lambda call: dataclasses.replace(call, cost=total_cost(call)))


def total_cost(call: Call) -> Cost:
    """The cost of a call whose children have theirs."""
    total = own_cost(call)
    for child in call.children:
        total = total + child.all_cost
    return total


def attention_share(call: Call) -> Fraction:
    """The part of a call's FLOPs that `scaled_dot_product_attention` takes, between 0 and 1."""

    def attention(c: Call) -> int:
        if c.name == "scaled_dot_product_attention":
            return c.cost.flops.size
        return sum(attention(child) * child.repeat for child in c.children)

    return Fraction(attention(call), call.cost.flops.size) if call.cost.flops.size else Fraction(0)
