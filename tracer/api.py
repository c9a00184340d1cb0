"""trace("cogvideox-5b", frames=49): build, record, derive, annotate."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tracer import families
from tracer.build import build_inputs, build_model, first_line, full_config
from tracer.calls import Header, Symbol, Trace
from tracer.configs import DTYPES, check_sizes, read_config
from tracer.derive import Reader, attach
from tracer.errors import BadConfig, BadRequest, ForwardFailed
from tracer.families.base import Checkpoint, Family, Request, field_of
from tracer.formula import Formula
from tracer.notes import annotate
from tracer.probing import grid_formulas, points, with_grid
from tracer.recorder import record

_LETTERS = {
    "B": ("batch", "samples in one forward"),
    "F": ("latent_frames", "frames after the VAE"),
    "H": ("latent_height", "rows after the VAE: height / 8"),
    "W": ("latent_width", "columns after the VAE: width / 8"),
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
) -> Trace:
    """Trace one forward of a published transformer at real size, without weights.

    model: family, checkpoint or hub id. frames, height, width: of the video, in pixels; batch: samples in one
    forward; text_tokens: L; all default to the checkpoint's published request. dtype: 'bfloat16', 'float16' or
    'float32'. config: a diffusers folder or config.json to use instead, or changed fields. formulas: derive a
    formula for every size (a few more forwards of one block of each kind).

    Returns the folded trace with costs, stages and remarks. Raises UnknownName, BadRequest, BadConfig, or
    ForwardFailed with the partial trace where the model itself raises.
    """
    warnings: list[str] = []
    if isinstance(config, str):
        family, checkpoint, fields, warnings = _from_file(config)
    else:
        family, checkpoint = families.find(model)
        fields = full_config(family.model, {**checkpoint.config, **(config or {})})
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
    seen = run(family, fields, values, dtype, header)
    header = dataclasses.replace(header, params=seen.header.params, buffers=seen.header.buffers)
    seen = dataclasses.replace(seen, header=header)
    if formulas:
        try:
            seen = with_formulas(seen, family, fields, values, dtype)
        except (BadConfig, ForwardFailed) as error:  # the numbers are right all the same
            header = dataclasses.replace(header, warnings=(*header.warnings, f"no formulas: a probe failed. {error}"))
            seen = dataclasses.replace(seen, header=header)
    return annotate(seen, family.notes(fields))


def make_request(default: Request, asked: Mapping[str, int | None]) -> Request:
    """The default request with what was asked for. Raises BadRequest for sizes below one."""
    check_sizes(asked)
    return dataclasses.replace(default, **{k: v for k, v in asked.items() if v is not None})


def letters_of(family: Family, config: Mapping[str, Any], request: Request) -> dict[str, int]:
    """The value of every letter: the request's, then the config's."""
    sizes = family.sizes(config, request)
    return sizes | {x.symbol: field_of(config, x.field) for x in family.letters(config)}


def run(
    family: Family, config: Mapping[str, Any], values: Mapping[str, int], dtype: str, header: Header | None = None,
    device: str = "meta",
) -> Trace:  # fmt: skip
    """One recorded forward at these values. Raises ForwardFailed with the partial trace."""
    model = build_model(family.model, config, dtype=dtype, device=device)
    inputs = build_inputs(family.inputs(config), values, dtype=dtype, device=device)
    recording = record(model)
    try:
        with torch.no_grad(), recording:
            model(**inputs, return_dict=False)
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
    probed = points(letters, family.depths)
    probes = []
    for point in probed:
        fields = dict(config) | {d: point[d] for d in family.depths} | family.probe_config(config, values, point)
        for x in letters:
            name, _, index = x.field.partition(".")
            if index:
                entries = list(fields[name])
                entries[int(index)] = point[x.symbol]
                fields[name] = tuple(entries)
            else:
                fields[name] = type(config[name])(point[x.symbol])
        probes.append(run(family, fields, point, dtype))
    real = with_grid({**values, **{d: config[d] for d in family.depths}})
    reader = Reader([*probed, real], [s for s in probed[0] if s not in family.depths and s not in "FHW"], family.depths)
    found = attach(seen, probes, reader, grid_formulas(values))
    gaps = [f"no formula was found for a size of {numbers[-1]}." for numbers in sorted(reader.unread)]
    gaps += [f"no formulas below {path}: a probe took another path there." for path in dict.fromkeys(reader.strayed)]
    warnings = (*found.header.warnings, *gaps)
    return dataclasses.replace(found, header=dataclasses.replace(found.header, warnings=warnings))


def _from_file(place: str) -> tuple[Family, Checkpoint, dict[str, Any], list[str]]:
    name, given = read_config(place)
    family = families.by_model(name)
    if family is None:
        known = sorted({f.model for f in families.all_families()})
        raise BadConfig(f"'{place}' is a {name}, which is not known here; known are {', '.join(known)}.")
    known_fields = full_config(family.model, {})
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

    return all((plain(a[k]) and plain(b[k])) or a[k] == b[k] for k in a)


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
    )


def _legend(family: Family, config: Mapping[str, Any], values: Mapping[str, int]) -> Sequence[Symbol]:
    fixed = family.fixed(config)
    out = [Symbol(s, n, values[s], m, fixed=fixed.get(s)) for s, (n, m) in _LETTERS.items()]
    out += [
        Symbol(x.symbol, x.name, values[x.symbol], x.meaning, field=x.field, number=x.number)
        for x in family.letters(config)
    ]
    out += [Symbol(d, d, config[d], "equal blocks in a row", field=d, number=True) for d in family.depths]
    symbol = Formula.symbol
    tokens = symbol("F") * symbol("H") * symbol("W") / symbol("p") / symbol("p")
    if "p_t" in values:
        tokens = tokens / symbol("p_t")
    hidden = symbol("h") * symbol("d")
    out.append(Symbol("S", "tokens", tokens.evaluate(values), "video tokens", formula=tokens))
    out.append(Symbol("D", "hidden", hidden.evaluate(values), "width of the residual stream", formula=hidden))
    return out
