"""A page for each command, read off its argument parser: purpose, usage, every option with an anchor, examples."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator

from plain import plain

COMMANDS = {
    "trace-shapes": "trace_shapes",
    "plan-frames": "plan_frames",
    "show-rope": "show_rope",
    "probe-l1": "probe_l1",
}
"""Each command and its module in tracer.cli."""

WIDTH = 78
END = """
The answer goes to stdout, everything else to stderr. A command that refuses says why in one sentence and leaves with
exit code 2{more}. All commands: [Reference](index.md#commands).
"""
MORE = {"trace-shapes": "; `--exit-code` leaves with 1 where two traces differ, with 0 where they do not"}


def files() -> Iterator[tuple[str, str]]:
    """One page for each command."""
    for command, module in COMMANDS.items():
        yield f"reference/{command}.md", page(importlib.import_module(f"tracer.cli.{module}").parser())


def page(parser: argparse.ArgumentParser) -> str:
    """The page of one command."""
    parts = [f"# {parser.prog}", one_line(parser.description or ""), block("text", usage(parser))]
    examples = said_in(parser.epilog or "")
    if examples:
        parts += ["## Examples", examples]
    last = [a for a in parser._actions if isinstance(a, argparse._HelpAction)]
    for title, actions in [(g.title or "", g._group_actions) for g in parser._action_groups] + [("help", last)]:
        shown = [a for a in actions if a.help != argparse.SUPPRESS and (a not in last or actions is last)]
        if shown:
            parts += [*headed(title), *(entry(action, parser) for action in shown)]
    return "\n\n".join([*parts, END.strip().format(more=MORE.get(parser.prog, ""))]) + "\n"


def headed(title: str) -> list[str]:
    """The heading of a group of options; what its title has in brackets is a line below it."""
    name, _, rest = {"positional arguments": "arguments"}.get(title, title).partition(" (")
    return [f"## {name.capitalize()}", *([f"{rest.removesuffix(')').capitalize()}."] if rest else [])]


def usage(parser: argparse.ArgumentParser) -> str:
    """The line of usage, as `--help` has it, at one width."""
    formatter = argparse.HelpFormatter(parser.prog, width=WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    return formatter.format_help().strip()


def entry(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """One argument or option: its forms, as a link to itself, and what `--help` says of it."""
    name = anchor(action)
    shown = ", ".join(forms(action)) or str(action.metavar or action.dest)
    said = [told(str(action.help or "").replace("%%", "%"))]
    if action.choices is not None:
        said.append(f"one of {', '.join(f'`{choice}`' for choice in action.choices)}")
    if action.default not in (None, False, "", (), argparse.SUPPRESS) and "default" not in said[0]:
        said.append(f"default: `{action.default}`")
    others = [
        f"[`{anchor(other)}`](#{anchor(other)})"
        for group in parser._mutually_exclusive_groups
        if action in group._group_actions
        for other in group._group_actions
        if other is not action
    ]
    if others:
        said.append(f"not together with {' or '.join(others)}")
    return f"[`{shown}`](#{name}){{ #{name} }}\n:   {'; '.join(said)}"


def anchor(action: argparse.Action) -> str:
    """What an option is linked by: its long form; an argument, by its name."""
    return max(action.option_strings, key=len) if action.option_strings else str(action.metavar or action.dest)


def forms(action: argparse.Action) -> list[str]:
    """The ways to type an option, with what follows it."""
    if action.nargs == 0:
        return list(action.option_strings)
    after = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or action.dest.upper(),)
    words = " ".join(after)
    return [f"{form} [{words}]" if action.nargs == "?" else f"{form} {words}" for form in action.option_strings]


def said_in(epilog: str) -> str:
    """The end of `--help`: each example with what it does as a comment above it, then what else is said."""
    examples: list[tuple[str, list[str]]] = []
    rest = []
    for line in epilog.splitlines():
        if re.match(r"  \S", line):
            command, _, comment = line.strip().partition("  ")
            examples.append((command, [comment.strip()] if comment.strip() else []))
        elif line.startswith("   ") and examples:
            examples[-1][1].append(line.strip())
        elif line.strip() and line.strip() != "examples:":
            rest.append(line.strip())
    lines = ["\n".join([*(f"# {text}" for text in comments), command]) for command, comments in examples]
    apart = "\n\n" if any(comments for _, comments in examples) else "\n"
    return "\n\n".join([block("sh", apart.join(lines))] * bool(lines) + [" ".join(rest)] * bool(rest))


def block(kind: str, text: str) -> str:
    """A fenced block of code."""
    return f"```{kind}\n{text}\n```"


def one_line(text: str) -> str:
    """A paragraph without its line breaks."""
    return " ".join(text.split())


def told(text: str) -> str:
    """Words of `--help` as Markdown: options as code, nothing else of them changed."""
    return re.sub(r'(?<![\w"-])-(?:-[a-z][a-z-]*|[a-z])(?![\w-])(?: "[^"]*")?', r"`\g<0>`", plain(text))
