"""Tiny models of every checkpoint: what is seen on the meta device is what happens on the CPU."""

import dataclasses

import pytest
import torch
from tiny_models import LAYERS, tiny
from torch._subclasses.fake_tensor import FakeTensorMode

from tracer import api
from tracer.build import build_model, full_config, model_class, ready
from tracer.shapes import ZERO

# Mochi turns autocast off for its angles, on the CPU in a way that torch warns of
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")


def traced(case, device="meta", dtype="float32"):
    config, values = tiny(case.family, case.checkpoint)
    return api.run(case.family, config, values, dtype, device=device)


def build_fake(name, config, **_):
    """A float32 model of fake tensors, whose data cannot be replaced."""
    model = model_class(name)(**config).eval()
    for module in model.modules():
        for key, buffer in module._buffers.items():
            if buffer is not None and key not in module._non_persistent_buffers_set:
                module._buffers[key] = buffer.to(torch.float32)
    return model


def shapes(trace):
    """A trace without what memory layout decides: whether a reshape copied, and the bytes that wrote."""
    return trace.map(lambda c: dataclasses.replace(c, fresh=(), cost=dataclasses.replace(c.cost, bytes=ZERO)))


def copies(trace):
    return [(c.path, c.name, c.fresh) for c in trace.walk()]


def test_meta_is_a_real_run_call_for_call(case, monkeypatch):
    torch.manual_seed(0)
    meta, real = traced(case), traced(case, "cpu")
    assert shapes(meta) == shapes(real)
    if not any(i.assume for i in case.family.inputs(case.config)):  # a fake tensor has no values to read
        monkeypatch.setattr(api, "build_model", build_fake)
        with FakeTensorMode():
            fake = traced(case, "cpu")
        assert shapes(real) == shapes(fake)
        assert copies(real) == copies(fake)
    # the CPU's attention kernel may return another layout, in which putting heads together is a view
    moved = {a[1] for a, b in zip(copies(meta), copies(real), strict=True) if a != b}
    assert moved <= {"reshape", "flatten"}


def test_a_tiny_model_has_real_numbers(case):
    config, values = tiny(case.family, case.checkpoint)
    torch.manual_seed(0)
    model = build_model(case.family.model, config, device="cpu", dtype="float32")
    with ready(case.family.inputs(config), values, device="cpu", dtype="float32") as inputs:
        out = model(**inputs, return_dict=False)[0]
    assert out.isfinite().all()
    assert out.abs().max() > 0


def test_two_runs_are_equal(case):
    assert traced(case) == traced(case)


def test_a_tiny_model_is_of_the_published_kind(case, seen):
    """Same modules, functions and operations at the same places as at full size."""
    config, _ = tiny(case.family, case.checkpoint)
    small = traced(case, dtype=case.checkpoint.dtype)
    full = full_config(case.family.model, case.checkpoint.config)
    assert all(config[d] == LAYERS < full[d] or config[d] == full[d] == LAYERS for d in case.family.depths)
    assert [(c.kind, c.pattern, c.name) for c in small.walk()] == [(c.kind, c.pattern, c.name) for c in seen.walk()]
