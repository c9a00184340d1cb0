"""What the tests share: every checkpoint of every family, its trace, and goldens that --bless rewrites."""

import os
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

import pytest
from tracing import TRACES

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models are far slower on two threads than on one
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tracer.families import all_families
from tracer.families.base import Checkpoint, Family

GOLDENS = Path(__file__).parent / "goldens"


class Case(NamedTuple):
    """A published checkpoint and the family that runs it."""

    family: Family
    checkpoint: Checkpoint

    @property
    def name(self):
        return self.checkpoint.name

    @property
    def config(self):
        from tracer.build import full_config

        return full_config(self.family.model, self.checkpoint.config)


CASES = [
    pytest.param(Case(family, checkpoint), id=checkpoint.name)
    for family in all_families()
    for checkpoint in family.checkpoints
]


NAMES = sorted((c.values[0].name for c in CASES), key=len, reverse=True)


def group_of(nodeid):
    """What a worker does as a whole: the tests of one checkpoint, so that each is traced once; those of one article's
    claims, which share their runs; else the test alone."""
    said = nodeid.partition("[")[2]
    if "/test_site_claims.py::" in nodeid and "/" in said:
        return said.partition("/")[0]
    return next((n for n in NAMES if said.startswith((f"{n}]", f"{n}-"))), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """For `--dist loadgroup`. xdist 3.8 writes its groups into ids that pytest 9.2 no longer reads."""
    from xdist.scheduler import LoadScopeScheduling

    class ByCheckpoint(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    return ByCheckpoint(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_addoption(parser):
    parser.addoption("--bless", action="store_true", help="write the goldens anew; read the diff afterwards")


@pytest.fixture(scope="session", params=CASES)
def case(request):
    """Each checkpoint of each family in turn."""
    return request.param


@pytest.fixture(scope="session")
def traces():
    """Default traces by the checkpoint's name."""
    return TRACES


@pytest.fixture(scope="session")
def seen(case, traces):
    """The default trace of the checkpoint in turn."""
    return traces[case.name]


@pytest.fixture(scope="session")
def pipeline():
    """The trace of a whole pipeline."""
    from tracer.whole import trace_pipeline

    return trace_pipeline("cogvideox-5b", formulas=False)


@pytest.fixture
def golden(request):
    """Compares a text with a file of tests/goldens, or writes it with --bless."""

    def check(name, text):
        path = GOLDENS / name
        if request.config.getoption("bless"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden {name}; run pytest --bless and read what it wrote"
        kept = path.read_text(encoding="utf-8")
        diff = list(unified_diff(kept.splitlines(), text.splitlines(), name, "now", n=1, lineterm=""))
        assert kept == text, "\n".join([*diff[:60], f"{len(diff)} lines of diff; --bless takes them over"])

    return check
