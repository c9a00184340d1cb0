"""Schedules against their definitions in torch and their derivatives against autograd; fits against known answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.errors import BadRequest, UnknownName
from tracer.probes.article import article_g, article_h, article_linear_quadratic
from tracer.probes.distributions import by_distribution, secant
from tracer.probes.named import ENTRIES, names, schedule, table
from tracer.probes.schedules import Schedule, step_grid
from tracer.probes.shifts import flow, flux, flux_mu, linear, linear_quadratic, movie_gen, opensora_shift
from tracer.probes.snr_shift import SnrShift
from tracer.probes.spread import equal_change, fit_shift, nearest_shift

PI = math.pi
OPEN = np.linspace(0.003, 0.997, 142)  # no knee, joint or edge of a law lies on it
TORCH_NORMAL = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)

LAWS = {
    # F and its inverse, as the definitions have them; t is a float64 tensor within (0, 1)
    "logistic": (torch.sigmoid, torch.logit),
    "normal": (TORCH_NORMAL.cdf, TORCH_NORMAL.icdf),
    "t2": (lambda x: (1 + x / (2 + x**2).sqrt()) / 2, lambda p: (2 * p - 1) / (2 * p * (1 - p)).sqrt()),
    "cauchy": (lambda x: 0.5 + x.arctan() / PI, lambda p: torch.tan(PI * (p - 0.5))),
    "softsign": (
        lambda x: (1 + torch.nn.functional.softsign(x)) / 2,
        lambda p: torch.where(p < 0.5, (2 * p - 1) / (2 * p), (2 * p - 1) / (2 - 2 * p)),
    ),
    "uniform": (lambda x: (1 + torch.nn.functional.hardtanh(x)) / 2, lambda p: 2 * p - 1),
}


def gudermann(x):
    return 2 * torch.atan(torch.tanh(x / 2))


def sech_quantile(p):
    return 2 / PI * torch.asinh(torch.tan(PI * (p - 0.5)))


def moved(law, delta):
    cdf, quantile = LAWS[law]
    return lambda t: cdf(quantile(t) + delta)


def lq(threshold, knee):
    """Straight to the threshold, then the parabola through (1, 1) that leaves the joint with the same slope."""

    def curve(t):
        x = 1 - t
        a = threshold / knee
        c = (1 - threshold - a * (1 - knee)) / (1 - knee) ** 2
        return 1 - torch.where(x < knee, a * x, threshold + a * (x - knee) + c * (x - knee) ** 2)

    return curve


def article(t):
    x = 50 * (1 - t)
    return 1 - torch.where(x < 25, 0.004 * x, (x - 25 + 1.57) ** 2 / (25 + 1.57) ** 2 * (1 - 0.1) + 0.1)


DEFINED = {
    "linear": lambda t: t * 1.0,
    "flow:7": lambda t: 7 * t / (1 + 6 * t),
    "flow:0.3": lambda t: 0.3 * t / (1 - 0.7 * t),
    "flow:1": lambda t: t * 1.0,
    "sech:7": lambda t: 0.5 * (1 + 2 / PI * gudermann(PI / 2 * (sech_quantile(t) + 2 / PI * math.log(7)))),
    "sech:0.2": lambda t: 0.5 * (1 + 2 / PI * gudermann(PI / 2 * (sech_quantile(t) + 2 / PI * math.log(0.2)))),
    **{f"{law}:{d}": moved(law, float(d)) for law in LAWS for d in ("1", "-0.7", "2.5", "0")},
    "lq:0.1": lq(0.1, 0.5),
    "lq:0.1,0.75": lq(0.1, 0.75),
    "moviegen:250": lq(0.1, 0.5),
    "moviegen:1000": lq(0.025, 0.5),
    "moviegen:100,51": lq(0.25, 25 / 51),
    "article-lq:1.57": article,
    "g:7": lambda t: 49 * t * (1 + 3 * t) / (1 + 6 * t) ** 2,
    "g:0.4": lambda t: 0.16 * t * (1 - 0.3 * t) / (1 - 0.6 * t) ** 2,
    "g-normalised:7": lambda t: 49 * t * (1 + 3 * t) / (1 + 6 * t) ** 2 / 4,
    "h:7": lambda t: 7 * torch.arctan(math.sqrt(48) * t) / math.sqrt(48),
    "h:0.4": lambda t: 0.4 * torch.atanh(math.sqrt(0.84) * t) / math.sqrt(0.84),
    "h:1": lambda t: t * 1.0,
    "h-normalised:7": lambda t: torch.arctan(math.sqrt(48) * t) / math.atan(math.sqrt(48)),
    "flux:4096": lambda t: math.exp(1.15) / (math.exp(1.15) + 1 / t - 1),
    "flux-linear:256": lambda t: 0.5 / (0.5 + 1 / t - 1),
    "opensora:512x512x17": lambda t: math.sqrt(5) * t / (1 + (math.sqrt(5) - 1) * t),
}
FUNCTIONS = [
    s for s in map(schedule, dict.fromkeys([*names(), *DEFINED, "moviegen:300,299", "flow:17", "normal:-2"]))
    if isinstance(s, Schedule)
]  # fmt: skip
VALID = [s for s in FUNCTIONS if s.valid]
INVALID = {
    "uniform:1": "it is 0.5 at t = 0, not 0, and stays at 1 over 0.5 of the way",
    "uniform:-3": "it is 0 at t = 1, not 1, and stays at 0 over 1 of the way",
    "sign:1": "it is 1 for all t between 0 and 1, with a jump of 1",
    "sign:0": "it is 0.5 for all t between 0 and 1, with a jump of 0.5",
    "sign:-2": "it is 0 for all t between 0 and 1, with a jump of 1",
    "article-lq": "it jumps by 0.0031 at t = 0.5, from 0.9 to 0.89686",
    "g:7": r"g\(1\) is 4, not 1; g-normalised:7 divides by it",
    "h:7": r"h\(1\) is 1.44224, not 1; h-normalised:7",
    "lq:0.9": "its parabola would pass 1 and turn back, the slope at its end is -1.4; lower the threshold 0.9",
}


def by_name(found):
    return [pytest.param(s, id=s.name) for s in found]


def test_every_name_is_defined_here_or_a_grid():
    plain = {text.partition(":")[0] for text in DEFINED}
    assert set(ENTRIES) - plain == {"sign", "snr"}


@pytest.mark.parametrize("text", DEFINED)
def test_values_and_derivatives_are_those_of_the_definition(text):
    t = torch.tensor(OPEN, dtype=torch.float64, requires_grad=True)
    wanted = DEFINED[text](t)
    slopes = torch.autograd.grad(wanted.sum(), t)[0]
    found = schedule(text)
    np.testing.assert_allclose(found.value(OPEN), wanted.detach(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.derivative(OPEN), slopes, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("found", by_name(VALID))
def test_valid_ones_are_bijections(found):
    t = np.linspace(0, 1, 801)
    sigma = found.value(t)
    assert sigma[0] == 0
    assert sigma[-1] == 1
    assert (np.diff(sigma) > 0).all()
    gentle = OPEN[np.abs(np.log(found.derivative(OPEN))) < 8]  # elsewhere float64 has lost digits of t or sigma
    np.testing.assert_allclose(found.inverse(found.value(gentle)), gentle, atol=1e-9)
    np.testing.assert_allclose(found.value(found.inverse(gentle)), gentle, atol=1e-9)
    assert found.inverse(0) == 0
    assert found.inverse(1) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("found", by_name(VALID))
def test_slopes_are_the_limits_of_the_curve(found):
    for t, slope in zip((0.0, 1.0), found.slopes, strict=True):
        seen = [float(abs(found.value(abs(t - h)) - found.value(t)) / h) for h in (1e-4, 1e-6)]
        if slope in (0, math.inf):  # the normal law gets there slowly
            assert (seen[1] / seen[0]) ** (1 if slope else -1) > 1.5
        else:
            assert seen[1] == pytest.approx(slope, rel=0.01, abs=0.01)


@pytest.mark.parametrize("found", by_name(VALID))
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_sigmas_begin_at_noise_and_end_clean(found, steps):
    sigmas = found.sigmas(steps)
    assert sigmas.shape == (steps + 1,)
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()
    if found.members is None:
        np.testing.assert_array_equal(sigmas, found.value(1 - np.arange(steps + 1) / steps))


@pytest.mark.parametrize("text", INVALID)
def test_the_others_say_why(text):
    found = schedule(text)
    assert not found.valid
    for use in (lambda: found.sigmas(50), lambda: found.inverse(0.5), found.require):
        with pytest.raises(BadRequest, match=rf"cannot place the steps of a sampler: {INVALID[text]}"):
            use()
    assert found.values(50).shape == (51,)  # they can be looked at


def test_degenerate_parameters_are_valid_again():
    for text in ("uniform:0", "g:1", "h:1"):
        np.testing.assert_allclose(schedule(text).sigmas(10), linear().sigmas(10), atol=1e-15)


unhurried = settings(deadline=None)
shifts = st.floats(-6, 6).map(math.exp)
points = st.floats(0, 1)


@unhurried
@given(shifts, shifts, points)
def test_flow_shifts_multiply(s, r, t):
    both = flow(s * r)
    assert flow(s).value(flow(r).value(t)) == pytest.approx(both.value(t), rel=1e-9, abs=1e-15)
    assert flow(s).inverse(t) == pytest.approx(flow(1 / s).value(t), rel=1e-9, abs=1e-15)


@unhurried
@given(shifts, st.floats(1e-6, 1 - 1e-6))
def test_flow_shift_moves_the_logit(s, t):
    sigma = float(flow(s).value(t))
    assert math.log(sigma) - math.log1p(-sigma) == pytest.approx(math.log(t) - math.log1p(-t) + math.log(s), abs=1e-6)


@unhurried
@given(shifts)
def test_flow_and_secant_share_their_end_slopes(s):
    for found in (flow(s), secant(s)):
        assert found.slopes == pytest.approx((s, 1 / s))
    assert flow(s).derivative(1 / (1 + math.sqrt(s))) == pytest.approx(1)
    assert by_distribution("sech", 2 / PI * math.log(s)).value(0.3) == pytest.approx(secant(s).value(0.3))
    assert by_distribution("logistic", math.log(s)).value(0.3) == pytest.approx(flow(s).value(0.3))


@unhurried
@given(st.sampled_from(["logistic", "normal", "t2", "sech", "cauchy", "softsign"]), st.floats(-3, 3), points)
def test_laws_are_symmetric_bijections(law, delta, t):
    found, mirrored = by_distribution(law, delta), by_distribution(law, -delta)
    sigma = float(found.value(t))
    assert 0 <= sigma <= 1
    assert sigma == pytest.approx(1 - float(mirrored.value(1 - t)), abs=1e-8)
    assert sigma >= t - 1e-12 if delta >= 0 else sigma <= t + 1e-12
    assert found.derivative(t) >= 0
    if 1e-6 < t < 1 - 1e-6 and 1e-6 < sigma < 1 - 1e-6:
        assert found.inverse(sigma) == pytest.approx(t, rel=1e-4)
        assert by_distribution(law, delta / 2).value(by_distribution(law, delta / 2).value(t)) == pytest.approx(
            sigma, rel=1e-6
        )


@unhurried
@given(st.sampled_from(["t2", "cauchy", "softsign"]), st.floats(-5, 5))
def test_power_tails_have_end_slopes_one(law, delta):
    assert by_distribution(law, delta).slopes == pytest.approx((1, 1))


def test_other_scales_and_cuts_of_a_law():
    x = torch.linspace(-0.9, 0.9, 19, dtype=torch.float64)
    narrow = (1 + x / (1 + x**2).sqrt()) / 2  # the t2 law drawn together by sqrt 2
    moved_on = (1 + (x + 0.8) / (1 + (x + 0.8) ** 2).sqrt()) / 2
    np.testing.assert_allclose(by_distribution("t2", math.sqrt(2) * 0.8).value(narrow), moved_on)
    uniform = torch.nn.functional.hardtanh(x) / 2 + 0.5
    np.testing.assert_allclose(by_distribution("uniform", 0.4).value(uniform), (uniform + 0.2).clamp(0, 1))
    assert torch.diff(torch.nn.functional.hardsigmoid(x)).mean() / 0.1 == pytest.approx(1 / 6)  # another cut
    assert torch.diff(uniform).mean() / 0.1 == pytest.approx(1 / 2)


def test_normal_has_no_finite_end_slopes():
    assert schedule("normal:1").slopes == (math.inf, 0)
    assert schedule("normal:-1").slopes == (0, math.inf)
    assert schedule("normal:0").slopes == (1, 1)


@unhurried
@given(shifts)
def test_article_g_and_h_at_their_ends(s):
    g, h = article_g(s), article_h(s)
    assert g.value(1) == pytest.approx((s + 1) / 2)
    assert g.slopes == pytest.approx((s**2, 1 / s))
    assert h.slopes == pytest.approx((s, 1 / s))
    assert article_g(s, normalised=True).slopes == pytest.approx((2 * s**2 / (s + 1), 2 / (s * (s + 1))))
    if s > 1.001:
        w = math.sqrt(s * s - 1)
        assert h.value(1) == pytest.approx(s * math.atan(w) / w)
        assert 1 < h.value(1) < PI / 2


def test_article_h_at_one_grows_to_half_pi():
    ends = [float(article_h(s).value(1)) for s in (2, 3, 7, 12, 17)]
    assert ends == pytest.approx([1.209, 1.306, 1.442, 1.493, 1.515], abs=5e-4)
    assert article_h(1e6).value(1) == pytest.approx(PI / 2, abs=1e-5)
    assert article_h(7, normalised=True).slopes == pytest.approx((4.85, 0.099), abs=0.005)


def test_article_linear_quadratic_jumps():
    found = article_linear_quadratic()
    before, after = found.value(np.array([0.5 + 1e-12, 0.5]))
    assert before - after == pytest.approx(found.jump, abs=1e-9)
    assert found.jump == pytest.approx(0.00314, abs=5e-6)
    dt = -np.diff(found.values(50))
    assert dt[:24] == pytest.approx(0.004)
    assert dt[24] == pytest.approx(0.00714, abs=5e-6)  # the step over the joint
    assert found.derivative(0.5) / 50 == pytest.approx(0.004003, abs=5e-7)
    root = 200 - math.sqrt(200**2 - 625)
    assert root == pytest.approx(1.56865, abs=5e-6)
    assert article_linear_quadratic(root).derivative(0.5) / 50 == pytest.approx(0.004, abs=1e-12)
    u = np.arange(26)
    mended = 0.1 + 0.004 * u + 0.00128 * u**2
    np.testing.assert_allclose(1 - movie_gen(250).sigmas(50)[25:], mended, atol=1e-12)


def test_movie_gen_walks_as_the_emulated_run_first():
    for emulated, steps, reached in ((250, 50, 0.1), (1000, 50, 0.025), (250, 40, 0.08), (250, 51, 0.1)):
        sigmas = movie_gen(emulated).sigmas(steps)
        straight = steps // 2
        assert -np.diff(sigmas)[:straight] == pytest.approx(1 / emulated)
        assert 1 - sigmas[straight] == pytest.approx(reached)
        assert -np.diff(sigmas)[straight] > 1 / emulated
    assert 1 / (linear_quadratic(0.025).sigmas(30)[0] - linear_quadratic(0.025).sigmas(30)[1]) == pytest.approx(600)
    assert 1 / (1 - linear_quadratic(0.025).sigmas(64)[1]) == pytest.approx(1280)


def test_flow_shift_numbers():
    ends = {(7, 10): 0.4375, (7, 50): 0.125, (17, 10): 0.654, (17, 50): 0.2576}
    for (s, n), last in ends.items():
        sigmas = flow(s).sigmas(n)
        assert sigmas[-2] == pytest.approx(s / (n + s - 1)) == pytest.approx(last, abs=2e-4)
        assert 1 - sigmas[1] == pytest.approx(1 / (1 + s * (n - 1)))
    assert [1 - flow(s).sigmas(50)[1] for s in (7, 17)] == pytest.approx([0.00291, 0.0012], abs=5e-6)
    rows = {row.name: row for row in table(["flow:7", "flow:17", "flow:8", "flow:9", "flow:39"], 50)}
    assert [1 - rows[f"flow:{s}"].quarters[1] for s in (7, 17, 8, 9, 39)] == pytest.approx(
        [0.125, 0.0556, 0.111, 0.1, 0.025], abs=2e-4
    )
    assert rows["flow:7"].steps_to_tenth == pytest.approx(21.9, abs=0.05)
    assert rows["flow:17"].steps_to_tenth == pytest.approx(32.7, abs=0.05)
    assert rows["flow:9"].steps_to_tenth == pytest.approx(25)
    assert (secant(7).value(0.5), flow(7).value(0.5)) == pytest.approx((0.910, 0.875), abs=5e-4)


def test_shifts_that_follow_the_size():
    assert [math.exp(flux_mu(n)) for n in (256, 4096)] == pytest.approx([1.65, 3.16], abs=5e-3)
    assert flux_mu(4096, base_shift=0.95, max_shift=2.05) == pytest.approx(2.05)
    assert flux(1000, base_shift=0.95, max_shift=2.05).slopes[0] > flux(1000).slopes[0]
    assert opensora_shift(480, 854, 51) == pytest.approx(4.84, abs=5e-3)
    assert opensora_shift(720, 1280, 204) == pytest.approx(14.5, abs=0.05)
    assert opensora_shift(512, 512, 1) == 1


def test_snr_shift_divides_the_signal_to_noise_ratio():
    def ratio(grid):
        return grid.alphas / (1 - grid.alphas)

    def odds(grid):
        return grid.levels[:-1] / (1 - grid.levels[:-1])  # the last row of a stretched grid is noise alone

    plain, shifted = SnrShift(1, zero_snr=False), SnrShift(3, zero_snr=False)
    np.testing.assert_allclose(ratio(shifted) / ratio(plain), 1 / 3)
    np.testing.assert_allclose(odds(shifted) / odds(plain), math.sqrt(3))
    stretched = odds(SnrShift(3)) / odds(SnrShift(1))
    assert 1.705 < stretched.min() < stretched.max() < 1.78
    assert SnrShift(3).alphas[-1] == 0
    assert SnrShift(3).sigmas(50)[0] == 1
    at = [0, 1, 12, 25, 37, 49]
    assert SnrShift(3).sigmas(50)[at] == pytest.approx([1, 0.995, 0.910, 0.754, 0.565, 0.192], abs=5e-4)
    assert SnrShift(1).sigmas(50)[at] == pytest.approx([1, 0.991, 0.851, 0.639, 0.430, 0.122], abs=5e-4)


@pytest.mark.parametrize(("scale", "least", "shift", "largest"), [
    (3, "largest", 5.2, 0.096), (1, "largest", 2.5, 0.075), (3, "rms", 3.82, 0.1205), (1, "rms", 2.03, 0.0911),
])  # fmt: skip
def test_no_flow_shift_is_an_snr_shift(scale, least, shift, largest):
    fit = nearest_shift(step_grid(50), SnrShift(scale).sigmas(50), least)
    assert fit.shift == pytest.approx(shift, abs=0.03)
    assert fit.largest == pytest.approx(largest, abs=5e-4)


def test_table_compares_all():
    rows = table([*names(), linear()], 50)
    assert [row.name for row in rows] == [schedule(n).name for n in names()] + ["linear"]
    found = {row.name: row for row in rows}
    assert found["linear"].quarters == pytest.approx((0.75, 0.5, 0.25))
    assert found["linear"].first == found["linear"].last == pytest.approx(0.02)
    assert found["moviegen:250"].steps_to_tenth == pytest.approx(25)
    assert found["sech:7"].slope_clean == pytest.approx(7)
    assert found["snr:3"].slope_clean is None
    assert found["snr:3"].reason is None
    assert found["article-lq:1.57"].jump == pytest.approx(0.00314, abs=5e-6)
    assert {row.name for row in rows if row.reason} == {s.name for s in FUNCTIONS if not s.valid} & set(found)
    for row in rows:
        same = schedule(row.name) if row.name != "linear" else linear()
        sigmas = same.values(50) if isinstance(same, Schedule) else same.sigmas(50)
        assert row.largest == pytest.approx(float(np.max(-np.diff(sigmas))))
    assert table(["uniform:-3"], 4)[0].steps_to_tenth == 0
    assert table([article_h(0.2)], 1)[0].quarters[1] == pytest.approx(article_h(0.2).value(1) / 2)


@pytest.mark.parametrize("found", by_name(FUNCTIONS))
def test_names_can_be_typed_again(found):
    again = schedule(found.name)
    assert again.name == found.name
    np.testing.assert_array_equal(again.values(5), found.values(5))


@pytest.mark.parametrize(("text", "error", "sentence"), [
    ("flwo:7", UnknownName, "No schedule is called 'flwo:7': did you mean flow:7?"),
    ("seching", UnknownName, "did you mean sech?"),
    ("", UnknownName, "No schedule is called '': known are linear, flow, sech"),
    ("flow", BadRequest, "flow is not how this schedule is typed: it is flow:7."),
    ("flow:", BadRequest, "flow: is not how this schedule is typed"),
    ("flow:7,8", BadRequest, "it is flow:7."),
    ("flow:seven", BadRequest, "flow:seven is not how"),
    ("linear:1", BadRequest, "linear:1 is not how this schedule is typed: it is linear."),
    ("flow:0", BadRequest, "shift 0 makes no schedule: it is a number above 0, as in flow:7."),
    ("flow:-3", BadRequest, "shift -3 makes no schedule"),
    ("flow:nan", BadRequest, "shift nan makes no schedule: it is a finite number, as in flow:7."),
    ("sech:inf", BadRequest, "shift inf makes no schedule"),
    ("sech:1e300", BadRequest, "shift 1e+300 makes no schedule: it lies between 1e-15 and 1e15"),
    ("g:0", BadRequest, "shift 0"),
    ("h-normalised:-1", BadRequest, "shift -1"),
    ("normal:nan", BadRequest, "delta nan makes no schedule"),
    ("cauchy:21", BadRequest, "delta 21 makes no schedule: it lies between -20 and 20, as in cauchy:1."),
    ("uniform:inf", BadRequest, "delta inf"),
    ("sign:nan", BadRequest, "delta nan"),
    ("lq:0", BadRequest, "threshold 0 makes no schedule: it lies between 0 and 1"),
    ("lq:0.1,1", BadRequest, "share 1 makes no schedule"),
    ("moviegen:0", BadRequest, "0 steps cannot be sampled"),
    ("moviegen:2.5", BadRequest, "moviegen:2.5 is not how"),
    ("moviegen:20", BadRequest, "moviegen:20 cannot be walked in 50 steps: take fewer than 40."),
    ("article-lq:0", BadRequest, "a 0 makes no schedule"),
    ("flux:0", BadRequest, "image tokens 0"),
    ("flux:1e9", BadRequest, "makes no schedule: it lies between 1e-15 and 1e15"),
    ("opensora:480x854", BadRequest, "it is opensora:480x854x51."),
    ("opensora:480x854x9", BadRequest, "9 frames have no latent frame in Open-Sora's rule: take 1, or 17 and more."),
    ("opensora:0x854x51", BadRequest, "height 0"),
    ("snr:0", BadRequest, "SNR shift 0 makes no schedule: it is a number above 0, as in snr:3."),
])  # fmt: skip
def test_bad_names_are_said_in_a_sentence(text, error, sentence):
    with pytest.raises(error) as caught:
        schedule(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, None, "five", math.nan])
def test_steps_are_whole_numbers_from_one_on(steps):
    for use in (flow(7).sigmas, flow(7).values, movie_gen().sigmas, SnrShift().sigmas, lambda n: table(["flow:7"], n)):
        with pytest.raises(BadRequest, match=f"^{steps} steps cannot be sampled: steps are a whole number from 1 on"):
            use(steps)


def test_points_outside_and_other_bad_arguments():
    with pytest.raises(BadRequest, match=r"t 1.5 is outside a schedule: it lies in \[0, 1\]"):
        flow(7).value([0.5, 1.5])
    with pytest.raises(BadRequest, match="t nan is outside"):
        flow(7).derivative(math.nan)
    with pytest.raises(BadRequest, match="sigma -1 is outside"):
        flow(7).inverse(-1)
    with pytest.raises(BadRequest, match="shift True makes no schedule"):
        flow(True)
    with pytest.raises(BadRequest, match="1001 steps are more than the 1000 rows"):
        SnrShift().sigmas(1001)
    with pytest.raises(UnknownName, match="No distribution is called 'cauchi': did you mean cauchy"):
        by_distribution("cauchi", 1)
    with pytest.raises(BadRequest, match="time shift 'cubic' is unknown: it is exponential or linear"):
        flux(4096, "cubic")
    with pytest.raises(BadRequest, match="mu needs two counts of tokens to lie between, not 256 twice"):
        flux_mu(300, max_tokens=256)
    with pytest.raises(BadRequest, match=r"mu -0\.2 makes no schedule"):
        flux(256, "linear", base_shift=-0.2)
    with pytest.raises(BadRequest, match=r"lq:0.1,0.1 has no straight step among 5: take at least 10 steps"):
        schedule("lq:0.1,0.1").sigmas(5)
    with pytest.raises(BadRequest, match="moviegen:250 cannot be walked in 500 steps: take fewer than 500"):
        movie_gen(250).sigmas(500)
    with pytest.raises(BadRequest, match="turn back"):
        movie_gen(250).sigmas(400)


def test_shapes_are_kept():
    assert flow(7).value(np.zeros((2, 3))).shape == (2, 3)
    assert np.ndim(schedule("normal:1").value(0.25)) == 0
    assert schedule("normal:1").derivative([[0.1, 0.2]]).shape == (1, 2)


@unhurried
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_equal_change_spreads_evenly(change, random):
    edges = np.array([1.0, *sorted((random.uniform(0.01, 0.99) for _ in change[1:]), reverse=True), 0.0])
    if (np.diff(edges) > -1e-6).any():
        return
    found = equal_change(edges, change)
    assert found.valid
    assert found.value(0) == 0
    assert found.value(1) == 1
    amounts = np.array([0, *np.cumsum(change[::-1])])

    def passed(sigma):
        return np.interp(sigma, edges[::-1], amounts)

    np.testing.assert_allclose(np.diff(passed(found.sigmas(9))), -amounts[-1] / 9, rtol=1e-6)
    np.testing.assert_allclose(found.inverse(found.value(OPEN)), OPEN, atol=1e-9)
    for t in np.linspace(0.013, 0.987, 7):
        h = 1e-9
        if np.ptp(found.derivative([t - h, t + h])) == 0:
            seen = (found.value(t + h) - found.value(t - h)) / (2 * h)
            assert seen == pytest.approx(float(found.derivative(t)), rel=1e-4, abs=1e-6)


def test_equal_change_finds_the_shift_whose_change_it_is():
    """Where sigma moves as f_1/s counts change, steps of equal change are those of the flow shift s."""
    sigmas = flow(3).sigmas(400)
    change = -np.diff(flow(1 / 7).value(sigmas))
    fit = fit_shift(sigmas, change)
    assert fit.shift == pytest.approx(7, rel=1e-3)
    assert fit.largest < 1e-3
    assert fit.rms <= fit.largest
    assert fit.schedule.name == f"nearest shift {fit.shift:.3g}"
    again = fit_shift(sigmas[::-1], change[::-1] * 40, least="largest")  # upward, in another unit
    assert again.shift == pytest.approx(7, rel=1e-3)
    assert again.largest <= fit.largest + 1e-9


def test_equal_change_goes_on_beyond_what_was_measured():
    found = equal_change([0.8, 0.5, 0.3], [3.0, 4.0])  # 10 and 20 each unit of sigma
    whole = equal_change([1, 0.5, 0], [5.0, 10.0])
    np.testing.assert_allclose(found.value(OPEN), whole.value(OPEN))
    assert found.slopes == pytest.approx((15 / 20, 15 / 10))


def test_fit_tells_its_error():
    fit = fit_shift([1, 0.5, 0], [9.0, 1.0])  # t = .1 at sigma .5: far from every flow shift
    errors = flow(fit.shift).value(np.linspace(0, 1, 1001)) - np.interp(
        np.linspace(0, 1, 1001), [0, 0.1, 1], [0, 0.5, 1]
    )
    assert fit.largest == pytest.approx(np.abs(errors).max())
    assert fit.rms == pytest.approx(math.sqrt(np.mean(errors**2)))
    nearby = [nearest_shift([0.1], [0.5], least).shift for least in ("rms", "largest")]
    assert nearby == pytest.approx([9, 9])
    better = min(
        math.sqrt(
            np.mean(
                (flow(s).value(np.linspace(0, 1, 1001)) - np.interp(np.linspace(0, 1, 1001), [0, 0.1, 1], [0, 0.5, 1]))
                ** 2
            )
        )
        for s in np.geomspace(0.01, 100, 2000)
    )
    assert fit.rms <= better + 1e-9


@pytest.mark.parametrize(("sigmas", "change", "sentence"), [
    ([1, 0], [1, 2], r"sigmas of shape \(2,\) and change of shape \(2,\) do not belong together"),
    ([1], [], "do not belong together"),
    ([1, 0.5, 0.5, 0], [1, 1, 1], "the sigmas are no grid"),
    ([1, 0.2, 0.5, 0], [1, 1, 1], "the sigmas are no grid"),
    ([1.2, 0], [1], "the sigmas are no grid"),
    ([1, math.nan, 0], [1, 1], "the sigmas are no grid"),
    ([1, 0.5, 0], [1, 0], "a measured change of 0 cannot be spread"),
    ([1, 0.5, 0], [1, -2], "a measured change of -2 cannot be spread"),
    ([1, 0.5, 0], [math.nan, 1], "a measured change of nan cannot be spread"),
    ([1, 0.5, 0], [math.inf, 1], "a measured change of inf cannot be spread"),
])  # fmt: skip
def test_measurements_that_cannot_be_spread(sigmas, change, sentence):
    for use in (equal_change, fit_shift):
        with pytest.raises(BadRequest, match=sentence):
            use(sigmas, change)


def test_fits_that_cannot_be():
    with pytest.raises(BadRequest, match="as many t as sigmas"):
        nearest_shift([0.1, 0.2], [0.5])
    with pytest.raises(BadRequest, match="the error 'median' is unknown: it is rms or largest"):
        nearest_shift([0.1], [0.5], "median")
