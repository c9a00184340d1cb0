"""The ledger: what four articles say, checked. Each claim with its verdict, what was measured, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from importlib.metadata import version
from itertools import chain
from typing import Any

import claims
from claims.claim import UNSAID, VERDICTS, Article, CheckFailed, Claim, Finding, Part, Verdict, same
from mkdocs.exceptions import PluginError
from plain import plain

from tracer.views.markdown import pipes

PAGE = "claims.md"
NUMBERS = {1: "one article says", 2: "two articles say", 3: "three articles say", 4: "four articles say"}
HEADS: dict[Verdict, str] = {
    "confirmed": "What it got right",
    "half right": "Half right",
    "wrong": "Wrong",
    "not checkable": "Not checkable here",
}
"""The section of each verdict, in the order of the page: what is right comes first."""
LESSONS = {
    "cogvideox": "[CogVideoX, step by step](cogvideox.md) goes through the same steps.",
    "frames": "[Frames](frames.md#gamecraft-33-34-37-66-69) shows where the numbers come from.",
    "l1": "[L1 and schedules](l1.md) takes them up one after another.",
    "rope": "[Rotary positions](rope.md) explains the rotation, and what differs between models.",
}
"""Where the site itself tells of what an article is about."""


def files() -> Iterator[tuple[str, str]]:
    """The page. A check that fails ends the build with its sentence."""
    try:
        yield PAGE, page(claims.findings())
    except (CheckFailed, ValueError) as problem:
        raise PluginError(f"{PAGE}: {problem}") from None


def page(found: dict[str, tuple[Finding, ...]]) -> str:
    """The page of all articles, as Markdown."""
    articles = [claims.articles()[key][0] for key in found]
    parts = chain([_opening(articles, found)], *(_article(article, found[article.key]) for article in articles))
    return "\n\n".join(parts) + "\n"


def _opening(articles: list[Article], found: dict[str, tuple[Finding, ...]]) -> str:
    everything = [finding for findings in found.values() for finding in findings]
    measured = sum(len(finding.measured) for finding in everything)
    versions = " and ".join(f"{name} {version(name).partition('+')[0]}" for name in ("diffusers", "torch"))
    return f"""\
# What {NUMBERS[len(articles)]}, checked

This project began with articles that people wrote for others, for nothing: notes on shapes, on frame counts, on
rotary positions, on what each sampling step changes. They asked the questions that the pages here answer, and much of
what they say is right. Our thanks to their authors.

Explanations of a new model are hard to check when they are written: its code is long, its weights are large. Here
every claim that can be checked without them is run: {len(everything)} claims, {measured} measurements, with {versions}.
A claim stands here in our words; please read the articles for theirs.

{_summary(articles, found)}

**How a verdict comes about.** A claim is taken apart into statements with one value each. For each there is a function
that finds the value: in a trace of the published model, in the real classes made small, or by running the formula. If
all values are what the article says, the claim is *confirmed*; if some are, it is *half right*; if none is, it is
*wrong*. Nobody types a verdict in. *Not checkable* means that it would take trained weights, a paper's own data or code
that is not installed; the reason stands there. *Not said* marks what was measured besides, without a part in the
verdict.

The checks are code, in `walkthroughs/_site/claims`. They run when the site is built and in the tests, and should a new
version of a model change an answer, the build stops. Where a verdict is unfair to an article, the check is where to
show it."""


def _summary(articles: list[Article], found: dict[str, tuple[Finding, ...]]) -> str:
    rows: list[list[str]] = []
    total: Counter[str] = Counter()
    for article in articles:
        counts = Counter(finding.verdict for finding in found[article.key])
        total += counts
        cells = [_count(article.key, verdict, counts[verdict]) for verdict in VERDICTS]
        rows.append([f"[{plain(article.title)}](#{article.key})", str(counts.total()), *cells])
    rows.append(["all", str(total.total()), *(str(total[verdict]) for verdict in VERDICTS)])
    return pipes(("article", "claims", *VERDICTS), rows, right=("claims", *VERDICTS))


def _count(key: str, verdict: Verdict, n: int) -> str:
    return f"[{n}](#{section(key, verdict)})" if n else "0"


def section(key: str, verdict: Verdict) -> str:
    """The anchor of an article's claims with one verdict."""
    return f"{key}-all-{verdict.replace(' ', '-')}"


def anchor(claim: Claim) -> str:
    """The anchor of a claim."""
    return claim.id.replace("/", "-")


def _article(article: Article, findings: tuple[Finding, ...]) -> Iterator[str]:
    yield f"## {article.title} {{: #{article.key} }}"
    where = f", [{article.url}]({article.url})" if article.url else ""
    yield f"{f'By {article.author}' if article.author else 'The page names no author'}{where}. {article.about}"
    yield f"{article.right} {LESSONS[article.key]}" if article.key in LESSONS else article.right
    for verdict, head in HEADS.items():
        chosen = [finding for finding in findings if finding.verdict == verdict]
        if chosen:
            yield f"### {head} {{: #{section(article.key, verdict)} }}"
            yield "\n".join(_finding(finding) for finding in chosen)


def _finding(finding: Finding) -> str:
    """One claim as HTML: Markdown has no table that is small and no heading that stays out of the contents."""
    claim = finding.claim
    kind = finding.verdict.replace(" ", "-")
    lines = [
        '<section class="claim">',
        f'<h4 id="{anchor(claim)}">{_text(claim.says)}'
        f'<a class="headerlink" href="#{anchor(claim)}" title="Permanent link">¶</a></h4>',
        f'<p class="claim-verdict"><span class="verdict verdict-{kind}">{finding.verdict}</span> '
        f"<span>{_text(claim.place)}</span></p>",
        f"<p>{_text(claim.why)}</p>",
    ]
    if claim.unchecked:
        lines.append(f"<p>{_text(claim.unchecked)}</p>")
    if claim.parts:
        lines.append(_table(claim.parts, finding.measured))
    if claim.source:
        lines.append(f'<p class="claim-source">Where: {_text(claim.source)}</p>')
    return "\n".join([*lines, "</section>"])


def _table(parts: tuple[Part, ...], measured: tuple[Any, ...]) -> str:
    head = "".join(f'<th scope="col">{word}</th>' for word in ("statement", "article", "measured", "agree"))
    rows = []
    for part, value in zip(parts, measured, strict=True):
        said = "<i>not said</i>" if part.said is UNSAID else _value(part.said)
        rows.append(
            f'<tr><th scope="row">{_text(part.what)}</th><td>{said}</td><td>{_value(value)}</td>'
            f"<td>{_agree(part, value)}</td></tr>"
        )
    return (
        f'<table class="claim-parts"><thead><tr>{head}</tr></thead>\n<tbody>\n' + "\n".join(rows) + "\n</tbody></table>"
    )


def _agree(part: Part, value: Any) -> str:
    if part.said is UNSAID:
        return ""
    return "yes" if same(value, part.said, part.within) else '<b class="claim-no">no</b>'


def _value(value: Any) -> str:
    return escape(shown(value))


def shown(value: Any) -> str:
    """A value as people read it: yes and no, four digits of a fraction, thousands parted, rows in a line."""
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "none"
        case int():
            return f"{value:,}"
        case float():
            return _number(value)
        case list() | tuple():
            return ", ".join(f"({shown(v)})" if isinstance(v, list | tuple) else shown(v) for v in value) or "none"
        case _:
            return str(value)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e3:
        return f"{value:.4g}"
    return f"{value:,.1f}".removesuffix(".0") if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def _text(text: str) -> str:
    """A text as HTML; what is in `backticks` is code."""
    parts = escape(text, quote=False).split("`")
    if len(parts) % 2 == 0:
        raise ValueError(f"A backtick without its other one: {text}")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
