"""ProbeLog: what a probe measured, one value a row, and where it comes from. No torch; pandas only where asked for."""

from __future__ import annotations

import html
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from tracer.errors import BadRequest, Unwritable

_KEY = b"tracer.probes"
_FORMAT = 1
_SHOWN = 8
"""Lines of a log's repr."""


class Row(NamedTuple):
    """One value.

    `timestep`, `sigma` and `guidance` are those of the step, `dt` the next sigma minus this one, negative where noise
    goes down (None where the scheduler has no sigmas). `guidance` g is combined = uncond + g (cond - uncond), 1 where
    there is no unconditional prediction. `branch` is cond, uncond, combined or nothing. `method` says how the
    change of the latents was measured: 'prediction*dt' or 'difference'. `dtype` is the signal's own; `bound` how far
    the value may be off because the latents were rounded to it.
    """

    run: int
    step: int
    timestep: float | None
    sigma: float | None
    dt: float | None
    guidance: float | None
    signal: str
    branch: str
    metric: str
    method: str
    dtype: str
    bound: float | None
    value: float


_TYPES = {"run": "int32", "step": "int32"} | {
    name: "float64" if name in ("timestep", "sigma", "dt", "guidance", "bound", "value") else "string"
    for name in Row._fields[2:]
}


class ProbeLog:
    """Rows, and the provenance of each run. Nothing here changes: filter, merge and noted give new logs.

    Equal runs give equal logs: there are no dates in it.

    Args:
        rows: the values.
        runs: for each number of a run what it was: pipeline, transformer, scheduler, its config and its sigmas, the
            prompt's hash, seed, sizes, forwards per step, versions. Plain values, as JSON has them.
    """

    def __init__(self, rows: Iterable[Row], runs: Mapping[int, Mapping[str, Any]]) -> None:
        self.rows = tuple(rows)
        self.runs = {number: dict(runs[number]) for number in sorted(runs)}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProbeLog):
            return NotImplemented
        same = self.runs == other.runs and len(self.rows) == len(other.rows)
        return same and all(map(_same, self.rows, other.rows))

    __hash__ = None  # type: ignore[assignment]

    # parts

    def names(self, column: str) -> list[Any]:
        """What a column holds, in the order of its first appearance."""
        return list(dict.fromkeys(getattr(row, column) for row in self.rows))

    def filter(
        self,
        *,
        signal: str | None = None,
        metric: str | None = None,
        branch: str | None = None,
        run: int | Iterable[int] | None = None,
    ) -> ProbeLog:
        """The rows of a signal, metric, branch or run, or of several runs; runs keep their numbers.

        Raises BadRequest for a name that this log does not have.
        """
        runs = None if run is None else {run} if isinstance(run, int) else set(run)
        for number in runs or ():
            if number not in self.runs:
                raise BadRequest(f"This log has no run {number}; its runs are {_listed(self.runs)}.")
        asked = {"signal": signal, "metric": metric, "branch": branch}
        rows: Iterable[Row] = self.rows
        for column, name in asked.items():
            if name is None:
                continue
            known = self.names(column)
            if name not in known:
                raise BadRequest(f"This log has no {column} '{name}'; it has {_listed(known)}.")
            rows = [row for row in rows if getattr(row, column) == name]
        if runs is None:
            return ProbeLog(rows, self.runs)
        return ProbeLog([row for row in rows if row.run in runs], {k: v for k, v in self.runs.items() if k in runs})

    def curve(
        self,
        signal: str,
        metric: str = "rel_l1",
        branch: str | None = None,
        *,
        run: int | Iterable[int] | None = None,
    ) -> tuple[list[int], list[float]]:
        """Steps and values of one curve; of several runs named (seeds, say) the mean.

        Without a branch it is the only one there is, or the combined prediction. Raises BadRequest where the log has
        several runs and none is named, where the choice is not one curve, and where runs have values at other steps.
        """
        run = run if run is None or isinstance(run, int) else tuple(run)
        chosen = self.filter(signal=signal, run=run).filter(metric=metric)
        if not chosen.rows:
            raise BadRequest(f"This log has no {metric} of {signal}; it has {_listed(self._pairs())}.")
        runs = chosen.names("run")
        if len(runs) > 1 and run is None:
            raise BadRequest(
                f"This log has {len(runs)} runs with that curve; choose one with run={runs[0]}, or their mean with "
                "run=log.runs."
            )
        branches = chosen.names("branch")
        if branch is None:
            branch = "combined" if "combined" in branches else branches[0]
            if len(branches) > 1 and branch != "combined":
                raise BadRequest(f"{signal} has the branches {_listed(branches)}; choose one with branch=.")
        chosen = chosen.filter(branch=branch)
        found: dict[int, dict[int, float]] = {number: {} for number in runs}
        for row in chosen:
            found[row.run][row.step] = row.value
        steps = [*found[runs[0]]]
        if any([*values] != steps for values in found.values()):
            raise BadRequest("The runs have values at different steps; choose those that are alike with run=.")
        return steps, [fmean(values[step] for values in found.values()) for step in steps]

    def spans(
        self, signal: str, metric: str = "rel_l1", branch: str | None = None, *, run: int | None = None
    ) -> tuple[list[float], list[float]]:
        """One curve over sigma: sigmas (n + 1) and values (n), value i being of what changed between i and i + 1.

        The latents change in a step, every other signal between a step and the one before. Raises BadRequest as
        `curve` does, for a metric that is of no change, and where the scheduler has no sigmas.
        """
        steps, values = self.curve(signal, metric, branch, run=run)
        (number,) = self.filter(signal=signal, run=run).filter(metric=metric).names("run")
        sigmas = self.runs[number].get("sigmas")
        if metric == "mean_abs":
            raise BadRequest("mean_abs is of no change: there is nothing between two sigmas.")
        if sigmas is None:
            raise BadRequest(
                f"{self.runs[number].get('scheduler', 'The scheduler')} has no sigmas to lay a curve over."
            )
        first = steps[0] if signal == "latents" else steps[0] - 1
        return sigmas[first : first + len(steps) + 1], values

    def _pairs(self) -> list[str]:
        return [f"{metric} of {signal}" for signal, metric in dict.fromkeys((r.signal, r.metric) for r in self.rows)]

    # together

    @classmethod
    def merge(cls, logs: Iterable[ProbeLog]) -> ProbeLog:
        """One log of several; runs are numbered anew, in the order given."""
        rows: list[Row] = []
        runs: dict[int, Mapping[str, Any]] = {}
        for log in logs:
            numbers = {old: len(runs) + i for i, old in enumerate(log.runs)}
            rows += [row._replace(run=numbers[row.run]) for row in log.rows]
            runs |= {numbers[old]: told for old, told in log.runs.items()}
        return cls(rows, runs)

    def noted(self, **facts: Any) -> ProbeLog:
        """The same log with more said of all its runs."""
        return ProbeLog(self.rows, {number: told | facts for number, told in self.runs.items()})

    # in and out

    def to_pandas(self) -> Any:
        """A pandas DataFrame with the columns of Row; what is missing is NaN."""
        pd = needed("pandas")
        kinds = {name: "object" if kind == "string" else kind for name, kind in _TYPES.items()}
        columns = list(zip(*self.rows, strict=True)) or [()] * len(_TYPES)
        frame = {n: pd.Series(list(c), dtype=kinds[n]) for n, c in zip(_TYPES, columns, strict=True)}
        return pd.DataFrame(frame)

    def to_parquet(self, path: str | Path) -> Path:
        """Write the rows, with the provenance in the file's metadata: the whole file, or none. Returns its path."""
        arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        path = Path(path)
        schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in _TYPES.items()])
        said = {"format": _FORMAT, "runs": {str(number): told for number, told in self.runs.items()}}
        schema = schema.with_metadata({_KEY: json.dumps(said, sort_keys=True).encode()})
        columns = list(zip(*self.rows, strict=True)) or [()] * len(_TYPES)
        arrays = [arrow.array(c, type=field.type, from_pandas=False) for c, field in zip(columns, schema, strict=True)]
        table = arrow.Table.from_arrays(arrays, schema=schema)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with part.open("wb") as file:
                parquet.write_table(table, file)
            part.replace(path)
        except OSError as error:
            raise Unwritable(f"{path} cannot be written: {error.strerror or error}.") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    @classmethod
    def from_parquet(cls, path: str | Path) -> ProbeLog:
        """Read what `to_parquet` wrote. Raises BadRequest for any other file."""
        arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        try:
            table = parquet.read_table(path)
        except FileNotFoundError as error:
            raise BadRequest(f"There is no file {path}.") from error
        except (OSError, arrow.ArrowException) as error:
            raise BadRequest(f"{path} is not a whole Parquet file.") from error
        said = (table.schema.metadata or {}).get(_KEY)
        if said is None or table.column_names != list(_TYPES):
            raise BadRequest(f"{path} is a Parquet file, but not one that ProbeLog.to_parquet wrote.")
        told = json.loads(said)
        if told["format"] != _FORMAT:
            raise BadRequest(f"{path} has format {told['format']}; this version reads format {_FORMAT}.")
        columns = [table.column(name).to_pylist() for name in _TYPES]
        return cls(map(Row._make, zip(*columns, strict=True)), {int(n): run for n, run in told["runs"].items()})

    # as people see it

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def _lines(self) -> list[str]:
        lines = [f"ProbeLog: {_count(len(self.runs), 'run')}, {_count(len(self.rows), 'value')}"]
        for number, told in list(self.runs.items())[:_SHOWN]:
            steps = _count(told.get("steps", 0), "step")
            each = told.get("forwards_per_step")
            forwards = f", {_count(each, 'forward')} each" if isinstance(each, int) else ""
            stopped = "" if told.get("complete", True) else ", stopped early"
            where = f"{told.get('pipeline', '?')} with {told.get('scheduler', '?')}"
            lines.append(f"  run {number}: {where}, {steps}{forwards}{stopped}")
        if len(self.runs) > _SHOWN:
            lines.append(f"  … {len(self.runs) - _SHOWN} more")
        curves = Counter(row.signal for row in self.rows)
        for signal in curves:
            rows = [row for row in self.rows if row.signal == signal]
            branches = [b for b in dict.fromkeys(row.branch for row in rows) if b]
            metrics = ", ".join(dict.fromkeys(row.metric for row in rows))
            lines.append(f"  {signal}{f' ({_listed(branches)})' if branches else ''}: {metrics}")
        return lines


def _same(a: Row, b: Row) -> bool:
    return all(
        x == y or (isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y))
        for x, y in zip(a, b, strict=True)
    )


def needed(name: str) -> Any:
    """A library of the extra `probes`. Raises BadRequest where it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise BadRequest(
            f"This needs {package}, which is not installed: pip install -e '.[probes]' in the clone."
        ) from error


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names)) or "nothing"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
