"""Values on the meta device: what the code reads there is what it would read on the CPU."""

import numpy as np
import pytest
import torch

from tracer.errors import RecordingError
from tracer.known import LARGEST, Known

MASK = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0]])
TIMES = torch.tensor([999.0, 500.0, 1.0])


def keep(mask, times):
    return [int(n) for n in mask.sum(dim=1)]


def places(mask, times):
    return mask.nonzero().tolist()


def flat_places(mask, times):
    return torch.nonzero(mask[0].flatten(), as_tuple=False).squeeze(-1).tolist()


def where(mask, times):
    return [i.tolist() for i in torch.where(mask == 0)]


def own_mask(mask, times):
    return times[:2][mask.bool()[:, 1]].tolist()


def nearest_step(mask, times):
    return (times == times[1]).nonzero().item()


def written_slice(mask, times):
    out = torch.zeros(2, 6, dtype=torch.bool, device=mask.device)
    for i in range(2):
        out[i, : mask.sum(dim=1)[i]] = True
    return out.tolist()


def written_view(mask, times):
    moved = times.clone()
    moved[:2].mul_(0.5)
    return moved.tolist()


def written_by_mask(mask, times):
    out = mask.clone()
    out[mask == 0] = 7
    return out.tolist()


def by_numpy(mask, times):
    return (times.numpy() / 2).tolist() + np.asarray(mask).tolist()


def from_numpy(mask, times):
    return torch.from_numpy(np.linspace(0, 1, 3)).to(device=times.device, dtype=torch.float32).tolist()


def from_list(mask, times):
    made = [torch.tensor([3, 4], device=mask.device), torch.as_tensor([5], device=mask.device), mask.new_tensor([6, 7])]
    return torch.cat(made).tolist()


def counted(mask, times):
    return torch.arange(5, device=mask.device).view(1, -1).expand(2, -1)[1].tolist()


def branch(mask, times):
    return "none" if torch.all(mask == 0) else f"{times[0]:.0f} {bool(mask.any())} {times.max().item()}"


def repeated(mask, times):
    return times.repeat_interleave(torch.tensor([1, 0, 2], device=times.device)).tolist()


def back(mask, times):
    return times.to("cpu").tolist() + times.cpu().tolist()


def equal(mask, times):
    return torch.equal(mask, mask.clone())


READERS = [
    keep, places, flat_places, where, own_mask, nearest_step, written_slice, written_view, written_by_mask, by_numpy,
    from_numpy, from_list, counted, branch, repeated, back, equal,
]  # fmt: skip


@pytest.mark.parametrize("read", READERS)
def test_reads_what_the_cpu_reads(read):
    expected = read(MASK, TIMES)
    with Known() as known:
        assert read(known.declare(MASK.clone()), known.declare(TIMES.clone())) == expected


@pytest.mark.parametrize("read", READERS)
def test_moving_to_meta_declares(read):
    expected = read(MASK, TIMES)
    with Known():
        assert read(MASK.to("meta"), TIMES.to("meta")) == expected


@pytest.mark.parametrize("mask", [MASK, torch.ones(2, 4), torch.zeros(2, 4)])
def test_a_known_mask_cuts_unknown_tensors(mask):
    x = torch.empty(2, 4, 5, device="meta")
    with Known() as known:
        kept = x[known.declare(mask.bool())]
        row = x[0][known.declare(mask.bool())[0]]
        first = x[0, : known.declare(mask.int()).sum(dim=1)[0]]
        x[known.declare(mask.bool())] = torch.zeros(5, device="meta")
    assert kept.shape == (int(mask.sum()), 5)
    assert row.shape == first.shape == (int(mask[0].sum()), 5)
    assert x.shape == (2, 4, 5)


def test_what_is_not_known_is_said():
    x = torch.empty(2, 4, device="meta", dtype=torch.bfloat16)
    with Known() as known, pytest.raises(RecordingError, match=r"reads the values of a \(\) tensor of bfloat16"):
        (x.sum() + known.declare(torch.ones(()))).to(torch.bfloat16).item()
    with Known(), pytest.raises(RecordingError, match=r"a \(2, 4\) tensor of bfloat16 \(numpy\)"):
        x.float().bfloat16().numpy()
    with Known(), pytest.raises(RecordingError, match="nonzero"):
        (x > 0).nonzero()


@pytest.mark.parametrize("write", [lambda v: v.normal_(), lambda v: v.copy_(torch.empty(2, device="meta"))])
def test_a_value_that_was_overwritten_is_not_known_any_more(write):
    with Known() as known:
        x = known.declare(torch.zeros(3))
        write(x[:2])
        with pytest.raises(RecordingError):
            x.sum().item()


def test_random_numbers_have_no_values():
    with Known(), pytest.raises(RecordingError):
        torch.rand(3, device="meta").tolist()


def test_large_values_are_let_go():
    with Known() as known:
        row = known.declare(torch.ones(1, 1)).expand(LARGEST, 2)
        assert known.value(row) is None
        assert known.value(row[:3]) is None


def test_layout_and_dtype_are_those_of_the_value():
    value = torch.arange(6, dtype=torch.int16).view(2, 3).t()
    with Known() as known:
        tensor = known.declare(value)
        assert tensor.device.type == "meta"
        assert (tensor.shape, tensor.stride(), tensor.dtype) == (value.shape, value.stride(), value.dtype)


def test_autocast_is_as_before_afterwards():
    before = torch.autocast
    with Known(), torch.autocast("meta", torch.float32), torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype is torch.bfloat16
    assert torch.autocast is before
    with pytest.raises(ZeroDivisionError), Known():
        1 / 0  # noqa: B018
    assert torch.autocast is before
    with pytest.raises(RuntimeError):
        torch.autocast("meta")


def test_cpu_tensors_are_left_alone():
    x = torch.randn(4)
    with Known():
        assert torch.equal(x + 1, x.add(1))
        assert x.sum().item() == pytest.approx(float(sum(x.tolist())))


PURE = {
    "linear": lambda x: torch.nn.functional.linear(x, x[0]),
    "norm": lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
    "groups": lambda x: torch.nn.functional.group_norm(x, 2),
    "cat": lambda x: torch.cat([x, x.half()], dim=-1),
    "attention": lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x),
    "strides": lambda x: x.transpose(1, 2) + 1,
    "several": lambda x: torch.max(x, dim=0).values,
    "number": lambda x: x * True,
    "other number": lambda x: x.sum(1, keepdim=False),
    "kept axis": lambda x: x.sum(1, keepdim=True),
}


@pytest.mark.parametrize("name", PURE)
def test_an_operation_seen_before_gives_the_same_again(name):
    x = torch.empty(2, 4, 4, device="meta")
    plain = PURE[name](x)
    with Known():
        first, again = PURE[name](x), PURE[name](x)
    for found in (first, again):
        assert (found.shape, found.stride(), found.dtype) == (plain.shape, plain.stride(), plain.dtype)
    assert first.untyped_storage()._cdata != again.untyped_storage()._cdata


def test_views_and_writes_are_never_taken_from_before():
    x = torch.empty(2, 4, device="meta")
    with Known():
        for _ in range(2):
            assert x.view(8).untyped_storage()._cdata == x.untyped_storage()._cdata
            assert x.add_(1) is x
            assert x.to(x.dtype) is x


def test_a_number_among_unknown_values_is_let_pass():
    with Known() as known:
        x = torch.empty(4, 4, device="meta") @ torch.rand(4, 4).to("meta")
        x = x + torch.nn.Parameter(torch.empty(4, device="meta"))
        x[1, :2] = 0
        assert known.value(x) is None
        with pytest.raises(RecordingError):
            x[1, 0].item()
