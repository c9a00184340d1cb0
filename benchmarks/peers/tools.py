"""Every tool with the options that show most, and what it is asked for. Each is run in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.subjects import TINY, Subject


@dataclass(frozen=True)
class Given:
    """What a tool gave: texts by name, the first being its main one, and counts where it reports any."""

    outputs: Mapping[str, str]
    params: int | None = None
    flops: int | None = None


@dataclass(frozen=True)
class Tool:
    """A tool: `run` is what is timed, up to its main output in memory; `give` reads out all it can show."""

    name: str
    call: str
    package: str
    run: Callable[[Subject], Any]
    give: Callable[[Any], Given]
    extras: Mapping[str, Callable[[Any, Subject], bool]] = field(default_factory=dict)
    """What else it can do, each tried on the tiny model with real numbers."""


def _ours(subject: Subject) -> Any:
    import tracer
    from tracer.views.tree import render_text

    if subject.name == TINY:
        with tracer.record(subject.model) as recording:
            subject.model(**subject.inputs)
        trace = recording.trace
    else:
        trace = tracer.trace(subject.name)
    return trace, render_text(trace)


def _ours_given(result: Any) -> Given:
    from tracer.outline import Options
    from tracer.views.calls_csv import render_csv
    from tracer.views.tree import render_text

    trace, short = result
    whole = render_text(trace, Options(depth=9, ops=True, notes=True), width=120)
    flops = trace.root.cost.flops
    outputs = {"tree": short, "tree of all operations": whole, "CSV of all calls": render_csv(trace)}
    return Given(outputs, trace.header.params, flops.size if flops else None)


def _torchinfo(subject: Subject) -> Any:
    import torchinfo

    found = torchinfo.summary(
        subject.model, input_data=subject.inputs, depth=10, verbose=0, device=_device(subject),
        col_names=("input_size", "output_size", "num_params", "mult_adds"), row_settings=("var_names", "depth"),
    )  # fmt: skip
    return found, str(found)


def _torchinfo_given(result: Any) -> Given:
    found, text = result
    return Given({"table": text}, found.total_params, 2 * found.total_mult_adds)


def _torchlens(subject: Subject) -> Any:
    import torchlens
    from torchlens.options import CaptureOptions

    capture = {"capture": CaptureOptions(structure_only=True)} if subject.name != TINY else {}
    found = torchlens.trace(subject.model, input_kwargs=subject.inputs, **capture)
    return found, str(found.summary())


def _torchlens_values(subject: Subject) -> Any:
    import torchlens

    found = torchlens.trace(subject.model, input_kwargs=subject.inputs)
    return found, str(found.summary())


def _bare(label: str) -> str:
    """A label without the count of its pass, where there is one pass."""
    return label.removesuffix(":1")


def _plain(label: str) -> str:
    return _bare(label).replace(":", "_")


def _torchlens_given(result: Any) -> Given:
    """Its summary, its list of operations, and what the objects for operations and modules say, printed here."""
    found, text = result
    shape = {name: list(op.shape) for op in found.ops if op.shape is not None for name in (op.label, _bare(op.label))}
    lines = []
    for op in found.ops:
        places = [f for f in op.code_context if not f.file.endswith("peft_utils.py") and "/torch/" not in f.file]
        place = f"{places[-1].file.rsplit('/', 1)[-1]}:{places[-1].line_number}" if places else ""
        given = ", ".join(map(str, [*map(_plain, op.parents), *(op.func_non_tensor_args or ())]))
        lines.append(f'{_plain(op.label)}: "{shape.get(op.label)}" = {op.func_name}({given})  # {place}')
    for call in found.module_calls:
        made = [shape.get(str(label)) for label in call.output_ops]
        given = (call.forward_arg_names, call.forward_args_summary, call.forward_kwargs_summary)
        lines.append(f"{call.module.class_name} {call.call_label} {given} -> {made}")
    flops = sum(int(op.flops_forward or 0) for op in found.ops)
    outputs = {"summary": text, "narrate": str(found.narrate()), "fields of its objects": "\n".join(lines)}
    return Given(outputs, found.num_params, flops)


def _torchview(subject: Subject) -> Any:
    from torchview import draw_graph

    def draw(**options: Any) -> str:
        graph = draw_graph(
            subject.model, input_data=subject.inputs, device=_device(subject), mode="eval", strict=False, **options
        )
        return str(graph.visual_graph.source)

    return draw, draw(depth=10, expand_nested=True)


def _torchview_given(result: Any) -> Given:
    draw, text = result
    return Given({"graph, depth=10": text, "graph, depth=1": draw(depth=1)})


def _export(subject: Subject) -> Any:
    return _exported(subject, None)


def _export_open(subject: Subject) -> Any:
    import torch

    def sizes(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return dict.fromkeys(range(value.dim()), torch.export.Dim.AUTO)
        return tuple(map(sizes, value)) if isinstance(value, tuple) else None

    return _exported(subject, {name: sizes(value) for name, value in subject.inputs.items()})


def _exported(subject: Subject, sizes: Any) -> Any:
    import torch

    program = torch.export.export(subject.model, (), subject.inputs, dynamic_shapes=sizes, strict=False)
    return program, program.graph_module.print_readable(print_output=False)


def _device(subject: Subject) -> str:
    return "cpu" if subject.name == TINY else "meta"


def _same(a: Any, b: Any) -> bool:
    import torch

    return bool(torch.allclose(a, b, atol=1e-5))


def _runs(result: Any, subject: Subject) -> bool:
    return _same(result[0].module()(**subject.inputs)[0], subject.model(**subject.inputs)[0])


def _saved(result: Any, subject: Subject) -> bool:
    import io

    import torch

    file = io.BytesIO()
    torch.export.save(result[0], file)
    file.seek(0)
    return _same(torch.export.load(file).module()(**subject.inputs)[0], subject.model(**subject.inputs)[0])


def _longer(result: Any, subject: Subject) -> bool:
    import torch

    text = torch.randn(2, 7, subject.inputs["encoder_hidden_states"].shape[-1])
    inputs = subject.inputs | {"encoder_hidden_states": text}
    return _same(result[0].module()(**inputs)[0], subject.model(**inputs)[0])


def _values(result: Any, subject: Subject) -> bool:
    found = result[0]
    last = [op for op in found.ops if op.is_output][-1]
    return _same(last.out, subject.model(**subject.inputs)[0])


def _arrows(result: Any, subject: Subject) -> bool:
    return result[1].count(" -> ") > 100


def _any_module(result: Any, subject: Subject) -> bool:
    import torch
    import torchinfo

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.LazyLinear(4))
    return torchinfo.summary(model, (1, 3, 8, 8), verbose=0).total_params == 224 + 4 * (8 * 6 * 6 + 1)


OURS = "this package"
TOOLS = {
    tool.name: tool
    for tool in (
        Tool(OURS, "tracer.trace(name)", "annotated-video-dit", _ours, _ours_given),
        Tool(
            "torchinfo", "summary(depth=10, input, output, params, mult-adds)", "torchinfo", _torchinfo,
            _torchinfo_given, {"a module of any kind from a shape alone, counted in one line": _any_module},
        ),
        Tool("torchlens", "trace(structure_only), summary", "torchlens", _torchlens, _torchlens_given),
        Tool(
            "torchlens, with values", "trace, summary", "torchlens", _torchlens_values, _torchlens_given,
            {"the value of every intermediate tensor, kept and equal to the model's": _values},
        ),
        Tool(
            "torchview", "draw_graph(depth=10, expand_nested)", "torchview", _torchview, _torchview_given,
            {"a graphviz graph of all operations, with arrows between them": _arrows},
        ),
        Tool(
            "torch.export", "export(strict=False), print_readable", "torch", _export,
            lambda result: Given({"graph": result[1]}),
            {
                "a graph that runs and gives the model's own numbers": _runs,
                "a file that is loaded again and gives them too": _saved,
            },
        ),
        Tool(
            "torch.export, Dim.AUTO", "export(every size Dim.AUTO), print_readable", "torch", _export_open,
            lambda result: Given({"graph": result[1]}),
            {"one graph that runs at other sizes too": _longer},
        ),
    )
}  # fmt: skip
