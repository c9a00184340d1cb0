"""matplotlib's SVG made fit for a page: small, no rule that reaches outside, ids of its own, colours of the page."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from tracer.plots.picture import Picture

NARROWEST, WIDEST = 600, 780
"""Pixels of a figure on a page: below the first its text cannot be read, and its box scrolls."""

_OWN = "PICTURE-"
"""Before every id and class, until the picture's own mark takes its place."""
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font:\s*((?:\d+\s+|bold\s+)?)([\d.]+)px[^;]*")
_FAMILY = re.compile(r"font-family:[^;]*;?")


@dataclass(frozen=True)
class Moves:
    """Parts of an SVG in motion: once when the page has loaded, and anew when the pointer or the focus is on it.

    styles: of the groups that move, by gid: `--turn` is the angle and `--by` the way that they go, in equal steps.
    steps: places where they stop, the first and the last included. seconds: for the whole way.
    Nobody who asked for less motion sees any.
    """

    styles: dict[str, str]
    steps: int
    seconds: float

    @property
    def rules(self) -> str:
        """As CSS."""
        way = "{to{transform:translateX(var(--by,0)) rotate(var(--turn,0))}}"
        return (
            f"@keyframes {_OWN}go{way}@keyframes {_OWN}again{way}"
            "@media (prefers-reduced-motion:no-preference){"
            f".{_OWN}moves{{animation:{_OWN}go {self.seconds:g}s steps({self.steps},jump-none)}}"
            f":is(.tracer-picture,svg):is(:hover,:focus) .{_OWN}moves{{animation-name:{_OWN}again}}}}"
        )


def tidy(drawn: bytes, picture: Picture, *, page: bool) -> str:
    """The SVG of a picture from what matplotlib drew.

    page: for the inside of an HTML page; otherwise a file of its own.
    """
    root = ElementTree.fromstring(drawn)  # noqa: S314  # matplotlib wrote it a moment ago
    moving = picture.moves.styles if picture.moves else {}
    _plain_names(root)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):  # the style speaks of every element, on a page of the whole page
                parent.remove(child)
    _short(root)
    _keep_ids(root, moving)
    _flat(root)
    rules = _classes(root) + (picture.moves.rules if picture.moves else "")
    wide, high = (float(n) for n in root.attrib["viewBox"].split()[2:])
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {wide:g} {high:g}", "role": "img",
        "aria-label": picture.title, "font-family": "system-ui,'DejaVu Sans',sans-serif",
        "stroke-linejoin": "round",
    }  # fmt: skip
    if page:
        root.attrib["style"] = f"width:100%;min-width:{NARROWEST}px;max-width:{WIDEST}px;height:auto;display:block"
    else:
        root.attrib |= {"width": f"{wide:g}pt", "height": f"{high:g}pt"}
    for at, (name, words) in enumerate((("title", picture.title), ("desc", picture.text), ("style", rules))):
        element = ElementTree.Element(name)
        element.text = words
        root.insert(at, element)
    out = ElementTree.tostring(root, encoding="unicode")
    out = out.replace(_OWN, f"v{sha256(out.encode()).hexdigest()[:10]}-")
    return _of_the_page(out) if page else f'<?xml version="1.0" encoding="utf-8"?>\n{out}\n'


def _plain_names(root: ElementTree.Element) -> None:
    """Names without namespaces; what is left of them is said once, at the top."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [k for k in element.attrib if k.startswith("{")]:
            element.attrib[key.rpartition("}")[2]] = element.attrib.pop(key)


def _short(root: ElementTree.Element) -> None:
    """Numbers to a hundredth of a unit, no space between elements, no list of fonts at every word."""
    for element in root.iter():
        for key in ("d", "x", "y", "transform", "width", "height", "points"):
            if key in element.attrib and "matrix" not in element.attrib[key]:
                value = _NUMBER.sub(lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), element.attrib[key])
                element.attrib[key] = re.sub(r"\s+", " ", value).strip()
        if "d" in element.attrib:
            element.attrib["d"] = re.sub(r" ?([A-Za-z]) ?", r"\1", element.attrib["d"])
        if element.attrib.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        if "style" in element.attrib:
            style = _FONT.sub(lambda m: (f"font-weight:{m[1].strip()};" if m[1] else "") + f"font-size:{m[2]}px",
                              element.attrib["style"])  # fmt: skip
            element.attrib["style"] = re.sub(r"([:;])\s+", r"\1", _FAMILY.sub("", style))
        if element.tag != "text":
            element.text = (element.text or "").strip() or None
        element.tail = None


def _flat(parent: ElementTree.Element) -> None:
    """Groups that say nothing give way to what they hold."""
    held = []
    for child in parent:
        _flat(child)
        if child.tag in ("g", "defs") and not len(child):
            continue
        held += list(child) if child.tag == "g" and not child.attrib else [child]
    parent[:] = held


def _classes(root: ElementTree.Element) -> str:
    """Styles that occur again and again as classes; returns their rules."""
    count = Counter(element.attrib["style"] for element in root.iter() if "style" in element.attrib)
    names = {style: f"{_OWN}{n}" for n, style in enumerate(s for s, times in count.items() if times > 1)}
    for element in root.iter():
        name = names.get(element.attrib.get("style", ""))
        if name:
            del element.attrib["style"]
            element.attrib["class"] = name
    return "".join(f".{name}{{{style}}}" for style, name in names.items())


def _keep_ids(root: ElementTree.Element, moving: dict[str, str]) -> None:
    """Only ids that something refers to, with a mark that becomes the picture's own; styles for what moves."""
    used = set()
    for element in root.iter():
        used |= {ref for value in element.attrib.values() for ref in _REFERENCE.findall(value)}
        used |= {element.attrib["href"][1:]} if element.attrib.get("href", "").startswith("#") else set()
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in moving:
            element.attrib |= {"class": f"{_OWN}moves", "style": moving[name]}
        elif name in used:
            element.attrib["id"] = f"{_OWN}{name}"
        for key, value in element.attrib.items():
            value = _REFERENCE.sub(rf"url(#{_OWN}\1)", value)
            element.attrib[key] = f"#{_OWN}{value[1:]}" if key == "href" and value.startswith("#") else value


def _of_the_page(out: str) -> str:
    from tracer.plots.picture import EITHER, INK, LIGHT

    out = out.replace(INK, "currentColor")
    for name, colour in LIGHT.items():
        out = out.replace(colour, f"var(--v-{name},{EITHER[name]})")
    return out
