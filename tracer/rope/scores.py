"""How far attention scores move when queries and keys are turned one way in place of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreError:
    """Differences of q·k/√d, over the root mean square of the scores they should be.

    video: root mean square over pairs of video tokens. text: over pairs of one video and one text token, None without
    text. largest: the largest of all. For independent random queries and keys, unrelated rotations give about √2.
    """

    video: float
    text: float | None
    largest: float


def score_error(
    right: tuple[Floats, Floats], given: tuple[Floats, Floats], video: tuple[int, int] | None = None
) -> ScoreError:
    """Compare the scores of two rotated (query, key), each (S, d).

    video: first and end index of the video's tokens; the others are text. All are video without it.
    """
    import numpy as np

    (q, k), (other_q, other_k) = right, given
    scores = q @ k.T / np.sqrt(q.shape[-1])
    off = other_q @ other_k.T / np.sqrt(q.shape[-1]) - scores
    first, end = video or (0, len(q))
    inside = np.zeros(len(q), dtype=bool)
    inside[first:end] = True
    scale = _rms(scores)
    both, mixed = inside[:, None] & inside, inside[:, None] ^ inside
    text = _rms(off[mixed]) / scale if mixed.any() else None
    return ScoreError(_rms(off[both]) / scale, text, float(np.abs(off).max()) / scale)


def _rms(values: Floats) -> float:
    import numpy as np

    return float(np.sqrt(np.mean(np.square(values))))
