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
from tracer.shapes import DTYPE_BYTES, ZERO, Dim, TensorSpec, product


def _linear(call: Call) -> Dim:
    (x, *_), out = list(call.inputs.values()), call.output
    return product(out.shape) * x.shape[-1] * 2 if out else ZERO


def _convolution(call: Call) -> Dim:
    weight, out = list(call.inputs.values())[1], call.output
    return product(out.shape) * product(weight.shape[1:]) * 2 if out else ZERO


def _transposed_convolution(call: Call) -> Dim:
    x, weight, *_ = call.inputs.values()
    return product(x.shape) * product(weight.shape[1:]) * 2


def _attention(call: Call) -> Dim:
    query, key, value, *_ = call.inputs.values()
    scores = product(query.shape[:-1]) * key.shape[-2] * 2
    return scores * query.shape[-1] + scores * value.shape[-1]


def _matmul(call: Call) -> Dim:
    a, b, *_ = list(call.inputs.values())[-2:]
    out = call.output
    return product(out.shape) * a.shape[-1] * 2 if out and a.shape and b.shape else ZERO


def _einsum(call: Call) -> Dim:
    equation = next((v for v in call.attrs.values() if isinstance(v, str)), "")
    sizes: dict[str, Dim] = {}
    for term, spec in zip(equation.split("->")[0].split(","), call.inputs.values(), strict=False):
        sizes.update(zip(term.strip(), spec.shape, strict=False))
    return product(sizes.values()) * 2 if len(call.inputs) > 1 else ZERO


FLOPS: dict[str, Callable[[Call], Dim]] = {
    "linear": _linear,
    "conv1d": _convolution, "conv2d": _convolution, "conv3d": _convolution,
    "conv_transpose1d": _transposed_convolution, "conv_transpose2d": _transposed_convolution,
    "conv_transpose3d": _transposed_convolution,
    "scaled_dot_product_attention": _attention,
    "matmul": _matmul, "bmm": _matmul, "mm": _matmul, "baddbmm": _matmul, "addmm": _matmul,
    "einsum": _einsum,
}  # fmt: skip
"""FLOPs of an operation by its name; anything else counts as none."""


def _bytes(spec: TensorSpec) -> Dim:
    return product(spec.shape) * DTYPE_BYTES.get(spec.dtype, 1)


def own_cost(call: Call) -> Cost:
    """The cost of a call without its children."""
    if call.kind == "op":
        count = FLOPS.get(call.name)
        written = ZERO
        for spec, fresh in zip(call.outputs.values(), call.fresh, strict=False):
            if fresh:
                written = written + _bytes(spec)
        return Cost(flops=count(call) if count and call.inputs else ZERO, bytes=written)
    params = ZERO
    for spec in call.weights.values():
        params = params + product(spec.shape)
    return Cost(params=params)


def with_costs(trace: Trace) -> Trace:
    """The trace with the cost of every call, children included and repeats multiplied."""

    def settle(call: Call) -> Call:
        total = own_cost(call)
        for child in call.children:
            total = total + child.cost.times(child.times)
        return dataclasses.replace(call, cost=total)

    return trace.map(settle)


def attention_share(call: Call) -> Fraction:
    """The part of a call's FLOPs that `scaled_dot_product_attention` takes, between 0 and 1."""

    def attention(c: Call) -> int:
        if c.name == "scaled_dot_product_attention":
            return c.cost.flops.size
        return sum(attention(child) * child.repeat for child in c.children)

    return Fraction(attention(call), call.cost.flops.size) if call.cost.flops.size else Fraction(0)
