"""The pages for looking things up: nothing that a command, the package, the schema or a trace has is missing there."""

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import docstrings
import pytest
from conftest import ROOT, SITE_CODE
from generated import commands, glossary, schema
from mkdocs.commands.build import build
from mkdocs.config import load_config
from plain import plain
from stored import stored

import tracer
from tracer import notes
from tracer.families.base import Family

REFERENCE = ROOT / "walkthroughs" / "reference"
PARSERS = {name: importlib.import_module(f"tracer.cli.{module}").parser() for name, module in commands.COMMANDS.items()}
WRITTEN = {path.stem: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}


def fresh(code, **options):
    """What a new process with the site's code at hand prints."""
    start = f"import sys; sys.path.insert(0, {str(SITE_CODE)!r})\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Commands


def test_every_command_has_a_page_in_the_menu():
    scripts = re.findall(r"^([\w-]+) = \"tracer\.cli\.", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert scripts == list(commands.COMMANDS)
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"{command}: reference/{command}.md" in menu for command in scripts)


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_every_option_has_an_anchor_and_its_help(command):
    page, parser = dict(commands.files())[f"reference/{command}.md"], PARSERS[command]
    for action in parser._actions:
        name = max(action.option_strings, key=len, default=action.metavar)
        (line,) = re.findall(rf"^\[`([^`]*)`\]\(#{name}\)\{{ #{name} \}}\n:   (.*)$", page, re.MULTILINE)
        forms, said = line
        assert all(form in forms for form in action.option_strings)
        words = re.sub(r"\\(.)", r"\1", said.replace("`", ""))
        assert words.startswith(" ".join(action.help.split()))


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_every_example_and_group_of_the_help_is_there(command):
    page, parser = dict(commands.files())[f"reference/{command}.md"], PARSERS[command]
    typed = re.findall(rf"^  ({command} .*?)(?:   .*)?$", parser.epilog, re.MULTILINE)
    examples = page.split("## Examples")[1].split("```")[1].splitlines()
    assert typed
    assert [re.sub(r"  +.*", "", line) for line in typed] == [e for e in examples if e.startswith(command)]
    groups = [g.title.partition(" (")[0].capitalize() for g in parser._action_groups[2:]]
    assert [t for t in re.findall(r"^## (.*)$", page, re.MULTILINE) if t in groups] == groups


def test_defaults_choices_and_exclusions_are_said():
    parser = commands.argparse.ArgumentParser(prog="demo")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--fast", action="store_true", help="soon")
    either.add_argument("--slow", metavar="N", default=3, help="later")
    parser.add_argument("--how", choices=["a", "b"], help="a way")
    page = commands.page(parser)
    assert ":   soon; not together with [`--slow`](#--slow)\n" in page
    assert ":   later; default: `3`; not together with [`--fast`](#--fast)\n" in page
    assert ":   a way; one of `a`, `b`\n" in page


def test_the_pages_of_commands_load_nothing_heavy():
    heavy = ("torch", "diffusers", "numpy", "rich", "matplotlib", "pandas")
    code = f"from generated import commands\nlist(commands.files())\nprint([m for m in {heavy} if m in sys.modules])"
    assert fresh(code) == "[]\n"


# Names


def public(module):
    return [f"{module}.{name}" for name in importlib.import_module(module).__all__]


def drawn():
    """The functions of the modules of plots that make pictures for others."""
    for module in ("rope", "clip", "probes", "schedules", "films"):
        found = importlib.import_module(f"tracer.plots.{module}")
        for name, value in inspect.getmembers(found, inspect.isfunction):
            if value.__module__ == found.__name__ and name[0] != "_":
                yield f"{found.__name__}.{name}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("tracer", public("tracer")),
        ("rope", public("tracer.rope")),
        ("probes", public("tracer.probes")),
        ("pocket", public("tracer.probes.pocket")),
        ("plots", list(drawn())),
    ],
)
def test_every_public_name_is_asked_for_on_its_page(page, names):
    asked = re.findall(r"^::: (\S+)$", WRITTEN[page], re.MULTILINE)
    assert names
    assert set(names) <= set(asked)
    assert len(asked) == len(set(asked))


def test_every_error_is_there():
    errors = [n for n, e in vars(tracer.errors).items() if inspect.isclass(e) and issubclass(e, tracer.TracerError)]
    assert all(re.search(rf"^::: tracer\.(errors\.)?{name}$", WRITTEN["tracer"], re.MULTILINE) for name in errors)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The API pages alone, built strictly with the site's own settings for names, in plain HTML."""
    place = tmp_path_factory.mktemp("names")
    (place / "docs").mkdir()
    for name in ("tracer", "rope", "probes", "pocket", "plots", "families"):
        text = re.sub(r"\]\([^)#]*\.md[^)]*\)", "](index.md)", WRITTEN[name])
        (place / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    (place / "docs" / "index.md").write_text("# Start\n")
    settings = load_config(str(ROOT / "mkdocs.yml")).plugins["mkdocstrings"].config
    handlers = json.loads(json.dumps(settings["handlers"]))
    handlers["python"]["paths"] = [str(ROOT)]
    handlers["python"]["options"]["extensions"] = [str(SITE_CODE / "docstrings.py")]
    config = {"site_name": "names", "strict": True, "theme": "mkdocs"}
    config["plugins"] = [{"mkdocstrings": {"handlers": handlers}}]
    (place / "mkdocs.yml").write_text(json.dumps(config))
    build(load_config(str(place / "mkdocs.yml"), site_dir=str(place / "site")))
    return {path.parent.name: path.read_text(encoding="utf-8") for path in (place / "site").glob("*/index.html")}


def test_every_name_that_is_asked_for_has_an_anchor_and_a_text(built):
    for page, html in built.items():
        for name in re.findall(r"^::: (\S+)$", WRITTEN[page], re.MULTILINE):
            (after,) = re.findall(rf'id="{re.escape(name)}"(.*?)(?=<h3|\Z)', html, re.DOTALL)
            value = eval_name(name)
            if inspect.isclass(value) or inspect.isfunction(value):
                first = inspect.getdoc(value).split()[0].strip(",.:;")
                assert first in unescape(re.sub(r"<[^>]+>", "", after)), name
        assert len(html) < 500_000


def eval_name(path):
    """What a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_no_source_is_shown(built):
    assert not any("Source code in" in html or "def trace(" in html for html in built.values())


def test_names_in_docstrings_are_code_where_all_of_them_are_arguments():
    names = {"frames", "height", "batch"}
    assert docstrings.as_code("frames, height: of it; batch: how many.", names) == (
        "`frames`, `height`: of it; `batch`: how many."
    )
    untouched = "Raises BadRequest: so. frames, width: of it. See above, batch: no. Also frames:none"
    assert docstrings.as_code(untouched, names) == untouched


def test_lines_that_begin_with_names_are_a_list_and_nothing_else_is():
    text = "What it is.\n\n`a`: one thing. `b`: another,\n    told longer.\n`c`, `d`: the rest."
    assert docstrings.as_list(text) == (
        "What it is.\n\n- `a`: one thing.\n- `b`: another,\n    told longer.\n- `c`, `d`: the rest."
    )
    for untouched in ("`a`: one thing. `b`: another.", "Said of `a`: much.\n`b` too.", "`a` is\n`b`: no."):
        assert docstrings.as_list(untouched) == untouched


# The schema


def test_every_object_and_field_of_the_schema_is_there():
    page, whole = schema.page(stored(schema.EXAMPLE)), json.loads(schema.SCHEMA.read_text(encoding="utf-8"))
    for name, part in {"file": whole, **whole["$defs"]}.items():
        (section,) = re.findall(rf"^## [^\n]* \{{ #{name} \}}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        for field, spec in part.get("properties", {}).items():
            always = " *always*" if field in part["required"] else ""
            assert f"| `{field}`{always} | {schema.kind(spec)} |" in section
        assert "any" not in re.findall(r"\| ([^|]*) \|", section)


def test_the_example_is_a_part_of_the_trace_and_can_be_read_as_the_page_says(tmp_path):
    trace = stored(schema.EXAMPLE)
    page = schema.page(trace)
    shown = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    assert shown in list(schema.below(trace.to_json()["root"]))
    code, printed = re.findall(r"```(?:python|text)\n(.*?)```", page, re.DOTALL)[:2]
    (tmp_path / "trace.json").write_text(json.dumps(trace.to_json()))
    after = "\nassert not {'torch', 'diffusers'} & set(sys.modules)"
    assert fresh(code + after, cwd=tmp_path) == printed


def test_json_is_laid_out_in_lines_that_are_the_same_data():
    data = {"a": [1, {"b": "x" * 80}], "c": [], "d": {"e": [None, True] * 30}}
    text = schema.laid_out(data)
    assert json.loads(text) == data
    assert max(len(line) for line in text.splitlines() if "xx" not in line) <= schema.LINE + 12


def test_plain_words_stay_plain():
    assert plain("a|b *c* _d_ <e> [f] `g|h *`") == r"a&#124;b \*c\* \_d\_ &lt;e&gt; \[f\] `g\|h *`"
    assert plain("one ` alone # here") == r"one \` alone # here"
    assert plain("# $x$ ~y~ `z`") == "&#35; &#36;x&#36; &#126;y&#126; `z`"


# The glossary

ENTRIES = {entry.slug: entry for found in glossary.sections().values() for entry in found}


def test_no_stage_is_missing_and_each_says_what_the_package_says():
    told = {entry.english[0]: entry.meaning for slug, entry in ENTRIES.items() if slug.startswith("stage-")}
    assert told == notes.STAGES


@pytest.mark.parametrize("checkpoint", ["cogvideox-5b", "cogvideox1.5-5b", "hunyuanvideo"])
def test_every_letter_of_a_legend_is_there(checkpoint):
    letters = {slug.removeprefix("letter-") for slug in ENTRIES if slug.startswith("letter-")}
    header = stored(checkpoint).header
    shown = {s.symbol for s in header.legend if not s.number}
    assert {"B", "F", "H", "W", "L", "S", "D", "h", "d", "C"} <= shown
    assert shown <= letters


def test_letters_mean_what_the_legend_says():
    legend = {s.symbol: s for s in stored("cogvideox-5b").header.legend}
    for letter in ("B", "F", "H", "W", "L", "S", "D", "h", "C", "C_out", "d"):
        meaning = ENTRIES[f"letter-{letter}"].meaning
        words = {*legend[letter].name.split("_"), *re.findall(r"\w+", legend[letter].meaning)}
        assert words & set(re.findall(r"\w+", meaning)), letter


def test_every_entry_is_whole_in_three_languages_and_leads_to_a_page():
    assert len(ENTRIES) == sum(map(len, glossary.sections().values()))
    for slug, entry in ENTRIES.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]+", slug), slug
        assert all(name and name.isprintable() for name in (*entry.english, *entry.chinese, *entry.japanese)), slug
        assert all(re.search("[一-鿿]|^VAE", name) for name in entry.chinese), slug
        assert all(re.search("[぀-ヿ一-鿿]", name) for name in entry.japanese), slug
        assert entry.meaning, slug
        assert not entry.meaning.endswith("."), slug
        assert entry.pages, slug
        assert set(entry.pages) <= set(glossary.PAGES), slug
    page = glossary.page()
    assert all(page.count(f"{{ #{slug} }}") == 1 for slug in ENTRIES)


def test_pages_that_the_glossary_leads_to_exist():
    made = {path for path, _ in [*commands.files(), *schema.files()]}
    for _, place in glossary.PAGES.values():
        source = ROOT / "walkthroughs" / place
        assert place in made or source.exists() or source.with_suffix(".py").exists(), place


# A family file


def test_the_lesson_writes_what_contributing_asks_of_a_family():
    steps = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a family")[1].split("\n## ")[0]
    lesson = (ROOT / "walkthroughs" / "add-a-model.py").read_text(encoding="utf-8")
    fields = set(re.findall(r"`(\w+)`", steps)) & set(Family.__dataclass_fields__)
    assert {"letters", "inputs", "check", "frames", "rope", "notes"} <= fields
    assert all(f"{field}=" in lesson for field in fields)
    for name in ("look_in", "TRACER_FAMILIES"):
        assert name in steps
        assert name in lesson
    assert "walkthroughs/add-a-model.py" in steps


# The whole site, where it is built


@pytest.mark.browser
def test_an_address_with_an_option_or_a_name_leads_to_it(site, browser):
    page = browser.new_page()
    for address, words in {
        "reference/trace-shapes/#--frames": "--frames N",
        "reference/tracer/#tracer.trace": "tracer.trace",
        "reference/schema/#call": "Call",
        "glossary/#stage-rope": "rope",
        "glossary/#flow-shift": "flow shift",
    }.items():
        page.goto(site.url + address)
        assert words in page.locator(":target").inner_text()
    page.close()


def test_all_modules_of_generated_pages_are_found():
    names = {m.name for m in pkgutil.iter_modules([str(SITE_CODE / "generated")])}
    assert {"commands", "glossary", "schema"} <= names
    assert Path(commands.__file__).parent == SITE_CODE / "generated"
