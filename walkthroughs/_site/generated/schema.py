"""The page on the JSON of traces: a table for each object of the schema, and a call cut from a stored trace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from plain import plain
from stored import ROOT, stored

from tracer.views.markdown import pipes

if TYPE_CHECKING:
    from tracer.calls import Trace

SCHEMA = ROOT / "tracer" / "trace.schema.json"
EXAMPLE = "cogvideox-5b"
LINE = 72

PAGE = """\
# Traces as JSON

`trace-shapes {example} -o trace.json` writes a trace as data, `Trace.to_json()` gives the same in Python. The schema,
version {version}: [trace.schema.json](../trace.schema.json).

Parts that are empty, zero or not known are left out. Sizes that nothing moves are plain numbers. There is no tensor's
value in a trace; source files are named from the folder that their package is installed in.

## Reading it without torch

```python
{code}
```

```text
{printed}
```

[`Trace`](tracer.md#tracer.Trace) and all it is made of load neither torch nor diffusers. The views take the file too:
`trace-shapes trace.json --notes`.

## An example

The call that puts text before video in {example}, as it stands in its trace: where it happened, what went in, what
came out, and why. A `formula` is a sum: each term a coefficient, then the exponent of each letter.

```json
{call}
```

`{axis}` is {said}.

{tables}
"""

CODE = """\
from pathlib import Path

import tracer

trace = tracer.Trace.from_json(Path("trace.json").read_text(encoding="utf-8"))
joined = trace.one("patch_embed", "cat")
axis = joined.output.shape[1]
print(axis.formula, "=", axis.size)
print(len(list(trace.walk())), "rows for", len(list(trace.unfold().walk())), "calls")"""


def files() -> Iterator[tuple[str, str]]:
    """The one page."""
    yield "reference/schema.md", page(stored(EXAMPLE))


def page(trace: Trace) -> str:
    """The page, with its example from this trace."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    call = cut(trace.to_json()["root"])
    axis = trace.one("patch_embed", "cat").output.shape[1]
    rows, calls = len(list(trace.walk())), len(list(trace.unfold().walk()))
    return PAGE.format(
        example=EXAMPLE,
        version=schema["properties"]["schema"]["const"],
        code=CODE,
        printed=f"{axis.formula} = {axis.size}\n{rows} rows for {calls} calls",
        call=laid_out(call),
        axis=json.dumps(next(iter(call["outputs"].values()))["shape"][1]["formula"]),
        said=f"{axis.formula}, here {axis.size}",
        tables="\n\n".join(tables(schema)),
    )


def cut(call: Mapping[str, Any]) -> dict[str, Any]:
    """The call of the example, with nothing taken out of it."""
    found = [c for c in below(call) if c["path"] == "patch_embed" and c["name"] == "cat"]
    (only,) = found
    return dict(only)


def below(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """This call and all below it."""
    yield call
    for child in call.get("children", ()):
        yield from below(child)


def tables(schema: Mapping[str, Any]) -> Iterator[str]:
    """A section for each object, in the order of the schema; the file itself first."""
    yield section("file", schema | {"title": "The file"})
    for name, part in schema["$defs"].items():
        yield section(name, part)


def section(name: str, part: Mapping[str, Any]) -> str:
    """One object: what it is, and its fields or its forms."""
    out = [f"## {part['title']} {{ #{name} }}", plain(part.get("description", ""))]
    if "properties" in part:
        out.append(fields(part))
    elif "oneOf" in part:
        out.append("One of these:")
        out.append("\n".join(f"- {form(option)}" for option in part["oneOf"]))
    elif "items" in part:
        item = part["items"]
        out.append(f"Each is a list of {len(item['prefixItems'])}. {plain(item['description'])}")
        inner = [f"- {kind(p)}: {plain(p['description'])}" for p in item["prefixItems"]]
        out.append("\n".join(inner))
    return "\n\n".join(out)


def form(option: Mapping[str, Any]) -> str:
    """One of several forms that a value may have."""
    said = f"{kind(option)}. {plain(option.get('description', ''))}".strip()
    inner = [f"`{name}`: {kind(p)}" for name, p in option.get("properties", {}).items()]
    return said + (f" Fields: {'; '.join(inner)}." if inner else "")


def fields(part: Mapping[str, Any]) -> str:
    """A table of fields; what must be there is marked."""
    rows = []
    required = part.get("required", ())
    for name, spec in part["properties"].items():
        always = " *always*" if name in required else ""
        said = spec.get("description") or spec.get("title") or "See there."
        rows.append((f"`{name}`{always}", kind(spec), plain(said)))
    return pipes(("field", "type", "meaning"), rows)


def kind(spec: Any) -> str:
    """The type of a value in words, objects as links to their tables."""
    if not isinstance(spec, Mapping):
        return "any"
    if "$ref" in spec:
        name = spec["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in spec:
        return f"`{json.dumps(spec['const'])}`"
    if "enum" in spec:
        return " or ".join(f"`{json.dumps(value)}`" for value in spec["enum"])
    if "oneOf" in spec:
        return " or ".join(dict.fromkeys(kind(option) for option in spec["oneOf"]))
    given = spec.get("type", "any")
    if isinstance(given, list):
        return " or ".join(given)
    if given == "array":
        if "prefixItems" in spec:
            return f"list of {' and '.join(kind(item) for item in spec['prefixItems'])}"
        many = f"{spec['minItems']} " if spec.get("minItems") and spec.get("minItems") == spec.get("maxItems") else ""
        return f"list of {many}{kind(spec.get('items'))}"
    if given == "object" and isinstance(spec.get("additionalProperties"), Mapping):
        return f"{kind(spec['additionalProperties'])} by name"
    return str(given)


def laid_out(value: Any, indent: int = 0, room: int = LINE) -> str:
    """JSON in which what fits a line stays on it."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) <= room - indent or not isinstance(value, dict | list) or not value:
        return short
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = [f"{json.dumps(k, ensure_ascii=False)}: {laid_out(v, indent + 2)}" for k, v in value.items()]
    else:
        inner = [laid_out(v, indent + 2) for v in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n{pad}" + f",\n{pad}".join(inner) + f"\n{' ' * indent}{closed}"
