"""What the probe does to a pipeline: nothing that lasts, nothing that waits for the device, little that is kept."""

import copy
import gc
import inspect
import threading
import weakref
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace

import diffusers
import pytest
import tiny_probed
import torch
from tiny_probed import NAMES
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tracer import record_pipeline
from tracer.errors import BadRequest, RecordingError, UnknownName
from tracer.probes.attach import L1Probe
from tracer.probes.groups import groups
from tracer.probes.handover import using
from tracer.probes.metrics import METRICS
from tracer.probes.named import schedule
from tracer.probes.signals import INSIDE, SIGNALS, Where


class Stop(Exception):
    """Raised on purpose."""


def state(pipe):
    """All attributes of a pipeline and its components, and the numbers of all hooks."""
    out = {"pipe": sorted(vars(pipe))}
    for name, part in pipe.components.items():
        for path, module in part.named_modules() if isinstance(part, nn.Module) else [("", part)]:
            if module is not None:
                hooks = {k: len(v) for k, v in vars(module).items() if "hook" in k and isinstance(v, dict)}
                out[name, path] = sorted(vars(module)), hooks
    return out


def probe_of(pipe, **options):
    return L1Probe(pipe, **{"signals": "all", "metrics": "all"} | options)


@pytest.fixture
def hunyuan():
    pipe = tiny_probed.build("hunyuanvideo")
    tiny_probed.run("hunyuanvideo", pipe, steps=1)  # the first call sets attributes of its own
    return pipe


# left as it was


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_is_left_as_it_was(name):
    pipe = tiny_probed.build(name)
    plain = tiny_probed.run(name, pipe)
    before = state(pipe)
    with probe_of(pipe):
        assert state(pipe) != before
        assert torch.equal(tiny_probed.run(name, pipe), plain)
    assert state(pipe) == before
    assert torch.equal(tiny_probed.run(name, pipe), plain)


def in_callback(pipe, error):
    def stop(pipe, i, t, given):
        if i == 1:
            raise error
        return given

    return {"callback_on_step_end": stop}, lambda: None


def in_module(find):
    def break_(pipe, error):
        calls = []

        def stop(module, args, output):
            calls.append(0)
            if len(calls) == 3:
                raise error

        return {}, find(pipe.transformer).register_forward_hook(stop).remove

    return break_


def in_scheduler(pipe, error):
    errors = [error]

    class Broken(type(pipe.scheduler)):
        def step(self, model_output, timestep, sample, **rest):
            if errors and self.step_index == 1:
                raise error
            return super().step(model_output, timestep, sample, **rest)

    pipe.scheduler.__class__ = Broken
    return {}, errors.clear


BREAKS = {
    "callback": in_callback,
    "transformer": in_module(lambda t: t),
    "first-block": in_module(lambda t: t.transformer_blocks[0]),
    "inside-a-block": in_module(lambda t: t.transformer_blocks[0].ff),
    "last-block": in_module(lambda t: t.single_transformer_blocks[-1]),
    "scheduler": in_scheduler,
}


@pytest.mark.parametrize("error", [Stop("no more"), KeyboardInterrupt()], ids=["exception", "interrupt"])
@pytest.mark.parametrize("caught", ["outside", "inside"])
@pytest.mark.parametrize("place", BREAKS)
def test_whatever_stops_a_run_everything_is_restored(hunyuan, place, caught, error):
    plain, before = tiny_probed.run("hunyuanvideo", hunyuan), state(hunyuan)
    changes, mend = BREAKS[place](hunyuan, error)

    def stopped():
        tiny_probed.run("hunyuanvideo", hunyuan, **changes)

    probe = probe_of(hunyuan)
    if caught == "outside":
        with pytest.raises(type(error)) as raised, probe:
            stopped()
        assert raised.value is error
        mend()
    else:
        with probe:
            with pytest.raises(type(error)):
                stopped()
            mend()
            assert torch.equal(tiny_probed.run("hunyuanvideo", hunyuan), plain)
        whole = probe.log.filter(run=1)
        assert whole.runs[1]["complete"]
        with probe_of(hunyuan) as alone:
            tiny_probed.run("hunyuanvideo", hunyuan)
        assert [r._replace(run=0) for r in whole] == list(alone.log)
    assert state(hunyuan) == before
    assert not probe.log.runs[0]["complete"]
    assert set(probe.log.filter(run=0).names("step")) == ({0, 1} if place == "callback" else {0})
    assert "stopped early" in repr(probe.log)
    assert torch.equal(tiny_probed.run("hunyuanvideo", hunyuan), plain)


def test_a_probe_that_cannot_begin_leaves_nothing(hunyuan, monkeypatch):
    before = state(hunyuan)
    monkeypatch.setattr(L1Probe, "_watch", lambda self: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop), probe_of(hunyuan):
        pass
    assert state(hunyuan) == before
    monkeypatch.undo()
    with probe_of(hunyuan):
        pass


def test_what_others_put_in_the_meantime_stays(hunyuan):
    def mine(*args, **kwargs):
        return type(hunyuan.scheduler).step(hunyuan.scheduler, *args, **kwargs)

    with probe_of(hunyuan):
        hunyuan.scheduler.step = mine
    assert hunyuan.scheduler.step is mine


def test_a_step_of_ones_own_is_used_and_put_back(hunyuan):
    calls, plain = [], hunyuan.scheduler.step

    def step(model_output, timestep, sample, return_dict=True):
        calls.append(timestep)
        return plain(model_output, timestep, sample, return_dict=return_dict)

    hunyuan.scheduler.step = step
    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    assert len(calls) == 4
    assert hunyuan.scheduler.step is step
    assert probe.log.curve("latents")[0] == [0, 1, 2, 3]


# runs and schedulers


def test_any_number_of_runs_each_as_alone(hunyuan):
    with probe_of(hunyuan) as probe:
        for seed, guided, steps in [(0, True, 4), (1, False, 3), (0, True, 4)]:
            tiny_probed.run("hunyuanvideo", hunyuan, seed=seed, guided=guided, steps=steps)
    log = probe.log
    assert [log.runs[n]["steps"] for n in (0, 1, 2)] == [4, 3, 4]
    assert [log.runs[n]["forwards_per_step"] for n in (0, 1, 2)] == [2, 1, 2]
    assert log.runs[0] == log.runs[2]
    assert [r._replace(run=0) for r in log.filter(run=2)] == list(log.filter(run=0))
    with probe_of(hunyuan) as alone:
        tiny_probed.run("hunyuanvideo", hunyuan, seed=1, guided=False, steps=3)
    assert [r._replace(run=0) for r in log.filter(run=1)] == list(alone.log)


def test_equal_runs_of_equal_pipelines_give_equal_logs():
    logs = []
    for _ in range(2):
        pipe = tiny_probed.build("wan2.1")
        with probe_of(pipe) as probe:
            tiny_probed.run("wan2.1", pipe)
        logs.append(probe.log)
    assert logs[0] == logs[1]


def test_a_scheduler_replaced_between_runs_is_noticed(hunyuan):
    first = hunyuan.scheduler
    before = sorted(vars(first))
    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
        hunyuan.scheduler = diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=7.0
        )
        tiny_probed.run("hunyuanvideo", hunyuan)
        assert "step" not in vars(first)
        hunyuan.scheduler = first
        tiny_probed.run("hunyuanvideo", hunyuan)
        second = hunyuan.scheduler
    names = [probe.log.runs[n]["scheduler"] for n in (0, 1, 2)]
    assert names == ["FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"]
    methods = [set(probe.log.filter(run=n, signal="latents", metric="rel_l1").names("method")) for n in (0, 1, 2)]
    assert methods == [{"prediction*dt"}, {"difference"}, {"prediction*dt"}]
    assert second is first
    assert sorted(vars(first)) == before


def test_a_deep_copy_of_the_scheduler_steps_by_itself(hunyuan):
    with probe_of(hunyuan) as probe:
        twin = copy.deepcopy(hunyuan.scheduler)
        model = copy.deepcopy(hunyuan.transformer)
        twin.set_timesteps(3)
        x = torch.ones(1, 4)
        twin.step(x, twin.timesteps[0], x)
        with model.cache_context("cond"):
            pass
        assert (twin.step_index, hunyuan.scheduler.step_index) == (1, 1)
        tiny_probed.run("hunyuanvideo", hunyuan)
        assert twin.step_index == 1
    assert probe.log.runs[0]["steps"] == 4
    assert len(probe.log.runs) == 1


def test_the_signature_of_step_is_seen_through(hunyuan):
    plain = inspect.signature(hunyuan.scheduler.step)
    with probe_of(hunyuan):
        assert inspect.signature(hunyuan.scheduler.step) == plain
        with pytest.raises(TypeError, match="missing 2 required positional arguments"):
            hunyuan.scheduler.step(torch.ones(1))


def test_a_scheduler_that_draws_noise_is_a_difference(hunyuan):
    hunyuan.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    with L1Probe(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    assert probe.log.filter(signal="latents", metric="rel_l1").names("method") == ["difference"]


def test_a_step_of_a_subclass_is_a_difference(hunyuan):
    class Mine(diffusers.FlowMatchEulerDiscreteScheduler):
        def step(self, *args, **kwargs):
            return super().step(*args, **kwargs)

    hunyuan.scheduler = Mine(shift=7.0)
    with L1Probe(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    assert probe.log.filter(signal="latents", metric="rel_l1").names("method") == ["difference"]


class Loop:
    """A pipeline that is told its steps, and keeps its timesteps; the unconditional forward comes first."""

    guidance_scale = 3.0

    def __init__(self):
        self.transformer = Named()
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        self.scheduler.set_timesteps(4)

    @torch.no_grad()
    def __call__(self, x, steps):
        self.scheduler._step_index = None
        for step in self.scheduler.timesteps[:steps]:
            predictions = []
            for name, scale in (("uncond", 1.0), ("cond", 2.0)):
                with self.transformer.cache_context(name):
                    predictions.append(self.transformer(x, scale)[0])
            combined = predictions[0] + self.guidance_scale * (predictions[1] - predictions[0])
            x = self.scheduler.step(combined, step, x, return_dict=False)[0]
        return x


class Named(nn.Module):
    """A transformer that is told which branch it is asked for."""

    @contextmanager
    def cache_context(self, name):
        yield

    def forward(self, x, scale):
        return (scale * x,)


def test_branches_have_the_names_of_their_contexts():
    pipe, x = Loop(), torch.ones(1, 2, 3)
    with L1Probe(pipe, metrics="mean_abs") as probe:
        pipe(x, 1)
    sizes = {row.branch: row.value for row in probe.log.filter(signal="prediction")}
    assert sizes == {"cond": 2.0, "uncond": 1.0, "combined": 4.0}
    assert {row.guidance for row in probe.log} == {3.0}


def test_a_call_is_a_run_also_where_the_timesteps_stay():
    pipe, x = Loop(), torch.ones(1, 2, 3)
    with L1Probe(pipe) as probe:
        for steps in (2, 4, 1, 3):
            pipe(x, steps)
    assert [told["steps"] for told in probe.log.runs.values()] == [2, 4, 1, 3]
    assert [told["complete"] for told in probe.log.runs.values()] == [False, True, False, False]


def test_forwards_and_steps_that_are_no_run_are_left_out(hunyuan):
    with probe_of(hunyuan) as probe:
        hunyuan.transformer.time_text_embed(torch.ones(1), torch.ones(1, 8), torch.ones(1))
        tiny_probed.run("hunyuanvideo", hunyuan)
    assert list(probe.log.runs) == [0]


def test_other_threads_are_not_recorded(hunyuan):
    with probe_of(hunyuan) as probe:
        thread = threading.Thread(target=lambda: tiny_probed.run("hunyuanvideo", hunyuan))
        thread.start()
        thread.join()
        with pytest.raises(RecordingError, match="made no step inside the with block and in its thread"):
            probe.log  # noqa: B018


def test_another_thread_in_the_middle_of_a_forward_changes_nothing(hunyuan):
    with probe_of(hunyuan) as alone:
        tiny_probed.run("hunyuanvideo", hunyuan)
    given, calls = {}, []

    def keep(module, args, kwargs):
        given.update(kwargs)

    def meanwhile(module, args):
        if len(calls) < 3:
            calls.append(0)
            with torch.no_grad():
                thread = threading.Thread(
                    target=lambda: hunyuan.transformer(**given | {"timestep": given["timestep"] / 2})
                )
                thread.start()
                thread.join()

    block = hunyuan.transformer.single_transformer_blocks[0]
    handles = [
        hunyuan.transformer.register_forward_pre_hook(keep, with_kwargs=True),
        block.register_forward_pre_hook(meanwhile),
    ]  # fmt: skip
    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    for handle in handles:
        handle.remove()
    assert len(calls) == 3
    assert probe.log.rows == alone.log.rows


def test_a_recorder_does_not_see_the_probe(hunyuan):
    def tree(rec):
        return [(c.kind, c.path, c.name, c.repeat) for c in rec.trace.walk()]

    with record_pipeline(hunyuan) as alone:
        tiny_probed.run("hunyuanvideo", hunyuan)
    with record_pipeline(hunyuan) as both, probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    assert tree(both) == tree(alone)
    assert probe.log.runs[0]["complete"]


# what is kept


def test_one_copy_of_each_signal_and_one_of_the_last_computed(hunyuan):
    def size(metrics, signals="all", guided=True):
        with L1Probe(hunyuan, signals=signals, metrics=metrics) as probe:
            out = tiny_probed.run("hunyuanvideo", hunyuan, guided=guided)
        assert probe.bytes <= probe.peak_bytes <= 2.5 * probe.bytes
        assert probe.log.runs[0]["bytes"] == probe.bytes
        return probe.bytes, out

    for guided in (True, False):
        branches = 1 + guided
        once, latents = size("rel_l1", guided=guided)
        prediction = (branches + 1) * latents.nbytes
        tokens, width = 3, hunyuan.transformer.config.attention_head_dim
        inside = branches * 4 * (3 * tokens * width + width)  # three signals of all tokens, and the embedding
        assert once == prediction + inside
        assert size("rel_l1", "prediction", guided)[0] == prediction
        assert size("all", guided=guided)[0] == 2 * once
    assert size("rel_l1", "latents")[0] == 0


def test_nothing_is_held_after_a_run(hunyuan):
    seen = []

    def watch(pipe, i, t, given):
        seen.append(weakref.ref(given["latents"]))
        return given

    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan, callback_on_step_end=watch)
        gc.collect()
        assert len(seen) == 4
        assert all(ref() is None for ref in seen)
        held = [t for run in probe._runs for t in tensors_in(vars(run))]
        assert held
        assert all(t.numel() == 1 for t in held)


def tensors_in(thing):
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, dict | list | tuple):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from tensors_in(part)


class Reusing(nn.Module):
    """A block, or a model, that writes over what it was given or gave before, as captured graphs do."""

    def __init__(self, reuse):
        super().__init__()
        self.attn, self.reuse = nn.Linear(4, 4), reuse

    def forward(self, hidden_states):
        more = self.attn(hidden_states)
        return hidden_states.add_(more) if self.reuse else hidden_states + more


class ReusingModel(nn.Module):
    def __init__(self, reuse):
        super().__init__()
        self.blocks = nn.ModuleList([Reusing(reuse) for _ in range(2)])
        self.time = nn.Linear(4, 4)
        self.buffer = torch.empty(2, 3, 4) if reuse else None

    def forward(self, x, t):
        time = self.time(t)
        x = x + time
        if self.buffer is not None:
            time.zero_()
        for block in self.blocks:
            x = block(x)
        return (x if self.buffer is None else self.buffer.copy_(x),)


def test_tensors_that_are_written_over_are_measured_as_they_were():
    def rows(reuse):
        torch.manual_seed(0)
        model, x, t = ReusingModel(reuse), torch.randn(2, 3, 4), torch.randn(4)

        def step(model_output, timestep, sample):
            return (sample.add_(model_output, alpha=-0.1) if reuse else sample - 0.1 * model_output,)

        pipe = SimpleNamespace(transformer=model, scheduler=SimpleNamespace(step=step))
        place = Where(("blocks",), "attn", "time", channels=-1)
        with torch.no_grad(), probe_of(pipe, where=place) as probe:
            for i in range(4):
                x = pipe.scheduler.step(model(x, t * i)[0], i, x)[0]
        return [row[:-1] for row in probe.log], [row.value for row in probe.log]

    plain, again = rows(False), rows(True)
    assert again[0] == plain[0]
    assert again[1] == pytest.approx(plain[1], rel=1e-5)


# nothing waits for the device


WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "item", "equal", "masked_select")


class Waits(TorchDispatchMode):
    """Counts what needs a value on the host: reading a number, and copies from a device to the CPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").partition(".")[0]
        to = (kwargs or {}).get("device")
        if name in WAITING or (name == "_to_copy" and to is not None and torch.device(to).type == "cpu"):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_read_while_a_run_goes(name):
    def waits(probed):
        pipe = tiny_probed.build(name)
        with Waits() as mode:
            if not probed:
                tiny_probed.run(name, pipe)
                return mode.seen, 0
            with probe_of(pipe) as probe:
                tiny_probed.run(name, pipe)
                during = list(mode.seen)
        return during, len(probe.log)

    plain, _ = waits(False)
    probed, rows = waits(True)
    assert rows > 100
    assert probed == plain


class Model(nn.Module):
    """A transformer of two blocks and an embedding."""

    def __init__(self):
        super().__init__()
        self.transformer_blocks = nn.ModuleList([Block() for _ in range(2)])
        self.time = nn.Linear(4, 4)

    def forward(self, x, t):
        time = self.time(t)
        for block in self.transformer_blocks:
            x = block(x + time)
        return (x,)


class Block(nn.Module):
    """Attention, or what is called so."""

    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(4, 4)

    def forward(self, hidden_states):
        return hidden_states + self.attn(hidden_states)


def without_values(spoil=lambda x: None):
    """A run of ten steps on the meta device: whoever wants a value there is refused."""
    with torch.device("meta"):
        model, x, t = Model(), torch.empty(2, 3, 4), torch.empty(4)
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        scheduler.timesteps, scheduler.sigmas, scheduler._begin_index = torch.empty(10), torch.empty(11), 0
    pipe = SimpleNamespace(transformer=model, scheduler=scheduler)
    where = Where(("transformer_blocks",), "attn", "time", channels=-1)
    with L1Probe(pipe, signals="all", metrics="all", where=where) as probe:
        for step in scheduler.timesteps.unbind():
            x = scheduler.step(model(x, t)[0], step, x, return_dict=False)[0]
            spoil(x)
    return probe._runs[0]


def test_nothing_is_moved_to_the_host_on_a_device():
    run = without_values()
    assert run.complete
    assert {e.value.device.type for e in run._entries} == {"meta"}
    assert {e.signal for e in run._entries} == set(SIGNALS)
    assert {e.metric for e in run._entries} == set(METRICS)


@pytest.mark.parametrize("spoil", [torch.Tensor.cpu, lambda x: x.sum().item(), lambda x: bool(x.sum() > 1)])
def test_the_check_of_transfers_can_fail(spoil):
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        without_values(spoil)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA tells when the host waits for it")
def test_cuda_never_waits():
    with torch.device("cuda"):
        model, x, t = Model(), torch.randn(2, 3, 4), torch.randn(4)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(10, device="cuda")
    scheduler.set_begin_index(0)
    pipe = SimpleNamespace(transformer=model, scheduler=scheduler)
    place = Where(("transformer_blocks",), "attn", "time", channels=-1)
    with torch.no_grad(), L1Probe(pipe, signals="all", metrics="all", where=place) as probe:
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in scheduler.timesteps.unbind():
                x = scheduler.step(model(x, t)[0], step, x, return_dict=False)[0]
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert probe.log.runs[0]["complete"]


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=7.0),
        diffusers.FlowMatchLCMScheduler(shift=7.0),
    ],
    ids=["unipc", "lcm"],
)
def test_other_samplers_are_a_difference_and_have_their_own_sigmas(hunyuan, scheduler):
    hunyuan.scheduler = scheduler
    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    rows = probe.log.filter(signal="latents", metric="rel_l1")
    assert rows.names("method") == ["difference"]
    assert probe.log.runs[0]["complete"]
    sigmas = scheduler.sigmas.tolist()
    assert [row.sigma for row in rows] == sigmas[:4]
    assert [row.dt for row in rows] == pytest.approx([b - a for a, b in pairwise(sigmas)][:4])
    _, per_dt = probe.log.curve("latents", "rel_l1_per_dt")
    assert per_dt == pytest.approx([row.value / abs(row.dt) for row in rows])
    limits = probe.log.filter(signal="latents", metric="rel_l1_per_dt")
    assert [r.bound for r in limits] == pytest.approx([row.bound / abs(row.dt) for row in rows])


# as pipelines run in earnest


@pytest.mark.parametrize("name", ["hunyuanvideo", "cogvideox-ddim", "wan2.1", "mochi"])
def test_half_precision_is_counted_in_float32(name):
    pipe = tiny_probed.build(name)
    pipe.transformer.to(torch.bfloat16)
    plain = tiny_probed.run(name, pipe, steps=3)
    with probe_of(pipe) as probe:
        latents = tiny_probed.run(name, pipe, steps=3)
    assert torch.equal(latents, plain)
    dtypes = {s: set(probe.log.filter(signal=s, branch=b).names("dtype")) for s, b in BRANCH_OF.items()}
    assert {dtypes[s].pop() for s in INSIDE} <= {"bfloat16", "float32"}
    assert dtypes["prediction"] == {"bfloat16"}
    rows = probe.log.filter(signal="latents", metric="rel_l1")
    (method,) = rows.names("method")
    assert (method == "difference") == all(row.bound is not None and row.bound > 0 for row in rows)
    # a number in bfloat16 has three digits; these have more
    values = torch.tensor([r.value for r in probe.log])
    assert (values.bfloat16().float() != values).float().mean() > 0.9


BRANCH_OF = {"latents": "", "prediction": "cond"} | dict.fromkeys(INSIDE, "cond")


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_with_gradients_or_in_inference_mode(hunyuan, mode, monkeypatch):
    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    monkeypatch.setattr(type(hunyuan), "__call__", type(hunyuan).__call__.__wrapped__)  # without its no_grad
    with probe_of(hunyuan) as other:
        for _ in range(2):
            tiny_probed.run("hunyuanvideo", hunyuan, mode=mode)
            assert not any(e.value.requires_grad for e in other._runs[-1]._entries)
    assert other.log.filter(run=0).rows == probe.log.rows


CACHES = {
    "first-block": diffusers.FirstBlockCacheConfig(0.5),
    "taylor-seer": diffusers.TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1),
}


@pytest.mark.parametrize("name", CACHES)
def test_caches_go_on_working(hunyuan, name):
    hunyuan.transformer.enable_cache(CACHES[name])
    plain, before = tiny_probed.run("hunyuanvideo", hunyuan, steps=6), state(hunyuan)
    with probe_of(hunyuan) as probe:
        assert torch.equal(tiny_probed.run("hunyuanvideo", hunyuan, steps=6), plain)
    assert state(hunyuan) == before
    assert probe.log.runs[0]["complete"]
    assert probe.log.curve("prediction", "rel_l1", "cond")[0] == [1, 2, 3, 4, 5]


def test_offloading_changes_nothing(hunyuan):
    pytest.importorskip("accelerate")
    with probe_of(hunyuan) as probe:
        plain = tiny_probed.run("hunyuanvideo", hunyuan)
    hunyuan.enable_model_cpu_offload(device="cpu")
    before = state(hunyuan)
    with probe_of(hunyuan) as other:
        assert torch.equal(tiny_probed.run("hunyuanvideo", hunyuan), plain)
    assert state(hunyuan) == before
    assert other.log.rows == probe.log.rows


# what the log says of a run


def test_where_the_values_come_from(hunyuan):
    seeds = [torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)]
    hunyuan.encode_prompt = lambda prompt, **given: [
        given["prompt_embeds"], given["pooled_prompt_embeds"], given["prompt_attention_mask"]
    ]  # fmt: skip
    hunyuan.check_inputs = lambda *_, **__: None
    with L1Probe(hunyuan, metrics="all", threshold=0.1) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan, generator=seeds[0], prompt="a red disc")
        tiny_probed.run("hunyuanvideo", hunyuan, generator=[seeds[1]], prompt=["a red disc"], guided=False)
        tiny_probed.run("hunyuanvideo", hunyuan, prompt="a blue disc")
    first, second, third = probe.log.runs.values()
    assert (first["seed"], second["seed"]) == (5, [6])
    assert "seed" not in third
    assert first["prompt_sha256"] != third["prompt_sha256"]
    assert "a red" not in str(first)
    assert first["pipeline"] == "HunyuanVideoPipeline"
    assert first["transformer"] == {"transformer": "HunyuanVideoTransformer3DModel"}
    assert first["scheduler_config"]["shift"] == 7.0
    assert first["arguments"]["true_cfg_scale"] == tiny_probed.SCALE
    assert (first["arguments"]["num_inference_steps"], first["latents"]) == (4, [1, 16, 3, 2, 2])
    assert first["versions"]["torch"] == torch.__version__
    assert first["threshold"] == 0.1
    assert (first["transformer_dtype"], first["device"]) == ("float32", "cpu")
    assert "prompt_embeds_sha256" not in first


@pytest.mark.parametrize("name", ["hunyuanvideo", "cogvideox-ddim"])  # two calls a step, and one of both branches
def test_prompts_that_come_as_embeddings_are_told_apart(name):
    pipe = tiny_probed.build(name)
    with L1Probe(pipe) as probe:
        for seed, guided in ((0, True), (1, True), (0, False)):
            tiny_probed.run(name, pipe, steps=2, seed=seed, guided=guided)
    first, second, bare = (told["prompt_embeds_sha256"] for told in probe.log.runs.values())
    assert first == bare  # the prompt's half, whatever stands beside it
    assert first != second
    assert [group.label for group in groups(probe.log.filter(run=(0, 1)))] == [f"prompt {first}", f"prompt {second}"]
    assert len(groups(probe.log)) == 3


@pytest.mark.parametrize(("name", "given"), [("hunyuanvideo", "flow:3"), ("cogvideox-ddim", "snr:2")])
def test_a_schedule_that_was_handed_over_is_named(name, given):
    pipe = tiny_probed.build(name)
    with L1Probe(pipe) as probe:
        tiny_probed.run(name, pipe, steps=2)
        with using(pipe, given):
            tiny_probed.run(name, pipe, steps=2)
    own, handed = probe.log.runs.values()
    assert "schedule" not in own
    assert handed["schedule"] == schedule(given).name
    assert groups(probe.log)[1].label == schedule(given).name


# what is refused


def test_probes_do_not_overlap_and_are_entered_once(hunyuan):
    with probe_of(hunyuan) as probe:
        with pytest.raises(RecordingError, match="HunyuanVideoPipeline is being probed already"), probe_of(hunyuan):
            pass
        with pytest.raises(RecordingError, match="was entered before"), probe:
            pass
        tiny_probed.run("hunyuanvideo", hunyuan)
    with pytest.raises(RecordingError, match="was entered before"), probe:
        pass
    assert probe.log.runs[0]["complete"]
    with probe_of(hunyuan):
        pass


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"signals": "latnets"}, UnknownName, "No signal is called 'latnets': did you mean latents?"),
        ({"signals": ["latents", "x"]}, UnknownName, "No signal is called 'x': known are latents, "),
        ({"metrics": ["rel_l2"]}, UnknownName, "No metric is called 'rel_l2': did you mean rel_l1?"),
        ({"signals": []}, BadRequest, "A probe needs at least one signal: latents, "),
        ({"metrics": []}, BadRequest, "A probe needs at least one metric: mean_abs, "),
        ({"signals": "modulated", "where": Where(("blocks",), "attn", "t")}, BadRequest, "is not built as"),
        ({"signals": "modulated", "where": Where((), "attn", "t")}, BadRequest, "is not built as"),
        ({"threshold": -1.0}, BadRequest, "threshold is 0 or more, not -1.0"),
    ],
)
def test_what_cannot_be_measured(hunyuan, change, error, says):
    with pytest.raises(error) as raised:
        L1Probe(hunyuan, **change)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pipe", "says"),
    [
        (nn.Linear(1, 1), "with a transformer among its components, not Linear"),
        (SimpleNamespace(), "with a transformer among its components, not SimpleNamespace"),
        (SimpleNamespace(transformer=nn.Identity()), "SimpleNamespace has no scheduler with a step"),
        (SimpleNamespace(transformer=nn.Identity(), scheduler=None), "has no scheduler with a step"),
        (
            SimpleNamespace(transformer=nn.Identity(), scheduler=SimpleNamespace(step=lambda x: x)),
            "SimpleNamespace.step takes no model_output and sample",
        ),
    ],
)
def test_what_is_no_pipeline(pipe, says):
    with pytest.raises(RecordingError, match=says):
        L1Probe(pipe)


def test_a_transformer_that_nobody_described():
    import tiny_pipelines

    pipe = tiny_pipelines.build("latte")
    with pytest.raises(BadRequest) as raised:
        L1Probe(pipe, signals=["latents", "modulated"])
    assert "Where LatteTransformer3DModel has modulated is not known" in str(raised.value)
    assert "latents, latents_after, prediction work with every transformer" in str(raised.value)
    with L1Probe(pipe) as probe:
        tiny_pipelines.call(pipe, "latte", frames=16, steps=3)
    assert probe.log.names("signal") == ["latents", "latents_after", "prediction"]
    assert probe.log.runs[0]["complete"]


def test_a_subclass_has_what_its_base_has(hunyuan):
    class Mine(type(hunyuan.transformer)):
        pass

    hunyuan.transformer.__class__ = Mine
    with probe_of(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    assert set(INSIDE) < set(probe.log.names("signal"))


def test_a_compiled_transformer_is_watched_from_outside(hunyuan):
    plain = tiny_probed.run("hunyuanvideo", hunyuan)
    with L1Probe(hunyuan) as probe:
        tiny_probed.run("hunyuanvideo", hunyuan)
    hunyuan.transformer.compile(backend="eager", disable=True)
    before = state(hunyuan)
    with pytest.raises(BadRequest, match="HunyuanVideoTransformer3DModel is compiled, and nothing inside can be seen"):
        probe_of(hunyuan)
    with L1Probe(hunyuan) as compiled:
        assert torch.equal(tiny_probed.run("hunyuanvideo", hunyuan), plain)
    assert compiled.log.rows == probe.log.rows
    assert state(hunyuan) == before


def test_a_compiled_copy_is_watched_from_outside_too():
    from torch._dynamo import OptimizedModule

    torch.manual_seed(0)
    model, x, t = Model(), torch.randn(2, 3, 4), torch.randn(4)
    place = Where(("transformer_blocks",), "attn", "time", channels=-1)

    def run(transformer, **options):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        scheduler.set_timesteps(3)
        pipe = SimpleNamespace(transformer=transformer, scheduler=scheduler)
        with L1Probe(pipe, **options) as probe, torch.no_grad():
            y = x
            for step in scheduler.timesteps:
                y = scheduler.step(transformer(y, t)[0], step, y, return_dict=False)[0]
        return probe.log.rows

    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, OptimizedModule)
    assert run(compiled) == run(model)
    with pytest.raises(BadRequest, match="is compiled, and nothing inside can be seen"):
        run(compiled, signals="modulated", where=place)
    assert len(run(model, signals="modulated", where=place)) == 3 + 2 * 4
