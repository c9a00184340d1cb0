"""The README shows what the command prints, and names only what exists."""

import re
from pathlib import Path

from tracer.cli.trace_shapes import parser
from tracer.outline import Options
from tracer.views.tree import render_text

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?<=\$ trace-shapes cogvideox\n).*?(?=```)", re.DOTALL)


def test_the_picture_is_the_real_output(traces, request):
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    real = re.sub(r" · diffusers [\d.]+", "", render_text(traces["cogvideox-5b"], Options(), width=100))
    if request.config.getoption("bless"):
        readme.write_text(BLOCK.sub(lambda _: real, text, count=1), encoding="utf-8")
        text = readme.read_text(encoding="utf-8")
    assert BLOCK.search(text).group() == real, "pytest --bless takes the new output over"


def test_every_option_it_types_exists():
    text = "".join((ROOT / f).read_text(encoding="utf-8") for f in ("README.md", "walkthroughs/index.md"))
    known = {o for action in parser()._actions for o in action.option_strings}
    typed = {o for line in text.splitlines() if "trace-shapes" in line for o in re.findall(r"(?<= )--[a-z-]+", line)}
    assert typed
    assert typed <= known


def test_every_file_it_names_exists():
    for file in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / link).exists(), f"{file} links to {link}"


def test_the_map_of_the_house_names_every_module():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = {p.name for p in (ROOT / "tracer").glob("*.py")}
    assert [m for m in sorted(modules) if not re.search(rf"^  {re.escape(m)} ", text, re.MULTILINE)] == []
