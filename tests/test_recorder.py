"""The recorder: what it sees of odd models, and that it leaves no trace of its own."""

import gc
import linecache
import sys
import threading
import warnings
import weakref
from pathlib import Path

import pytest
import quirks
import torch
from diffusers import CogVideoXTransformer3DModel, HunyuanVideoTransformer3DModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode, _len_torch_function_stack

from tracer.calls import Dim, Slice, Trace
from tracer.errors import RecordingError
from tracer.nodes import Spec
from tracer.recorder import record
from tracer.symbolic import symbolic_sizes

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
         "_forward_pre_hooks_with_kwargs")  # fmt: skip


def cogvideox():
    return CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=3, time_embed_dim=8, text_embed_dim=12,
        in_channels=4, out_channels=4, sample_width=8, sample_height=8, sample_frames=5, max_text_seq_length=6,
        use_rotary_positional_embeddings=True,
    ).eval()  # fmt: skip


def cogvideox_inputs():
    return {
        "hidden_states": torch.randn(2, 2, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, 6, 12),
        "timestep": torch.ones(2, dtype=torch.int64),
        "image_rotary_emb": (torch.randn(32, 16), torch.randn(32, 16)),
        "return_dict": False,
    }


def hunyuanvideo():
    return HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=2,
        num_single_layers=3, num_refiner_layers=2, text_embed_dim=12, pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    ).eval()  # fmt: skip


def hunyuanvideo_inputs():
    return {
        "hidden_states": torch.randn(1, 4, 2, 8, 8),
        "timestep": torch.ones(1, dtype=torch.int64),
        "encoder_hidden_states": torch.randn(1, 6, 12),
        "encoder_attention_mask": torch.ones(1, 6, dtype=torch.bool),
        "pooled_projections": torch.randn(1, 8),
        "guidance": torch.ones(1),
        "return_dict": False,
    }


REAL = [(cogvideox, cogvideox_inputs), (hunyuanvideo, hunyuanvideo_inputs)]
real = pytest.mark.parametrize(("build", "inputs"), REAL, ids=["cogvideox", "hunyuanvideo"])
every_quirk = pytest.mark.parametrize("quirk", quirks.ALL, ids=lambda q: q.__name__)


def given(quirk=None):
    return quirks.ones().requires_grad_(quirk is quirks.CheckpointedReentrant)


def run(model, *args, calls=1, **kwargs):
    with record(model, calls=calls) as rec:
        model(*(args or (given(),)), **kwargs)
    return rec.trace


def rows(trace, kind=None):
    return [c.name for c in trace.walk() if kind is None or c.kind == kind]


def paths(trace):
    return [c.path for c in trace.walk() if c.kind == "module"]


def state(model):
    """Everything that a recording might leave behind."""
    kept = [
        (id(m), list(m.__dict__), {k: list(m.__dict__[k].items()) for k in HOOKS}, m.__dict__.get("forward"))
        for m in model.modules()
    ]
    return kept, _len_torch_function_stack()


def simple_calls(model, *args, **kwargs):
    """The paths of all modules in the order they are called, by the plainest hook there is."""
    seen, names = [], {}
    for name, module in model.named_modules(remove_duplicate=False):
        names[module] = f"{names[module]}|{name}" if module in names else name
    handles = [m.register_forward_pre_hook(lambda m, a: seen.append((names[m], type(m).__name__))) for m in names]
    model(*args, **kwargs)
    for handle in handles:
        handle.remove()
    return seen


# nothing is left behind, nothing is changed


@every_quirk
def test_quirks_come_back_from_json_and_leave_nothing(quirk):
    model = quirk()
    before = state(model)
    trace = run(model, given(quirk))
    assert state(model) == before
    assert trace.header.error is None
    assert Trace.from_json(trace.to_json()) == trace


@every_quirk
def test_outputs_do_not_change(quirk):
    torch.manual_seed(0)
    model = quirk()
    bare = model(given(quirk))
    with record(model):
        recorded = model(given(quirk))
    assert_same(bare, recorded)


@real
def test_real_outputs_do_not_change(build, inputs):
    torch.manual_seed(0)
    model, kwargs = build(), inputs()
    before = state(model)
    with torch.no_grad():
        bare = model(**kwargs)[0]
        with record(model) as rec:
            recorded = model(**kwargs)[0]
    assert torch.equal(bare, recorded)
    assert state(model) == before
    assert Trace.from_json(rec.trace.to_json()) == rec.trace


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, tuple | list):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif hasattr(a, "sample"):
        assert_same(a.sample, b.sample)


def test_after_the_first_forward_nothing_is_left_even_inside_the_block():
    model = quirks.Blocks()
    before = state(model)
    with record(model) as rec:
        assert state(model) != before
        model(given())
        assert state(model) == before
        model(given())
        assert len(rec.traces) == 1
    assert state(model) == before
    assert rec.trace is rec.trace


def test_calls_counts_forwards():
    model = quirks.SameTwice()
    before = state(model)
    with record(model, calls=2) as rec:
        for width in (3, 5, 7):
            model(torch.ones(width, 4))
        assert state(model) == before
    assert [t.root.inputs["x"].sizes for t in rec.traces] == [(3, 4), (5, 4)]
    assert [t.root.cost.params.size for t in rec.traces] == [16, 16]


def test_a_mode_entered_inside_the_block_stays():
    class Other(TorchFunctionMode):
        seen = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            Other.seen += 1
            return func(*args, **(kwargs or {}))

    model = quirks.HelperTwice()
    with record(model) as rec:
        with Other():
            model(given())
            assert _len_torch_function_stack() == 1
            seen = Other.seen
            torch.ones(1) + 1
            assert Other.seen > seen
        assert _len_torch_function_stack() == 0
    assert rec.trace.root.children == run(model).root.children


def test_a_block_without_a_forward_ends_quietly():
    model = quirks.Blocks()
    before = state(model)
    rec = record(model)
    with rec:
        model.forward(given())
    assert state(model) == before
    with pytest.raises(RecordingError) as caught:
        rec.trace  # noqa: B018
    assert str(caught.value) == (
        "Nothing was recorded: Blocks was not called inside the with block and in its thread; "
        "call the model itself, not its forward and not a compiled copy."
    )


def test_nothing_holds_the_tensors():
    model = quirks.FunctionReturnsOddly()
    x = given()
    alive = weakref.ref(x)
    with record(model) as rec:
        model(x)
    del x
    gc.collect()
    assert alive() is None
    assert rec.trace.root.name == "FunctionReturnsOddly"


def test_what_a_function_made_is_let_go_before_the_next_operation():
    alive = []

    def helper(x):
        big = x * 2
        alive.append(weakref.ref(big))
        return big + 1

    class Model(nn.Module):
        def forward(self, x):
            for _ in range(2):  # at the first operation of a kind it is not known yet whether it gives a tensor
                y = helper(x)
                gone.append(alive[-1]() is None or None)
                x = y.abs_()
            return x

    gone = []
    model = Model()

    class Looks(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if getattr(func, "__name__", "") == "abs_":
                looked.append(alive[-1]() is None)
            return func(*args, **(kwargs or {}))

    looked = []
    with Looks(), record(model):
        model(quirks.ones())
    assert looked == [True, True]


# exceptions


def test_an_exception_passes_with_a_note_and_the_partial_tree():
    model = quirks.RaisesInBlock3()
    before = state(model)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match") as caught, record(model) as rec:
        model(given())
    sentence = "stopped in blocks.3 at cat on f32[3, 4], f32[3, 5]"
    assert caught.value.__notes__ == [f"tracer: {sentence}"]
    assert rec.trace.header.error == sentence
    assert state(model) == before
    assert [(c.path, c.repeat, c.opaque) for c in rec.trace.root.children] == [
        ("blocks.0", 3, None), ("blocks.3", 1, "raised RuntimeError"),
    ]  # fmt: skip
    assert rec.trace.root.outputs == {}
    assert Trace.from_json(rec.trace.to_json()) == rec.trace


def test_an_exception_that_no_operation_raised():
    model = quirks.RaisesByItself()
    before = state(model)
    with pytest.raises(ValueError, match="not today") as caught, record(model) as rec:
        model(given())
    assert caught.value.args == ("not today",)
    assert rec.trace.header.error == "stopped in blocks.2 after add on f32[3, 4], f32[3, 4]"
    assert caught.value.__notes__ == [f"tracer: {rec.trace.header.error}"]
    assert state(model) == before


def test_an_exception_before_any_operation():
    model = quirks.RaisesByItself.Refuses()
    with pytest.raises(ValueError, match="not today"), record(model) as rec:
        model(given())
    assert rec.trace.header.error == "stopped in Refuses"


def test_an_exception_caught_outside_the_model_is_still_noted_but_no_other():
    model = quirks.RaisesInBlock3()
    before = state(model)
    mine = KeyError("mine")

    def fails():
        with record(model) as rec:
            traces.append(rec)
            with pytest.raises(RuntimeError):
                model(given())
            raise mine

    traces = []
    with pytest.raises(KeyError):
        fails()
    assert not hasattr(mine, "__notes__")
    (rec,) = traces
    assert rec.trace.header.error.startswith("stopped in blocks.3")
    assert state(model) == before


def test_an_exception_that_the_model_catches_stops_nothing():
    trace = run(quirks.CatchesItsOwn())
    assert trace.header.error is None
    assert [(c.path, c.opaque) for c in trace.root.children] == [
        ("faulty", "raised RuntimeError"), ("good", None),
    ]  # fmt: skip


def test_keyboard_interrupt():
    model = quirks.Interrupted()
    before = state(model)
    with pytest.raises(KeyboardInterrupt) as caught, record(model) as rec:
        model(given())
    assert rec.trace.header.error == "stopped in blocks.1 after linear on f32[3, 4], f32[4, 4], f32[4]"
    assert caught.value.__notes__ == [f"tracer: {rec.trace.header.error}"]
    assert state(model) == before
    assert run(quirks.Blocks()).header.error is None


def test_a_failing_forward_is_one_of_the_calls():
    model = quirks.RaisesInBlock3()
    with record(model, calls=2) as rec:
        for _ in range(2):
            with pytest.raises(RuntimeError):
                model(given())
    assert len(rec.traces) == 2
    assert rec.traces[0].root == rec.traces[1].root


def test_other_hooks_may_raise_before_and_after():
    model = quirks.Blocks()

    def refuse(*_):
        raise ValueError("hook")

    for handle in (
        model.blocks[1].register_forward_pre_hook(refuse),
        model.blocks[1].register_forward_hook(refuse),
    ):
        with pytest.raises(ValueError, match="hook"), record(model) as rec:
            model(given())
        assert rec.trace.header.error.startswith("stopped in ")
        handle.remove()


# one at a time


def test_the_same_model_cannot_be_recorded_twice_at_once():
    model = quirks.Blocks()
    with record(model) as rec:
        for part in (model, model.blocks[2]):
            with pytest.raises(RecordingError) as caught, record(part):
                pass
            assert str(caught.value) == (
                f"{type(part).__name__} is being recorded already; leave the other record() first."
            )
        model(given())
        assert run(model).root.children == rec.trace.root.children  # the first recording is over


def test_a_recorder_is_used_once():
    rec = record(quirks.Blocks())
    with rec:
        pass
    with pytest.raises(RecordingError, match=r"^This record\(\) was used before; call record\(\) again\.$"), rec:
        pass


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("x",), "record() takes a torch.nn.Module, not str."),
        ((nn.Identity(), 0), "record() takes calls of at least 1, not 0."),
    ],
)
def test_what_record_refuses(arguments, sentence):
    model, *calls = arguments
    with pytest.raises(RecordingError) as caught:
        record(model, **({"calls": calls[0]} if calls else {}))
    assert str(caught.value) == sentence


def test_two_models_nested():
    one, two = quirks.Blocks(), quirks.HelperTwice()
    with record(one) as first, record(two) as second:
        two(given())
        one(given())
    assert first.trace.root.children == run(one).root.children
    assert second.trace.root.children == run(two).root.children

    with record(one) as first:
        with record(two) as second:
            one(given())
            assert _len_torch_function_stack() == 1
        assert _len_torch_function_stack() == 0
    assert first.trace.root.children == run(one).root.children
    assert second.traces == []


def test_a_recording_inside_a_recorded_forward():
    inner = quirks.HelperTwice()
    found = []

    class Records(nn.Module):
        def forward(self, x):
            with record(inner) as rec:
                y = inner(x + 1)
            found.append(rec.trace)
            return y * 2

    trace = run(Records())
    assert found[0].root.children == run(inner).root.children
    assert rows(trace)[:2] == ["Records", "add"]
    assert rows(trace)[-1] == "mul"


def test_threads():
    model, other = quirks.Blocks(), quirks.HelperTwice()
    answers = {}

    def elsewhere():
        answers["other"] = run(other).root.children
        try:
            run(model)
        except RecordingError as error:
            answers["same"] = str(error)
        model(torch.ones(7, 4))

    with record(model) as rec:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert rec.traces == []
        model(given())
    assert answers["other"] == run(other).root.children
    assert answers["same"] == "Blocks is being recorded already; leave the other record() first."
    assert [t.root.inputs["x"].sizes for t in rec.traces] == [(3, 4)]


# modules


def test_a_module_under_two_names():
    trace = run(quirks.SharedUnderTwoNames())
    assert paths(trace) == ["", "one|two", "one|two"]
    assert trace.header.params == trace.root.cost.params.size == 20


def test_a_module_shared_by_parents_is_named_under_the_running_one():
    trace = run(quirks.SharedByParents()).unfold()
    assert paths(trace)[1:] == [p for i in range(3) for p in (f"blocks.{i}", f"blocks.{i}.linear")]
    assert trace.header.params == trace.root.cost.params.size == 20


def test_a_module_from_outside_keeps_its_path_when_unfolded():
    assert paths(run(quirks.SharedFromOutside()).unfold()) == [
        "", "norm", "blocks.0", "norm", "blocks.1", "norm", "blocks.2", "norm",
    ]  # fmt: skip


def test_tied_weights_count_once():
    trace = run(quirks.TiedWeights())
    assert [c.cost.params.size for c in trace.find(kind="module")] == [16, 16, 0]
    assert trace.header.params == 16


def test_a_module_that_is_never_called_counts_only_in_the_header():
    trace = run(quirks.NeverCalled())
    assert paths(trace) == ["", "used"]
    assert (trace.root.cost.params.size, trace.header.params) == (20, 520)


@pytest.mark.parametrize(
    ("quirk", "keys"),
    [
        (quirks.TupleOut, ["0", "1.0", "1.1"]),
        (quirks.ReturnsDict, ["sample", "states.0", "states.1"]),
        (quirks.ReturnsDataclass, ["sample"]),
        (quirks.ReturnsNamedTuple, ["first", "second"]),
        (quirks.Chunks, ["0", "1", "2"]),
        (quirks.Block, ["0"]),
        (quirks.ReturnsNothing.Watcher, []),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_outputs_keep_their_keys(quirk, keys):
    assert list(run(quirk()).root.outputs) == keys


def test_outputs_take_the_names_they_are_assigned_to():
    trace = run(quirks.ReturnsTuple())
    assert list(trace.one("inner").outputs) == ["first", "second.0", "second.1"]


def test_a_module_that_returns_nothing_in_a_handler_is_no_failure():
    trace = run(quirks.FallsBackInHandler())
    assert trace.header.error is None
    assert rows(trace) == ["FallsBackInHandler", "Recover", "mean", "add"]


def test_a_forward_called_while_an_exception_is_handled():
    outer = KeyError("outer")
    try:
        raise outer
    except KeyError:
        trace = run(quirks.ReturnsNothing.Watcher())
    assert trace.header.error is None
    assert not hasattr(outer, "__notes__")


def test_keyword_arguments_and_nested_ones_have_names():
    inner = run(quirks.KwargsOnly()).one("inner", kind="module")
    assert list(inner.inputs) == ["states"]
    assert inner.attrs == {"scale": 2.0}
    inner = run(quirks.NestedTuplesIn()).one("inner", kind="module")
    assert list(inner.inputs) == ["pairs.0.0", "pairs.0.1", "pairs.1.0", "1", "more.x"]


def test_arguments_that_are_none_are_left_out():
    inner = run(quirks.OptionalNone()).one("inner", kind="module")
    assert (list(inner.inputs), dict(inner.attrs)) == (["x"], {})


def test_parameters_as_arguments():
    trace = run(quirks.ParameterIn())
    assert trace.one("norm", kind="module").inputs["input"].sizes == (1, 4)
    assert trace.root.cost.params.size == 4


def test_a_tensor_subclass():
    class Marked(torch.Tensor):
        pass

    x = torch.ones(3, 4).as_subclass(Marked)
    model = quirks.HelperTwice()
    out = model(x)
    assert type(out) is Marked
    with record(model) as rec:
        assert torch.equal(model(x), out)
    assert rec.trace.root.children == run(model).root.children


def test_sequential():
    trace = run(nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 2)))
    assert paths(trace) == ["", "0", "1", "2"]
    assert trace.root.output.sizes == (3, 2)


def test_a_model_without_parameters():
    trace = run(quirks.NoParameters())
    assert (trace.header.params, trace.root.cost.params.size) == (0, 0)
    assert rows(trace) == ["NoParameters", "float", "softmax"]


@pytest.mark.parametrize("quirk", [quirks.Monkeypatched, quirks.Replaced])
def test_a_forward_put_on_the_instance_is_no_row(quirk):
    trace = run(quirk())
    assert rows(trace, "function") == ["scale"]
    assert trace.root.name == quirk.__name__


def test_a_module_made_during_the_forward_splits_no_function():
    trace = run(quirks.MadeOnTheFly())
    assert [c.name for c in trace.root.children] == ["helper"]
    assert [c.name for c in trace.one(name="helper").children] == ["add", "forward", "mul"]


def test_a_module_that_holds_its_parent():
    model = quirks.Block()
    model.linear.register_module("parent", model)
    assert paths(run(model)) == ["", "linear"]


def test_modules_put_in_during_the_forward_are_released():
    class Grows(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, x):
            y = self.first(x)
            self.first = nn.Linear(4, 4)
            return y

    model = Grows()
    first = model.first
    run(model)
    assert run(first).root.name == "Linear"
    assert not first._forward_hooks


# compiled, scripted, checkpointed


@torch.no_grad()
def test_a_compiled_model_is_one_opaque_call():
    model = torch.compile(quirks.Blocks(), backend="eager")
    before = state(model)
    trace = run(model)
    assert trace.root.opaque == "compiled: its operations run as one"
    assert trace.root.children == ()
    assert trace.root.output.sizes == (3, 4)
    assert state(model) == before


@torch.no_grad()
def test_a_compiled_part_is_opaque_and_the_rest_is_seen():
    model = quirks.Blocks(3)
    plain = run(model)
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    before = state(model)
    for _ in range(2):
        trace = run(model)
        assert [(c.path, c.opaque) for c in trace.root.children] == [
            ("blocks.0", None), ("blocks.1", "compiled: its operations run as one"), ("blocks.2", None),
        ]  # fmt: skip
        assert trace.root.children[2].children[1:] == plain.unfold().root.children[2].children[1:]
    assert state(model) == before


@pytest.mark.parametrize("whole", [True, False])
@torch.no_grad()
def test_module_compile_is_opaque(whole):
    model = quirks.Blocks(3)
    expected = model(given())
    compiled = model if whole else model.blocks[1]
    compiled.compile(backend="eager")
    before = state(model)
    with record(model) as rec:
        assert torch.equal(model(given()), expected)
    call = rec.trace.root if whole else rec.trace.root.children[1]
    assert (call.opaque, call.children) == ("compiled: its operations run as one", ())
    assert state(model) == before


@torch.no_grad()
def test_module_compile_that_raises():
    model = quirks.RaisesByItself()
    model.blocks[2].compile(backend="eager")
    before = state(model)
    with pytest.raises(ValueError, match="not today"), record(model) as rec:
        model(given())
    assert rec.trace.header.error.startswith("stopped in blocks.2 after add")
    assert state(model) == before


@torch.no_grad()
def test_the_original_of_a_compiled_model_is_not_seen_and_that_is_said():
    model = quirks.Blocks(2)
    compiled = torch.compile(model, backend="eager")
    with record(model) as rec:
        out = compiled(given())
    assert torch.equal(out, model(given()))
    with pytest.raises(RecordingError, match="not a compiled copy"):
        rec.trace  # noqa: B018


@torch.no_grad()
def test_a_compiled_function_in_a_model_does_no_harm():
    twice = torch.compile(lambda x: x * 2 + 1, backend="eager")

    class Model(nn.Module):
        def forward(self, x):
            return twice(x - 1) + 3

    model = Model()
    with record(model) as rec:
        out = model(given())
    assert torch.equal(out, model(given()))
    assert rows(rec.trace, "op")[0] == "sub"
    assert rows(rec.trace, "op")[-1] == "add"


def test_a_scripted_part_is_opaque():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    model = nn.Sequential(nn.Identity(), scripted)
    trace = run(model)
    assert trace.one("1").opaque == "scripted: its operations run as one"
    assert trace.one("1").children == ()
    assert trace.header.params == 20
    assert run(scripted).root.opaque == "scripted: its operations run as one"


@pytest.mark.parametrize("quirk", [quirks.CheckpointedReentrant, quirks.CheckpointedPlain])
def test_checkpointing_and_its_backward_inside_the_block(quirk):
    torch.manual_seed(0)
    model, plain = quirk(), quirks.Blocks(3)
    plain.load_state_dict(model.state_dict())
    x, y = given().requires_grad_(), given().requires_grad_()
    with record(model, calls=2) as rec:
        model(x).sum().backward()  # runs every block once more
        model(x).sum().backward()
    plain(y).sum().backward()
    plain(y).sum().backward()
    assert torch.equal(x.grad, y.grad)
    assert [c.path for c in rec.traces[0].root.children] == ["blocks.0"]
    assert rec.traces[0].root.children[0].repeat == 3
    assert rec.traces[0].root.children == rec.traces[1].root.children
    assert len(rec.traces) == 2
    assert rows(rec.trace, "function") == []


# operations


def test_in_place_operations_and_setitem():
    trace = run(quirks.InPlace(), quirks.ones())
    ops = trace.root.children
    assert [c.name for c in ops] == ["clone", "setitem", "add_", "unsqueeze_", "mul", "silu"]
    setitem = ops[1]
    assert setitem.attrs == {"1": (Slice(None, None, None), Slice(Dim(1), None, None)), "2": 0.0}
    assert setitem.outputs == {}
    assert ops[3].inputs["x"].sizes == (3, 4)
    assert ops[3].output.sizes == (1, 3, 4)
    assert [c.fresh for c in ops] == [(True,), (), (False,), (False,), (False,), (False,)]
    assert trace.root.cost.bytes.size == 3 * 4 * 4


def test_views_take_no_memory():
    trace = run(quirks.Chunks())
    fresh = {c.name: c.fresh for c in trace.root.children}
    assert fresh == {
        "chunk": (False, False), "reshape": (True,), "unsqueeze": (False,), "expand": (False,),
        "contiguous": (True,),
    }  # fmt: skip
    assert trace.root.cost.bytes.size == 4 * (6 + 2 * 3 * 2)


def test_results_of_chunk_are_called_what_they_are_assigned_to():
    assert list(run(quirks.Chunks()).one(name="chunk").outputs) == ["shift", "scale"]
    trace = run(quirks.Branching())
    assert list(trace.one(name="unbind").outputs) == ["0", "1", "2"]  # head, *tail
    assert list(trace.one(name="add").outputs) == ["first"]
    assert list(trace.one(name="stack").inputs) == ["first", "second", "third"]


def test_a_call_over_several_lines_has_the_line_of_its_name():
    trace = run(quirks.Chunks())
    for name in ("unsqueeze", "expand", "contiguous"):
        call = trace.one(name=name)
        assert f".{name}(" in linecache.getline(quirks.__file__, call.source.line)
    assert list(trace.one(name="contiguous").outputs) == ["longer"]


# functions


def test_a_function_called_twice_is_two_calls_and_helpers_nest():
    trace = run(quirks.HelperTwice())
    assert [c.name for c in trace.root.children] == ["scale", "scale", "outer"]
    outer = trace.one(name="outer")
    assert [c.name for c in outer.children] == ["scale", "add", "scale"]
    assert outer.children[1].outputs.keys() == {"y"}
    assert trace.root.children[0].outputs.keys() == {"x"}
    assert all(c.repeat == 1 for c in trace.walk())


def test_outputs_of_a_function_are_in_the_order_it_returns_them():
    trace = run(quirks.FunctionReturnsInOtherOrder(), torch.ones(3, 4))

    class Sizes(nn.Module):
        def forward(self, x):
            a, b = quirks.swap(x, x[:1])
            return b + a

    assert list(trace.one(name="swap").outputs) == ["a", "b"]
    swapped = run(Sizes()).one(name="swap")
    assert {k: s.sizes for k, s in swapped.outputs.items()} == {"a": (1, 4), "b": (3, 4)}


def test_functions_that_return_oddly():
    trace = run(quirks.FunctionReturnsOddly())
    assert [c.name for c in trace.root.children] == ["gated", "remember", "mul", "add"]
    assert list(trace.one(name="gated").outputs) == ["z", "y"]
    assert trace.one(name="remember").outputs == {}


def test_recursion():
    trace = run(quirks.Recursive())
    depth, call = 0, trace.root.children[0]
    while call.name == "halve":
        depth, call = depth + 1, call.children[-1]
    assert depth == 3
    again = trace.root.children[1]
    assert (again.name, again.kind) == ("forward", "function")
    assert [c.name for c in again.children] == ["halve"]
    assert again.outputs.keys() == {"0"}


def test_a_function_that_calls_modules():
    through = run(quirks.FunctionCallsModules()).one(name="through")
    assert [(c.kind, c.path, c.name) for c in through.children] == [
        ("module", "linear", "Linear"), ("op", "", "mul"),
    ]  # fmt: skip
    assert through.cost.params.size == 20


def test_a_method_that_is_not_forward():
    trace = run(quirks.OtherMethod())
    heads = trace.one(name="split_heads")
    assert (heads.kind, list(heads.inputs), list(heads.outputs)) == ("function", ["states"], ["heads"])
    assert heads.defined.function == "OtherMethod.split_heads"
    assert heads.output.sizes == (2, 3, 2)


def test_comprehensions_lambdas_and_generators_are_no_rows():
    trace = run(quirks.ComprehensionsAndLambdas())
    assert rows(trace, "function") == []
    assert rows(trace, "op").count("mul") == 2


# folding


@pytest.mark.parametrize(
    ("quirk", "expected"),
    [
        (quirks.Blocks, [("blocks.0", 4)]),
        (quirks.OtherWidth, [("blocks.0", 1), ("blocks.1", 1), ("blocks.2", 1)]),
        (quirks.OtherHiddenWidth, [("blocks.0", 2), ("blocks.2", 1), ("blocks.3", 1)]),
        (quirks.OtherBranch, [("blocks.0", 2), ("blocks.2", 1), ("blocks.3", 2)]),
        (quirks.OtherExpert, [("blocks.0", 1), ("blocks.1", 1), ("blocks.2", 1)]),
        (quirks.SameTwice, [("linear", 1), ("linear", 1)]),  # the first one counts the parameters
        (quirks.SameBlockTwice, [("blocks.1", 1), ("blocks.1", 1)]),
        (quirks.BackwardsBlocks, [(f"blocks.{i}", 1) for i in (3, 2, 1, 0)]),
        (quirks.SharedByParents, [("blocks.0", 1), ("blocks.1", 2)]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_only_equal_blocks_fold(quirk, expected):
    trace = run(quirk())
    assert [(c.path, c.repeat) for c in trace.root.children if c.kind == "module"] == expected


def test_another_dtype_does_not_fold():
    trace = run(quirks.OtherDtype(), quirks.ones())
    assert paths(trace) == ["", "blocks.0", "blocks.1", "blocks.2"]


def test_one_and_one_point_nought_do_not_fold():
    class Scaled(nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return x * self.by

    assert [c.repeat for c in run(nn.Sequential(*map(Scaled, (1, 1.0, True, True)))).root.children] == [1, 1, 2]


@every_quirk
def test_unfolding_gives_every_call_its_own_path(quirk):
    if quirk is quirks.MadeOnTheFly:
        pytest.skip("the module is not part of the model, so the simple hooks cannot see it either")
    model = quirk()
    trace = run(model, given(quirk)).unfold()
    seen = [(c.path, c.name) for c in trace.walk() if c.kind == "module"]
    simple = simple_calls(model, given(quirk))
    assert [name for _, name in seen] == [name for _, name in simple]
    for (path, _), (names, _) in zip(seen, simple, strict=True):
        assert path == names or path in names.split("|")


@real
def test_unfolding_real_models_gives_every_call(build, inputs):
    model, kwargs = build(), inputs()
    with torch.no_grad(), record(model) as rec:
        model(**kwargs)
    assert any(c.repeat > 1 for c in rec.trace.walk())
    unfolded = rec.trace.unfold()
    seen = [(c.path, c.name) for c in unfolded.walk() if c.kind == "module"]
    assert seen == simple_calls(model, **kwargs)
    assert all(c.repeat == 1 for c in unfolded.walk())


@real
def test_unfolding_equals_recording_without_folding(build, inputs, monkeypatch):
    torch.manual_seed(0)
    model, kwargs = build(), inputs()
    with torch.no_grad():
        with record(model) as folded:
            model(**kwargs)
        monkeypatch.setattr("tracer.nodes._follows", lambda path, before: False)
        with record(model) as flat:
            model(**kwargs)
    assert len(list(flat.trace.walk())) > len(list(folded.trace.walk()))
    assert flat.trace.root.children == folded.trace.unfold().root.children


class SymbolicBlocks(nn.Module):
    class Splits(nn.Module):
        def forward(self, x):
            batch, tokens = x.shape[:2]
            return x.reshape(batch * tokens, 4)[: batch * 2].new_zeros(batch, tokens, 4) + x

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(self.Splits() for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_symbolic_sizes_fold_too():
    with symbolic_sizes({"B": 5, "L": 7}) as symbolic, record(SymbolicBlocks()) as rec:
        rec.model(symbolic.empty("B L 4"))
    assert [(c.path, c.repeat) for c in rec.trace.root.children] == [("blocks.0", 3)]
    block = rec.trace.root.children[0]
    assert [str(d.expression()) for d in block.output.shape] == ["B", "L", "4"]
    cut = block.children[1].attrs["1"]
    assert (cut.stop.size, str(cut.stop.expression())) == (10, "2·B")


# where the tensors live


@real
def test_meta_real_and_fake_tensors_give_equal_calls(build, inputs):
    def facts(trace):
        return [
            (c.kind, c.path, c.name, c.inputs, c.outputs, c.attrs, c.weights, c.source, c.repeat) for c in trace.walk()
        ]

    def seen(model, kwargs):
        with torch.no_grad(), record(model) as rec:
            model(**kwargs)
        return facts(rec.trace)

    on_cpu = seen(build(), inputs())
    with torch.device("meta"):
        model = build()
        kwargs = inputs()
    on_meta = seen(model, kwargs)
    with FakeTensorMode(allow_non_fake_inputs=False):
        on_fake = seen(build(), inputs())
    assert on_cpu == on_meta == on_fake


def test_a_factory_under_a_device_context_says_no_device():
    class Makes(nn.Module):
        def forward(self, x):
            return torch.ones(2, device=x.device).to(x.dtype) + x.new_zeros(1)

    on_cpu = run(Makes(), torch.ones(2))
    with torch.device("meta"):
        on_meta = run(Makes(), torch.ones(2))
    assert on_cpu.root == on_meta.root
    assert on_cpu.one(name="ones").attrs["device"] == "device"


# the installed source


SIGNS = {
    "add": "+", "add_": "+=", "and": "&", "div": "/", "ge": ">=", "getitem": "[", "gt": ">", "le": "<=", "lt": "<",
    "matmul": "@", "mul": "*", "neg": "-", "pow": "**", "rdiv": "/", "rpow": "**", "rsub": "-", "setitem": "[",
    "sub": "-", "truediv": "/",
}  # fmt: skip


def installed(source):
    root = Path(sys.modules[source.file.split("/")[0]].__file__).parent.parent
    return linecache.getline(str(root / source.file), source.line)


@real
def test_every_row_points_at_its_line_of_source(build, inputs):
    model, kwargs = build(), inputs()
    with torch.no_grad(), record(model) as rec:
        model(**kwargs)
    wrong = []
    for call in rec.trace.walk():
        if call.kind == "op":
            line = installed(call.source)
            if call.name not in line and SIGNS.get(call.name, call.name) not in line:
                wrong.append((call.name, str(call.source), line.strip()))
            continue
        line = installed(call.defined)
        if call.kind == "module":
            assert f"class {call.name}(" in line
        else:
            assert f"def {call.name}(" in line or "def __call__(" in line
        assert call is rec.trace.root or call.source is not None
    assert wrong == []


# what is loaded


def test_recording_loads_no_diffusers():
    import subprocess

    code = (
        "import sys, torch; from tracer.recorder import record\n"
        "m = torch.nn.Linear(2, 2)\n"
        "with record(m) as rec: m(torch.ones(1, 2))\n"
        "versions = rec.trace.header.versions\n"
        "assert list(versions) == ['torch'], versions\n"
        "assert not {'diffusers', 'transformers', 'sympy.core'} & set(sys.modules) - {'sympy.core'}\n"
        "assert not any(m.startswith('tracer.families') or m.startswith('tracer.views') for m in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_versions_of_what_is_loaded():
    import diffusers

    versions = run(quirks.Block()).header.versions
    assert versions == {"torch": torch.__version__.partition("+")[0], "diffusers": diffusers.__version__}


def test_a_spec_reads_like_a_tensor():
    assert str(Spec((2, 48, 17776, 64), "bfloat16")) == "bf16[2, 48, 17776, 64]"
