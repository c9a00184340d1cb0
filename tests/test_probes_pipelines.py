"""The probe on every pipeline: all its values against hooks written by hand, and the pipeline as without it."""

import functools
from unittest import mock

import pytest
import tiny_probed
import torch
from tiny_probed import CASES, NAMES, SCALE
from torch.nn.functional import cosine_similarity

from tracer.probes.attach import L1Probe
from tracer.probes.signals import KNOWN

TOGETHER = ("cogvideox", "mochi", "ltx", "sd3", "allegro")
"""Pipelines that ask for both branches in one forward of twice the samples."""
EULER = ("hunyuanvideo", "mochi", "ltx", "sd3", "flux", "framepack")
THRESHOLD = 0.2
STEPS = 4


class ByHand:
    """What a run did, in float64: for each step its forwards, and what the scheduler was given and gave."""

    def __init__(self, name, pipe):
        self.steps, self._forwards, self._handles = [], [], []
        self.case = CASES[name]
        self.pipe = pipe
        for model in (pipe.transformer, getattr(pipe, "transformer_2", None)):
            if model is not None:
                self._hook(model)

    def _hook(self, model):
        places = self.case.inside(model)

        def start(module, args, kwargs):
            self._forwards.append({"model": model})

        def end(module, args, kwargs, output):
            self._forwards[-1]["prediction"] = output[0].double()

        def enters(module, args, kwargs):
            self._forwards[-1]["in"] = (args[0] if args else kwargs["hidden_states"]).double()

        def leaves(signal):
            def leave(module, args, kwargs, output):
                video = output[self.case.video] if isinstance(output, tuple) else output
                self._forwards[-1][signal] = video.double() - self._forwards[-1]["in"]

            return leave

        def time(module, args, kwargs, output):
            self._forwards[-1]["time_embedding"] = output.double()

        def modulated(module, args, kwargs):
            given = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            self._forwards[-1]["modulated"] = given.double()

        add = self._handles.append
        add(model.register_forward_pre_hook(start, with_kwargs=True))
        add(places.attention.register_forward_pre_hook(modulated, with_kwargs=True))
        add(places.first.register_forward_pre_hook(enters, with_kwargs=True))
        add(places.first.register_forward_hook(leaves("residual_first"), with_kwargs=True))
        add(places.last.register_forward_hook(leaves("residual_all"), with_kwargs=True))
        add(places.time.register_forward_hook(time, with_kwargs=True))
        add(model.register_forward_hook(end, with_kwargs=True))

    def __enter__(self):
        kind = type(self.pipe.scheduler)
        plain = kind.step

        @functools.wraps(plain)
        def step(scheduler, model_output, *args, **kwargs):
            before = args[3] if kind.__name__ == "CogVideoXDPMScheduler" else args[1]
            timestep = args[1] if kind.__name__ == "CogVideoXDPMScheduler" else args[0]
            out = plain(scheduler, model_output, *args, **kwargs)
            self.steps.append({
                "forwards": self._forwards, "timestep": float(timestep), "combined": model_output.double(),
                "before": before.double(), "after": out[0].double(),
                "guidance": getattr(self.pipe, "guidance_scale", None),
            })  # fmt: skip
            self._forwards = []
            return out

        self._patch = mock.patch.object(kind, "step", step)
        self._patch.start()
        return self

    def __exit__(self, *_):
        self._patch.stop()
        for handle in self._handles:
            handle.remove()


def expected(name, steps, guided, sigmas):
    """Every value that the log of a run should have, by step, signal, branch and metric."""
    out, before, last = {}, {}, {}
    axis = CASES[name].channels
    model = None
    for i, step in enumerate(steps):
        dt = None if sigmas is None else sigmas[i + 1] - sigmas[i]
        since = None if sigmas is None or i == 0 else sigmas[i] - sigmas[i - 1]
        if step["forwards"][0]["model"] is not model:
            before = {k: v for k, v in before.items() if k[0] == "prediction"}
            last = {k: v for k, v in last.items() if k[0] == "prediction"}
        model = step["forwards"][0]["model"]
        now = {("prediction", "combined"): step["combined"]}
        for signal in ("prediction", "time_embedding", "modulated", "residual_first", "residual_all"):
            given = [f[signal] for f in step["forwards"]]
            if guided and name.startswith(TOGETHER):
                (both,) = given
                given = [both[1:], both[:1]]
            assert len(given) == 1 + guided
            now |= {(signal, branch): t for branch, t in zip(("cond", "uncond"), given, strict=False)}
        for key, a in now.items():
            compare(out, (i, *key), a, before.get(key), since, axis if key[0] == "prediction" else -1)
            if key in last:
                out[i, *key, "rel_l1_computed"] = distance(a, last[key])
            if key not in last or out[i, *key, "rel_l1_computed"] > THRESHOLD:
                last[key] = a
        before = now
        end = step["before"] + step["combined"] * dt if name.startswith(EULER) else step["after"]
        compare(out, (i, "latents", ""), end, step["before"], dt, axis)
        out[i, "latents", "", "mean_abs"] = step["before"].abs().mean().item()
        out[i, "latents_after", "", "mean_abs"] = step["after"].abs().mean().item()
    return out


def distance(a, b):
    return ((a - b).abs().mean() / b.abs().mean()).item()


def compare(out, key, a, b, dt, axis):
    out[*key, "mean_abs"] = a.abs().mean().item()
    if b is None:
        return
    out[*key, "rel_l1"] = distance(a, b)
    if dt is not None:
        out[*key, "rel_l1_per_dt"] = distance(a, b) / abs(dt)
    out[*key, "magnitude_ratio"] = (a.norm(dim=axis) / b.norm(dim=axis)).mean().item()
    out[*key, "cosine"] = cosine_similarity(a, b, axis).mean().item()


def everything(pipe):
    return L1Probe(pipe, signals="all", metrics="all", threshold=THRESHOLD)


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "plain"])
@pytest.mark.parametrize("name", NAMES)
def test_all_values_equal_those_of_hooks_written_by_hand(name, guided):
    pipe = tiny_probed.build(name)
    with ByHand(name, pipe) as hand, everything(pipe) as probe:
        latents = tiny_probed.run(name, pipe, guided=guided, steps=STEPS)
    assert torch.equal(latents, tiny_probed.run(name, tiny_probed.build(name), guided=guided, steps=STEPS))
    sections = len(hand.steps) // STEPS
    assert len(probe.log.runs) == sections == (2 if name == "framepack" else 1)
    for number in range(sections):
        log, steps = probe.log.filter(run=number), hand.steps[number * STEPS :][:STEPS]
        sigmas = None
        if hasattr(pipe.scheduler, "sigmas"):
            sigmas = [row.sigma for row in log.filter(signal="latents_after")]
            sigmas.append(sigmas[-1] + log.filter(signal="latents_after").rows[-1].dt)
            if number == sections - 1:
                assert sigmas == pytest.approx(pipe.scheduler.sigmas.tolist(), abs=1e-7)
        found = {(r.step, r.signal, r.branch, r.metric): r.value for r in log}
        wanted = expected(name, steps, guided, sigmas)
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, rel=5e-5, abs=1e-6)
        assert len(found) == len(log)
        assert [r.timestep for r in log.filter(signal="latents_after")] == [s["timestep"] for s in steps]
        assert log.runs[number]["forwards_per_step"] == len(steps[0]["forwards"]) == len(steps[-1]["forwards"])
        assert log.runs[number]["complete"]
        for row in log.filter(signal="latents"):
            changed = row.metric != "mean_abs"
            assert row.method == (("prediction*dt" if name.startswith(EULER) else "difference") if changed else "")


@pytest.mark.parametrize("name", NAMES)
def test_guidance_is_what_combines_the_branches(name):
    pipe = tiny_probed.build(name)
    with ByHand(name, pipe) as hand, L1Probe(pipe) as probe:
        tiny_probed.run(name, pipe, steps=STEPS)
    scales = {}
    for row in probe.log:
        scales.setdefault((row.run, row.step), row.guidance)
    assert len(scales) == len(hand.steps)
    for scale, step in zip(scales.values(), hand.steps, strict=True):
        cond, *others = [f["prediction"] for f in step["forwards"]]
        uncond = others[0] if others else cond[:1]
        cond = cond if others else cond[1:]
        assert torch.allclose(step["combined"], uncond + scale * (cond - uncond), atol=1e-5)
    if name == "cogvideox-dpm":  # dynamic: it falls from step to step, as the pipeline's own
        assert list(scales.values()) == [step["guidance"] for step in hand.steps]
        assert len(set(scales.values())) == STEPS
    else:
        assert set(scales.values()) == {SCALE}


@pytest.mark.parametrize("name", NAMES)
def test_without_guidance_the_combined_prediction_is_the_conditional(name):
    pipe = tiny_probed.build(name)
    with L1Probe(pipe) as probe:
        tiny_probed.run(name, pipe, guided=False, steps=STEPS)
    predictions = probe.log.filter(signal="prediction", run=0)
    assert {row.guidance for row in probe.log} == {1.0}
    assert predictions.names("branch") == ["cond", "combined"]
    assert predictions.curve("prediction", branch="cond") == predictions.curve("prediction")


def test_all_known_classes_are_tried():
    tried = {type(tiny_probed.build(name).transformer).__name__ for name in NAMES}
    assert tried == set(KNOWN)


def test_two_transformers_are_two_series_inside_and_one_outside():
    pipe = tiny_probed.build("wan2.2")
    with L1Probe(pipe, signals=["prediction", "modulated"]) as probe:
        tiny_probed.run("wan2.2", pipe, steps=6)
    models = probe.log.runs[0]["transformer_of_step"]
    switch = models.index("transformer_2")
    assert models == ["transformer"] * switch + ["transformer_2"] * (6 - switch)
    assert 0 < switch < 6
    assert probe.log.curve("prediction", "rel_l1")[0] == [1, 2, 3, 4, 5]
    assert probe.log.curve("modulated", "rel_l1", "cond")[0] == [i for i in (1, 2, 3, 4, 5) if i != switch]


@pytest.mark.parametrize("name", ["cogvideox-ddim", "hunyuanvideo", "wan2.1"])
def test_several_samples_are_no_branches(name):
    pipe = tiny_probed.build(name)
    many = "num_videos_per_prompt"
    with L1Probe(pipe) as probe:
        tiny_probed.run(name, pipe, guided=False, steps=2, **{many: 2})
        tiny_probed.run(name, pipe, guided=True, steps=2, **{many: 2})
    assert probe.log.filter(run=0).names("branch") == ["", "cond", "combined"]
    assert sorted(probe.log.filter(run=1).names("branch")) == ["", "combined", "cond", "uncond"]
