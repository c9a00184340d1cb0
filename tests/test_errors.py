"""What every bad input gets: one sentence, exit code 2, nothing on stdout. Answers that need no torch load none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import refusal

from tracer import errors
from tracer.cli.trace_shapes import main
from tracer.configs import misfit

COG = "CogVideoXTransformer3DModel"
HUNYUAN = "HunyuanVideoTransformer3DModel"


@pytest.fixture
def refused(capsys):
    """Runs the command line and returns the sentence it refuses with."""

    return lambda *argv: refusal(main, capsys, argv, "trace-shapes")


@pytest.fixture
def config(tmp_path):
    """Writes a config.json."""

    def write(name=COG, /, **fields):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"_class_name": name, **fields}))
        return path

    return write


BEFORE_TORCH = [
    ([], "no MODEL is given: type trace-shapes cogvideox; trace-shapes --list shows them all."),
    (["cogvidoex"], "did you mean cogvideox?"),
    (["cogvideox-5"], "did you mean cogvideox-5b?"),
    (["HunyuanVidio"], "did you mean hunyuanvideo?"),
    (["sora", "--depth", "1"], "No model is called 'sora'"),
    (["cogvideox", "--stage", "rop"], "No stage is called 'rop': did you mean rope?"),
    (["cogvideox", "--frame", "3"], "no option is called '--frame': did you mean --frames?"),
    (["cogvideox", "--xyz"], "no option is called '--xyz': trace-shapes --help lists them all."),
    (["cogvideox", "--frames", "abc"], "--frames: 'abc' is not a whole number, such as 49."),
    (["cogvideox", "--frames", "1e9"], "--frames: '1e9' is not a whole number, such as 49."),
    (["cogvideox", "--frames", "4.5"], "--frames: '4.5' is not a whole number, such as 49."),
    (["cogvideox", "--frames"], "--frames: expected one argument."),
    (["cogvideox", "--frames", "0"], "--frames 0 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "--height", "-3"], "--height -3 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "--text-tokens", "0"], "--text-tokens 0 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "--width", "9" * 5000], "is too large: sizes up to 1,000,000 can be traced."),
    (["cogvideox", "--depth", "-1"], "--depth -1 is not possible: it is a whole number from 0 on."),
    (["cogvideox", "--dtype", "int8"], "No dtype is called 'int8'"),
    (["cogvideox", "hunyuanvideo"], "one MODEL at a time, 'hunyuanvideo' is one too many."),
    (
        ["cogvideox", "--format", "xml"],
        "--format: 'xml' is no format; it is tree, json, html, markdown, csv, svg or mermaid.",
    ),
    (["cogvideox", "--numbers", "--formulas"], "--formulas: not allowed with argument --numbers."),
    (["cogvideox", "--stage", "rope", "--depth", "1"], "--stage and --depth are two views; give one of them."),
    (["cogvideox", "-o"], "-o/--output: expected one argument."),
    (
        ["cogvideox", "-o", ""],
        "'' does not say which format: a name ends in .txt, .json, .html, .md, .csv, .svg or .mmd, or --format tells.",
    ),
    (["cogvideox", "-o", "page.pdf"], "'page.pdf' does not say which format"),
    (["cogvideox", "-o", "a.txt", "--format", "json"], "'a.txt' and --format json are two formats"),
    (["cogvideox", "-o", "nowhere/a.txt"], "'nowhere/a.txt' cannot be written: there is no folder 'nowhere'."),
    (["cogvideox", "--from", "x"], "MODEL 'cogvideox' and --from 'x' are two models; give one of them."),
    (["--from", "nothing"], "'nothing' is no folder or file here"),
    (["--from", "THUDM/CogVideoX-5b"], "downloads nothing; a published checkpoint goes without --from"),
]


@pytest.mark.parametrize(("argv", "words"), BEFORE_TORCH)
def test_sentences(refused, argv, words):
    assert words in refused(*argv)


def test_answers_before_torch():
    """All of them in one process, and --help and --list: neither torch nor diffusers is loaded."""
    program = f"""
import contextlib, io, sys
from tracer.cli.trace_shapes import main
for argv in {[argv for argv, _ in BEFORE_TORCH] + [["--help"], ["--list"]]!r}:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(argv)
    assert not {{"torch", "diffusers", "transformers"}} & set(sys.modules), argv
main(["cogvideox", "--height", "484"])  # needs diffusers: this check can fail
assert {{"torch", "diffusers"}} <= set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "484 is rejected" in done.stderr


# sizes that a checkpoint rejects


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["cogvideox", "--height", "484"], "use 480 or 496."),
        (["cogvideox", "--width", "728"], "use 720 or 736."),
        (["cogvideox-2b", "--text-tokens", "7"], "has 226 text rows; use 226."),
        (["cogvideox-5b-i2v", "--height", "496"], "use --height 480 --width 720."),
        (["cogvideox1.5-5b", "--height", "4800"], "use at most 2400."),
        (["hunyuanvideo", "--height", "8"], "use 16."),
        (
            ["cogvideox", *["--frames", "1000000", "--height", "1000000", "--width", "1000000", "--batch", "1000000"]],
            "more than torch",
        ),
    ],
)
def test_sizes(refused, argv, words):
    assert words in refused(*argv)


def test_sizes_that_overflow_inside(refused):
    said = refused("cogvideox", "--frames", "1000000", "--height", "1000000", "--width", "1000000")
    assert "stopped in patch_embed.proj at conv2d" in said


def test_a_stage_of_another_model(refused, monkeypatch, traces):
    seen = traces["hunyuanvideo"]
    monkeypatch.setattr("tracer.api.trace", lambda *a, **k: seen)
    said = refused("hunyuanvideo", "--stage", "offset-embedding")
    assert said.startswith("hunyuanvideo has no stage 'offset-embedding'; its stages are ")
    assert "token-refiner" in said


# --from


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "is no diffusers config: it has no _class_name"),
        ('"a"', "is no diffusers config: it has no _class_name"),
        ('{"a": 1}', "is no diffusers config: it has no _class_name"),
        ('{"_class_name": 3}', "is no diffusers config: it has no _class_name"),
        ('{"_class_name": ["CogVideoXPipeline"]}', "is no diffusers config: it has no _class_name"),
        ('{"_class_name": "CogVideoXPipeline"}', "is of a whole pipeline, a CogVideoXPipeline"),
        ('{"_class_name": "CosmosTransformer3DModel"}', "is a CosmosTransformer3DModel, which is not known here"),
    ],
)
def test_files_that_are_no_config(refused, tmp_path, text, words):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="latin-1")
    assert words in refused("--from", path)


def test_places_that_hold_nothing(refused, tmp_path):
    assert "holds neither config.json nor transformer/config.json" in refused("--from", tmp_path)
    assert "cannot be read: File name too long." in refused("--from", "x" * 300)
    assert "is no folder or file here" in refused("--from", "a\0b")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and does not read: Linux")
def test_a_file_that_does_not_read(refused):
    assert "cannot be read: " in refused("--from", "/proc/self/mem")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_layers": "many"}, "config field 'num_layers' is 'many', where a whole number is expected."),
        ({"num_layers": 2.5}, "config field 'num_layers' is 2.5, where a whole number is expected."),
        ({"num_layers": True}, "config field 'num_layers' is True, where a whole number is expected."),
        ({"num_layers": None}, "config field 'num_layers' is None, where a whole number is expected."),
        ({"patch_size": 0}, "config field 'patch_size' is 0, where a whole number from 1 on is expected."),
        ({"patch_bias": 1}, "config field 'patch_bias' is 1, where true or false is expected."),
        (
            {"use_learned_positional_embeddings": True},
            "does not accept this config: There are no CogVideoX checkpoints",
        ),
        ({"activation_fn": "step"}, "does not accept this config: "),
    ],
)
def test_configs_that_make_no_model(refused, config, fields, words):
    assert words in refused("--from", config(**fields))


def test_lists_in_configs(refused, config):
    said = refused("--from", config(HUNYUAN, rope_axes_dim=[16, 56]))
    assert said == "config field 'rope_axes_dim' is [16, 56], where a list of 3 like [16, 56, 56] is expected."


@pytest.mark.parametrize(
    ("default", "given", "words"),
    [
        (1, 2, None), (1, 0, "a whole number from 1 on"), (0, 0, None), (1.5, 2, None), (1.5, "2", "a number"),
        ("a", 1, "a text"), (True, 1, "true or false"), (None, object(), None), ((1, 2), [1, 2], None),
        ((1, 2), [1, 0], "a list of 2 like [1, 2]"), ((1, 2), 3, "a list"), (object(), 1, None),
    ],
)  # fmt: skip
def test_misfits(default, given, words):
    assert misfit(default, given) == words


def test_a_forward_that_raises_names_the_call(capsys, config):
    small = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "time_embed_dim": 8}
    code = main(["--from", str(config(**small, ofs_embed_dim=6))])
    out, err = capsys.readouterr()
    said, _, seen, *tree = err.splitlines()
    assert (code, out) == (2, "")
    assert said.startswith(f"trace-shapes: {COG} stopped in {COG} at add on bf16[2, 8], bf16[1, 6]: ")
    assert seen == "Seen until there:"
    assert any("ofs_embedding TimestepEmbedding" in line for line in tree)
    assert not any("transformer_blocks" in line for line in tree)
    assert tree[-1].startswith("stopped in")


def test_a_forward_that_raises_deep_inside_shows_the_way_there(capsys, config):
    small = {"num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1, "num_attention_heads": 2}
    code = main(["--from", str(config(HUNYUAN, **small, attention_head_dim=16, rope_axes_dim=[4, 4, 4]))])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "stopped in transformer_blocks.0.attn at mul" in err.splitlines()[0]
    assert "apply_rotary_emb()" in err


# the classes


def test_one_base():
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert all(issubclass(kind, errors.TracerError) for kind in kinds)
    assert {k.__name__ for k in kinds} <= set(errors.__doc__.split())  # the tree at the top of the module


def test_unknown_names_carry_the_nearest():
    error = errors.UnknownName("stage", "Rope", ["rope", "concat"])
    assert (error.given, error.allowed) == ("Rope", ["rope", "concat"])
    assert str(error) == "No stage is called 'Rope': did you mean rope?"
    assert str(errors.UnknownName("stage", "zzz", ["rope", "concat"])).endswith("known are rope, concat.")


def test_a_failed_forward_carries_its_trace(config):
    import tracer

    small = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16, "time_embed_dim": 8}
    with pytest.raises(tracer.TracerError) as error:
        tracer.trace(config=str(config(**small, ofs_embed_dim=6)))
    assert isinstance(error.value, errors.ForwardFailed)
    assert isinstance(error.value, tracer.TracerError)
    assert error.value.trace.find(name="TimestepEmbedding")
    assert error.value.trace.header.error in str(error.value)
