"""trace("cogvideox-5b", frames=49): build, record, derive, annotate."""

from __future__ import annotations

import dataclasses
import inspect
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tracer import families
from tracer.build import build_model, fields_of, first_line, full_config, ready
from tracer.calls import Header, Symbol, Trace
from tracer.configs import DTYPES, check_sizes, read_config
from tracer.derive import Reader, attach
from tracer.errors import BadConfig, BadRequest, ForwardFailed
from tracer.families.base import Checkpoint, Family, Request, value_of, with_fields
from tracer.known import LARGEST
from tracer.notation import parse
from tracer.notes import annotate
from tracer.probing import grid_formulas, points, with_grid
from tracer.recorder import record

_LETTERS = {
    "B": ("batch", "samples in one forward"),
    "F": ("latent_frames", "frames after the VAE"),
    "H": ("latent_height", "rows after the VAE: height / {space}"),
    "W": ("latent_width", "columns after the VAE: width / {space}"),
    "L": ("text_tokens", "text tokens the transformer sees"),
}


def trace(
    model: str = "cogvideox",
    *,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    batch: int | None = None,
    text_tokens: int | None = None,
    dtype: str | None = None,
    config: str | Mapping[str, Any] | None = None,
    formulas: bool = True,
    lines: bool = False,
) -> Trace:
    """Trace one forward of a published transformer at real size, without weights.

    model: family, checkpoint or hub id. frames, height, width: of the video, in pixels; batch: samples in one
    forward; text_tokens: L; all default to the checkpoint's published request. dtype: 'bfloat16', 'float16' or
    'float32'. config: a diffusers folder or config.json to use instead, or changed fields. formulas: derive a
    formula for every size (a few more forwards of one block of each kind). lines: count which lines of the source ran.

    Returns the folded trace with costs, stages and remarks. Raises UnknownName, BadRequest, BadConfig, or
    ForwardFailed with the partial trace where the model itself raises.
    """
    warnings: list[str] = []
    if isinstance(config, str):
        family, checkpoint, fields, warnings = _from_file(config)
    else:
        family, checkpoint = families.find(model)
        fields = full_config(family.model, {**checkpoint.config, **(config or {})})
    if frames is not None and not family.video:
        raise BadRequest(f"{family.name} is an image model and has no frames; leave --frames {frames} out.")
    asked = {"batch": batch, "frames": frames, "height": height, "width": width, "text_tokens": text_tokens}
    request = make_request(family.adapt(fields, checkpoint.request), asked)
    findings = family.check(fields, request)
    if findings.errors:
        raise BadRequest(" ".join(findings.errors))
    dtype = dtype or checkpoint.dtype
    if dtype not in DTYPES:
        raise BadRequest(f"--dtype {dtype} is not known; it is one of {', '.join(DTYPES)}.")
    values = letters_of(family, fields, request)
    header = _header(family, checkpoint, fields, request, dtype, values)
    header = dataclasses.replace(header, warnings=(*warnings, *findings.warnings))
    seen = run(family, fields, values, dtype, header, lines=lines)
    header = dataclasses.replace(
        header, params=seen.header.params, buffers=seen.header.buffers, sources=seen.header.sources,
        warnings=(*header.warnings, *seen.header.warnings),
    )  # fmt: skip
    seen = dataclasses.replace(seen, header=header)
    if formulas:
        try:
            seen = with_formulas(seen, family, fields, values, dtype)
        except (BadConfig, BadRequest, ForwardFailed) as error:  # the numbers are right all the same
            header = dataclasses.replace(header, warnings=(*header.warnings, f"no formulas: a probe failed. {error}"))
            seen = dataclasses.replace(seen, header=header)
    return annotated(seen, family, fields)


def annotated(trace: Trace, family: Family, config: Mapping[str, Any]) -> Trace:
    """The trace with its family's notes, or with those that recognise what code does."""
    if family.notes is None:
        from tracer.generic import annotate_by_code

        return annotate_by_code(trace)
    return annotate(trace, family.notes(config))


def make_request(default: Request, asked: Mapping[str, int | None]) -> Request:
    """The default request with what was asked for. Raises BadRequest for sizes below one."""
    check_sizes(asked)
    return dataclasses.replace(default, **{k: v for k, v in asked.items() if v is not None})


def letters_of(family: Family, config: Mapping[str, Any], request: Request) -> dict[str, int]:
    """The value of every letter: the request's, then the config's. Raises BadConfig for one that has none."""
    sizes = dict(family.sizes(config, request))
    for x in family.letters(config):
        if x.symbol not in sizes:
            try:
                sizes[x.symbol] = value_of(config, x)
            except (LookupError, TypeError, ValueError):
                raise BadConfig(
                    f"The letter {x.symbol} of {family.name} is config field '{x.field}', and the config has no whole "
                    f"number there; it has {', '.join(config)}."
                ) from None
    for depth in family.depths:
        if depth not in config:
            raise BadConfig(f"'{depth}' counts the blocks of {family.name}, and the config has {', '.join(config)}.")
    return sizes


def run(
    family: Family, config: Mapping[str, Any], values: Mapping[str, int], dtype: str, header: Header | None = None,
    device: str = "meta", lines: bool = False,
) -> Trace:  # fmt: skip
    """One recorded forward at these values. Raises ForwardFailed with the partial trace."""
    model = build_model(family.model, config, dtype=dtype, device=device)
    recording = record(model, lines=lines)
    plain = {"return_dict": False} if "return_dict" in inspect.signature(model.forward).parameters else {}
    try:
        with ready(family.inputs(config), values, device=device, dtype=dtype) as inputs, recording:
            model(**inputs, **plain)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        partial = recording.trace
        if header is not None:
            partial = dataclasses.replace(
                partial, header=dataclasses.replace(header, error=partial.header.error, params=partial.header.params)
            )
        raise ForwardFailed(f"{family.model} {partial.header.error}: {first_line(error)}", partial) from error
    return recording.trace


def with_formulas(
    seen: Trace, family: Family, config: Mapping[str, Any], values: Mapping[str, int], dtype: str
) -> Trace:
    """The trace with formulas on sizes, counts and costs."""
    letters = family.letters(config)
    probed, free = probe_points(family, config, values)
    probes = []
    for point in probed:
        fields = dict(config) | {d: point[d] for d in family.depths} | family.probe_config(config, values, point)
        for x in letters:
            fields = with_fields(fields, x, point[x.symbol])
        point |= {d: fields[d] for d in family.depths}  # a family may need one block more
        probes.append(run(family, fields, point, dtype))
    real = with_grid({**values, **{d: config[d] for d in family.depths}})
    reader = Reader([*probed, real], free, family.depths, [parse(text) for text in family.sums(config)])
    found = attach(seen, probes, reader, grid_formulas(values))
    gaps = [f"no formula was found for a size of {numbers[-1]}." for numbers in sorted(reader.unread)]
    gaps += [
        f"no formulas below {path or family.model}: a probe took another path there."
        for path in dict.fromkeys(reader.strayed)
    ]
    warnings = (*found.header.warnings, *gaps)
    return dataclasses.replace(found, header=dataclasses.replace(found.header, warnings=warnings))


def probe_points(
    family: Family, config: Mapping[str, Any], values: Mapping[str, int]
) -> tuple[list[dict[str, int]], list[str]]:
    """Where to probe, and the letters that can be read there: those that are not pinned to one value."""
    limited = {s: some if values[s] in some else (values[s],) for s, some in family.limited(config).items()}
    most = LARGEST if any(i.assume for i in family.inputs(config)) else None
    probed = points(family.letters(config), family.depths, limited, lambda point: family.fit(point, values), most)
    pinned = {s for s, some in limited.items() if len(set(some)) == 1}
    pinned |= {grid for letter, grid in (("F", "f"), ("H", "y"), ("W", "x")) if letter in pinned}
    silent = {*family.depths, "F", "H", "W", *pinned}
    return probed, [s for s in probed[0] if s not in silent]


def _from_file(place: str) -> tuple[Family, Checkpoint, dict[str, Any], list[str]]:
    name, given = read_config(place)
    family = families.by_model(name)
    if family is None:
        known = sorted({f.model for f in families.all_families()})
        raise BadConfig(f"'{place}' is a {name}, which is not known here; known are {', '.join(known)}.")
    known_fields = fields_of(family.model)
    unknown = sorted(set(given) - set(known_fields))
    fields = full_config(family.model, {k: v for k, v in given.items() if k in known_fields})
    warnings = [f"config field '{u}' is not one this diffusers version takes; it is left out." for u in unknown]
    shared = [c for c in family.checkpoints if _alike(full_config(family.model, c.config), fields)]
    nearest = shared[0] if shared else family.checkpoints[0]
    return family, dataclasses.replace(nearest, name=place, hub=place, source=place), fields, warnings


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two configs are of one kind: all but the plain sizes agree."""

    def plain(value: Any) -> bool:
        return isinstance(value, int | float | tuple | list) and not isinstance(value, bool)

    return all((plain(a[k]) and plain(b.get(k))) or a[k] == b.get(k) for k in a)


def _header(
    family: Family, checkpoint: Checkpoint, config: Mapping[str, Any], request: Request, dtype: str,
    values: Mapping[str, int],
) -> Header:  # fmt: skip
    import diffusers

    return Header(
        model=family.model,
        checkpoint=checkpoint.name,
        family=family.name,
        dtype=dtype,
        request=request.as_dict(),
        versions={
            "diffusers": diffusers.__version__,
            "torch": str(torch.__version__).partition("+")[0],
            "python": platform.python_version(),
        },
        config={k: list(v) if isinstance(v, tuple) else v for k, v in config.items()},
        legend=tuple(_legend(family, config, values)),
        constraints=tuple(family.constraints(config)),
        source=f"{checkpoint.source} ({checkpoint.confidence})",
        assumptions=tuple(f"{i.name}: {i.assume}" for i in family.inputs(config) if i.assume),
        compression=family.compression,
    )


def _legend(family: Family, config: Mapping[str, Any], values: Mapping[str, int]) -> Sequence[Symbol]:
    fixed = family.fixed(config)
    space = family.compression[1]
    out = [
        Symbol(s, n, values[s], m.format(space=space), fixed=fixed.get(s))
        for s, (n, m) in _LETTERS.items()
        if s != "F" or family.video
    ]
    out += [
        Symbol(x.symbol, x.name, values[x.symbol], x.meaning, field=x.field or None, number=x.number,
               fixed=fixed.get(x.symbol))
        for x in family.letters(config)
    ]  # fmt: skip
    out += [Symbol(d, d, config[d], "equal blocks in a row", field=d, number=True) for d in family.depths]
    for letter, (name, text, meaning) in family.short(config).items():
        formula = parse(text)
        if not formula.symbols <= values.keys():  # the default ones speak of p, h and d, which not every model has
            continue
        try:
            value = formula.evaluate(values)
        except ValueError:
            given = ", ".join(f"{k} {values[k]}" for k in sorted(formula.symbols))
            raise BadRequest(f"These sizes make no whole number of {name}: {formula} with {given}.") from None
        out.append(Symbol(letter, name, value, meaning, formula=formula))
    return out
