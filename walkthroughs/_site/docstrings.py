"""A griffe extension: names of arguments and fields in the text of a docstring are set as code.

Our docstrings say `frames, height, width: of the video, in pixels` in the middle of a paragraph. Where every word
before the colon is an argument of the function, or a field of the class, those words are names. Where more than one
line of a paragraph begins with names, the paragraph is a list.
"""

import re

import griffe

_SAID = re.compile(r"(?:(?<=\A)|(?<=\n)|(?<=[.;)] ))((?:\w+, )*\w+)(?=:\s)")
_ITEM = re.compile(r"(?:^|(?<=\.) )(?=`\w+`(?:, `\w+`)*:\s)", re.MULTILINE)


class CodeNames(griffe.Extension):
    """Marks the names in every docstring that is read."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """A function's arguments."""
        mark(func, {p.name for p in func.parameters})

    def on_class_members(self, *, cls: griffe.Class, **_: object) -> None:
        """A class's fields, and what its constructor takes."""
        made = cls.members.get("__init__")
        taken = {p.name for p in made.parameters} if isinstance(made, griffe.Function) else set()
        mark(cls, taken | {name for name, member in cls.members.items() if member.is_attribute})


def mark(found: griffe.Object, names: set[str]) -> None:
    """Sets the names as code where the docstring explains them."""
    if found.docstring is not None:
        found.docstring.value = as_list(as_code(found.docstring.value, names))


def as_code(text: str, names: set[str]) -> str:
    """A text in which `a, b: what they are` has its names as code, where all of them are among the names."""

    def said(match: re.Match[str]) -> str:
        words = match[1].split(", ")
        return ", ".join(f"`{word}`" for word in words) if names.issuperset(words) else match[1]

    return _SAID.sub(said, text)


def as_list(text: str) -> str:
    """A text whose paragraphs of lines that begin with names, `a`: ..., are lists."""
    paragraphs = text.split("\n\n")
    for i, paragraph in enumerate(paragraphs):
        if paragraph.startswith("`") and "\n`" in paragraph and len(_ITEM.findall(paragraph)) > 1:
            paragraphs[i] = _ITEM.sub("\n- ", paragraph).strip().replace("\n\n", "\n")
    return "\n\n".join(paragraphs)
