"""What a person gives, looked at before torch or diffusers is imported: a local config, sizes, a dtype."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracer.errors import BadConfig, BadRequest

DTYPES = ("bfloat16", "float16", "float32")
"""What a model can be run in."""


def check_sizes(asked: Mapping[str, int | None]) -> None:
    """Raise BadRequest for a size that is no whole number from 1 on; None is a size not asked for."""
    for name, value in asked.items():
        if value is not None and (type(value) is not int or value < 1):  # True is an int, too
            raise BadRequest(f"--{name.replace('_', '-')} {value} is not possible: it is a whole number from 1 on.")


def read_config(place: str) -> tuple[str, dict[str, Any]]:
    """Class name and config of a local diffusers folder or config.json.

    A pipeline folder is followed into its `transformer`. Raises BadConfig with one sentence for anything that
    is missing, unreadable, not JSON, or not a diffusers config.
    """
    path = _file(place)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"'{path}' is not JSON: {error}.") from None
    name = data.get("_class_name") if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise BadConfig(
            f"'{path}' is no diffusers config: it has no _class_name, which save_pretrained writes; "
            "--from takes a folder or config.json saved by it."
        )
    if name.endswith("Pipeline"):
        raise BadConfig(
            f"'{path}' is of a whole pipeline, a {name}; --from takes its transformer folder or config.json."
        )
    return name, {k: v for k, v in data.items() if not k.startswith("_")}


def _file(place: str) -> Path:
    path = Path(place)
    try:
        if path.is_dir():
            names = ("config.json", "transformer/config.json")
            found = next((path / name for name in names if (path / name).is_file()), None)
            if found is None:
                raise BadConfig(
                    f"'{place}' holds neither config.json nor transformer/config.json; "
                    "--from takes a folder saved by diffusers' save_pretrained."
                )
            return found
        exists = path.exists()
    except OSError as error:
        raise BadConfig(f"'{place}' cannot be read: {error.strerror or error}.") from None
    if not exists:
        raise BadConfig(
            f"'{place}' is no folder or file here: --from takes a local diffusers folder or config.json and "
            "downloads nothing; a published checkpoint goes without --from, trace-shapes --list shows them."
        )
    return path


def misfit(default: Any, given: Any) -> str | None:
    """What a config field should be, by its constructor's default, where the given value is not it."""
    for kind, kinds, words in _KINDS:
        if isinstance(default, kind):
            fits = isinstance(given, kinds) and (isinstance(given, bool) == isinstance(default, bool))
            if fits and isinstance(default, list | tuple):
                fits = len(given) == len(default) and not any(map(misfit, default, given))
                words = f"a list of {len(default)} like {list(default)}"
            if fits and isinstance(given, int) and not isinstance(given, bool) and default > 0 >= given:
                fits, words = False, f"{words} from 1 on"
            return None if fits else words
    return None


_KINDS: tuple[tuple[Any, Any, str], ...] = (
    (bool, bool, "true or false"),
    (int, int, "a whole number"),
    (float, (int, float), "a number"),
    (str, str, "a text"),
    (list | tuple, (list, tuple), "a list"),
)
"""By the default's kind: what may be given, and how to say it."""
