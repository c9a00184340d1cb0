"""Figures of a ProbeLog: what each denoising step changes, over steps, timesteps and sigma, for one run or for several.

Runs that differ in their seed alone are one curve: the median, in a band from the least to the largest or between the
quartiles. Curves are named by what tells their runs apart. Every number is a row of the log, or a quantile of rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tracer.errors import BadRequest, Unwritable
from tracer.files import check_writable, write
from tracer.plots.looks import MOST
from tracer.plots.picture import Picture, blank, drawing, headed, settle
from tracer.plots.probes_drawn import BANDS, METRICS, PER_DT, band_said, draw, panels_of
from tracer.plots.probes_text import panel_text
from tracer.probes import reference as article
from tracer.probes.groups import Curve, curves
from tracer.probes.log import ProbeLog

_ROW, _LINE, _HEAD = 2.2, 0.19, 0.35
"""Inches of a row of panels, of a line of the key, and of the title."""
_BRANCHES = {"cond": ", conditional", "uncond": ", unconditional", "combined": ", combined", "": ""}


def panels(
    log: ProbeLog,
    signal: str = "prediction",
    metric: str = "rel_l1",
    branch: str | None = None,
    *,
    band: str = "range",
    reference: bool = False,
) -> Picture:
    """One signal's metric over the share of the steps, over 1000 - timestep and over sigma, and where the steps stand.

    The three panels of an article on the L1 changes of HunyuanVideo come first: the metric over step / steps, the
    metric over 1000 - timestep, and 1000 - timestep over step / steps. Where the scheduler has sigmas the metric over
    sigma follows, logarithmic for a relative L1, and the same per dt if the log has it.

    signal, metric, branch: as in the log; without a branch the combined one, or the only one there is. band: "range",
    least to largest over the seeds, or "quartiles". reference: lay the article's measured values over it; they are
    mean|x|, so that the metric has to be mean_abs. Raises BadRequest for names that the log does not have, for more
    curves than can be told apart, for another band, and for a reference that cannot be compared.
    """
    return _panels(log, (signal, metric, branch), band, reference, "")


def save_all(
    log: ProbeLog, folder: str | Path, metric: str = "rel_l1", *, kind: str = ".svg", band: str = "range"
) -> list[Path]:
    """Write `panels` of every signal and branch that has the metric; returns the files, in the order of the log.

    Names are signal-branch, as in prediction-cond.svg. Where the runs are too many for one figure there is one for each
    value of the settings beyond the first two, as in prediction-cond_17-frames.svg. kind: .svg, .png or .pdf. The
    folder is made where there is none. All figures are drawn before the first file is written, and each file is whole
    or not at all. Raises BadRequest where nothing has the metric, Unwritable, and what `panels` raises.
    """
    if kind not in Picture.kinds:
        raise Unwritable(f"'{kind}' is no format of a figure: it is {', '.join(Picture.kinds)}.")
    folder = Path(folder)
    files: dict[Path, bytes] = {}
    for signal, branch in dict.fromkeys((row.signal, row.branch) for row in log.filter(metric=metric)):
        for about, runs in _parts(curves(log, signal, metric, branch)):
            name = "-".join(filter(None, (signal, branch))) + (f"_{_slug(about)}" if about else "")
            picture = _panels(log.filter(run=runs), (signal, metric, branch), band, False, about)
            files[folder / f"{name}{kind}"] = picture.data(kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"'{folder}' cannot be a folder: {error.strerror or error}.") from None
    for path in files:
        check_writable(path)
    for path, data in files.items():
        write(path, data)
    return list(files)


def _panels(log: ProbeLog, choice: tuple[str, str, str | None], band: str, reference: bool, about: str) -> Picture:
    if band not in BANDS:
        raise BadRequest(f"A band over seeds is {' or '.join(BANDS)}, not '{band}'.")
    shown = curves(log, *choice)
    signal, metric = choice[:2]
    branch = shown[0].points[0][0].branch
    slopes = _slopes(log, signal, metric, branch)
    over = _reference(signal, metric, branch) if reference else []
    kinds = panels_of(shown, slopes)
    entries = len(shown) + len(over)
    heights = [_ROW] * -(-len(kinds) // 2)
    key = _LINE * (bool(band_said(shown, band)) + (entries if len(kinds) % 2 else -(-entries // 2)))
    if entries > 1 or band_said(shown, band):
        heights += [] if len(kinds) % 2 and key < _ROW else [0.1 + _LINE * (1 + -(-entries // 2))]
    title = f"{signal}{_BRANCHES.get(branch, '')}: {METRICS[metric]}" + (f"; {about}" if about else "")
    with drawing():
        figure = blank(_HEAD + sum(heights))
        headed(figure, title)
        draw(figure, kinds, (shown, slopes, over), band, heights)
        settle(figure)
    return Picture(figure, title, panel_text([*shown, *over]))


def _slopes(log: ProbeLog, signal: str, metric: str, branch: str) -> list[Curve]:
    """The same curves per dt, where the log has them."""
    wanted = PER_DT.get(metric)
    if not any((row.signal, row.branch, row.metric) == (signal, branch, wanted) for row in log):
        return []
    return curves(log, signal, str(wanted), branch)


def _reference(signal: str, metric: str, branch: str) -> list[Curve]:
    if metric != "mean_abs":
        raise BadRequest(f"The article's values are mean|x|, no differences: lay them over mean_abs, not {metric}.")
    known = article.log()
    found = {(row.signal, row.branch) for row in known}
    if (signal, branch) not in found:
        names = ", ".join(" ".join(pair).strip() for pair in sorted(found))
        raise BadRequest(f"The article has no {' '.join((signal, branch)).strip()}; it has {names}.")
    return curves(known, signal, metric, branch)


def _parts(shown: Sequence[Curve]) -> list[tuple[str, list[int]]]:
    """What one figure shows of the curves, in words, and its runs; all of them where they can be told apart."""
    names = list(dict.fromkeys(name for curve in shown for name in curve.group.settings))
    parts: dict[str, list[int]] = {}
    for i, curve in enumerate(shown):
        about = ""
        if len(shown) > MOST:
            beyond = [curve.group.settings[name] for name in names[2:] if name in curve.group.settings]
            about = ", ".join(beyond) if len(names) > 2 else f"part {i // MOST + 1}"
        parts.setdefault(about, []).extend(curve.group.runs)
    return list(parts.items())


def _slug(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")
