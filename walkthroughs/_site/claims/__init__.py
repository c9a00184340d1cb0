"""What four public articles claim about these models, claim by claim, and what checking them finds.

Each module beside `claim.py` holds one article: its ARTICLE and its CLAIMS. Nothing else registers them; names that
begin with _ are what several of them measure with.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from stored import CACHE, ROOT, kept
from stored import key as state_of_traces

from claims.claim import Article, Claim, Finding, by_id, judge
from claims.claim import measure as measured

FOLDER = CACHE / "claims"
SHOWING = ("cli", "diagrams", "diffs", "listings", "plots", "views")


@cache
def modules() -> dict[str, ModuleType]:
    """The module of every article by the article's key, in the order of the modules' names."""
    found = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return {m.ARTICLE.key: m for m in found if hasattr(m, "ARTICLE")}


@cache
def articles() -> dict[str, tuple[Article, tuple[Claim, ...]]]:
    """Every article with its claims, by its key. Raises ValueError where a module holds claims of another article."""
    out = {}
    for key, module in modules().items():
        strangers = [c.id for c in module.CLAIMS if c.article != key]
        if strangers:
            raise ValueError(f"{key} holds claims of another article: {', '.join(strangers)}.")
        out[key] = module.ARTICLE, tuple(module.CLAIMS)
    return out


def all_claims() -> dict[str, Claim]:
    """Every claim by its id."""
    return by_id(claim for _, claims in articles().values() for claim in claims)


def findings() -> dict[str, tuple[Finding, ...]]:
    """What is found for every claim, by the article's key.

    Measurements are kept as traces are, and made anew when anything changed that they may depend on; they are judged
    each time. Raises CheckFailed where one is not what its claim holds to be so, or cannot be made.
    """
    out = {}
    for article, (_, claims) in articles().items():
        values = kept(FOLDER / state(article) / f"{article}.json", partial(measure, claims))
        out[article] = tuple(judge(claim, values[claim.id]) for claim in claims)
    return out


def measure(claims: tuple[Claim, ...]) -> dict[str, list[Any]]:
    """What is measured for each part of each claim, by the claim's id. Raises CheckFailed where that breaks off."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small models are far slower on two threads than on one
    try:
        return {claim.id: measured(claim) for claim in claims}
    finally:
        torch.set_num_threads(threads)


def state(article: str) -> str:
    """A name for the state of everything that an article's measurements depend on: packages, data, checks."""
    made = hashlib.sha256(state_of_traces().encode())
    for path in (*package_files(), *check_files(article)):
        made.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return made.hexdigest()[:16]


@cache
def package_files() -> tuple[Path, ...]:
    """The package, with its published tables, configs and weights, but for the rooms that only show what there is."""
    home = ROOT / "tracer"
    found = [p for p in sorted(home.rglob("*")) if p.is_file() and p.suffix != ".pyc"]
    return tuple(p for p in found if p.relative_to(home).parts[0] not in SHOWING)


def check_files(article: str) -> list[Path]:
    """The code of an article's checks: its module, its helpers (`_KEY_*.py`), and what all of them share."""
    here = Path(__file__).parent
    others = tuple(f"_{key}_" for key in modules() if key != article)
    shared = [p for p in sorted(here.glob("_*.py")) if not p.name.startswith(others)]
    return [Path(str(modules()[article].__file__)), here / "claim.py", *shared]
