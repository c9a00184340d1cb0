"""The claims of the article on HunyuanVideo's L1 about the curves that it measured, tried on the pocket model."""

from __future__ import annotations

from collections.abc import Callable

from claims._l1_runs import change, falling, log, near
from claims.claim import UNSAID, Claim, Part

_CURVES = "L1 curves"
_SUMMARY = "Summary"


def _largest(steps: int, shift: float, **options: int) -> float:
    return float(change(log(steps, shift, **options)).max())


def _is_u() -> bool:
    """Whether both the first and the last fifth reach more than three times the least."""
    found = change(log(20, 7.0))
    return bool(min(found[:4].max(), found[-4:].max()) > 3 * found.min() and 4 <= found.argmin() < 15)


def _differ(a: float, b: float) -> bool:
    return abs(a / b - 1) > 0.1


def _moves(**other: object) -> Callable[[], bool]:
    """Whether something else changes the curve of ten steps by more than a tenth somewhere."""

    def measure() -> bool:
        return not near(change(log(10, 7.0, **other)) / change(log(10, 7.0)), 1, 0.1)  # type: ignore[arg-type]

    return measure


_POCKET = "On the pocket model, one prompt and one seed."

CURVES = (
    Claim(
        "l1/published-curves", "Introduction",
        "Papers show U-shaped curves for HunyuanVideo and Wan.",
        "The claims on the article's own curves are measured below, on small models.",
        source="among others Liu et al., TeaCache (arXiv 2411.19108), and Ma et al., MagCache (arXiv 2506.09045)",
        unchecked="Their figures are of the large models with their weights.",
    ),
    Claim(
        "l1/u-shape", _SUMMARY,
        "The change of the conditional prediction from step to step makes a U.",
        f"{_POCKET} Two causes make the two arms: at first the model changes its mind about the video, at last small "
        "changes of it are divided by a small sigma.",
        (
            Part("first and last fifth of 20 steps at shift 7 reach three times the least, which is between", True,
                 True, _is_u),
            Part("largest and least change of that run", UNSAID, (0.158, 0.041),
                 lambda: (_largest(20, 7.0), float(change(log(20, 7.0)).min())), 0.05),
        ),
    ),
    Claim(
        "l1/more-steps", _CURVES,
        "The more steps, the smaller the largest change.",
        f"{_POCKET} With fewer steps each has to change more.",
        (
            Part("it falls from 10 to 20 steps at shift 7", True, True,
                 lambda: falling([_largest(10, 7.0), _largest(20, 7.0)])),
            Part("it falls from 10 to 20 steps at shift 1", True, True,
                 lambda: falling([_largest(10, 1.0), _largest(20, 1.0)])),
        ),
    ),
    Claim(
        "l1/what-u-depends-on", _SUMMARY,
        "The heights of the U depend on the number of steps, the shift and the number of frames.",
        f"{_POCKET} Another number of frames is also another noise, so its part is not told apart from chance here.",
        (
            Part("largest change differs by a tenth between 10 and 20 steps", True, True,
                 lambda: _differ(_largest(10, 7.0), _largest(20, 7.0))),
            Part("between shift 1 and shift 7", True, True, lambda: _differ(_largest(20, 1.0), _largest(20, 7.0))),
            Part("between 1 frame and 17", True, True,
                 lambda: _differ(_largest(20, 7.0, frames=1), _largest(20, 7.0))),
        ),
    ),
    Claim(
        "l1/shift-for-steps", _SUMMARY,
        "With a large shift the largest change stays small even with few steps.",
        f"{_POCKET} A larger shift gives the steps to where the model decides.",
        (
            Part("it falls from shift 1 over 3 and 7 to 17, ten steps", True, True,
                 lambda: falling([_largest(10, s) for s in (1.0, 3.0, 7.0, 17.0)])),
            Part("largest change at these four", UNSAID, (0.497, 0.409, 0.211, 0.184),
                 lambda: tuple(_largest(10, s) for s in (1.0, 3.0, 7.0, 17.0)), 0.05),
            Part("ten steps at shift 17 stay below twenty at shift 1", True, True,
                 lambda: falling([_largest(20, 1.0), _largest(10, 17.0)])),
        ),
    ),
    Claim(
        "l1/other-causes", "Other remarks",
        "The curve may also change with the noise, the prompt, the guidance and the sampler.",
        "It does with each of the four, in the pocket model at 10 steps and shift 7.",
        (
            Part("another seed changes the curve by more than a tenth", True, True, _moves(seed=1)),
            Part("another prompt does", True, True, _moves(prompt="a blue square moving up")),
            Part("no guidance does", True, True, _moves(cfg=1.0)),
            Part("UniPC in place of Euler does", True, True, _moves(unipc=True)),
        ),
    ),
)  # fmt: skip
