"""What a sweep runs: a pocket model, or a pipeline from a folder or the hub, opened once in a process."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tracer.errors import BadConfig, BadRequest, TracerError, UnknownName
from tracer.probes.cells import Cell
from tracer.probes.samplers import scheduler_for
from tracer.probes.signals import INSIDE, unknown, where

POCKETS = "pocket-"
"""What names of pocket models begin with."""
_LIBRARIES = ("diffusers", "transformers")
_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt")


class Scales(NamedTuple):
    """Arguments of a pipeline's call: the scale of classifier-free guidance, and the embedded one; None: has none."""

    cfg: str | None
    embedded: str | None


def scales(kind: type, transformer: Mapping[str, Any]) -> Scales:
    """What a pipeline class calls its guidance; `transformer` is the config, whose guidance_embeds decides.

    Where the transformer is told a guidance, `guidance_scale` is that number, and two forwards a step come from
    `true_cfg_scale` alone (diffusers pipelines/hunyuan_video/pipeline_hunyuan_video.py).
    """
    taken = inspect.signature(kind.__call__).parameters
    told = bool(transformer.get("guidance_embeds")) and "guidance_scale" in taken
    free = "true_cfg_scale" if "true_cfg_scale" in taken else "guidance_scale"
    has_free = free in taken and not (told and free == "guidance_scale")
    return Scales(free if has_free else None, "guidance_scale" if told else None)


def arguments(name: str, kind: type, transformer: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """The guidance of a cell as arguments of the pipeline's call. Raises BadRequest for guidance it does not have."""
    found, given = scales(kind, transformer), {}
    if cell.cfg is not None:
        if found.cfg is None:
            raise BadRequest(f"{name} has no scale of classifier-free guidance in its call; leave --cfg out.")
        given[found.cfg] = cell.cfg
    if cell.embedded is not None:
        if found.embedded is None:
            raise BadRequest(
                f"{name} is told no guidance: its transformer has no guidance_embeds; leave --embedded-guidance out, "
                "--cfg is classifier-free guidance."
            )
        given[found.embedded] = cell.embedded
    return given


class Opened:
    """A model ready to run cells. `pipe` is the diffusers pipeline, `pocket` the pocket model, if it is one."""

    def __init__(self, name: str, pipe: Any, pocket: Any = None) -> None:
        self.name, self.pipe, self.pocket = name, pipe, pocket

    @contextmanager
    def walking(self, cell: Cell) -> Iterator[None]:
        """Have the cell's scheduler within a `with` block, and the pipeline's own again afterwards."""
        import diffusers

        own = self.pipe.scheduler
        self.pipe.scheduler = scheduler_for(self.name, own, cell.sampler, cell.schedule, diffusers)
        try:
            yield
        finally:
            self.pipe.scheduler = own

    def call(self, cell: Cell) -> Any:
        """Run the pipeline as the cell says, to latents."""
        import torch

        given = arguments(self.name, type(self.pipe), dict(self.pipe.transformer.config), cell)
        if self.pocket is not None:
            sizes = {"frames": cell.frames, "height": cell.height, "width": cell.width}
            given = {self._short(key): value for key, value in given.items()}
            return self.pocket(
                cell.prompt, negative=cell.negative, steps=cell.steps, seed=cell.seed, output_type="latent",
                **given, **{key: size for key, size in sizes.items() if size is not None},
            )  # fmt: skip
        taken = inspect.signature(type(self.pipe).__call__).parameters
        sizes = {"num_frames": cell.frames, "height": cell.height, "width": cell.width}
        for key, size in sizes.items():
            if size is not None and key not in taken:
                option = key.removeprefix("num_")
                raise BadRequest(f"{type(self.pipe).__name__} takes no {key}; leave --{option} out.")
        given |= {key: size for key, size in sizes.items() if size is not None}
        if "negative_prompt" in taken:
            given["negative_prompt"] = cell.negative
        generator = torch.Generator().manual_seed(cell.seed)
        with torch.no_grad():
            return self.pipe(
                prompt=cell.prompt, num_inference_steps=cell.steps, generator=generator, output_type="latent", **given
            )

    def _short(self, key: str) -> str:
        return "cfg" if key == self.pocket.form.guidance else key


def opened(cell: Cell) -> Opened:
    """The cell's model; the last one opened in this process is kept."""
    return _opened(cell.model, cell.dtype, cell.device, cell.offload)


@lru_cache(maxsize=1)
def _opened(model: str, dtype: str | None, device: str, offload: str | None) -> Opened:
    quiet()
    if model.startswith(POCKETS):
        from tracer.probes.pocket import load

        pocket = load(model, device=device)
        return Opened(model, pocket.pipe, pocket)
    import diffusers
    import torch

    folder = folder_of(model)
    key = "torch_dtype" if diffusers.__version__.startswith("0.") else "dtype"  # older ones know the first alone
    given: dict[str, Any] = {key: getattr(torch, dtype or "float32")}
    with _silent(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer ones warn of it
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, **given
        )
    pipe.set_progress_bar_config(disable=True)
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return Opened(model, pipe)


@contextmanager
def _silent() -> Iterator[None]:
    """No progress bars of loading."""
    import diffusers
    import transformers

    bars = [diffusers.utils.logging, transformers.utils.logging]
    shown = [bar for bar in bars if bar.is_progress_bar_enabled()]
    for bar in shown:
        bar.disable_progress_bar()
    try:
        yield
    finally:
        for bar in shown:
            bar.enable_progress_bar()


def quiet() -> None:
    """Have diffusers and transformers say errors only; before they are imported."""
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


# before a sweep begins


class _Enough(Exception):
    pass


def rehearse(cell: Cell) -> None:
    """Go through a pocket model's run up to its first forward: every refusal of it, without the work."""
    from tracer.probes.attach import L1Probe

    model = opened(cell)
    with model.walking(cell), suppress(_Enough):
        L1Probe(model.pipe, signals=cell.signals, metrics=cell.metrics)
        handle = model.pipe.transformer.register_forward_pre_hook(_stop)
        try:
            model.pipe.scheduler.set_timesteps(cell.steps)
            model.call(cell)
        finally:
            handle.remove()


def _stop(*_: Any) -> None:
    raise _Enough


def check_folder(folder: Path, cell: Cell) -> None:
    """Raise what can be told of a pipeline's folder and a cell without loading weights: one sentence each."""
    quiet()
    import diffusers

    index = read_index(folder)
    kind = getattr(diffusers, index["_class_name"], None)
    if kind is None:
        raise BadConfig(f"'{folder}' is of a {index['_class_name']}, which diffusers {diffusers.__version__} has not.")
    if not index.get("transformer", [None])[0]:
        raise BadConfig(f"'{folder}', a {kind.__name__}, has no transformer; a probe has nothing to look at.")
    try:
        config = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
        model = getattr(diffusers, index["transformer"][1])
        own = getattr(diffusers, index["scheduler"][1]).from_pretrained(folder, subfolder="scheduler")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        line = next((part.strip() for part in str(error).splitlines() if part.strip()), type(error).__name__)
        raise BadConfig(f"'{folder}' cannot be used as a {kind.__name__}: {line[:200].rstrip('.')}.") from None
    arguments(kind.__name__, kind, config, cell)
    inside = [name for name in cell.signals or () if name in INSIDE]
    if inside and where(model) is None:
        raise unknown(model, inside)
    scheduler_for(kind.__name__, own, cell.sampler, cell.schedule, diffusers)


def read_index(folder: Path) -> dict[str, Any]:
    """A pipeline folder's model_index.json. Raises BadConfig for one that is not usable, or not safe to load.

    No code of the folder is run: components are of diffusers and transformers, weights are safetensors.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise BadConfig(
            f"'{folder}' holds no model_index.json; --pipeline takes what a pipeline's save_pretrained wrote."
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadConfig(f"'{path}' is not JSON: {str(error).splitlines()[0]}.") from None
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise BadConfig(f"'{path}' names no pipeline class of diffusers in _class_name.")
    parts = {k: v for k, v in index.items() if not k.startswith("_") and isinstance(v, list) and len(v) == 2}
    if not parts.get("scheduler", [None])[0]:
        raise BadConfig(f"'{folder}', a {index['_class_name']}, has no scheduler, so there are no steps to record.")
    for name, (library, what) in parts.items():
        if library is not None and library not in _LIBRARIES:
            raise BadConfig(f"'{folder}' has a {name} from {library}.{what}: no code of a folder is run here.")
        held = [p.suffix for p in (folder / name).glob("*") if p.is_file()] if library else []
        old = next((suffix for suffix in held if suffix in _WEIGHTS), None)
        if old and ".safetensors" not in held:
            raise BadConfig(f"'{folder}/{name}' has its weights as {old}: only safetensors are read.")
    return index


def folder_of(model: str) -> Path:
    """The folder of a pipeline; one from the hub is fetched into diffusers' cache. Raises BadRequest."""
    path = Path(model)
    if path.is_dir():
        return path
    if len(path.parts) != 2 or path.is_absolute() or model.startswith((".", "~")):
        raise BadRequest(f"there is no folder '{model}'; --pipeline takes a folder or a hub id such as org/name.")
    quiet()
    import diffusers

    try:
        return Path(diffusers.DiffusionPipeline.download(model, use_safetensors=True))
    except TracerError:
        raise
    except Exception as error:  # of the network, the hub, its rights, its files: whatever it is, it is one sentence
        line = next((part.strip() for part in str(error).splitlines() if part.strip()), type(error).__name__)
        why = line.partition(" (")[0][:200].rstrip(".")
        raise BadRequest(f"'{model}' is no folder here, and it cannot be fetched from the hub: {why}.") from None


def check_pocket(name: str) -> None:
    """Raise UnknownName where there is no such pocket model; without torch."""
    place = Path(__file__).parent / "pocket" / "weights"
    names = sorted(path.name for path in place.iterdir() if path.is_dir())
    if name not in names:
        raise UnknownName("pocket model", name, names, "Other pipelines are given with --pipeline DIR.")
