"""The families that can be traced: one file each, found by listing the folder, and folders of yours behind it."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from typing import Any

from tracer.components import Pipeline
from tracer.errors import BadConfig, BadRequest, UnknownName
from tracer.families.base import Checkpoint, Family, load

FOLDERS = "TRACER_FAMILIES"
"""The environment variable that names more folders, as PATH does; the commands find families through it."""


def look_in(folder: str | Path) -> None:
    """Find the family files of one more folder: `NAME.py` with a `FAMILY`, `_NAME_pipeline.py` for its pipeline.

    A file whose name this package has already is not looked at. Raises BadConfig where there is no such folder.
    """
    place = Path(folder).expanduser().resolve()
    if not place.is_dir():
        raise BadConfig(f"There is no folder '{folder}' to look for families in.")
    if str(place) not in __path__:
        __path__.append(str(place))
    importlib.invalidate_caches()  # the file may have been written a moment ago


def names() -> list[str]:
    """Names of all families."""
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        look_in(folder)
    return sorted({m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and m.name[0] != "_"})


def all_families() -> list[Family]:
    """Every family, by name."""
    return [load(name) for name in names()]


def family(name: str) -> Family:
    """A family by its name. Raises UnknownName with the nearest one."""
    if name not in names():
        raise UnknownName("family", name, names())
    return load(name)


def find(name: str) -> tuple[Family, Checkpoint]:
    """Family and checkpoint for the name of either, or a hub id. Raises UnknownName with the nearest one."""
    if not isinstance(name, str):
        raise BadRequest(f"a model is given by its name, not by {name!r}; 'cogvideox' is one.")
    known: list[str] = []
    for candidate in all_families():
        own = [c.name for c in candidate.checkpoints] + [c.hub for c in candidate.checkpoints if c.hub]
        if name.lower() in (n.lower() for n in [candidate.name, *own]):
            return candidate, candidate.checkpoint(name.lower())
        known += [candidate.name, *(c.name for c in candidate.checkpoints)]
    raise UnknownName("model", name, dict.fromkeys(known), "trace-shapes --list shows them all.")


def by_model(model: str) -> Family | None:
    """The family that a diffusers class belongs to, None where there is none."""
    return next((f for f in all_families() if f.model == model), None)


def brought(model: str) -> Any:
    """What the file of a model's family has by the model's name: a class that diffusers has not; None where nothing."""
    family = by_model(model)
    return None if family is None else getattr(importlib.import_module(f"{__name__}.{family.name}"), model, None)


def has_pipeline(family: Family) -> bool:
    """Whether it is known what a family's pipelines are put together from."""
    return any(m.name == f"_{family.name}_pipeline" for m in pkgutil.iter_modules(__path__))


def pipeline_of(family: Family, checkpoint: Checkpoint) -> Pipeline:
    """What a checkpoint's pipeline is put together from: `pipeline` in the family's `_NAME_pipeline.py`.

    Raises BadRequest where there is no such file.
    """
    if not has_pipeline(family):
        known = [f.name for f in all_families() if has_pipeline(f)]
        raise BadRequest(
            f"Of {family.name} only the transformer is known here; leave --pipeline out, or take one of "
            f"{', '.join(known)}."
        )
    found = importlib.import_module(f"{__name__}._{family.name}_pipeline").pipeline(checkpoint)
    assert isinstance(found, Pipeline)
    return found
