"""FLOPs and bytes: every count against torch's own counter, on real numbers."""

import dataclasses
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tracer import trace
from tracer.calls import Cost, Header, Trace
from tracer.cost import attention_share, own_cost, with_costs
from tracer.notation import parse
from tracer.recorder import record
from tracer.shapes import Dim


class Runs(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def measured(module, *inputs):
    """What we count and what torch counts."""
    with record(module) as recording:
        module(*inputs)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*inputs)  # the plain way: torch's counter knows no processor kernel for attention
    return recording.trace.root.cost.flops.size, counter.get_total_flops()


R = torch.randn
MODULES = {
    "linear": (nn.Linear(6, 5), R(2, 3, 6)),
    "linear without bias": (nn.Linear(6, 5, bias=False), R(6)),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1), R(2, 4, 9)),
    "conv2d, stride": (nn.Conv2d(4, 6, (2, 3), stride=2), R(2, 4, 9, 8)),
    "conv2d, groups": (nn.Conv2d(4, 6, 3, groups=2, padding="same"), R(2, 4, 9, 8)),
    "conv2d, depthwise, dilated": (nn.Conv2d(4, 4, 3, groups=4, dilation=2), R(2, 4, 9, 8)),
    "conv2d, circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), R(2, 4, 9, 8)),
    "conv2d without batch": (nn.Conv2d(4, 6, 3), R(4, 9, 8)),
    "conv3d": (nn.Conv3d(4, 6, (1, 2, 2), stride=(1, 2, 2)), R(2, 4, 3, 8, 6)),
    "transposed conv1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), R(2, 4, 9)),
    "transposed conv2d, groups": (nn.ConvTranspose2d(4, 6, 3, groups=2, padding=1), R(2, 4, 9, 8)),
    "transposed conv3d": (nn.ConvTranspose3d(4, 6, 2, stride=2, output_padding=1), R(2, 4, 3, 4, 5)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_cost_what_torch_counts(name):
    module, x = MODULES[name]
    with torch.no_grad():
        ours, theirs = measured(module, x)
    assert ours == theirs > 0


FUNCTIONS = {
    "matmul": (torch.matmul, R(3, 4), R(4, 5)),
    "matmul sign": (lambda a, b: a @ b, R(3, 4), R(4, 5)),
    "matmul, one with itself": (lambda a: a @ a, R(4, 4)),
    "matmul, batches": (torch.matmul, R(2, 7, 3, 4), R(2, 7, 4, 5)),
    "matmul, batches spread": (torch.matmul, R(2, 1, 3, 4), R(7, 4, 5)),
    "matmul, batch by matrix": (torch.matmul, R(2, 3, 4), R(4, 5)),
    "matmul, vector by matrix": (torch.matmul, R(4), R(4, 5)),
    "matmul, keywords": (lambda a, b: torch.matmul(other=b, input=a), R(3, 4), R(4, 5)),
    "bmm": (torch.bmm, R(2, 3, 4), R(2, 4, 5)),
    "bmm, keywords": (lambda a, b: torch.bmm(mat2=b, input=a), R(2, 3, 4), R(2, 4, 5)),
    "bmm, half keywords": (lambda a, b: torch.bmm(a, mat2=b), R(2, 3, 4), R(2, 4, 5)),
    "mm": (torch.mm, R(3, 4), R(4, 5)),
    "mm, written elsewhere": (lambda a, b: torch.mm(a, b, out=torch.empty(3, 5)), R(3, 4), R(4, 5)),
    "addmm": (torch.addmm, R(5), R(3, 4), R(4, 5)),
    "addmm, keywords": (lambda c, a, b: torch.addmm(mat1=a, mat2=b, input=c), R(3, 5), R(3, 4), R(4, 5)),
    "addmm, method": (lambda c, a, b: c.addmm(a, b, beta=2), R(3, 5), R(3, 4), R(4, 5)),
    "baddbmm": (torch.baddbmm, R(1, 3, 5), R(2, 3, 4), R(2, 4, 5)),
    "linear, keywords": (lambda x, w: functional.linear(weight=w, input=x), R(3, 4), R(5, 4)),
    "einsum": (lambda a, b: torch.einsum("b i d, b j d -> b i j", a, b), R(2, 3, 4), R(2, 5, 4)),
    "einsum, implicit": (lambda a, b: torch.einsum("ij,jk", a, b), R(2, 3), R(3, 4)),
    "einsum, ellipsis": (lambda a, b: torch.einsum("...ij,...jk->...ik", a, b), R(2, 1, 3, 4), R(7, 4, 5)),
    "einsum, summed before": (lambda a, b: torch.einsum("ij,jk->k", a, b), R(3, 4), R(4, 5)),
    "einsum, to a number": (lambda a, b: torch.einsum("ij,kj->", a, b), R(2, 3), R(4, 3)),
    "einsum, three": (lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c), R(2, 3), R(3, 4), R(4, 5)),
    "einsum, list": (lambda a, b: torch.einsum("ij,jk->ik", [a, b]), R(2, 3), R(3, 4)),
    "sdpa": (functional.scaled_dot_product_attention, R(2, 3, 5, 8), R(2, 3, 7, 8), R(2, 3, 7, 8)),
    "sdpa, mask": (
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(5, 7).bool()),
        R(2, 3, 5, 8), R(2, 3, 7, 8), R(2, 3, 7, 8),
    ),
    "sdpa, causal": (
        lambda q: functional.scaled_dot_product_attention(q, q, q, is_causal=True), R(2, 3, 5, 8),
    ),
    "sdpa, other values": (functional.scaled_dot_product_attention, R(2, 3, 5, 8), R(2, 3, 7, 8), R(2, 3, 7, 6)),
    "sdpa, keywords": (
        lambda q, k, v: functional.scaled_dot_product_attention(value=v, key=k, query=q),
        R(2, 3, 5, 8), R(2, 3, 7, 8), R(2, 3, 7, 6),
    ),
    "sdpa, shared keys": (
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        R(2, 6, 5, 8), R(2, 3, 7, 8), R(2, 3, 7, 8),
    ),
    "sdpa, wrong name": (lambda key, query: functional.scaled_dot_product_attention(key, query, query),
                         R(2, 3, 5, 8), R(2, 3, 7, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_cost_what_torch_counts(name):
    function, *inputs = FUNCTIONS[name]
    ours, theirs = measured(Runs(function), *inputs)
    assert ours == theirs > 0


@pytest.mark.parametrize(
    "function",
    [lambda a, b: torch.einsum("i,j->ij", a[0], b[0]), lambda a, b: torch.einsum("ij,ij->ij", a, b), torch.add],
)
def test_number_by_number_is_not_counted(function):
    assert measured(Runs(function), R(3, 4), R(3, 4)) == (0, 0)


def test_products_that_torch_leaves_out_are_counted():
    # its counter knows neither a matrix by a vector nor a product added in place
    assert measured(Runs(lambda c, a, b: c.addmm_(a, b)), R(3, 5), R(3, 4), R(4, 5))[0] == 2 * 3 * 4 * 5
    assert measured(Runs(torch.matmul), R(3, 4), R(4))[0] == 2 * 3 * 4
    assert measured(Runs(torch.matmul), R(4), R(4))[0] == 2 * 4


def test_another_operation_of_a_known_name_costs_nothing():
    op = next(c for c in recorded(lambda x: x + 1, R(2)).walk() if c.kind == "op")
    for name in ("matmul", "addmm", "scaled_dot_product_attention", "conv2d", "einsum", "linear"):
        assert own_cost(dataclasses.replace(op, name=name)).flops.size == 0


# bytes


def recorded(function, *inputs):
    module = Runs(function)
    with record(module) as recording:
        module(*inputs)
    return recording.trace


def bytes_of(function, *inputs):
    return recorded(function, *inputs).root.cost.bytes.size


def test_views_are_free():
    x = R(4, 6)
    for view in (
        lambda x: x.view(2, 12), lambda x: x.transpose(0, 1), lambda x: x[1:, None], lambda x: x.chunk(2),
        lambda x: x.reshape(24), lambda x: x.flatten(), lambda x: x.to(torch.float32), lambda x: x.expand(3, 4, 6),
        lambda x: x.contiguous(), lambda x: x.unbind(1), lambda x: x.split([1, 3]), lambda x: x.T,
        lambda x: functional.dropout(x, training=False),
    ):  # fmt: skip
        assert bytes_of(view, x) == 0


def test_what_is_copied_is_written():
    x = R(4, 6)
    assert bytes_of(lambda x: x.T.reshape(24), x) == 4 * 24
    assert bytes_of(lambda x: x.T.contiguous(), x) == 4 * 24
    assert bytes_of(lambda x: x.to(torch.bfloat16), x) == 2 * 24
    assert bytes_of(lambda x: x > 0, x) == 24
    assert bytes_of(lambda x: x + x[:, None], x) == 4 * 4 * 24
    assert bytes_of(lambda x: torch.cat([x, x]), x) == 4 * 48
    assert bytes_of(lambda x: torch.var_mean(x, dim=1), x) == 4 * 8


def test_writing_in_place_is_free():
    def change(x):
        x += 1
        x.mul_(2).relu_()
        x[1:] = 0
        return x

    assert bytes_of(change, R(4, 6)) == 0


def test_parameters_count_where_they_are_first_used():
    shared = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with record(model) as recording:
        model(R(2, 3))
    assert recording.trace.root.cost.params.size == 9
    assert recording.trace.root.cost.flops.size == 2 * 2 * (2 * 9)


# sums


@pytest.fixture(scope="module")
def traced():
    return trace("cogvideox-2b", frames=9, height=64, width=96)


def test_the_stages_sum_to_the_root(traced):
    total = sum(traced.stage_costs().values(), Cost())
    for what in ("flops", "params", "bytes"):
        ours, root = getattr(total, what), getattr(traced.root.cost, what)
        assert ours.size == root.size > 0
        assert ours.expression() == root.expression()


def test_every_call_costs_what_is_below_it(traced):
    for call in traced.walk():
        total = own_cost(call)
        for child in call.children:
            total = total + child.cost.times(child.times)
        assert call.cost == total
    assert with_costs(traced) == traced


def test_parameters_sum_to_the_model(traced):
    assert traced.root.cost.params.size == traced.header.params


def test_attention_share_is_attention_over_everything(traced):
    attention = [c for c in traced.unfold().walk() if c.name == "scaled_dot_product_attention"]
    share = attention_share(traced.root)
    assert share == Fraction(sum(c.cost.flops.size for c in attention), traced.root.cost.flops.size)
    assert 0 < share < 1
    assert attention_share(attention[0]) == 1
    assert attention_share(traced.find(name="Timesteps")[0]) == 0


def test_costs_carry_formulas():
    dims = {s: Dim(v, parse(s)) for s, v in (("B", 2), ("L", 7), ("D", 4))}
    call = next(c for c in recorded(torch.matmul, R(2, 7, 4), R(4, 5)).walk() if c.kind == "op")
    x, w = call.inputs.values()
    shape = (dims["B"], dims["L"], dims["D"])
    call = dataclasses.replace(
        call,
        inputs={"x": dataclasses.replace(x, shape=shape), "w": w},
        outputs={"0": dataclasses.replace(call.output, shape=(*shape[:2], Dim(5)))},
    )
    cost = with_costs(Trace(Header("m"), call)).root.cost
    assert (cost.flops.size, cost.flops.formula) == (560, parse("10*B*L*D"))
    assert (cost.bytes.size, cost.bytes.formula) == (280, parse("20*B*L"))
