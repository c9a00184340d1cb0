"""The probe on a model whose velocity is known: the real pipeline against a float64 loop of its own."""

from itertools import pairwise
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.errors import BadRequest
from tracer.probes.analytic import AnalyticTransformer, Mixture
from tracer.probes.attach import L1Probe

SHAPE = (3, 2, 4, 4)
CFG = 5.0


def mixture(count=12, seed=0, spread=0.2, classes=3):
    draw = np.random.default_rng(seed)
    return Mixture(draw.normal(size=(count, *SHAPE)), spread, np.arange(count) % classes, draw.uniform(0.5, 1.5, count))


def pipeline(law, shift):
    pipe = diffusers.HunyuanVideoPipeline(
        text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, vae=None,
        transformer=AnalyticTransformer(law), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=shift),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample(law, *, shift=1.0, steps=50, cfg=1.0, kinds=(), seed=0, **options):
    """The log of one run of the real pipeline, and the noise it began with."""
    pipe = pipeline(law, shift)
    _, frames, height, width = law.shape
    noise = torch.randn(1, *law.shape, generator=torch.Generator().manual_seed(seed))
    given = pipe.transformer.prompt(*kinds)
    if cfg > 1:
        given |= pipe.transformer.prompt(negative=True) | {"true_cfg_scale": cfg}
    with L1Probe(pipe, **options) as probe:
        out = pipe(
            **given, latents=noise, height=8 * height, width=8 * width, num_frames=4 * (frames - 1) + 1,
            num_inference_steps=steps, output_type="latent",
        )  # fmt: skip
    return probe.log, noise.double(), out.frames


def density(law, x, sigma, weights):
    """log p(x) at sigma, by the definition of a mixture."""
    means = torch.from_numpy(law.means).flatten(1)
    variance = (1 - sigma) ** 2 * law.spread**2 + sigma**2
    normal = torch.distributions.Normal((1 - sigma) * means, variance**0.5)
    return torch.logsumexp(normal.log_prob(x.flatten(1)).sum(1) + torch.log(weights / weights.sum()), 0)


def by_score(law, x, sigma, kinds=None):
    """The velocity from the score that autograd finds.

    E[e | x] = -sigma score, E[x0 | x] = (x - sigma E[e | x]) / (1 - sigma), v = E[e - x0 | x].
    """
    weights = torch.from_numpy(law.weights)
    if kinds is not None:
        weights = weights * torch.isin(torch.from_numpy(law.classes), torch.tensor(kinds))
    if sigma > 1 - 1e-6:  # nothing of x0 is left in x
        mean = (weights[:, None] * torch.from_numpy(law.means).flatten(1)).sum(0) / weights.sum()
        return x - mean.reshape(x.shape)
    x = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(density(law, x, sigma, weights), x)
    noise = -sigma * score
    return noise - (x.detach() - sigma * noise) / (1 - sigma)


def by_hand(law, noise, sigmas, cfg, kinds):
    """A float64 loop: latents, and the three predictions, of each step."""
    x, steps = noise, []
    for sigma, after in pairwise(sigmas):
        cond, uncond = by_score(law, x, sigma, kinds or None), by_score(law, x, sigma)
        combined = uncond + cfg * (cond - uncond) if cfg > 1 else cond
        end = x + (after - sigma) * combined
        steps.append({"latents": x, "after": end, "cond": cond, "uncond": uncond, "combined": combined})
        x = end
    return steps


def schedule(shift, steps):
    t = np.linspace(1, 0, steps + 1)
    return shift * t / (1 + (shift - 1) * t)


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("shift", [1.0, 7.0])
def test_all_values_equal_a_float64_loop_over_the_exact_velocity(shift, cfg):
    law, steps = mixture(), 12
    log, noise, latents = sample(law, shift=shift, steps=steps, cfg=cfg, kinds=(1,), metrics="all", threshold=0.3)
    sigmas = schedule(shift, steps)
    exact = by_hand(law, noise, sigmas, cfg, [1])
    assert torch.allclose(latents.double(), exact[-1]["after"], atol=2e-5)
    assert log.curve("latents", "mean_abs")[1] == pytest.approx([mean(s["latents"]) for s in exact], rel=1e-5)
    assert log.curve("latents_after", "mean_abs")[1] == pytest.approx([mean(s["after"]) for s in exact], rel=1e-5)
    moved = [mean(s["after"] - s["latents"]) / mean(s["latents"]) for s in exact]
    assert log.curve("latents", "rel_l1")[1] == pytest.approx(moved, rel=1e-4)
    slopes = [m / (a - b) for m, a, b in zip(moved, sigmas, sigmas[1:], strict=False)]
    assert log.curve("latents", "rel_l1_per_dt")[1] == pytest.approx(slopes, rel=1e-4)
    for branch in ("cond", "combined", "uncond")[: 3 if cfg > 1 else 2]:
        v = [s[branch] for s in exact]
        pairs = list(zip(v[1:], v, strict=False))
        values = {
            "mean_abs": [mean(a) for a in v],
            "rel_l1": [mean(a - b) / mean(b) for a, b in pairs],
            "rel_l1_per_dt": [
                mean(a - b) / mean(b) / (s - e) for (a, b), s, e in zip(pairs, sigmas, sigmas[1:], strict=False)
            ],
            "magnitude_ratio": [(norm(a) / norm(b)).mean().item() for a, b in pairs],
            "cosine": [((a * b).sum(1) / norm(a) / norm(b)).mean().item() for a, b in pairs],
            "rel_l1_computed": computed(v, 0.3),
        }
        for metric, wanted in values.items():
            places, found = log.curve("prediction", metric, branch)
            assert places == list(range(steps))[-len(wanted) :]
            # a difference of float32 numbers: off by rounding of the numbers, not of itself
            assert found == pytest.approx(wanted, rel=2e-4, abs=2e-5), (branch, metric)
    assert [r.sigma for r in log.filter(signal="latents_after")] == pytest.approx(list(sigmas[:-1]), abs=1e-6)
    assert [r.dt for r in log.filter(signal="latents_after")] == pytest.approx(list(np.diff(sigmas)), abs=1e-6)
    assert log.runs[0]["sigmas"] == pytest.approx(list(sigmas), abs=1e-6)
    for signal, places in {"latents": sigmas, "prediction": sigmas[:-1]}.items():
        edges, values = log.spans(signal)
        assert edges == pytest.approx(list(places), abs=1e-6)
        assert values == log.curve(signal)[1]


def mean(a):
    return a.abs().mean().item()


def norm(a):
    return a.norm(dim=1)


def computed(v, threshold):
    last, out = v[0], []
    for a in v[1:]:
        out.append(mean(a - last) / mean(last))
        last = a if out[-1] > threshold else last
    return out


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(0.5, 20), steps=st.integers(1, 30), spread=st.floats(0.05, 2), seed=st.integers(0, 99))
def test_one_gaussian_moves_by_a_product(shift, steps, spread, seed):
    """With one component x - a m is multiplied by 1 + dt (sigma - a t²) / (a² t² + sigma²) in each step."""
    law = mixture(1, seed, spread, classes=1)
    log, noise, latents = sample(law, shift=shift, steps=steps, seed=seed)
    sigmas = schedule(shift, steps)
    s, dt = sigmas[:-1], np.diff(sigmas)
    factors = 1 + dt * (s - (1 - s) * spread**2) / ((1 - s) ** 2 * spread**2 + s**2)
    m = torch.from_numpy(law.means)
    product = np.cumprod([1, *factors])
    x = [float(p) * noise + (1 - a) * m for p, a in zip(product, sigmas, strict=True)]
    assert torch.allclose(latents.double(), x[-1], atol=1e-4)
    wanted = [mean(b - a) / mean(a) for a, b in pairwise(x)]
    assert log.curve("latents", "rel_l1")[1] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(sigma=st.floats(0.01, 0.99), seed=st.integers(0, 99), kind=st.sampled_from([None, 0, 1, 2]))
def test_the_velocity_is_that_of_the_score(sigma, seed, kind):
    law = mixture(seed=seed)
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    prompt = None if kind is None else np.eye(3)[kind]
    wanted = by_score(law, x, sigma, None if kind is None else [kind])
    assert np.allclose(law.velocity(x.numpy(), sigma, prompt), wanted.numpy(), rtol=1e-9, atol=1e-9)
    model = AnalyticTransformer(law, torch.float64)
    given = model.prompt(*[] if kind is None else [kind])["prompt_embeds"]
    out = model(x, torch.tensor([1000 * sigma], dtype=torch.float64), given, return_dict=False)[0]
    assert torch.allclose(out, wanted, rtol=1e-9, atol=1e-9)
    p = law.posterior(x.numpy(), sigma, prompt)
    assert p.sum() == pytest.approx(1)
    assert 0 <= law.entropy(x.numpy(), sigma, prompt)[0] <= np.log(12) + 1e-9


@pytest.fixture(scope="module")
def clips():
    return Mixture.clips(seed=1)


@pytest.mark.parametrize("steps", [20, 50])
@pytest.mark.parametrize("shift", [3.0, 7.0, 17.0])
def test_the_change_of_latents_follows_dt(clips, shift, steps):
    log = sample(clips, shift=shift, steps=steps, metrics=["rel_l1", "rel_l1_per_dt"])[0]
    dt = [-row.dt for row in log.filter(signal="latents", metric="rel_l1")]
    assert np.corrcoef(log.curve("latents", "rel_l1")[1], dt)[0, 1] > 0.9
    slopes = log.curve("latents", "rel_l1_per_dt")[1]
    assert max(slopes) < 2.5 * min(slopes)


def test_the_velocity_has_a_u_at_shift_one(clips):
    log = sample(clips, metrics="rel_l1")[0]
    steps, values = log.curve("prediction", branch="cond")
    low = steps[int(np.argmin(values))]
    fifth = max(v for i, v in zip(steps, values, strict=True) if i <= 10)
    assert 2 < low < 25
    assert fifth > 10 * min(values)
    assert values[-1] > 10 * min(values)
    late = values[-10:]
    assert late == sorted(late)


def test_the_left_arm_ends_where_the_component_is_decided(clips):
    """Nothing is left open about the clip after the left arm; one Gaussian has no such arm."""
    law = clips
    steps, sigmas = 50, schedule(1.0, 50)
    log, noise, _ = sample(law, steps=steps, metrics="rel_l1")
    x, open_ = noise.numpy(), []
    for s, e in pairwise(sigmas):
        open_.append(float(law.entropy(x, s)[0]))
        x = x + (e - s) * law.velocity(x, s)
    decided = next(i for i, nats in enumerate(open_) if nats < 0.1)
    assert open_[0] > 5
    values = log.curve("prediction", branch="cond")[1]
    assert max(values[:decided]) > 10 * max(values[decided + 2 : 25])
    one = sample(Mixture(law.means[:1], law.spread), metrics="rel_l1")[0].curve("prediction", branch="cond")[1]
    assert max(one[:10]) < 0.01


# bfloat16


class Loop:
    """A pipeline of one forward a step, as small as it gets."""

    def __init__(self, v, shift, steps=50):
        self.v = v
        self.transformer = torch.nn.Identity()
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        self.scheduler.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1])

    def __call__(self, x, steps):
        seen = []
        for t in self.scheduler.timesteps[:steps]:
            after = self.scheduler.step(self.transformer(self.v), t, x, return_dict=False)[0]
            seen.append((x, after))
            x = after
        return seen


@pytest.mark.parametrize(("shift", "low", "still"), [(7.0, 0.06, 0.30), (17.0, 0.27, 0.56)])
def test_a_difference_of_bfloat16_latents_measures_too_little_and_the_probe_does_not(shift, low, still):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, generator=draw).bfloat16()[None]
    v = (1.5 / 0.798 * torch.randn(200_000, generator=draw)).bfloat16()[None]
    pipe = Loop(v, shift)
    with L1Probe(pipe, signals="latents", metrics=["rel_l1"]) as probe:
        ((before, after),) = pipe(x, 1)
    assert after.dtype == torch.bfloat16
    dt = schedule(shift, 50)[0] - schedule(shift, 50)[1]
    true = mean(v.double()) * dt / mean(x.double())
    (row,) = probe.log
    assert (row.method, row.dtype, row.bound) == ("prediction*dt", "bfloat16", None)
    assert row.value == pytest.approx(true, rel=1e-4)
    differences = mean(after.double() - before.double()) / mean(before.double())
    assert 1 - differences / true == pytest.approx(low, abs=0.02)
    assert (after == before).double().mean() == pytest.approx(still, abs=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_difference_of_latents_is_as_good_as_its_bound(dtype):
    """With any other sampler: the rounding of what step returns stays below what the log says."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 100_000, generator=draw).to(dtype)
    v = torch.randn(1, 100_000, generator=draw).to(dtype)
    pipe = Loop(v, 5.0)
    pipe.scheduler = SimpleNamespace(
        step=lambda model_output, timestep, sample: ((sample.double() + 0.01 * model_output.double()).to(dtype),)
    )
    with L1Probe(pipe, signals="latents", metrics=["rel_l1", "rel_l1_per_dt"]) as probe:
        pipe.transformer(v)
        pipe.scheduler.step(v, 0, x)
    (row,) = probe.log  # without sigmas there is nothing to divide by
    true = 0.01 * mean(v.double()) / mean(x.double())
    assert (row.metric, row.method, row.dtype) == ("rel_l1", "difference", str(dtype).removeprefix("torch."))
    assert abs(row.value - true) <= row.bound + 1e-7
    assert row.bound == pytest.approx(torch.finfo(dtype).eps / 2, rel=0.02)


# what is refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.zeros((2, 3)), 0.0), "spread is above 0, not 0.0"),
        ((np.zeros((2, 3)), 1.0, [0]), "A mixture of 2 takes 2 classes"),
        ((np.zeros((2, 3)), 1.0, None, [1.0, -1.0]), "2 weights above 0"),
    ],
)
def test_what_is_no_mixture(arguments, says):
    with pytest.raises(BadRequest, match=says):
        Mixture(*arguments)


def test_what_no_transformer_is_made_of():
    with pytest.raises(BadRequest, match=r"takes latents \(channels, frames, height, width\), not \(3,\)"):
        AnalyticTransformer(Mixture(np.zeros((2, 3)), 1.0))
    with pytest.raises(BadRequest, match="classes 0 to 2, not 3"):
        AnalyticTransformer(mixture()).prompt(3)
