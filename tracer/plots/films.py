"""Strips of pictures: frames of videos, or the states that a sampler walks through, in rows under one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.errors import BadRequest
from tracer.plots.picture import WIDTH, Picture, blank, drawing, headed, settle

Images = npt.NDArray[np.uint8]

MOST = 18
"""Pictures of a row; more could not be told apart at the width of a page."""
SIDE = 64
"""Pixels of the longer side of what is drawn: larger pictures are made smaller, so that a page stays light."""

_HEAD, _NAMES, _GAP, _LETTER, _WIDEST = 0.36, 0.2, 0.07, 0.078, 1.5
"""Inches of the title, of the columns' names, between pictures, of a letter of a row's name, and of one picture."""


def strips(rows: Mapping[str, Any], title: str, columns: Sequence[str] = ()) -> Picture:
    """Rows of pictures of one size, each row under its name.

    rows: for each name its pictures, (n, height, width, 3): floats in [0, 1], where values beyond are cut off, or
    bytes; also a list of PIL images, as pipelines return the frames of a video. columns: a name for each picture of a
    row. The text form gives the mean colour of every picture. Raises BadRequest for no rows, rows of different lengths
    or sizes, anything that is no picture, more than MOST pictures in a row, and names that are not one for each column.
    """
    found = {name: _images(name, given) for name, given in rows.items()}
    if not found:
        raise BadRequest("There is nothing to show: give at least one row of pictures, such as a video's frames.")
    shapes = {name: images.shape for name, images in found.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{_flat(name)}: {n} of {h}×{w}" for name, (n, h, w, _) in shapes.items())
        raise BadRequest(f"The rows of one figure have as many pictures of one size, not {said}.")
    count, height, width = next(iter(shapes.values()))[:3]
    if count > MOST:
        raise BadRequest(f"{count} pictures in a row are too small to see: take up to {MOST}, such as every second.")
    if columns and len(columns) != count:
        raise BadRequest(f"{len(columns)} names do not belong to {count} columns: give one for each picture.")
    left = 0.15 + _LETTER * max(len(line) for name in found for line in name.splitlines() or [""])
    wide = min(_WIDEST, (WIDTH - left) / count - _GAP)
    high = wide * height / width
    head = _HEAD + (_NAMES if columns else 0)
    tall = head + len(found) * (high + _GAP)
    with drawing():
        figure = blank(tall)
        figure.set_layout_engine("none")
        headed(figure, title)
        for r, (name, images) in enumerate(found.items()):
            low = tall - head - (r + 1) * (high + _GAP) + _GAP
            for i, image in enumerate(images):
                place = ((left + i * (wide + _GAP)) / WIDTH, low / tall, wide / WIDTH, high / tall)
                axes = figure.add_axes(place, label=f"{name} {i}")
                axes.imshow(_small(image), interpolation="none", aspect="auto")  # its pixels go to the file as they are
                axes.set_axis_off()
                if columns and not r:
                    axes.set_title(columns[i])
            figure.text((left - 0.08) / WIDTH, (low + high / 2) / tall, name, ha="right", va="center")
        settle(figure)
    return Picture(figure, title, _text(found, columns))


def _images(name: str, given: Any) -> Images:
    """Pictures as bytes (n, height, width, 3)."""
    each = [np.asarray(image) for image in given]
    kinds = {(image.shape, str(image.dtype)) for image in each}
    shape, dtype = next(iter(kinds)) if len(kinds) == 1 else ((), "several kinds")
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or not (dtype == "uint8" or dtype.startswith("float")):
        said = f"{dtype} of shape {shape}" if shape else dtype if each else "nothing"
        raise BadRequest(f"'{_flat(name)}' is no row of pictures: each is (height, width, 3) in bytes or floats, "
                         f"not {said}.")  # fmt: skip
    images = np.stack(each)
    if dtype == "uint8":
        return images
    if not np.isfinite(images).all():
        raise BadRequest(f"'{_flat(name)}' has values that are no finite numbers, so it cannot be shown.")
    return (images.clip(0, 1) * 255).round().astype(np.uint8)


def _small(image: Images) -> Images:
    """The picture with its longer side at most SIDE."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _text(rows: Mapping[str, Images], columns: Sequence[str]) -> str:
    """For each row its size and the mean colours of its pictures."""
    out = []
    for name, images in rows.items():
        count, height, width = images.shape[:3]
        out.append(f"{_flat(name)}: {count} picture{'s' * (count > 1)} of {height}×{width}, mean colours")
        said = ["#" + "".join(f"{round(x):02x}" for x in image.reshape(-1, 3).mean(0)) for image in images]
        said = [f"{column} {colour}" for column, colour in zip(columns, said, strict=True)] if columns else said
        out += wrap(", ".join(said), 80, initial_indent=" " * 7, subsequent_indent=" " * 7)
    return "\n".join(out)


def _flat(name: str) -> str:
    """A row's name in one line."""
    return " ".join(name.split())
