"""The annotated source: what is known of hand-written models, what torch's own DebugMode saw, and how it is shown."""

import importlib
import io
import json
import linecache
import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import diffusers
import pytest
import ran
import torch
from commands import answer, refusal
from rich.cells import cell_len
from rich.console import Console
from test_recorder import REAL
from torch.utils._debug_mode import DebugMode

import tracer
from tracer.calls import Call, Header, Remark, Source, Trace
from tracer.cli.trace_shapes import main
from tracer.errors import BadRequest, UnknownName
from tracer.listings.installed import NoSource, Reader
from tracer.listings.listed import listings
from tracer.outline import Options
from tracer.recorder import record
from tracer.views import source, source_html
from tracer.views.tree import plain

real = pytest.mark.parametrize(("build", "inputs"), REAL, ids=["cogvideox", "hunyuanvideo"])
PACKAGES = str(Path(diffusers.__file__).parents[1]) + os.sep
MARK = re.compile(r"  # (?P<times>\d*)(?:: (?P<margin>.+))?$")


def recorded(model, *args, **kwargs):
    with torch.no_grad(), record(model, lines=True) as rec:
        model(*args, **kwargs)
    return rec.trace


def listed(trace, name=""):
    return listings(trace, Reader(trace.header.sources), name)


def shown(trace, name="", *, width=100, **options):
    pages, others = listed(trace, name)
    return plain(source.renderable(trace, pages, others, Options(**options), width=width), width)


@pytest.fixture(scope="module")
def known():
    return recorded(ran.Model(), torch.ones(2, 4), pair=(torch.ones(2, 1), torch.ones(2, 3)))


@pytest.fixture(scope="module")
def cogvideox():
    return tracer.trace("cogvideox-5b", lines=True)


# hand-written models


def test_executed_lines_and_margins_of_a_known_model(known):
    pages, _ = listed(known)
    assert [page.name for page in pages] == ["Model.forward", "Block.forward", "scale", "Model.forward.halves"]
    beside = margins(known)
    checked = 0
    for page in pages:
        for line in page.lines:
            mark = MARK.search(line.text)
            if mark is None:
                continue
            checked += 1
            if mark["times"]:
                assert line.ran == (mark["times"] != "0"), line
            assert beside.get(line.number, "") == (mark["margin"] or ""), line
    assert checked > 30


def margins(trace):
    """The margin of each line, as the terminal shows it at a great width."""
    out = {}
    for text in shown(trace, width=200).splitlines():
        found = re.match(r"\s*(\d+) [│┊] .*?#.*?\s{2,}(\S.*)$", text)
        if found:
            out[int(found[1])] = found[2]
    return out


def test_lines_that_did_not_run_are_marked(known):
    text = shown(known, "Block", width=120)
    assert re.search(r"┊ +hidden = hidden\.mean", text)
    assert re.search(r"│ +hidden = self\.linear", text)
    assert "blocks.* · ran ×3" in text


def test_comments_and_else_are_as_what_follows(known):
    trace = recorded(Branching(), torch.ones(2))
    (page,) = listed(trace)[0]
    said = {line.text.strip(): line.ran for line in page.lines}
    assert said["# this one"]
    assert not said["# the other one"]
    assert not said["else:"]
    assert said["# after both"]


class Branching(torch.nn.Module):
    def forward(self, x):
        """One.

        Two.

        Three.
        """
        if x.ndim == 1:  # noqa: SIM108
            # this one
            y = x + 1
        else:
            # the other one
            y = x + 2
        # after both
        return y


def test_long_docstrings_are_cut():
    text = shown(recorded(Branching(), torch.ones(2)))
    assert '"""One.' in text
    assert "Three" not in text
    assert re.search(r"⋮ │ +… 3 more lines of text", text)


def test_the_same_function_on_other_ways_is_listed_again():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.branching = Branching()

        def forward(self, x):
            return self.branching(x) + self.branching(x[None])[0] + self.branching(torch.ones(1))

    pages, _ = listed(recorded(Twice(), torch.ones(2)))
    assert [page.name.rpartition(".<locals>.")[2] for page in pages] == [
        "test_the_same_function_on_other_ways_is_listed_again.Twice.forward", "Branching.forward", "Branching.forward",
    ]  # fmt: skip
    assert pages[1].said == ["branching", "ran ×2", "×1 of them with other shapes"]


# against torch's own stacks


def stacks(model, kwargs):
    """What DebugMode saw: of each operation, the lines of diffusers in its stack and the shapes it gave."""
    with torch.no_grad(), DebugMode(record_torchfunction=True, record_stack_trace=True) as mode:
        model(**kwargs)
    for operation in mode.operators:
        shapes = {tuple(map(int, re.findall(r"\d+", text)))
                  for text in re.findall(r"\b[a-z]\w*\[([\d, ]*)\]", operation.output_str or "")}  # fmt: skip
        frames = [(file.removeprefix(PACKAGES), int(line))
                  for file, line in re.findall(r'File "(.+?)", line (\d+), in', operation.stack_trace)]  # fmt: skip
        if operation.call_depth == 0 and shapes:
            yield [frame for frame in frames if frame[0].startswith("diffusers/models/")], shapes


@real
def test_each_line_is_where_the_operation_ran(build, inputs):
    model, kwargs = build(), inputs()
    trace = recorded(model, **kwargs)
    pages, _ = listed(trace)
    lines = {}
    for page in pages:
        for line in page.lines:
            lines.setdefault((page.file, line.number), []).append(line)
    seen = {}
    for frames, shapes in stacks(model, kwargs):
        for frame in frames:
            seen.setdefault(frame, set()).update(shapes)
        assert any(line.made for line in lines[frames[-1]]), frames[-1]
    assert len(seen) > 50
    for frame in seen:
        assert any(line.ran for line in lines[frame]), frame
    checked = 0
    for place, found in lines.items():
        for line in found:
            if line.made and place in seen:
                checked += 1
                sizes = {spec.sizes for _, spec in line.made}
                back = line.text.lstrip().startswith("return")  # with what was made elsewhere, too
                assert sizes & seen[place] if back else sizes <= seen[place], place
            else:
                assert not line.made or re.match(r"return\b|def\b|\w+\W*:|\w+(: .*)?,", line.text.strip()), line
    assert checked > 50


# choosing


def test_the_default_shows_the_forward_the_block_attention_rope_and_embeddings(cogvideox):
    pages, others = listed(cogvideox)
    assert [page.name for page in pages] == [
        "CogVideoXTransformer3DModel.forward", "Timesteps.forward", "TimestepEmbedding.forward",
        "CogVideoXPatchEmbed.forward", "CogVideoXBlock.forward", "CogVideoXAttnProcessor2_0.__call__",
        "apply_rotary_emb",
    ]  # fmt: skip
    assert "CogVideoXLayerNormZero.forward" in others
    assert not set(others) & {page.name for page in pages}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apply_rotary_emb", ["apply_rotary_emb"]),
        ("CogVideoXBlock", ["CogVideoXBlock.forward"]),
        ("CogVideoXBlock.forward", ["CogVideoXBlock.forward"]),
        ("gelu", ["GELU.gelu"]),
        ("Linear", ["Linear.forward"]),
        ("patch_embed", ["CogVideoXPatchEmbed.forward"]),
        ("transformer_blocks.*.norm1", ["CogVideoXLayerNormZero.forward"]),
        ("rope", ["CogVideoXAttnProcessor2_0.__call__", "apply_rotary_emb"]),
        ("split", ["CogVideoXTransformer3DModel.forward", "CogVideoXAttnProcessor2_0.__call__"]),
    ],
)
def test_a_name_chooses(cogvideox, name, expected):
    assert [page.name for page in listed(cogvideox, name)[0]] == expected


def test_every_stage_has_its_source(cogvideox):
    for stage in cogvideox.stages():
        assert listed(cogvideox, stage)[0], stage


def test_unknown_names(cogvideox):
    with pytest.raises(UnknownName, match="No function or stage of this trace is called 'aply_rotary': did you mean"):
        listed(cogvideox, "aply_rotary")
    with pytest.raises(UnknownName, match="known are CogVideoXTransformer3DModel, Timesteps, "):
        listed(cogvideox, "?")


def test_a_trace_without_lines():
    with pytest.raises(BadRequest, match=r"^This trace has no lines: record it with lines=True\.$"):
        listed(Trace(Header("M"), Call("module", "", "M")))


def test_notes_stand_above_their_lines(cogvideox):
    lines = shown(cogvideox, "rope", width=120).splitlines()
    at = next(i for i, line in enumerate(lines) if "▸ rope: turn query" in line)
    assert "apply_rotary_emb(query" in "".join(lines[at + 1 : at + 8])
    assert "×42" in shown(cogvideox, "CogVideoXTransformer3DModel")


def test_formulas(cogvideox):
    text = shown(cogvideox, "patch_embed", width=120, show="formulas")
    assert re.search(r"embeds = torch\.cat\( +B L\+S D$", text, re.M)
    assert "17776" not in text
    assert re.search(r"embeds = torch\.cat\( +2 17776 3072$", shown(cogvideox, "patch_embed", width=120), re.M)


def test_pipelines():
    trace = tracer.trace_pipeline("cogvideox-5b", lines=True, formulas=False)
    pages, others = listed(trace)
    names = [page.name for page in pages]
    assert names[0] == "CogVideoXPipeline.__call__"
    assert {"CogVideoXTransformer3DModel.forward", "CogVideoXBlock.forward", "apply_rotary_emb"} <= set(names)
    assert not any(name.startswith(("T5", "Tokenizer")) for name in names)
    assert not any(name.startswith("Tokenizer") for name in others)
    call = {line.text.strip().partition("(")[0]: line for line in pages[0].lines}
    assert call["for i, t in enumerate"].times == 2
    assert [spec.sizes for _, spec in call["video = self.decode_latents"].made] == [(1, 3, 49, 480, 720)]
    assert not call["callback_outputs = callback_on_step_end"].ran
    assert [page.name for page in listed(trace, "T5Block")[0]] == ["T5Block.forward"]


# source that cannot be shown


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with a model, and the file it was imported from."""
    path = tmp_path / "small_model.py"
    path.write_text(
        "from torch import nn\n\n\nclass Small(nn.Module):\n    def forward(self, x):\n        return x + 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "small_model", raising=False)
    linecache.clearcache()
    yield importlib.import_module("small_model"), path
    sys.modules.pop("small_model", None)


def test_source_that_is_there(module):
    small, _ = module
    assert "return x + 1" in shown(recorded(small.Small(), torch.ones(2)))


def test_source_that_was_changed_after_it_was_imported(module):
    small, path = module
    path.write_text(path.read_text().replace("x + 1", "x + 2"))
    trace = recorded(small.Small(), torch.ones(2))
    assert trace.header.sources == {"small_model.py": ""}
    with pytest.raises(BadRequest, match=r"^small_model.py is not what ran: it was changed after it was imported, or "):
        listed(trace)


def test_source_that_was_changed_after_it_was_traced(module):
    small, path = module
    trace = Trace.from_json(recorded(small.Small(), torch.ones(2)).to_json())
    path.write_text("# new\n" + path.read_text())
    with pytest.raises(BadRequest, match=r"^small_model.py is another one than when this trace was made; trace again"):
        listed(trace)


def test_source_that_is_not_installed(module):
    small, path = module
    trace = recorded(small.Small(), torch.ones(2))
    path.unlink()
    with pytest.raises(BadRequest, match=r"^what ran is installed without its source: there is no small_model.py; "):
        listed(trace)
    linecache.clearcache()
    trace = recorded(small.Small(), torch.ones(2))
    assert trace.header.sources == {}
    assert trace.root.lines == {6: 1}
    with pytest.raises(BadRequest, match="installed without its source"):
        listed(trace)


def test_what_cannot_be_shown_does_not_hide_the_rest(cogvideox):
    file = "diffusers/models/embeddings.py"
    trace = replace(cogvideox, header=replace(cogvideox.header, sources={**cogvideox.header.sources, file: ""}))
    text = shown(trace, width=100)
    assert text.count(f"{file} is not what ran") >= 2
    assert "self.norm_out(hidden_states, temb=emb)" in text


@pytest.mark.parametrize(
    "file", ["../../etc/passwd", "a.b/c.py", "/etc/passwd", "tracer/../../x.py", "", "no such/x.py"]
)
def test_names_of_files_from_strange_traces(file):
    with pytest.raises(NoSource):
        Reader({file: "0" * 16})(file)


# views


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("show", ["numbers", "formulas"])
def test_the_layout(cogvideox, width, show):
    lines = shown(cogvideox, width=width, show=show).splitlines()
    assert max(map(cell_len, lines)) <= width
    body = [line for line in lines if re.match(r"[ \d⋮]{4} [│┊▏]", line)]
    assert len(body) > 250
    bars = {line.index(next(c for c in line if c in "│┊▏")) for line in body}
    assert len(bars) == 1  # one column for all functions
    pages, others = listed(cogvideox)
    rows = source.renderable(cogvideox, pages, others, Options(show=show), width=width).renderables
    columns = [span.start for row in rows for span in row.spans if span.style == "green"]
    assert len(columns) > 80
    assert len(set(columns)) == 1
    code = "".join(re.sub(r"^[ \d⋮]{4} [│┊▏] ", "", line)[: columns[0] - 7].strip() for line in body)
    assert "self.norm_out(hidden_states,temb=emb)" in code.replace(" ", "")


class Tags(HTMLParser):
    """Collects tags, classes and text; every tag has to be closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.classes, self.text = [], [], [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.classes += dict(attrs).get("class", "").split()
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] != "style":
            self.text += data


def test_html(cogvideox):
    pages, others = listed(cogvideox, "patch_embed")
    html = source_html.render_html(cogvideox, pages, others)
    found = Tags(html)
    assert set(found.tags) == {"div", "style", "figure", "figcaption", "b", "br", "span", "ol", "li", "i", "code", "p"}
    lines = pages[0].lines
    assert found.classes.count("idle") == sum(not line.ran for line in lines)
    assert found.classes.count("note") == sum(len(line.remarks) for line in lines)
    assert "2 17776 3072" in found.text
    assert "B L+S D" in Tags(source_html.render_html(cogvideox, pages, others, Options(show="formulas"))).text
    assert "also ran: " in found.text
    assert "http" not in html.partition("</style>")[0]


def test_hostile_names_come_out_inert(tmp_path, monkeypatch):
    bad = '<img src=x onerror="alert(1)">\x1b[31m\u202e'
    path = tmp_path / "hostile.py"
    path.write_text(f"def forward(x):\n    # {bad!s}\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    linecache.clearcache()
    place = Source("hostile.py", 1, bad)
    remark = Remark(bad, "", bad, bad)
    inner = Call("op", bad, bad, source=Source("hostile.py", 3, bad), remark=remark, stage=bad)
    call = Call("function", bad, bad, defined=place, lines={3: 1}, children=(inner,))
    from tracer.sources import fingerprint

    module = type(sys)("hostile")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "hostile", module)
    digest = fingerprint("".join(linecache.getlines(str(path))))
    trace = Trace(Header(bad, sources={"hostile.py": digest}), call)
    pages, others = listed(trace, bad)
    html = source_html.render_html(trace, pages, [bad, *others])
    assert "<img" not in html
    text = plain(source.renderable(trace, pages, [bad], width=80), 80)
    for out in (html, text):
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "return x" in text


# the command


def refused(capsys, *argv):
    return refusal(main, capsys, argv, "trace-shapes")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--notes"], "--source has the notes beside the lines already; leave --notes out."),
        (["--stage", "rope"], "--source and --stage are two views; --source rope shows the source of that stage."),
        (["--costs"], "--source and --costs are two views; give one of them."),
        (["--depth", "2"], "--source and --depth are two views; give one of them."),
        (["--ops"], "--source and --ops are two views; give one of them."),
        (["--torchinfo"], "--source and --torchinfo are two views; give one of them."),
        (["--pixels"], "--source shows numbers; --pixels needs --formulas beside it."),
    ],
)
def test_what_does_not_go_with_it(capsys, argv, sentence):
    assert refused(capsys, "cogvideox", "--source", *argv) == sentence


def test_a_model_in_the_place_of_a_name(capsys):
    expected = "--source cogvideox has no MODEL: type trace-shapes cogvideox --source."
    assert refused(capsys, "--source", "cogvideox") == expected


def test_the_command(capsys, cogvideox, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("tracer.api.trace", lambda model, **options: asked.append(options["lines"]) or cogvideox)
    monkeypatch.setenv("COLUMNS", "80")
    out = answer(main, capsys, ["cogvideox", "--source", "rope"])
    assert out == shown(cogvideox, "rope", width=80)
    assert asked == [True]
    out = answer(main, capsys, ["cogvideox", "--source", "rope", "--formulas"])
    assert out == shown(cogvideox, "rope", width=80, show="formulas")
    assert refused(capsys, "cogvideox", "--source", "aply_rotary_emb").endswith("did you mean apply_rotary_emb?")
    data = json.loads(answer(main, capsys, ["cogvideox", "--source", "--format", "json"]))
    assert Trace.from_json(data) == cogvideox
    answer(main, capsys, ["cogvideox", "--source", "rope", "-o", tmp_path / "rope.txt"])
    assert (tmp_path / "rope.txt").read_text() == shown(cogvideox, "rope", width=100)


def test_a_terminal(cogvideox):
    pages, others = listed(cogvideox, "gelu")
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system="standard", highlight=False)
    console.print(source.renderable(cogvideox, pages, others, width=80))
    shown = out.getvalue()
    assert "\x1b[1;36mGELU.gelu" in shown
    assert "\x1b[32m2 17776 12288" in shown
    assert re.search(r"\x1b\[2m +return F\.gelu\(gate\.to", shown)
    assert max(cell_len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in shown.splitlines()) <= 80
