"""Runs of a log that differ in their seed alone, as one curve; named by what tells them from the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tracer.errors import BadRequest
from tracer.probes.log import ProbeLog, Row

_ACCIDENT = {"seed", "cell", "complete", "bytes", "versions", "signals", "metrics"}
"""Facts that make no other setting of a run."""
_RESULTS = {
    "forwards_per_step": "forwards per step {}", "sigmas": "sigmas {}", "transformer_of_step": "transformer of step {}",
    "prompt_embeds_sha256": "prompt {}",
}  # fmt: skip
"""Facts that follow from others, as a rule: said only where nothing else tells the runs apart."""
_DIGITS = 6
"""Of sigmas, where runs are compared: seeds do not move them, other devices may round them differently."""


class _Setting(NamedTuple):
    """A setting that people speak of: how it is said, the facts that tell it, and those that follow from it."""

    words: str
    names: tuple[str, ...]
    implied: tuple[str, ...] = ()


_SETTINGS = (
    _Setting("{}", ("schedule",), ("shift", "scheduler_config.")),
    _Setting("shift {}", ("shift", "scheduler_config.shift", "scheduler_config.flow_shift")),
    _Setting("SNR shift {}", ("snr_shift", "scheduler_config.snr_shift_scale")),
    _Setting("{} steps", ("steps", "arguments.num_inference_steps")),
    _Setting("{} frames", ("frames", "arguments.num_frames"), ("latents",)),
    _Setting("height {}", ("height", "arguments.height"), ("latents",)),
    _Setting("width {}", ("width", "arguments.width"), ("latents",)),
    _Setting("CFG {}", ("cfg", "arguments.true_cfg_scale")),
    _Setting("guidance {}", ("embedded_guidance", "arguments.guidance_scale")),
    _Setting("{}", ("sampler", "scheduler"), ("scheduler_config.",)),
    _Setting("prompt {}", ("prompt", "prompt_sha256")),
    _Setting("{}", ("pipeline",), ("transformer.", "latents")),
)
"""Of names, the first that a run has is the value."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    runs: their numbers. settings: what tells them from the other groups of the log, "shift" -> "shift 7".
    """

    runs: tuple[int, ...]
    settings: Mapping[str, str]

    @property
    def label(self) -> str:
        """What tells them apart, "shift 7, 50 steps"; "" where there is no other group."""
        return ", ".join(self.settings.values())


@dataclass(frozen=True)
class Curve:
    """What a log has of one signal, metric and branch in the runs of a group.

    points: for each step that has values the rows of the log, one for each run. steps: how many steps a whole run has.
    grid: its steps with their timesteps, also those that have no value.
    """

    group: Group
    points: tuple[tuple[Row, ...], ...]
    steps: int
    grid: tuple[tuple[int, float], ...]


def groups(log: ProbeLog) -> list[Group]:
    """The runs of a log that have values, in groups, in the order of the log."""
    used = {row.run for row in log}
    facts: dict[str, dict[str, Any]] = {}
    runs: dict[str, list[int]] = {}
    for number, told in log.runs.items():
        if number in used:
            flat = _flat(told)
            facts.setdefault(_text(flat), flat)
            runs.setdefault(_text(flat), []).append(number)
    return [Group(tuple(n), said) for n, said in zip(runs.values(), _said(list(facts.values())), strict=True)]


def curves(log: ProbeLog, signal: str, metric: str = "rel_l1", branch: str | None = None) -> list[Curve]:
    """One curve for each group of runs that has it.

    Without a branch it is the combined one, or the only one there is. Raises BadRequest where it is neither, and for
    names that the log does not have.
    """
    chosen = log.filter(signal=signal).filter(metric=metric)
    chosen = chosen.filter(branch=_branch(chosen) if branch is None else branch)
    grids: dict[int, dict[int, float]] = {}
    for row in log:
        if row.timestep is not None:
            grids.setdefault(row.run, {})[row.step] = row.timestep
    values: dict[int, dict[int, list[Row]]] = {}
    for row in chosen:
        values.setdefault(row.run, {}).setdefault(row.step, []).append(row)
    out = []
    for group in groups(chosen):
        first = group.runs[0]
        steps = sorted({step for run in group.runs for step in values[run]})
        points = tuple(tuple(row for run in group.runs for row in values[run].get(step, ())) for step in steps)
        count = log.runs[first].get("steps") or 1 + steps[-1]
        out.append(Curve(group, points, count, tuple(sorted(grids.get(first, {}).items()))))
    return out


def _branch(log: ProbeLog) -> str:
    branches: list[str] = log.names("branch")
    if "combined" in branches or len(branches) == 1:
        return "combined" if "combined" in branches else branches[0]
    raise BadRequest(
        f"{log.rows[0].signal} has the branches {', '.join(branches)}; choose one with branch='{branches[0]}'."
    )


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    """A run's facts on one level, as in "arguments.height", without the accidental ones."""
    out: dict[str, Any] = {}
    for name, value in told.items():
        if name in _ACCIDENT:
            continue
        out |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {name: value}
    if out.get("sigmas"):
        out["sigmas"] = [round(sigma, _DIGITS) for sigma in out["sigmas"]]
    return out


def _said(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each group what tells it apart, by setting. What was published is told by its source alone."""
    own = iter(_apart([flat for flat in facts if "source" not in flat]))
    return [{"source": str(flat["source"])} if "source" in flat else next(own) for flat in facts]


def _apart(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    rest = {key for flat in facts for key in flat if len({_text(f.get(key)) for f in facts}) > 1}
    out: list[dict[str, str]] = [{} for _ in facts]

    def say(words: str, names: tuple[str, ...]) -> None:
        for said, flat in zip(out, facts, strict=True):
            value = next((flat[name] for name in names if flat.get(name) is not None), None)
            if value is not None:
                told = words.format(_amount(value))
                said[names[0]] = told.removesuffix("s") if told.startswith("1 ") else told

    for words, names, implied in _SETTINGS:
        if not rest.isdisjoint(names):
            say(words, names)
            rest = {key for key in rest if key not in names and not key.startswith(implied)}
    for key in sorted(rest - set(_RESULTS)):
        say(f"{key.rpartition('.')[2].replace('_', ' ')} {{}}", (key,))
    if len({_text(said) for said in out}) < len(out):
        for key in (key for key in _RESULTS if key in rest):
            say(_RESULTS[key], (key,))
    return out


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _amount(value: Any) -> str:
    """A value in a label: short numbers, sizes as 4×5×16, of a long list what stands in the middle."""
    if isinstance(value, list):
        if len(value) > 6:
            return f"… {_amount(value[len(value) // 2])} …"
        return "×".join(map(_amount, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
