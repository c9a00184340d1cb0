"""A sweep: a grid of cells, the folder that keeps those finished, and what is made of them at the end."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tracer import files
from tracer.configs import DTYPES, check_sizes
from tracer.errors import BadRequest, Unwritable
from tracer.probes.cells import Cell, Failed, keep, kept
from tracer.probes.engines import Engine, Local
from tracer.probes.log import ProbeLog, needed
from tracer.probes.named import schedule as named
from tracer.probes.samplers import check_sampler
from tracer.probes.schedules import Schedule
from tracer.probes.signals import SIGNALS, chosen
from tracer.probes.summary import Summary, summaries

FORMAT = 1
MANIFEST, CELLS, MERGED = "sweep.json", "cells", "log.parquet"
Size = tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Sweep:
    """A grid: every combination of what is listed is a setting, and each is run for every prompt and seed.

    model, negative, embedded, signals, metrics, dtype, device, offload: as Cell has them. steps, schedules, samplers,
    cfgs: lists, None being the model's own. sizes: (frames, height, width) together. prompts: texts. seeds: how many,
    counted from 0.
    """

    model: str
    steps: tuple[int, ...]
    schedules: tuple[str | None, ...] = (None,)
    samplers: tuple[str | None, ...] = (None,)
    sizes: tuple[Size, ...] = ((None, None, None),)
    cfgs: tuple[float | None, ...] = (None,)
    embedded: float | None = None
    prompts: tuple[str, ...] = ("",)
    negative: str = ""
    seeds: int = 1
    signals: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | str | None = None
    dtype: str | None = None
    device: str = "cpu"
    offload: str | None = None

    def cells(self) -> list[Cell]:
        """All cells; those of one setting follow each other."""
        grid = itertools.product(
            self.steps, self.schedules, self.samplers, self.sizes, self.cfgs, self.prompts, range(self.seeds)
        )
        found = [
            Cell(
                self.model, steps, schedule, sampler, *size, cfg, self.embedded, prompt, self.negative, seed,
                self.signals, self.metrics, self.dtype, self.device, self.offload,
            )
            for steps, schedule, sampler, size, cfg, prompt, seed in grid
        ]  # fmt: skip
        return list(dict.fromkeys(found))

    def check(self) -> None:
        """Raise what can be refused without torch, in one sentence."""
        for steps in self.steps:
            check_sizes({"steps": steps})
        check_sizes({"seeds": self.seeds})
        for frames, height, width in self.sizes:
            check_sizes({"frames": frames, "height": height, "width": width})
        for name in filter(None, self.schedules):
            found = named(name)
            if isinstance(found, Schedule):
                for steps in self.steps:
                    found.for_steps(steps).require()
        for name in filter(None, self.samplers):
            check_sampler(name)
        for scale in (*self.cfgs, self.embedded):
            if scale is not None and not 0 <= scale < float("inf"):
                raise BadRequest(f"a guidance of {scale:g} is not possible: it is a number from 0 on.")
        chosen("signal", self.signals, SIGNALS, SIGNALS)
        if not self.prompts:
            raise BadRequest("there are no prompts; give at least one.")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise BadRequest(f"--dtype {self.dtype} is not possible: it is {' or '.join(DTYPES)}.")

    def check_model(self, said: Callable[[str], None]) -> Path | None:
        """Raise what the model refuses, before any cell runs. Returns the folder of a pipeline.

        said: called with the size of a known model that the hub has, before it is fetched.
        """
        from tracer.probes.metrics import METRICS
        from tracer.probes.models import POCKETS, check_folder, check_pocket, folder_of, rehearse

        chosen("metric", self.metrics, METRICS, METRICS)
        _check_device(self.device)
        if not self.model.startswith(POCKETS):
            if not Path(self.model).is_dir():
                _say_parameters(self, said)
            folder = folder_of(self.model)
            for cell in self._varied():
                check_folder(folder, cell)
            return folder
        check_pocket(self.model)
        for cell in self._varied():
            rehearse(cell)
        return None

    def _varied(self) -> list[Cell]:
        """Cells in which everything listed is seen once: what steps, sizes and prompts refuse is their own matter."""
        first = self.cells()[0]
        pairs = itertools.product(self.steps, self.schedules, self.samplers)
        varied = [replace(first, steps=n, schedule=s, sampler=w) for n, s, w in pairs]
        varied += [replace(first, frames=f, height=h, width=w) for f, h, w in self.sizes]
        varied += [replace(first, cfg=cfg) for cfg in self.cfgs]
        varied += [replace(first, prompt=prompt) for prompt in self.prompts]
        return list(dict.fromkeys(varied))


def _check_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise BadRequest(f"--device {device} is not possible: it is cpu, cuda, cuda:1, mps or the like.") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, True):
        raise BadRequest(f"--device {device} is not there: torch {torch.__version__} sees no such device; take cpu.")


@dataclass(frozen=True)
class Result:
    """What a sweep comes to: one log with a run for every cell, in the cells' order, and the settings' numbers."""

    log: ProbeLog
    settings: list[Summary]


def run_sweep(
    sweep: Sweep,
    out: Path,
    engine: Engine | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
    said: Callable[[str], None] = lambda sentence: None,
) -> Result:
    """Run what is not finished yet in the folder `out`, and merge all cells into its log.parquet.

    The folder has sweep.json, and a file for every finished cell in cells/. A sweep that was stopped, however, goes on
    when it is run again: a cell whose file is missing or not as it was written is run anew. engine: by default
    processes of this machine. told: called with the number of finished cells and of all. said: called with what a
    person should know before the work: the memory that weights take.

    Raises BadRequest for what is refused, for a folder that holds anything else, and where a cell fails; cells that
    were finished stay.
    """
    engine = engine or Local()
    sweep.check()
    needed("pyarrow")  # which keeps every cell
    _check_out(out)
    cells = sweep.cells()
    manifest = _manifest(sweep)
    begun = _begun(out, manifest)
    left = [cell for cell in cells if not begun or kept(cell, out / CELLS) is None]
    if left:
        folder = sweep.check_model(said)
        if folder is not None:
            _say_memory(sweep, folder, engine, left, said)
        engine.check(left)
    if not begun:
        _begin(out, manifest)
    told(len(cells) - len(left), len(cells))
    if left:
        _work(left, len(cells), out / CELLS, engine, told)
    return _gather(cells, out)


def _work(left: list[Cell], total: int, folder: Path, engine: Engine, told: Callable[[int, int], None]) -> None:
    with closing(engine.run(left)) as outcomes:  # which ends its workers, also after an exception
        for done, (i, outcome) in enumerate(outcomes, total - len(left) + 1):
            if isinstance(outcome, Failed):
                raise BadRequest(
                    f"the cell with {left[i]} failed: {outcome.sentence.rstrip('.')}; {done - 1} of {total} are "
                    "finished and kept, and the same command goes on from there."
                )
            keep(left[i], outcome, folder)
            told(done, total)


def _gather(cells: list[Cell], out: Path) -> Result:
    logs = []
    for cell in cells:
        path = kept(cell, out / CELLS)
        if path is None:
            raise BadRequest(f"a cell of '{out}' was changed while it ran; the same command makes it anew.")
        logs.append(ProbeLog.from_parquet(path))
    for part in (out / CELLS).glob(".*.parquet.*"):  # of a process that was killed while it wrote
        part.unlink(missing_ok=True)
    log = ProbeLog.merge(logs)
    log.to_parquet(out / MERGED)
    return Result(log, summaries(cells, logs))


def _say_parameters(sweep: Sweep, said: Callable[[str], None]) -> None:
    from tracer.families import all_families
    from tracer.probes.memory import of_parameters

    known = {checkpoint.hub: checkpoint for family in all_families() for checkpoint in family.checkpoints}
    if sweep.model in known:
        said(of_parameters(known[sweep.model].params, sweep.dtype or "float32"))


def _say_memory(sweep: Sweep, folder: Path, engine: Engine, left: list[Cell], said: Callable[[str], None]) -> None:
    from tracer.probes.memory import weights

    workers = engine.count(left) if isinstance(engine, Local) and sweep.device == "cpu" else 1
    dtype = sweep.dtype or "float32"
    said(weights(folder, dtype).sentence(sweep.device, dtype, sweep.offload, workers))


# the folder


def _manifest(sweep: Sweep) -> dict[str, Any]:
    """What makes two sweeps the same: settings, libraries, weights."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "diffusers")}
    said = {"format": FORMAT, "versions": versions, "weights": _weights(sweep.model), **asdict(sweep)}
    plain: dict[str, Any] = json.loads(json.dumps(said))
    return plain


def _weights(model: str) -> str | None:
    """A hash that other weights change: of a pocket model's files, of a folder's configs and file sizes."""
    pocket = Path(__file__).parent / "pocket" / "weights" / model
    place = pocket if pocket.is_dir() else Path(model)
    if not place.is_dir():
        return None
    found = hashlib.sha256()
    for path in sorted(place.rglob("*")):
        if path.suffix in (".safetensors", ".json"):
            whole = place is pocket or path.suffix == ".json"
            found.update(str(path.relative_to(place)).encode())
            found.update(path.read_bytes() if whole else str(path.stat().st_size).encode())
    return found.hexdigest()[:16]


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise Unwritable(f"'{out}' is a file; a sweep needs a folder.")


def _begun(out: Path, manifest: dict[str, Any]) -> bool:
    """Whether the folder holds this very sweep. Raises BadRequest for another one and for anything else."""
    path = out / MANIFEST
    if not path.is_file():
        if out.is_dir() and any(p.name != CELLS or any(p.iterdir()) for p in out.iterdir()):
            raise BadRequest(f"'{out}' holds other things and no {MANIFEST}; name a new folder for the sweep.")
        return False
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadRequest(f"'{path}' cannot be read as the settings of a sweep; name another folder.") from None
    keys = [k for k in manifest if not isinstance(there, dict) or there.get(k) != manifest[k]]
    if keys:
        was = there.get(keys[0]) if isinstance(there, dict) else None
        raise BadRequest(
            f"'{out}' holds another sweep: its {keys[0]} is {_said(was)}, this one's {_said(manifest[keys[0]])}; name "
            "another folder, or type that sweep's own command to go on with it."
        )
    return True


def _said(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _begin(out: Path, manifest: dict[str, Any]) -> None:
    try:
        (out / CELLS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"'{out}' cannot be made: {error.strerror or error}.") from None
    files.write(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """One prompt a line; empty lines are left out. Raises BadRequest for a file that is missing or has none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"the prompts '{path}' cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise BadRequest(f"the prompts '{path}' are no text in UTF-8.") from None
    found = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not found:
        raise BadRequest(f"the prompts '{path}' are empty; the file has one prompt a line.")
    return found


def paired(frames: Iterable[int], heights: list[int], widths: list[int]) -> tuple[Size, ...]:
    """Frames times pictures; heights and widths belong together, a single one to all of the others.

    Raises BadRequest where there are several of both and not equally many.
    """
    if len(heights) > 1 and len(widths) > 1 and len(heights) != len(widths):
        raise BadRequest(
            f"--height has {len(heights)} values and --width {len(widths)}: they go in pairs, or one is single."
        )
    many = max(len(heights), len(widths), 1)
    rows, columns = ((list(x) * many)[:many] if x else [None] * many for x in (heights, widths))
    pictures = list(zip(rows, columns, strict=True))
    return tuple((f, h, w) for f in (*frames,) or (None,) for h, w in pictures)
