"""Sweeps: cells that are equal wherever they run, files that are whole or run again, and what settings come to."""

import json
import multiprocessing
import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import tiny_probed
import torch
from tiny_saved import saved

from tracer.errors import BadConfig, BadRequest, UnknownName, Unwritable
from tracer.probes import engines, memory, models, spread_log, sweep
from tracer.probes.cells import Cell, Failed, attempt, keep, kept, packed, run
from tracer.probes.engines import Local, OnRay
from tracer.probes.log import ProbeLog
from tracer.probes.named import schedule
from tracer.probes.samplers import SAMPLERS, scheduler_for, working
from tracer.probes.summary import summaries
from tracer.probes.sweep import Sweep, paired, read_prompts, run_sweep

H, C = "pocket-hunyuanvideo", "pocket-cogvideox"
SMALL = {"frames": 1, "height": 32, "width": 32}
RED = "a red disc moving left"
CELL = Cell(H, 3, prompt=RED, **SMALL)
TWO = Sweep(H, (2, 3), sizes=((1, 32, 32),), prompts=(RED,), seeds=2)


class Seen(Local):
    """One worker, this process; notes which cells it was given. `fails`: the number of one that fails."""

    def __init__(self, fails=None):
        super().__init__(1)
        self.cells, self.fails = [], fails

    def run(self, cells):
        for i, cell in enumerate(cells):
            self.cells.append(cell)
            yield i, Failed("too hot.") if i == self.fails else attempt(cell)


@contextmanager
def forwards(cell):
    """How many samples each forward of the cell's model had."""
    found = []
    model = models.opened(cell).pipe.transformer
    handle = model.register_forward_hook(lambda _m, _a, output: found.append(len(output[0])))
    try:
        yield found
    finally:
        handle.remove()


# cells


def test_equal_cells_have_one_key_and_any_change_another():
    assert CELL.key == replace(CELL).key
    changed = {"steps": 4, "schedule": "flow:7", "sampler": "unipc", "frames": 5, "height": 48, "width": 48, "cfg": 2.0,
               "embedded": 3.0, "prompt": "", "negative": "a", "seed": 1, "signals": ("latents",), "metrics": "all",
               "dtype": "float32", "device": "cuda", "offload": "model", "model": C}  # fmt: skip
    assert set(changed) == set(CELL.told())
    assert len({CELL.key, *(replace(CELL, **{k: v}).key for k, v in changed.items())}) == len(changed) + 1


def test_equal_cells_give_equal_logs_and_leave_nothing_behind():
    for sampler in ("lcm", "euler"):
        cell = replace(CELL, sampler=sampler, schedule="flow:3")
        own, before = models.opened(cell).pipe.scheduler, torch.get_rng_state()
        first = run(cell)
        torch.manual_seed(5)
        threads = torch.get_num_threads()
        assert packed(run(cell)) == packed(first)
        torch.set_rng_state(before)
        assert models.opened(cell).pipe.scheduler is own
        assert torch.get_num_threads() == threads
        assert first != run(replace(cell, seed=1)).noted(cell=first.runs[0]["cell"])


def test_a_run_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    run(replace(CELL, sampler="lcm"))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("shift", [1.0, 7.0])
def test_a_shift_is_applied_once(shift):
    (told,) = run(replace(CELL, schedule=f"flow:{shift:g}")).runs.values()
    assert np.abs(np.array(told["sigmas"]) - schedule(f"flow:{shift:g}").sigmas(3)).max() < 1e-6
    assert told["schedule"] == f"shift {shift:g}"
    own = models.opened(CELL).pipe
    shifted = diffusers.FlowMatchEulerDiscreteScheduler.from_config(own.scheduler.config, shift=shift)
    before, own.scheduler = own.scheduler, shifted
    try:
        (direct,) = run(CELL).runs.values()
    finally:
        own.scheduler = before
    assert np.allclose(direct["sigmas"], told["sigmas"], atol=1e-6)


def test_a_failing_pipeline_is_a_sentence(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(models.opened(CELL).pipe, "check_inputs", broken)
    assert attempt(CELL) == Failed("HunyuanVideoPipeline failed: RuntimeError: first line.")


# files


@pytest.mark.parametrize("harm", ["short", "flipped", "empty", "renamed"])
def test_a_file_that_is_not_as_it_was_written_is_not_taken(tmp_path, harm):
    data = packed(run(CELL))
    path = keep(CELL, data, tmp_path)
    assert kept(CELL, tmp_path) == path
    assert kept(replace(CELL, seed=9), tmp_path) is None
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.write_bytes({"short": data[:middle], "flipped": flipped, "empty": b"", "renamed": data}[harm])
    if harm == "renamed":
        path.rename(tmp_path / f"{replace(CELL, seed=9).key}-0123456789abcdef.parquet")
    assert kept(CELL, tmp_path) is None
    assert keep(CELL, data, tmp_path) == path
    assert kept(CELL, tmp_path) == path


def test_a_second_file_of_a_cell_replaces_the_first(tmp_path):
    keep(CELL, b"old", tmp_path)
    keep(CELL, b"new", tmp_path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


# sweeps


def test_what_is_finished_is_not_run_again(tmp_path):
    first, again = Seen(), Seen()
    whole = run_sweep(TWO, tmp_path / "a", first)
    assert first.cells == TWO.cells()
    assert len(whole.log.runs) == 4
    assert ProbeLog.from_parquet(tmp_path / "a" / "log.parquet") == whole.log
    same = run_sweep(TWO, tmp_path / "a", again)
    assert again.cells == []
    assert (same.log, same.settings) == (whole.log, whole.settings)


def test_the_log_has_the_cells_in_their_order(tmp_path):
    class Backwards(Seen):
        def run(self, cells):
            yield from reversed(list(super().run(cells)))

    log = run_sweep(TWO, tmp_path / "a", Backwards()).log
    assert [told["cell"] for told in log.runs.values()] == [cell.told() for cell in TWO.cells()]


def test_corrupt_and_half_written_cells_are_found_and_run_again(tmp_path):
    whole = run_sweep(TWO, tmp_path, Seen())
    paths = sorted((tmp_path / "cells").iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    (tmp_path / "cells" / f".{paths[1].name}.x1").write_bytes(paths[1].read_bytes()[:50])
    paths[1].unlink()
    engine = Seen()
    again = run_sweep(TWO, tmp_path, engine)
    assert {cell.key for cell in engine.cells} == {path.name.partition("-")[0] for path in paths[:2]}
    assert again.log == whole.log
    assert sorted((tmp_path / "cells").iterdir()) == paths


def test_a_cell_that_fails_is_named_and_the_finished_ones_stay(tmp_path):
    told = []
    with pytest.raises(BadRequest) as raised:
        run_sweep(TWO, tmp_path, Seen(fails=2), lambda done, total: told.append((done, total)))
    assert str(raised.value) == (
        "the cell with steps 3, frames 1, height 32, width 32, prompt 'a red disc moving left', seed 0 failed: "
        "too hot; 2 of 4 are finished and kept, and the same command goes on from there."
    )
    assert told == [(0, 4), (1, 4), (2, 4)]
    engine = Seen()
    run_sweep(TWO, tmp_path, engine, lambda done, total: told.append((done, total)))
    assert engine.cells == TWO.cells()[2:]
    assert told[3:] == [(2, 4), (3, 4), (4, 4)]


def test_the_folder_of_another_sweep_is_refused(tmp_path):
    run_sweep(TWO, tmp_path, Seen())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadRequest, match=r"holds another sweep: its steps is \[2, 3\], this one's \[2\]; name another"):
        run_sweep(replace(TWO, steps=(2,)), tmp_path, Seen())
    said = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps(said | {"versions": {"torch": "1.0"}}))
    with pytest.raises(BadRequest, match="holds another sweep: its versions is"):
        run_sweep(TWO, tmp_path, Seen())
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(BadRequest, match="cannot be read as the settings of a sweep"):
        run_sweep(TWO, tmp_path, Seen())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadRequest, match=r"holds other things and no sweep\.json"):
        run_sweep(TWO, tmp_path, Seen())
    with pytest.raises(Unwritable, match="is a file; a sweep needs a folder"):
        run_sweep(TWO, tmp_path / "thesis.tex", Seen())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


REFUSED = [
    ({"steps": (0,)}, BadRequest, "--steps 0 is not possible: it is a whole number from 1 on"),
    ({"seeds": 0}, BadRequest, "--seeds 0 is not possible"),
    ({"sizes": ((-1, None, None),)}, BadRequest, "--frames -1 is not possible"),
    ({"sizes": ((8, None, None),)}, BadRequest, "makes 4 n \\+ 1 frames, not 8: ask for 5 or 9"),
    ({"sizes": ((1, 40, 32),)}, BadRequest, "multiples of 16, not 40 x 32"),
    ({"schedules": ("flow:-1",)}, BadRequest, "shift -1 makes no schedule"),
    ({"schedules": ("nothing",)}, UnknownName, "No schedule is called 'nothing'"),
    ({"schedules": ("sign:1",)}, BadRequest, "sign:1 cannot place the steps of a sampler"),
    ({"schedules": ("snr:3",)}, BadRequest, "--snr-shift 3 shifts a grid of alphas, and pocket-hunyuanvideo has none"),
    ({"samplers": ("eulr",)}, UnknownName, "No sampler is called 'eulr': did you mean euler"),
    ({"samplers": ("ddim",)}, BadRequest, "those that work are euler, unipc, lcm"),
    ({"samplers": ("heun",)}, BadRequest, "takes no sigmas.*those that work are euler, unipc, lcm"),
    ({"cfgs": (-1.0,)}, BadRequest, "a guidance of -1 is not possible"),
    ({"cfgs": (float("nan"),)}, BadRequest, "a guidance of nan is not possible"),
    ({"embedded": 6.0}, BadRequest, "is told no guidance.*leave --embedded-guidance out"),
    ({"signals": ("latent",)}, UnknownName, "No signal is called 'latent': did you mean latents"),
    ({"metrics": ("l1",)}, UnknownName, "No metric is called 'l1'"),
    ({"prompts": ("a purple disc",)}, UnknownName, "purple"),
    ({"prompts": ("a red blue disc",)}, BadRequest, "names the colours red and blue"),
    ({"prompts": ()}, BadRequest, "there are no prompts"),
    ({"model": "pocket-wan"}, UnknownName, "No pocket model is called 'pocket-wan'"),
    ({"model": "nowhere"}, BadRequest, "there is no folder 'nowhere'; --pipeline takes a folder or a hub id"),
    ({"device": "quantum"}, BadRequest, "--device quantum is not possible"),
    ({"dtype": "int8"}, BadRequest, "--dtype int8 is not possible"),
    ({"model": C, "schedules": ("flow:7",)}, BadRequest, "--shift 7 moves.*predicts v.*which --snr-shift 3 shifts"),
    ({"model": C, "schedules": ("sech:7",)}, BadRequest, "CogVideoXDDIMScheduler cannot be given a schedule"),
    ({"model": C, "samplers": ("euler",)}, BadRequest, "those that work are ddim, dpm"),
    ({"model": C, "steps": (61,), "schedules": ("snr:3",)}, BadRequest, "take another number of steps, such as 60"),
]


@pytest.mark.parametrize(("changes", "kind", "words"), REFUSED)
def test_what_is_refused_is_refused_before_anything_is_written(tmp_path, changes, kind, words):
    engine = Seen()
    with pytest.raises(kind, match=words) as raised:
        run_sweep(replace(TWO, **changes), tmp_path / "a", engine)
    assert "\n" not in str(raised.value)
    assert engine.cells == []
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadRequest, match="--device cuda is not there"):
        run_sweep(replace(TWO, device="cuda"), tmp_path / "a", Seen())


def test_other_weights_are_another_sweep(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(b"12")
    first = sweep._weights(str(tmp_path))
    (tmp_path / "a.safetensors").write_bytes(b"123")
    assert first != sweep._weights(str(tmp_path))
    assert sweep._weights(H) != sweep._weights(C)
    assert sweep._weights("org/name") is None


def test_prompts_are_lines(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a red disc\n\n  a blue square \na red disc\n")
    assert read_prompts(path) == ("a red disc", "a blue square")
    path.write_text(" \n\n")
    with pytest.raises(BadRequest, match="are empty; the file has one prompt a line"):
        read_prompts(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequest, match="are no text in UTF-8"):
        read_prompts(path)
    with pytest.raises(BadRequest, match="cannot be read: No such file"):
        read_prompts(tmp_path / "other")
    with pytest.raises(BadRequest, match="cannot be read"):
        read_prompts(tmp_path)


def test_heights_and_widths_go_in_pairs():
    assert paired((), [], []) == ((None, None, None),)
    assert paired((1, 5), [64, 96], [32, 48]) == ((1, 64, 32), (1, 96, 48), (5, 64, 32), (5, 96, 48))
    assert paired((), [64, 96], [32]) == ((None, 64, 32), (None, 96, 32))
    assert paired((), [], [32, 48]) == ((None, None, 32), (None, None, 48))
    with pytest.raises(BadRequest, match="--height has 3 values and --width 2"):
        paired((), [1, 2, 3], [1, 2])


# guidance


@pytest.mark.parametrize(
    ("model", "cfg", "expected"), [(H, 6.0, [1] * 6), (H, 1.0, [1] * 3), (C, 6.0, [2] * 3), (C, 1.0, [1] * 3)]
)
def test_forwards_a_step_are_those_that_are_counted(model, cfg, expected):
    cell = replace(CELL, model=model, cfg=cfg)
    with forwards(cell) as found:
        (one,) = summaries([cell], [run(cell)])
    assert found == expected
    assert one.forwards * cell.steps == len(expected)
    assert one.samples == expected[0]
    assert one.guided == (cfg > 1)
    assert one.guidance == (cfg if cfg > 1 else 1.0)


@pytest.mark.parametrize("signals", [("latents",), ("prediction",)])
def test_guidance_is_seen_whatever_is_recorded(signals):
    cell = replace(CELL, model=C, cfg=6.0, signals=signals)
    (one,) = summaries([cell], [run(cell)])
    assert (one.guided, one.samples, one.guidance) == (True, 2, 6.0)
    assert (one.cond is None, one.latents is None) == (signals == ("latents",), signals == ("prediction",))


@pytest.mark.parametrize(("cfg", "embedded", "count"), [(None, 6.0, 1), (3.0, None, 2), (3.0, 9.0, 2), (1.0, 9.0, 1)])
def test_embedded_guidance_is_a_number_and_no_second_forward(monkeypatch, cfg, embedded, count):
    pipe = tiny_probed.build("hunyuanvideo")
    text = tiny_probed.CASES["hunyuanvideo"].prompt()
    monkeypatch.setattr(pipe, "encode_prompt", lambda **_: _three(text))
    seen = []
    pipe.transformer.register_forward_pre_hook(
        lambda _m, _a, given: seen.append(float(given["guidance"]) / 1000), with_kwargs=True
    )
    cell = Cell("tiny", 3, prompt="x", cfg=cfg, embedded=embedded, frames=9, height=16, width=16)
    models.Opened("tiny", pipe).call(cell)
    assert len(seen) == 3 * count
    assert set(seen) == {embedded or 6.0}


def _three(text):
    return text["prompt_embeds"], text["pooled_prompt_embeds"], text["prompt_attention_mask"]


def test_what_guidance_is_called_follows_the_transformer():
    hunyuan, wan, cog = diffusers.HunyuanVideoPipeline, diffusers.WanPipeline, diffusers.CogVideoXPipeline
    assert models.scales(hunyuan, {"guidance_embeds": True}) == ("true_cfg_scale", "guidance_scale")
    assert models.scales(hunyuan, {"guidance_embeds": False}) == ("true_cfg_scale", None)
    assert models.scales(wan, {}) == models.scales(cog, {}) == ("guidance_scale", None)
    assert models.scales(diffusers.FluxPipeline, {"guidance_embeds": True}) == ("true_cfg_scale", "guidance_scale")
    kind = diffusers.HunyuanVideo15Pipeline
    assert models.scales(kind, {}) == (None, None)
    with pytest.raises(BadRequest, match="has no scale of classifier-free guidance in its call; leave --cfg out"):
        models.arguments("it", kind, {}, replace(CELL, cfg=3.0))


# samplers


@pytest.mark.parametrize("name", ["euler", "unipc", "lcm", "ddim", "dpm"])
def test_every_sampler_that_is_said_to_work_works(name):
    model = C if name in ("ddim", "dpm") else H
    pipe = models.opened(replace(CELL, model=model)).pipe
    assert name in working(pipe.scheduler)
    for placing in (None, "snr:3" if model == C else "flow:5"):
        (told,) = run(replace(CELL, model=model, sampler=name, schedule=placing, steps=4)).runs.values()
        assert told["scheduler"] == SAMPLERS[name].scheduler
        assert (told["steps"], told["complete"]) == (4, True)


def test_a_sampler_keeps_the_models_own_shift():
    own = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0)
    unipc = scheduler_for("it", own, "unipc", None, diffusers)
    assert unipc.config.flow_shift == 5.0
    assert scheduler_for("it", unipc, "lcm", None, diffusers).config.shift == 5.0
    assert scheduler_for("it", own, None, None, diffusers) is own


def test_a_scheduler_of_no_known_kind_stays():
    own = diffusers.DDPMScheduler()
    with pytest.raises(BadRequest, match=r"it does not take the sampler euler: .*; leave --sampler out"):
        scheduler_for("it", own, "euler", None, diffusers)


# numbers


def test_a_summary_is_the_mean_curve_in_numbers():
    cells = [Cell(H, 12, prompt=RED, seed=seed, schedule="flow:3", **SMALL) for seed in range(2)]
    logs = [run(cell) for cell in cells]
    (one,) = summaries(cells, logs)
    curves = np.array([log.curve("prediction", "rel_l1", "cond")[1] for log in logs])
    mean = curves.mean(axis=0)
    assert len(mean) == 11
    assert (one.cond.first, one.cond.last) == (mean[0], mean[-1])
    assert (one.cond.least, one.cond.largest) == (mean.min(), mean.max())
    assert one.cond.least_at == (1 + int(mean.argmin())) / 11
    assert one.cond.left == pytest.approx(max(mean[:2]) / min(mean))
    assert one.cond.right == pytest.approx(max(mean[-2:]) / min(mean))
    assert one.cond.spread == pytest.approx(np.mean(curves.std(axis=0) / mean))
    latents = np.mean([log.curve("latents")[1] for log in logs], axis=0)
    sigmas = np.array(logs[0].runs[0]["sigmas"])
    assert one.follows_dt == pytest.approx(np.corrcoef(latents, -np.diff(sigmas))[0, 1])
    merged = ProbeLog.merge(logs)
    fit = spread_log.fit_shift(merged, "prediction", "rel_l1", "cond")
    assert one.fit.shift == pytest.approx(fit.shift)
    assert (one.runs, one.frames, one.height, one.width) == (2, 1, 32, 32)
    assert json.loads(json.dumps(one.told()))["cond"]["largest"] == one.cond.largest


def test_what_cannot_be_said_of_few_steps_is_none():
    (one,) = summaries([CELL], [run(CELL)])
    assert (one.cond.left, one.cond.right, one.fit, one.follows_dt) == (None, None, None, None)
    cell = replace(CELL, model=C, steps=8)
    (other,) = summaries([cell], [run(cell)])
    assert (other.fit, other.follows_dt) == (None, None)
    assert other.cond.left > 0


def test_settings_are_apart_and_seeds_together(tmp_path):
    result = run_sweep(replace(TWO, schedules=(None, "flow:7"), prompts=(RED, "a blue square")), tmp_path, Seen())
    assert [(s.cell.steps, s.cell.schedule, s.runs) for s in result.settings] == [
        (2, None, 4), (2, "flow:7", 4), (3, None, 4), (3, "flow:7", 4)
    ]  # fmt: skip


# pipelines from a folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("saved"))


def real(folder, **changes):
    return replace(TWO, model=str(folder), steps=(2,), sizes=((9, 16, 16),), seeds=1, **changes)


def test_a_saved_pipeline_runs(folder, tmp_path):
    said = []
    result = run_sweep(real(folder, cfgs=(1.0, 6.0), dtype="bfloat16"), tmp_path / "a", Seen(), said=said.append)
    assert [(s.forwards, s.samples, s.guidance) for s in result.settings] == [(1, 1, 1.0), (1, 2, 6.0)]
    assert [told["transformer_dtype"] for told in result.log.runs.values()] == ["bfloat16"] * 2
    assert len(said) == 1
    assert said[0].startswith("weights in bfloat16: ")


def test_the_memory_is_that_of_the_loaded_weights(folder):
    pipe = diffusers.CogVideoXPipeline.from_pretrained(folder)
    parts = {"transformer": pipe.transformer, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
    found = memory.weights(folder, "float32")
    for name, part in parts.items():
        assert found.parts[name] == sum(p.numel() * p.element_size() for p in part.parameters()), name
    assert found.at_once(None) == sum(found.parts.values())
    assert found.at_once("model") == max(found.parts.values())
    assert 0 < found.at_once("sequential") < found.at_once("model")
    assert memory.weights(folder, "bfloat16").at_once(None) * 2 == found.at_once(None)
    sentence = found.sentence("cuda", "float32", "model", 2)
    assert "at once on cuda with --offload model in each of 2 workers" in sentence
    assert memory.of_parameters(12_800_000_000, "bfloat16").startswith("the transformer has 12.8 G parameters, 25.6 GB")


HARMS = [
    (lambda f: (f / "model_index.json").unlink(), "holds no model_index.json"),
    (lambda f: (f / "model_index.json").write_text("{"), "is not JSON"),
    (lambda f: (f / "model_index.json").write_text("[]"), "names no pipeline class"),
    (lambda f: _index(f, _class_name="MyPipeline"), "is of a MyPipeline, which diffusers"),
    (lambda f: _index(f, scheduler=[None, None]), "a CogVideoXPipeline, has no scheduler"),
    (lambda f: _index(f, transformer=[None, None]), "has no transformer"),
    (lambda f: _index(f, vae=["my_code", "Vae"]), "has a vae from my_code.Vae: no code of a folder is run"),
    (lambda f: _weights(f).rename(f / "transformer" / "x.bin"), "weights as .bin: only safetensors are read"),
    (lambda f: (f / "transformer" / "config.json").unlink(), "cannot be used as a CogVideoXPipeline: .*No such file"),
    (lambda f: (f / "scheduler" / "scheduler_config.json").write_text("{"), "cannot be used as a CogVideoXPipeline"),
    (lambda f: _index(f, scheduler=["diffusers", "Best"]), "cannot be used as a CogVideoXPipeline: .*Best"),
    (lambda f: _weights(f).write_bytes(b"abc"), "is no whole safetensors file"),
]


def _index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _weights(folder):
    return folder / "transformer" / "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(("harm", "words"), HARMS)
def test_a_folder_that_cannot_be_used_is_a_sentence(folder, tmp_path, harm, words):
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    harm(mine)
    with pytest.raises(BadConfig, match=words):
        run_sweep(real(mine), tmp_path / "a", Seen())
    assert not (tmp_path / "a").exists()


def test_settings_that_a_saved_pipeline_refuses(folder, tmp_path):
    for changes, words in [
        ({"schedules": ("flow:7",)}, "CogVideoXPipeline has none: it predicts v"),
        ({"samplers": ("unipc",)}, "those that work are ddim, dpm"),
        ({"embedded": 6.0}, "CogVideoXPipeline is told no guidance"),
    ]:
        with pytest.raises(BadRequest, match=words):
            run_sweep(real(folder, **changes), tmp_path / "a", Seen())
    assert not (tmp_path / "a").exists()


def test_the_hub_is_asked_only_by_an_id_and_its_failure_is_a_sentence(monkeypatch, tmp_path):
    asked, said = [], []

    def download(name, **given):
        asked.append((name, given))
        raise OSError("We could not connect to the hub (https://x)\nmore")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    for name in ("nowhere", "/no/where", "./no/where", "../where"):
        with pytest.raises(BadRequest, match="there is no folder"):
            models.folder_of(name)
    assert asked == []
    with pytest.raises(BadRequest, match=r"cannot be fetched from the hub: We could not connect to the hub\.$"):
        run_sweep(replace(TWO, model="hunyuanvideo-community/HunyuanVideo"), tmp_path / "a", Seen(), said=said.append)
    assert asked == [("hunyuanvideo-community/HunyuanVideo", {"use_safetensors": True})]
    assert said == ["the transformer has 12.8 G parameters, 51.3 GB in float32; text encoders and VAE come on top."]


# engines


def test_workers_share_cells_and_one_that_is_killed_fails_its_own():
    cells = [replace(CELL, seed=seed, steps=2) for seed in range(6)]
    with_two = Local(2).run(cells)
    outcomes = [next(with_two)]
    (victim, _) = multiprocessing.active_children()
    os.kill(victim.pid, signal.SIGKILL)
    outcomes += list(with_two)
    assert sorted(i for i, _ in outcomes) == list(range(6))
    failed = [outcome for _, outcome in outcomes if isinstance(outcome, Failed)]
    assert failed == [Failed("its process was killed by signal 9; if memory ran out, take fewer --workers.")]
    assert all(outcome == attempt(cells[i]) for i, outcome in outcomes if not isinstance(outcome, Failed))
    assert multiprocessing.active_children() == []


def test_how_many_workers(monkeypatch):
    cells = [CELL] * 5
    monkeypatch.setattr(engines, "cores", lambda: 3)
    assert [Local(n).count(cells) for n in (None, 1, 9)] == [3, 1, 5]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    on_gpu = [replace(CELL, device="cuda")] * 5
    assert Local().count(on_gpu) == 2
    with pytest.raises(BadRequest, match="3 workers want a GPU each and there are 2; take --workers 2"):
        Local(3).check(on_gpu)
    assert Local().count([replace(CELL, device="cuda:1")] * 5) == 3


def test_without_ray_the_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(BadRequest, match=r"--engine ray needs ray, which is not installed: pip install .*\[ray\]"):
        OnRay()
