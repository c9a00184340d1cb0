"""The article's 50 rows: what can be checked of them, and whether the checks can fail."""

import subprocess
import sys

import pytest
import torch

from tracer.probes import reference
from tracer.probes.log import ProbeLog


def by_name(found):
    return {one.name: one for one in found}


def test_the_rows():
    rows = reference.measured()
    assert [row.step for row in rows] == list(range(50))
    assert rows[0] == (0, 1000.0, 0.796875, 1.0390625, 3.484375, 0.78515625)
    assert rows[-1] == (49, 20.0, 1.40625, 1.3671875, 1.5390625, 1.4296875)
    columns = list(zip(*rows, strict=True))[2:]
    assert [sum(column) for column in columns] == [45.4375, 73.2578125, 82.5625, 46.0703125]  # exact: bfloat16 numbers


def test_all_identities_hold():
    found = by_name(reference.identities())
    assert [name for name, one in found.items() if not one.holds] == []
    assert found["chain"].measured == found["timesteps"].measured == found["bfloat16"].measured == 0
    assert 0.0125 < found["interpolation"].measured < 0.013
    assert found["first change, conditional"].measured == pytest.approx(0.4436, abs=1e-4)
    assert found["first change, guided"].measured == pytest.approx(0.5964, abs=1e-4)
    assert found["first step"].measured == pytest.approx(0.0874, abs=1e-4)
    assert found["first step is the largest"].measured == pytest.approx(1.86, abs=0.01)


def test_torch_agrees_on_bfloat16():
    for row in reference.measured():
        values = torch.tensor(row[1:], dtype=torch.float64)
        assert torch.equal(values.bfloat16().double(), values)


def test_the_mixture_is_that_of_normal_numbers():
    draw = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 1_000_000, generator=draw, dtype=torch.float64)
    for sigma in (0.0, 0.3, 0.76, 1.0):
        x = (1 - sigma) * 1.792 * data + sigma * noise
        assert x.abs().mean().item() == pytest.approx(reference.mixed(sigma, 1.792), rel=3e-3)


@pytest.mark.parametrize(
    ("step", "changes", "fails"),
    [
        (7, {"timestep": 861.0}, "timesteps"),
        (7, {"latents": 0.71}, "chain"),
        (7, {"cond": 1.4766}, "bfloat16"),
        (0, {"latent_in": 0.8125}, "noise"),
        (30, {"latent_in": 0.95}, "interpolation"),
        (20, {"cond": 1.5625}, "plateau"),
        (1, {"cond": 1.4}, "first change, conditional"),
        (1, {"cfg": 1.5}, "first change, guided"),
        (49, {"cond": 1.453125}, "last change"),
        (0, {"cfg": 3.25}, "first step"),
        (30, {"cfg": 5.0}, "first step is the largest"),
        (49, {"latents": 1.5}, "velocity"),
        (12, {"latent_in": 0.6875}, "minimum"),
    ],
)
def test_a_changed_row_is_found(step, changes, fails):
    rows = reference.measured()
    rows[step] = rows[step]._replace(**changes)
    found = by_name(reference.identities(rows))
    assert not found[fails].holds, found[fails]


def test_the_log_has_every_value():
    log = reference.log()
    assert isinstance(log, ProbeLog)
    assert log.names("metric") == ["mean_abs"]
    rows = reference.measured()
    for column, (signal, branch) in {
        "latent_in": ("latents", ""), "cond": ("prediction", "cond"), "cfg": ("prediction", "combined"),
        "latents": ("latents_after", ""),
    }.items():  # fmt: skip
        assert log.curve(signal, "mean_abs", branch) == (list(range(50)), [getattr(row, column) for row in rows])
    assert [row.timestep for row in log.filter(signal="latents")] == [row.timestep for row in rows]
    assert log.runs[0]["sigmas"] == pytest.approx([1 - i / 50 for i in range(51)])
    assert {round(row.dt, 12) for row in log} == {-0.02}
    assert reference.WHERE in str(log.runs[0])


def test_it_is_read_without_torch():
    code = "import sys; from tracer.probes import reference; reference.identities(); reference.log()\n"
    code += "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
