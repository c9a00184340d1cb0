"""L1 probes: instruments that record what each denoising step changes, and the schedules that place the steps.

Importing this package loads nothing; each name brings what it needs when it is first used. Small trained models to try
them on are in `tracer.probes.pocket`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracer.lazy import serve

if TYPE_CHECKING:
    from tracer.probes.attach import L1Probe as L1Probe
    from tracer.probes.handover import hand_to as hand_to
    from tracer.probes.handover import using as using
    from tracer.probes.log import ProbeLog as ProbeLog
    from tracer.probes.named import schedule as schedule
    from tracer.probes.spread_log import equal_change as equal_change
    from tracer.probes.spread_log import fit_shift as fit_shift
    from tracer.probes.sweep import Sweep as Sweep
    from tracer.probes.sweep import run_sweep as run_sweep

_HOME = {
    "L1Probe": "attach", "ProbeLog": "log", "Sweep": "sweep", "equal_change": "spread_log", "fit_shift": "spread_log",
    "hand_to": "handover", "run_sweep": "sweep", "schedule": "named", "using": "handover",
}  # fmt: skip

__all__ = [
    "L1Probe", "ProbeLog", "Sweep", "equal_change", "fit_shift", "hand_to", "run_sweep", "schedule", "using",
]  # fmt: skip

__getattr__, __dir__ = serve(__name__, _HOME)
