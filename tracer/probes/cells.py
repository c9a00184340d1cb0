"""One cell of a sweep: settings that make one run of a pipeline, the log of that run, and the file that keeps it.

A file's name holds the cell's key and the hash of its bytes, so a file that is cut short or changed is known by its
name and nothing in it is read.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tracer import files
from tracer.errors import BadRequest, TracerError
from tracer.probes.log import ProbeLog

_DIGITS = 16
"""Of a SHA-256, in names of files."""


@dataclass(frozen=True)
class Cell:
    """Settings of one run. What is None is left to the model.

    model: a pocket model's name, a folder that `save_pretrained` wrote, or a hub id. steps: of the sampler. schedule:
    by its name, 'flow:7' or 'snr:3'. sampler: a name of `tracer.probes.samplers`. frames, height, width: of the video,
    in frames and pixels. cfg: the scale of classifier-free guidance. embedded: the guidance that the transformer is
    told as a number. prompt, negative: text. seed: of the noise. signals, metrics: as L1Probe takes them. dtype,
    device, offload: of a pipeline that is no pocket model; offload is None, 'model' or 'sequential'.
    """

    model: str
    steps: int
    schedule: str | None = None
    sampler: str | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    cfg: float | None = None
    embedded: float | None = None
    prompt: str = ""
    negative: str = ""
    seed: int = 0
    signals: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | str | None = None
    dtype: str | None = None
    device: str = "cpu"
    offload: str | None = None

    @property
    def setting(self) -> Cell:
        """The cell without what is averaged over: prompt and seed."""
        return replace(self, prompt="", seed=0)

    @property
    def placing(self) -> str:
        """What places the steps, as people say it: 'shift 7', 'SNR shift 3', another schedule's name, or 'own'."""
        name, _, scale = (self.schedule or "own").partition(":")
        words = {"flow": f"shift {scale}", "snr": f"SNR shift {scale}"}
        return words.get(name, self.schedule or "own")

    @property
    def key(self) -> str:
        """16 hexadecimal digits that equal cells share."""
        return _digest(json.dumps(self.told(), sort_keys=True).encode())

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def __str__(self) -> str:
        silent = ("model", "signals", "metrics", "device")
        shown = {k: v for k, v in asdict(self).items() if k not in silent and v is not None and v != ""}
        words = [f"{k} '{v}'" if isinstance(v, str) else f"{k} {v:g}" for k, v in shown.items()]
        return ", ".join(words)


def run(cell: Cell) -> ProbeLog:
    """The log of the cell's run, with the cell in its provenance. Equal cells give equal logs on equal machines.

    On a CPU one thread is used, so that the order of sums does not depend on how many there are. Raises what opening
    the model, its scheduler and its pipeline raise; whatever the pipeline itself raises is said as a BadRequest.
    """
    import torch

    from tracer.probes.attach import L1Probe
    from tracer.probes.models import opened

    model = opened(cell)
    with model.walking(cell), _alone(torch), torch.random.fork_rng():
        torch.manual_seed(cell.seed)  # of samplers that draw noise of their own
        probe = L1Probe(model.pipe, signals=cell.signals, metrics=cell.metrics)
        try:
            with probe:
                model.call(cell)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise BadRequest(f"{type(model.pipe).__name__} failed: {type(error).__name__}: {_line(error)}") from error
    return probe.log.noted(**_facts(cell), cell=cell.told())


def _facts(cell: Cell) -> dict[str, Any]:
    """What a log cannot see by itself: a schedule that was handed over leaves no trace in the scheduler's config."""
    facts = {
        "schedule": cell.placing if cell.schedule else None,
        "sampler": cell.sampler,
        "cfg": cell.cfg,
        "embedded_guidance": cell.embedded,
        "prompt": cell.prompt,
    }
    return {name: value for name, value in facts.items() if value is not None}


@contextmanager
def _alone(torch: Any) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _line(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{line[:300].rstrip('.')}."


# what engines hand around


@dataclass(frozen=True)
class Failed:
    """What a cell's run was stopped by, in one sentence."""

    sentence: str


def attempt(cell: Cell) -> bytes | Failed:
    """The bytes of the cell's Parquet file, or why there are none."""
    try:
        return packed(run(cell))
    except TracerError as error:
        return Failed(str(error))
    except Exception as error:  # in another process nobody else would say it
        return Failed(f"{type(error).__name__}: {_line(error)}")


def packed(log: ProbeLog) -> bytes:
    """A log as the bytes of a Parquet file."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        return log.to_parquet(Path(folder) / "cell.parquet").read_bytes()


# files


def keep(cell: Cell, data: bytes, folder: Path) -> Path:
    """Write a finished cell into a folder, whole or not at all. Returns its path; raises Unwritable."""
    path = folder / f"{cell.key}-{_digest(data)}.parquet"
    files.write(path, data)
    for other in folder.glob(f"{cell.key}-*.parquet"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def kept(cell: Cell, folder: Path) -> Path | None:
    """The file of a cell that was finished, None if it was not or its file is not as it was written."""
    for path in sorted(folder.glob(f"{cell.key}-*.parquet")):
        try:
            whole = path.stem == f"{cell.key}-{_digest(path.read_bytes())}"
        except OSError:
            continue
        if whole:
            return path
    return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
