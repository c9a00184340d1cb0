"""Who may import whom (the table of the design), what `import tracer` loads, and what it serves."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracer

PACKAGE = Path(tracer.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "tracer."))
HEAVY = ("torch", "diffusers", "transformers", "rich", "torchinfo", "sympy", "numpy", "matplotlib")

PLAIN = (
    "errors", "shapes", "calls", "notes", "formula", "notation", "outline", "words", "serial", "configs", "stages",
    "overview", "frames", "frame_steps", "gamecraft_frames", "components", "graft", "shorten", "generic", "blocks",
    "spots", "settings", "tables", "drawing", "diffs", "diagrams",
)  # fmt: skip
SCHEDULES = ("schedules", "shifts", "distributions", "article", "snr_shift", "named", "spread", "handover")
LOGS = ("log", "signals", "groups", "reference", "spread_log")
SWEEPS = ("samplers", "memory", "summary")
RECORDING = (
    "recorder", "nodes", "scopes", "sources", "assemble", "symbolic", "derive", "probing", "known", "pipelines",
    "passes", "modes", "lines",
)  # fmt: skip
OPENING = ("tracer.probes.models", "tracer.probes.pocket")
"""Where the probes open pipelines that a user runs."""
LATE = {
    "tracer.calls": ("tracer.views",), "tracer.rope.showing": ("tracer.views",), "tracer.diffs.diff": ("tracer.views",),
}  # fmt: skip
"""What shows itself: its view is loaded inside the method."""


def never(module):
    """What a module may not import, at its top or in its functions."""
    room = module.removeprefix("tracer.").partition(".")[0]
    if room in PLAIN:
        return ("torch", "diffusers", "rich", "tracer.views", "tracer.cli", "tracer.recorder", "tracer.build")
    if room in RECORDING:
        families = () if room in ("derive", "probing") else ("tracer.families",)
        return ("diffusers", "rich", "tracer.views", "tracer.cli", "tracer.api", "tracer.build", *families)
    if room == "listings":
        return ("torch", "diffusers", "rich", "tracer.views", "tracer.cli", "tracer.build", "tracer.api")
    if room == "views":
        others = [m for m in MODULES if m.startswith("tracer.views.") and m != module]
        return ("torch", "diffusers", "tracer.recorder", "tracer.build", "tracer.api", "tracer.cli", *others)
    if room == "families":
        return ("torch", "diffusers", "rich", "tracer.recorder", "tracer.build", "tracer.views", "tracer.cli")
    if room == "rope":
        return ("diffusers", "rich", "matplotlib", "tracer.recorder", "tracer.views", "tracer.plots", "tracer.cli")
    if room == "plots":
        return ("torch", "diffusers", "rich", "tracer.recorder", "tracer.build", "tracer.views", "tracer.cli")
    if room == "probes":
        others = ("rich", "matplotlib", "tracer.views", "tracer.plots", "tracer.cli", "tracer.build")
        if module.startswith(OPENING):
            return others
        light = module.rpartition(".")[2] in (*SCHEDULES, *LOGS, *SWEEPS)
        return ("torch", "diffusers", *others) if light else ("diffusers", *others)
    if room == "cost":
        return ("torch", "diffusers", "rich", "tracer.views", "tracer.cli")
    return () if room == "cli" else ("tracer.cli",)


def imports(path, *, package="tracer"):
    """Every module a file imports, with whether that is at its top. TYPE_CHECKING blocks import nothing."""

    def visit(node, top):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{path.name} imports relatively"
                yield child.module, top
                if child.module.startswith(package):
                    yield from ((f"{child.module}.{alias.name}", top) for alias in child.names)
            else:
                yield from visit(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


def within(name, forbidden):
    return name == forbidden or name.startswith(f"{forbidden}.")


def path_of(module):
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def offences(module, path):
    forbidden = [f for f in never(module) if not any(within(f, late) for late in LATE.get(module, ()))]
    out = [f"{module} imports {n}" for n, _ in imports(path) for f in forbidden if within(n, f)]
    out += [
        f"{module} imports {n} at its top"
        for n, top in imports(path)
        for late in LATE.get(module, ())
        if top and within(n, late)
    ]
    if module.startswith("tracer.families."):
        names = [p.stem for p in (PACKAGE / "families").glob("[!_]*.py") if p.stem not in ("base", module[16:])]
        own = [f"tracer.families.{n}" for n in names if not module[16:].startswith(f"_{n}")]
        out += [f"{module} imports {n}" for n, _ in imports(path) if n in own]
    return out


@pytest.mark.parametrize("module", MODULES)
def test_rooms_keep_apart(module):
    assert offences(module, path_of(module)) == []


def test_the_check_of_rooms_can_fail(tmp_path):
    path = tmp_path / "calls.py"
    path.write_text("def f():\n    import torch\nfrom tracer.views.tree import plain\n")
    found = offences("tracer.calls", path)
    assert found[0] == "tracer.calls imports torch"
    assert "tracer.calls imports tracer.views.tree at its top" in found


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[1] not in ("views", "cli")])
def test_heavy_libraries_are_where_they_belong(module):
    """diffusers is imported by build and whole (to build), by api inside functions (its version), and where probes open
    pipelines; rich by views."""
    for name, top in imports(path_of(module)):
        assert not within(name, "rich"), f"{module} imports rich"
        if within(name, "diffusers"):
            opens = module in ("tracer.build", "tracer.api", "tracer.whole") or module.startswith(OPENING)
            assert opens or module.startswith("tracer.models."), f"{module} imports diffusers"
            subclasses = module.startswith("tracer.models.") or module == "tracer.probes.pocket.vae"
            assert not top or subclasses, f"{module} imports diffusers at its top"
        assert not (within(name, "torchinfo") and top)


def loaded(code):
    """Which heavy libraries a fresh process has loaded after some code."""
    program = f"{code}\nimport sys\nprint(*(n for n in {HEAVY} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_plots_alone_draw():
    for module in MODULES:
        drawing = [n for n, _ in imports(path_of(module)) if within(n, "matplotlib")]
        assert not drawing or module.startswith("tracer.plots"), f"{module} imports matplotlib"


def test_ropes_are_light():
    assert loaded("from tracer import rope; rope.Rope3D, rope.names, rope.Whole") == set()


def test_schedules_are_light():
    assert loaded("import tracer.probes; tracer.probes.ProbeLog") == set()
    assert loaded("import tracer.probes.named, tracer.probes.spread, tracer.probes.handover") == {"numpy"}


def test_import_tracer_is_light():
    assert loaded("import tracer") == set()


def test_names_without_tensors_are_light():
    assert loaded("import tracer; tracer.Trace, tracer.Call, tracer.Dim, tracer.Formula, tracer.TracerError") == set()


def test_families_are_light():
    assert loaded("from tracer import families; families.all_families()") == set()


def test_the_check_of_lightness_can_fail():
    assert "rich" in loaded("import tracer.views.tree")


def test_public_names():
    assert tracer.__all__ == sorted(tracer.__all__)
    assert len(tracer.__all__) <= 16
    assert set(tracer.__all__) == set(tracer._HOME)
    for name in tracer.__all__:
        assert getattr(tracer, name).__name__ == name
    assert set(tracer.__all__) <= set(dir(tracer))
    with pytest.raises(AttributeError, match="module 'tracer' has no attribute 'nothing'"):
        tracer.nothing  # noqa: B018


def test_stubs_name_what_is_served():
    """Type checkers read the TYPE_CHECKING block, people __all__."""
    block = re.search(r"if TYPE_CHECKING:\n(.*?)\n\n", path_of("tracer.__init__").read_text(), re.S)[1]
    assert sorted(re.findall(r" as (\w+)", block)) == tracer.__all__


def test_no_module_hides_a_public_name():
    names = [m for m in MODULES if m != "tracer.cli.trace_shapes"]
    code = f"import importlib, tracer\nfor m in {names}: importlib.import_module(m)\n"
    code += "assert callable(tracer.trace) and callable(tracer.record), (tracer.trace, tracer.record)\n"
    code += "assert tracer.Trace.__name__ == 'Trace'"
    loaded(code)
    tops = {m.split(".")[1] for m in MODULES}
    assert not tops & set(tracer.__all__)


@pytest.mark.parametrize("module", ["tracer", *MODULES])
def test_everything_public_says_what_it_is(module):
    loaded_module = importlib.import_module(module)
    assert loaded_module.__doc__, f"{module} has no docstring"
    silent = []
    for name, thing in vars(loaded_module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module:
            continue
        if inspect.isclass(thing) or inspect.isfunction(thing):
            silent += [] if (thing.__doc__ or "").strip() else [name]
        if inspect.isclass(thing):
            silent += [
                f"{name}.{key}"
                for key, member in vars(thing).items()
                if not key.startswith("_") and inspect.isfunction(member) and not inspect.getdoc(member)
            ]
    assert silent == []


@pytest.mark.parametrize("module", MODULES)
def test_modules_fit_in_the_head(module):
    lines = len(path_of(module).read_text(encoding="utf-8").splitlines())
    assert lines <= 450
