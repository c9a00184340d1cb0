"""What diffusers' schedulers do with sigmas, and that a schedule handed to them arrives as it is."""

import copy
import math

import diffusers
import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule as ltx_linear_quadratic
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule as mochi_linear_quadratic

from tracer.errors import BadRequest
from tracer.probes.handover import hand_to, using
from tracer.probes.named import names, schedule
from tracer.probes.schedules import Schedule
from tracer.probes.shifts import flow, flux, flux_mu, linear_quadratic, movie_gen
from tracer.probes.snr_shift import SnrShift
from tracer.probes.spread import equal_change

VALID = [text for text in names() if isinstance(schedule(text), Schedule) and schedule(text).valid]
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
TAKING = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(shift=7),
    "euler dynamic": lambda: FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1),
    "euler karras": lambda: FlowMatchEulerDiscreteScheduler(shift=3, use_karras_sigmas=True),
    "lcm": lambda: FlowMatchLCMScheduler(shift=17),
    "unipc": lambda: UniPCMultistepScheduler(**FLOW, flow_shift=5),
    "unipc dynamic": lambda: UniPCMultistepScheduler(**FLOW, use_dynamic_shifting=True, final_sigmas_type="sigma_min"),
    "flow map": lambda: diffusers.FlowMapEulerDiscreteScheduler(shift=5),
}
REFUSING = {
    "FlowMatchHeunDiscreteScheduler": (lambda c: c(shift=3), "its set_timesteps takes no sigmas"),
    "DPMSolverMultistepScheduler": (lambda c: c(use_flow_sigmas=True), "its set_timesteps takes no sigmas"),
    "DDIMScheduler": (lambda c: c(), "its set_timesteps takes no sigmas"),
    "UniPCMultistepScheduler": (lambda c: c(), "it does not take them"),
    "EulerDiscreteScheduler": (lambda c: c(beta_schedule="scaled_linear"), "it changes the sigmas"),
    "LTXEulerAncestralRFScheduler": (lambda c: c(), "it does not take them"),
    "CogVideoXDDIMScheduler": (lambda c: c(), "its noise levels are rows of a grid of alphas; shift those with snr:3"),
    "CogVideoXDPMScheduler": (lambda c: c(), "--snr-shift 3"),
}


def real(scheduler):
    return scheduler.sigmas.double().numpy()


def set_up(scheduler, *args, **kwargs):
    scheduler.set_timesteps(*args, **kwargs)
    return real(scheduler)


# What the schedulers do by themselves


@pytest.mark.parametrize("shift", [0.5, 1, 7, 17])
@pytest.mark.parametrize("steps", [1, 6, 50])
def test_the_pipelines_grids_are_shifted_once(shift, steps):
    hunyuan = np.linspace(1.0, 0.0, steps + 1)[:-1]
    ltx = np.linspace(1.0, 1 / steps, steps)
    for grid in (hunyuan, ltx):
        found = set_up(FlowMatchEulerDiscreteScheduler(shift=shift), sigmas=grid)
        np.testing.assert_allclose(found, flow(shift).sigmas(steps), atol=3e-7)


@pytest.mark.parametrize(("shift", "end"), [(3, 0.00893), (7, 0.04676), (17, 0.2244)])
def test_set_timesteps_shifts_its_own_end_twice(shift, end):
    for steps in (4, 50):
        found = set_up(FlowMatchEulerDiscreteScheduler(shift=shift), steps)
        assert found[-2] == pytest.approx(float(flow(shift**2).value(0.001)), rel=1e-5) == pytest.approx(end, rel=1e-3)
    late = FlowMatchEulerDiscreteScheduler()
    late.set_shift(shift)
    assert set_up(late, 50)[-2] == pytest.approx(float(flow(shift).value(0.001)), rel=1e-5)


def test_a_few_steps_of_the_doubly_shifted_grid():
    found = set_up(FlowMatchEulerDiscreteScheduler(shift=7), 4)
    assert found == pytest.approx([1, 0.934, 0.781, 0.0468, 0], abs=5e-4)
    given = set_up(FlowMatchEulerDiscreteScheduler(shift=7), sigmas=[1, 0.9, 0.5, 0.2])
    assert given == pytest.approx([1, 0.984, 0.875, 0.636, 0], abs=5e-4)
    kept = FlowMatchEulerDiscreteScheduler(shift=7)
    assert set_up(kept, timesteps=[1000, 500]) == pytest.approx([1, 0.875, 0])
    assert kept.timesteps.tolist() == [1000, 500]  # not those of the sigmas: 1000 and 875
    karras = set_up(FlowMatchEulerDiscreteScheduler(shift=7, use_karras_sigmas=True), sigmas=np.linspace(1, 0.2, 5))
    assert karras == pytest.approx([1, 0.896, 0.801, 0.7145, 0.636, 0], abs=5e-4)


@pytest.mark.parametrize("tokens", [64, 256, 1000, 4096, 8000])
@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_dynamic_shifting_is_a_flow_shift(tokens, kind):
    mu = calculate_shift(tokens)
    assert flux_mu(tokens) == pytest.approx(mu)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=kind)
    found = set_up(scheduler, sigmas=np.linspace(1, 1 / 20, 20), mu=mu)
    np.testing.assert_allclose(found, flux(tokens, kind).sigmas(20), atol=3e-7)


def test_shift_terminal_stretches_to_the_last_sigma():
    plain = set_up(FlowMatchEulerDiscreteScheduler(shift=3), sigmas=np.linspace(1, 1 / 9, 9))[:-1]
    found = set_up(FlowMatchEulerDiscreteScheduler(shift=3, shift_terminal=0.1), sigmas=np.linspace(1, 1 / 9, 9))[:-1]
    np.testing.assert_allclose(1 - found, (1 - plain) * 0.9 / (1 - plain[-1]), atol=3e-7)


def test_unipc_takes_its_own_grid_once():
    found = set_up(UniPCMultistepScheduler(**FLOW, flow_shift=5), 10)
    grid = np.linspace(1, 1 / 1000, 11)[:-1]
    np.testing.assert_allclose(found[:-1], flow(5).value(grid), atol=2e-6)
    assert found[0] == pytest.approx(1 - 1e-6, abs=1e-7)
    assert found[0] < 1


@pytest.mark.parametrize("steps", [*range(2, 12), 30, 49, 50, 51, 64])
def test_linear_quadratic_is_genmos(steps):
    for threshold in (0.025, 0.1):
        wanted = [*mochi_linear_quadratic(steps, threshold), 0]
        if linear_quadratic(threshold).for_steps(steps).valid:
            np.testing.assert_allclose(linear_quadratic(threshold).sigmas(steps), wanted, atol=1e-12)
    np.testing.assert_allclose(
        linear_quadratic().sigmas(steps)[:-1], np.asarray(ltx_linear_quadratic(steps))[:steps], atol=1e-6
    )
    for emulated in (250, 1000):
        wanted = mochi_linear_quadratic(steps, steps // 2 / emulated)
        np.testing.assert_allclose(movie_gen(emulated).sigmas(steps)[:-1], wanted, atol=1e-12)


def test_genmos_fast_mode():
    wanted = mochi_linear_quadratic(8, 0.1, 6)
    np.testing.assert_allclose(linear_quadratic(0.1, 0.75).sigmas(8)[:-1], wanted, atol=1e-12)


# Handing over


@pytest.mark.parametrize("kind", TAKING)
@pytest.mark.parametrize("text", VALID)
def test_the_schedule_arrives_as_it_is(kind, text):
    given = TAKING[kind]()
    before = dict(given.config)
    new = hand_to(given, text, 50)
    wanted = schedule(text).sigmas(50)
    assert type(new) is type(given)
    assert new.num_inference_steps == 50 == len(new.timesteps)
    first = 1e-6 if kind.startswith("unipc") else 0
    assert real(new)[0] == pytest.approx(1 - first, abs=1e-7)
    np.testing.assert_array_equal(new.sigmas[1:].float().numpy(), wanted[1:].astype(np.float32))
    np.testing.assert_allclose(new.timesteps.double() / 1000, wanted[:-1], atol=1e-3 if first else 1e-6)
    assert dict(given.config) == before
    assert "set_timesteps" not in vars(given)


def test_mochis_scheduler_counts_the_other_way():
    new = hand_to(FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "sech:5", 9)
    np.testing.assert_allclose(1 - real(new), schedule("sech:5").sigmas(9), atol=1e-7)
    np.testing.assert_allclose(new.timesteps / 1000, 1 - schedule("sech:5").sigmas(9)[:-1], atol=1e-7)


def test_euler_walks_the_sigmas():
    new = hand_to(FlowMatchEulerDiscreteScheduler(shift=7), "moviegen:250", 12)
    x, seen = torch.zeros(1, dtype=torch.float64), [1.0]
    for t in new.timesteps:
        x = new.step(torch.ones_like(x), t, x, return_dict=False)[0]
        seen.append(1 + float(x))
    np.testing.assert_allclose(seen, movie_gen(250).sigmas(12), atol=1e-6)


def test_whoever_sets_timesteps_says_only_how_many():
    new = hand_to(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), flow(3))
    for asked in (
        {"num_inference_steps": 7},
        {"sigmas": np.linspace(1, 0.3, 7), "mu": 2.0},
        {"timesteps": [900.0, 800, 700, 600, 500, 400, 300]},
        {"num_inference_steps": 7, "sigmas": list(np.linspace(1, 0.3, 7)), "device": "cpu", "mu": 1.0},
    ):
        new.set_timesteps(**asked)
        np.testing.assert_allclose(real(new), flow(3).sigmas(7), atol=1e-7)
    new.set_timesteps(5, "cpu")
    np.testing.assert_allclose(real(new), flow(3).sigmas(5), atol=1e-7)
    for given, said in (({"num_inference_steps": 0}, "0"), ({}, "None")):
        with pytest.raises(BadRequest, match=f"{said} steps cannot be sampled"):
            new.set_timesteps(**given)


def test_a_schedule_for_some_numbers_of_steps_is_refused_at_the_others():
    new = hand_to(FlowMatchEulerDiscreteScheduler(), movie_gen(30))
    new.set_timesteps(10)
    np.testing.assert_allclose(real(new), movie_gen(30).sigmas(10), atol=1e-7)
    with pytest.raises(BadRequest, match="moviegen:30 cannot place the steps of a sampler: its parabola would pass 1"):
        new.set_timesteps(50)


def test_a_deep_copy_follows_the_schedule_by_itself():
    new = hand_to(FlowMatchEulerDiscreteScheduler(shift=7), "sech:7", 4)
    other = copy.deepcopy(new)
    other.set_timesteps(9)
    assert (len(new.timesteps), len(other.timesteps)) == (4, 9)
    np.testing.assert_allclose(real(other), schedule("sech:7").sigmas(9), atol=1e-7)


def test_an_equal_change_schedule_arrives_too():
    found = equal_change([1, 0.6, 0.2, 0], [1.0, 5, 2])
    np.testing.assert_allclose(real(hand_to(TAKING["euler"](), found, 8)), found.sigmas(8), atol=1e-7)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize("name", REFUSING)
def test_schedulers_that_cannot_are_refused(name):
    make, why = REFUSING[name]
    with pytest.raises(BadRequest) as caught:
        hand_to(make(getattr(diffusers, name)), flow(7))
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} cannot be given a schedule: ")
    assert why in sentence
    assert "UniPCMultistepScheduler with use_flow_sigmas" in sentence
    assert "\n" not in sentence


def test_a_scheduler_that_changes_sigmas_is_refused():
    class Stubborn(FlowMatchEulerDiscreteScheduler):
        def set_timesteps(self, num_inference_steps=None, device=None, sigmas=None):
            super().set_timesteps(sigmas=np.asarray(sigmas) ** 2)

    class Clockwork(FlowMatchEulerDiscreteScheduler):
        def set_timesteps(self, num_inference_steps=None, device=None, sigmas=None):
            super().set_timesteps(sigmas=sigmas, timesteps=np.linspace(900, 100, len(sigmas)))

    with pytest.raises(BadRequest, match=r"^Stubborn cannot be given a schedule: it changes the sigmas"):
        hand_to(Stubborn(), flow(7))
    with pytest.raises(BadRequest, match=r"^Clockwork .*: its timesteps are not those of flow matching, 1000 sigma"):
        hand_to(Clockwork(), flow(7))


@pytest.mark.parametrize("text", ["uniform:1", "sign:1", "article-lq", "g:7", "h:7"])
def test_what_is_no_bijection_is_not_handed_over(text):
    with pytest.raises(BadRequest, match=rf"^{text}.* cannot place the steps of a sampler: "):
        hand_to(FlowMatchEulerDiscreteScheduler(), text)


def test_other_bad_hand_overs():
    with pytest.raises(BadRequest, match="a dict is no scheduler"):
        hand_to({}, flow(7))
    with pytest.raises(BadRequest, match="0 steps cannot be sampled"):
        hand_to(FlowMatchEulerDiscreteScheduler(), flow(7), 0)
    with pytest.raises(BadRequest, match="flow:1000000000 at 50 steps has sigmas that float32 cannot tell apart"):
        hand_to(FlowMatchEulerDiscreteScheduler(), flow(1e9), 50)
    with pytest.raises(
        BadRequest, match="FlowMatchEulerDiscreteScheduler has no grid of alphas to shift: snr:3 is for"
    ):
        hand_to(FlowMatchEulerDiscreteScheduler(), "snr:3")
    with pytest.raises(BadRequest, match="dict has no scheduler to give a schedule to"), using({}, flow(7)):
        pass


# CogVideoX's grid

PUBLISHED = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize("cls", [CogVideoXDDIMScheduler, CogVideoXDPMScheduler])
@pytest.mark.parametrize("scale", [1, 3, 0.5])
def test_the_grid_of_alphas_is_cogvideoxs(cls, scale):
    for zero in (True, False):
        real_grid = cls(**PUBLISHED | {"rescale_betas_zero_snr": zero}, snr_shift_scale=scale).alphas_cumprod
        np.testing.assert_allclose(SnrShift(scale, zero_snr=zero).alphas, real_grid, atol=1e-12)


@pytest.mark.parametrize("cls", [CogVideoXDDIMScheduler, CogVideoXDPMScheduler])
def test_a_grid_is_handed_to_cogvideox(cls):
    given = cls(snr_shift_scale=1, timestep_spacing="leading", prediction_type="v_prediction")
    new = hand_to(given, "snr:2", 30)
    abar = new.alphas_cumprod[new.timesteps].numpy()
    u = np.sqrt(1 - abar) / (np.sqrt(abar) + np.sqrt(1 - abar))
    np.testing.assert_allclose(u, SnrShift(2).sigmas(30)[:-1], atol=1e-9)
    np.testing.assert_array_equal(new.timesteps, SnrShift(2).timesteps(30))
    assert new.config.prediction_type == "v_prediction"
    assert (given.config.snr_shift_scale, given.config.timestep_spacing) == (1, "leading")
    assert float(new.final_alpha_cumprod) == 1  # the sampler ends on no noise


def test_trailing_rows_at_every_number_of_steps():
    """The arange of some step counts has one row too many, at timestep -1: the noisiest row, after the last step."""
    scheduler = CogVideoXDDIMScheduler(**PUBLISHED)
    odd = []
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        found = scheduler.timesteps.tolist()
        assert SnrShift().timesteps(steps).tolist() == found[:steps]
        assert found[steps:] in ([], [-1])
        odd += [steps] if len(found) > steps else []
    assert odd[:5] == [61, 103, 121, 122, 201]
    with pytest.raises(BadRequest, match="CogVideoXDDIMScheduler makes 62 timesteps of 61 steps, the last -1: take"):
        hand_to(scheduler, "snr:3", 61)


@pytest.mark.parametrize("steps", [7, 50, 60, 64])
def test_ddim_lands_a_fixed_number_of_rows_below(steps):
    new = hand_to(CogVideoXDDIMScheduler(**PUBLISHED), "snr:3", steps)
    landed = []
    for t in new.timesteps:
        abar = new.alphas_cumprod[t]
        noise = (1 - abar).sqrt().reshape(1)  # noise 1 and no video: the sample is sqrt(1 - abar), v is sqrt(abar)
        left = float(new.step(abar.sqrt().reshape(1), t, noise, return_dict=False)[0])
        landed.append(left / (left + math.sqrt(1 - left**2)))
    np.testing.assert_allclose(landed, SnrShift(3).landings(steps), atol=1e-6)
    exact = np.allclose(SnrShift(3).landings(steps), SnrShift(3).sigmas(steps)[1:])
    assert exact == (1000 % steps == 0)
    assert (landed[-1] > 0.04) == (steps != 50)


def test_bad_hand_overs_of_grids():
    with pytest.raises(BadRequest, match="1001 steps are more than the 1000 rows"):
        hand_to(CogVideoXDDIMScheduler(), "snr:3", 1001)


# Pipelines, which call set_timesteps themselves


@pytest.mark.parametrize("name", ["hunyuanvideo", "hunyuanvideo15-t2v", "framepack", "wan2.1-t2v", "mochi", "ltx"])
def test_a_pipeline_walks_the_schedule_within_the_block(name):
    pipe = tiny_pipelines.build(name)
    own, config = pipe.scheduler, dict(pipe.config)
    wanted = schedule("sech:5").sigmas(3)
    with using(pipe, "sech:5") as scheduler:
        assert pipe.scheduler is scheduler is not own
        tiny_pipelines.call(pipe, name, frames=5, steps=3)
    found = 1 - real(scheduler) if name == "mochi" else real(scheduler)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert scheduler.step_index == 3
    assert pipe.scheduler is own
    assert dict(pipe.config) == config
    tiny_pipelines.call(pipe, name, frames=5, steps=3)
    assert not np.allclose(np.sort(real(own)), np.sort(real(scheduler)), atol=1e-3)


def test_cogvideox_walks_another_grid_within_the_block():
    pipe = tiny_pipelines.build("cogvideox-2b")
    own = pipe.scheduler
    with using(pipe, "snr:1") as scheduler:
        tiny_pipelines.call(pipe, "cogvideox-2b", frames=5, steps=3)
    assert scheduler.timesteps.tolist() == SnrShift(1).timesteps(3).tolist()
    assert scheduler.config.snr_shift_scale == 1
    assert pipe.scheduler is own


def test_the_scheduler_returns_after_an_exception():
    pipe = tiny_pipelines.build("hunyuanvideo")
    own = pipe.scheduler
    with pytest.raises(KeyboardInterrupt), using(pipe, flow(3)):
        raise KeyboardInterrupt
    assert pipe.scheduler is own
    with pytest.raises(BadRequest, match="uniform:1 cannot place"), using(pipe, "uniform:1"):
        pass
    assert pipe.scheduler is own
    assert math.isclose(own.shift, own.config.shift)
