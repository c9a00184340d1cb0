"""Plain words on their way into Markdown: nothing in them is taken for markup, but for what they set as code."""

from tracer.views import markdown


def plain(text: str) -> str:
    """A text on one line whose signs stay signs, in a paragraph or a cell of a table; what is in `code` stays so."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick without its other one
        parts = ["`".join(parts)]
    shown = [markdown.plain(part) for part in parts[::2]]
    code = [part.replace("|", r"\|") for part in parts[1::2]]
    out = shown[0]
    for inside, after in zip(code, shown[1:], strict=True):
        out += f"`{inside}`{after}"
    return out
