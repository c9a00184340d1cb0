"""Where the cells of a sweep run: in processes here, or on a Ray cluster that the user started.

An engine takes cells and gives back, in any order, which one it is and the bytes of its file or why it failed. It
writes nothing: one process, that of the sweep, keeps what comes.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any, NamedTuple, Protocol

from tracer.errors import BadRequest
from tracer.probes.cells import Cell, Failed, attempt

Outcome = tuple[int, bytes | Failed]
RETRIES = 8
"""How often a cell goes on to another node after its own has died; one that takes every node down must end."""


class Engine(Protocol):
    """Runs cells."""

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise BadRequest where these cells cannot be run, before anything is."""

    def run(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        """The number of each cell in the sequence with its outcome, as they finish."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Local:
    """Processes of this machine, each with one thread; one worker is this process itself.

    workers: how many; by default as many as there are cores, or GPUs where cells run on 'cuda', of which each worker
    then sees one. Workers end with this process, however it ends.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def count(self, cells: Sequence[Cell]) -> int:
        """How many workers the cells get."""
        return max(1, min(self.workers or (len(_gpus(cells)) or cores()), len(cells)))

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise BadRequest where there are more workers than GPUs."""
        many, gpus = self.count(cells), _gpus(cells)
        if gpus and many > len(gpus):
            raise BadRequest(f"{many} workers want a GPU each and there are {len(gpus)}; take --workers {len(gpus)}.")

    def run(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        """The cells' outcomes. A worker that dies fails its cell."""
        many, gpus = self.count(cells), _gpus(cells)
        if many == 1:
            yield from ((i, attempt(cell)) for i, cell in enumerate(cells))
            return
        left = iter(enumerate(cells))
        running: dict[Any, _Worker] = {}
        started = [_start(gpus[number] if gpus else None) for number in range(many)]
        try:
            for worker in started:
                _hand(worker, left, running)
            while running:
                ready: list[Any] = wait(list(running))
                for pipe in ready:
                    worker = running.pop(pipe)
                    try:
                        outcome: bytes | Failed = pipe.recv()
                    except (EOFError, ConnectionError):
                        worker.process.join()
                        outcome = Failed(_death(worker.process.exitcode))
                    done = worker.cell
                    if not worker.process.is_alive():
                        worker = _start(worker.gpu)
                        started.append(worker)
                    _hand(worker, left, running)
                    yield done, outcome
        finally:
            for worker in running.values():
                worker.process.kill()
            for worker in started:
                worker.process.join()


class _Worker(NamedTuple):
    """A process, this side of its pipe, the GPU it sees, and the number of the cell it has."""

    process: Any
    pipe: Any
    gpu: str | None
    cell: int = -1


def _hand(worker: _Worker, left: Iterator[tuple[int, Cell]], running: dict[Any, _Worker]) -> None:
    """The next cell, or the end."""
    number, cell = next(left, (-1, None))
    with suppress(ConnectionError):  # of a worker that has died: it is seen when its answer is read
        worker.pipe.send(cell)
    if cell is not None:
        running[worker.pipe] = worker._replace(cell=number)


def _death(code: int | None) -> str:
    how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    return f"its process was {how}; if memory ran out, take fewer --workers." if code else "its process ended."


def _start(gpu: str | None) -> _Worker:
    """A new process that waits for cells; it is spawned, because torch does not survive a fork."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    with _environment({"OMP_NUM_THREADS": "1"} | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})):
        process.start()
    theirs.close()  # so that its end is the end of the pipe
    return _Worker(process, ours, gpu)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Any) -> None:
    """A worker's life: cells come, bytes go, until nothing comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    from tqdm import tqdm  # the progress bars of diffusers

    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and left behind by one that is killed
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while (cell := pipe.recv()) is not None:
            pipe.send(attempt(cell))


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)  # in the middle of a cell that nobody waits for


def _gpus(cells: Sequence[Cell]) -> list[str]:
    """The GPUs to share out: none where cells run elsewhere, or name one."""
    if not cells or cells[0].device != "cuda":
        return []
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",") if seen else [str(i) for i in range(torch.cuda.device_count())]


class OnRay:
    """A Ray cluster that is running already, started with `ray start --head` and joined by other machines.

    address: host:port of its head; by default RAY_ADDRESS, or the cluster of this machine. workers: the most cells at
    once; by default as many as fit. A cell takes one CPU, and one GPU where it runs on CUDA. A cell whose node dies is
    run again on another. Every node needs this package; a pipeline's folder must be there under the same path.
    Raises BadRequest where ray is not installed, and for a cluster that does not answer.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address, self.workers, self._mine = address, workers, False
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise BadRequest(
                "--engine ray needs ray, which is not installed: pip install -e '.[ray]' in the clone."
            ) from error

    def check(self, cells: Sequence[Cell]) -> None:
        """Join the cluster, until `run` has ended."""
        self._mine = not self._ray.is_initialized()
        if not self._mine:
            return
        try:
            self._ray.init(address=self.address or "auto", log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError, OSError, AssertionError) as error:
            where = f"at {self.address}" if self.address else "here"
            raise BadRequest(
                f"no Ray cluster answers {where}: start one with ray start --head, and name another machine's with "
                "--address host:6379."
            ) from error

    def run(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        """The cells' outcomes."""
        try:
            yield from self._work(cells)
        finally:
            if self._mine:
                self._ray.shutdown()

    def _work(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        ray = self._ray
        gpus = 1 if cells and cells[0].device.startswith("cuda") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(attempt)
        left = iter(enumerate(cells))
        running: dict[Any, int] = {}
        for i, cell in left:
            running[task.remote(cell)] = i
            if self.workers is not None and len(running) == self.workers:
                break
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            i = running.pop(done)
            if (more := next(left, None)) is not None:
                running[task.remote(more[1])] = more[0]
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                outcome = Failed(f"Ray could not run it ({lines[-1][:200] if lines else type(error).__name__}).")
            yield i, outcome
