"""The ledger of claims: every check, freshly measured; how verdicts follow; and the page."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import claims
import pytest
from claims.claim import UNSAID, VERDICTS, Article, CheckFailed, Claim, Part, by_id, check, judge, same
from generated import ledger
from mkdocs.exceptions import PluginError
from stored import stored

CLAIMS = claims.all_claims()
SPOKEN = {name: claim for name, claim in CLAIMS.items() if not claim.unchecked}
LARGEST = 500_000
"""Bytes of the page."""


def each(some):
    return pytest.mark.parametrize("claim", [pytest.param(claim, id=name) for name, claim in some.items()])


def other(value):
    """A value of the same kind that is not the same, however near numbers may lie."""
    match value:
        case bool():
            return not value
        case int() | float():
            return 2 * value + 1
        case str():
            return value + "!"
        case tuple() | list():
            return (*value, None)
    return "something"


def held():
    """The findings by article when every measurement is what the ledger holds to be so; nothing is measured."""
    return {
        key: tuple(judge(claim, [part.true for part in claim.parts]) for claim in found)
        for key, (_, found) in claims.articles().items()
    }


def altered(claim, chosen, **changes):
    """The claim with one of its parts changed."""
    return replace(claim, parts=tuple(replace(p, **changes) if p is chosen else p for p in claim.parts))


# every claim


@each(CLAIMS)
def test_a_fresh_measurement_is_what_the_ledger_holds_to_be_so(claim):
    finding = check(claim)
    assert len(finding.measured) == len(claim.parts)
    assert finding.verdict == judge(claim, [part.true for part in claim.parts]).verdict


@each({name: claim for name, claim in CLAIMS.items() if claim.parts})
def test_another_truth_fails_by_name(claim):
    measured = [part.true for part in claim.parts]
    for part in claim.parts:
        with pytest.raises(
            CheckFailed, match=rf"^{re.escape(claim.id)}: {re.escape(part.what)}: held to be .+measured"
        ):
            judge(altered(claim, part, true=other(part.true)), measured)


@each(SPOKEN)
def test_the_verdict_follows_what_the_article_says(claim):
    def verdict(said):
        parts = tuple(p if p.said is UNSAID else replace(p, said=said(p)) for p in claim.parts)
        return judge(replace(claim, parts=parts), [p.true for p in parts]).verdict

    spoken = [part for part in claim.parts if part.said is not UNSAID]
    assert verdict(lambda p: p.true) == "confirmed"
    assert verdict(lambda p: other(p.true)) == "wrong"
    one_wrong = verdict(lambda p: other(p.true) if p is spoken[0] else p.true)
    assert one_wrong == ("half right" if len(spoken) > 1 else "wrong")


@each({name: claim for name, claim in CLAIMS.items() if claim.parts})
def test_nothing_is_measured_by_a_constant(claim):
    """A function that uses no name at all can only give back what was typed into it."""
    for part in claim.parts:
        code = getattr(getattr(part.measure, "func", part.measure), "__code__", None)
        assert code is None or code.co_names or code.co_freevars, part.what


@each({name: claim for name, claim in CLAIMS.items() if claim.unchecked})
def test_what_cannot_be_checked_says_why(claim):
    assert claim.unchecked.endswith(".")
    assert [part.what for part in claim.parts if part.said is not UNSAID] == []
    assert judge(claim, [part.true for part in claim.parts]).verdict == "not checkable"


@each(CLAIMS)
def test_what_differs_is_seen_to_differ(claim):
    for part in claim.parts:
        if part.said is not UNSAID and not same(part.said, part.true, part.within):
            assert ledger.shown(part.said) != ledger.shown(part.true), part.what


@pytest.mark.parametrize(
    ("name", "what", "sabotage"),
    [
        ("frames/34-by-the-formula", "tracer.gamecraft_frames.latent_count", lambda n, code: (n - 1) // 4 + 1),
        ("frames/34-latent-frames", "claims._frames_measures.stored", lambda _: stored("gamecraft-continue")),
        ("frames/compress-time-splits", "tracer.models.gamecraft.TWO_CLIPS", ()),
        ("frames/33-are-9", "diffusers.AutoencoderKLHunyuanVideo.encode", lambda vae, x: vae.missing),
        ("cogvideox/joined-sequence", "claims._cogvideox_measures.stored", lambda _: stored("cogvideox1.5-5b")),
        ("cogvideox/modulation", "claims._cogvideox_measures.stored", lambda _: without_gates(stored("cogvideox-5b"))),
        ("cogvideox/scale-model-input", "diffusers.CogVideoXDPMScheduler.scale_model_input", lambda _, x, t: 2 * x),
        ("cogvideox/scheduler-keeps-time", "diffusers.CogVideoXDDIMScheduler.set_timesteps", lambda s, n: None),
        ("rope/rotation", "diffusers.models.embeddings.apply_rotary_emb", lambda x, tables, **_: x),
        ("rope/isometry", "tracer.rope.rope3d.Rope3D.apply", lambda rope, x, tables: 2 * x),
        ("l1/flow-shift", "diffusers.FlowMatchEulerDiscreteScheduler.time_shift", lambda s, mu, sigma, t: t),
        ("l1/law-gauss", "torch.distributions.Normal.cdf", lambda law, x: x),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_measurement_looks_at_the_real_thing(monkeypatch, name, what, sabotage):
    """Where the thing itself is changed, the claim on it fails."""
    monkeypatch.setattr(what, sabotage)
    with pytest.raises(CheckFailed, match=f"^{name}: "):
        judge(CLAIMS[name], claims.measure((CLAIMS[name],))[name])


def without_gates(trace):
    """The trace with chunks that no gate is among."""
    return trace.map(
        lambda call: (
            replace(call, outputs={k: v for k, v in call.outputs.items() if "gate" not in k})
            if call.name == "chunk"
            else call
        )
    )


# all claims


def test_claims_and_verdicts_are_those_of_the_list(golden):
    lines = [f"{finding.verdict:13} {finding.claim.id}" for found in held().values() for finding in found]
    golden("site/claims.txt", "\n".join(lines) + "\n")


def test_every_verdict_occurs():
    assert {finding.verdict for found in held().values() for finding in found} == set(VERDICTS)


def test_ids_are_anchors():
    assert [name for name in CLAIMS if not re.fullmatch(r"[a-z0-9]+/[a-z0-9]+(-[a-z0-9]+)*", name)] == []


def test_claims_are_told_in_whole_sentences():
    texts = [text for c in CLAIMS.values() for text in (c.says, c.why, c.unchecked) if text]
    assert [text for text in texts if not text.endswith((".", "?", "“", "”"))] == []
    assert [c.id for c in CLAIMS.values() if not c.place or not c.why] == []


# how it works


def part(said=1, true=1, measure=lambda: len("a"), **more):
    return Part("a count", said, true, measure, **more)


def claim(*parts, **more):
    return Claim("a/b", "Somewhere", "Something is so.", "It is.", parts, **more)


def test_two_claims_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"^Two claims are called a/b\.$"):
        by_id([claim(part()), claim(part())])


@pytest.mark.parametrize(
    ("parts", "unchecked"), [((), ""), ((part(),), "No."), ((part(UNSAID),), "")], ids=["nothing", "both", "silence"]
)
def test_a_claim_has_measurements_or_a_reason(parts, unchecked):
    with pytest.raises(ValueError, match=r"^a/b: a claim has parts that are measured, or a reason"):
        claim(*parts, unchecked=unchecked)


def test_what_an_article_does_not_say_has_no_say():
    assert judge(claim(part(), part(UNSAID, 5)), [1, 5]).verdict == "confirmed"
    assert judge(claim(part(2), part(UNSAID, 5)), [1, 5]).verdict == "wrong"
    assert judge(claim(part(UNSAID, 5), unchecked="No."), [5]).verdict == "not checkable"
    with pytest.raises(CheckFailed, match="held to be 5, measured 6"):
        judge(claim(part(), part(UNSAID, 5)), [1, 6])


@pytest.mark.parametrize(
    ("a", "b", "within", "equal"),
    [
        (1, 1.0, 0, True),
        (1, True, 0, False),
        (0, False, 0, False),
        (None, 0, 0, False),
        ("1", 1, 0, False),
        ([1, (2, "x")], (1, [2, "x"]), 0, True),
        ((1, 2), (1, 2, 3), 0, False),
        (1.0, 1.01, 0, False),
        (1.0, 1.01, 0.02, True),
        ((1.0, 5.0), (1.01, 6.0), 0.02, False),
        (0.1 + 0.2, 0.3, 1e-12, True),
    ],
)
def test_same(a, b, within, equal):
    assert same(a, b, within) is equal
    assert same(b, a, within) is equal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (None, "none"),
        (12_811_285_937, "12,811,285,937"),
        (0.0, "0"),
        (999.0, "999"),
        (0.48484848, "0.4848"),
        (5.136384, "5.136"),
        (123456.78, "123,456.8"),
        (3.2e-16, "3.2e-16"),
        ((1, 2.5, "x"), "1, 2.5, x"),
        ((), "none"),
        (((1, 2), (3, 4)), "(1, 2), (3, 4)"),
    ],
)
def test_shown(value, text):
    assert ledger.shown(value) == text


@pytest.fixture
def only(monkeypatch, tmp_path):
    """A ledger of one article with the given claims, and a folder of its own for what it keeps."""

    def of(*some):
        about = Article("a", "An article", "Someone", None, "About it.", "Thanks.")
        monkeypatch.setattr(claims, "articles", lambda: {"a": (about, some)})
        monkeypatch.setattr(claims, "state", lambda _: "now")
        monkeypatch.setattr(claims, "FOLDER", tmp_path)

    return of


def test_findings_are_measured_once_and_judged_each_time(only):
    runs = []
    counting = claim(part(measure=lambda: runs.append(1) or len(runs)))
    only(counting)
    assert claims.findings() == claims.findings()
    assert runs == [1]
    only(claim(part(true=3)))
    with pytest.raises(CheckFailed, match="held to be 3, measured 1"):
        claims.findings()


def test_a_failing_check_ends_the_build_with_its_sentence(only):
    only(claim(part(true=2)))
    with pytest.raises(PluginError, match=r"^claims\.md: a/b: a count: held to be 2, measured 1\.$"):
        list(ledger.files())


def test_a_check_that_breaks_off_ends_the_build_with_its_sentence(only):
    only(claim(part(measure=lambda: [][0])))
    with pytest.raises(PluginError, match=r"^claims\.md: a/b: a count: cannot be measured\. IndexError: "):
        list(ledger.files())


def test_measurements_are_made_anew_when_a_check_changes(monkeypatch, tmp_path):
    key = next(iter(claims.articles()))
    before = claims.state(key)
    assert claims.state(key) == before
    changed = tmp_path / "check.py"
    changed.write_text("1")
    monkeypatch.setattr(claims, "check_files", lambda _: [changed])
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    monkeypatch.setattr(claims, "package_files", lambda: ())
    first = claims.state(key)
    changed.write_text("2")
    assert len({before, first, claims.state(key)}) == 3


def test_an_article_depends_on_its_own_checks_and_not_on_those_of_others():
    for key in claims.articles():
        names = [path.name for path in claims.check_files(key)]
        others = [other for other in claims.articles() if other != key]
        assert {f"{key}.py", "claim.py", "_tiny.py"} <= set(names)
        assert [n for n in names for o in others if n == f"{o}.py" or n.startswith(f"_{o}_")] == []


# the page


@pytest.fixture(scope="module")
def page():
    return ledger.page(held())


class Ids(HTMLParser):
    """The ids and the links to anchors of a page's HTML."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = re.findall(r"\{: #([a-z0-9-]+) \}", text), re.findall(r"\]\(#([a-z0-9-]+)\)", text)
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name == "href" and value.startswith("#"):
                self.links.append(value[1:])


def test_every_claim_has_its_anchor_once(page):
    found = Ids(page)
    assert [anchor for anchor, n in Counter(found.ids).items() if n > 1] == []
    assert {ledger.anchor(claim) for claim in CLAIMS.values()} <= set(found.ids)
    assert set(found.links) <= set(found.ids)


def test_counts_of_the_summary_add_up(page):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    head, _, *articles, total = rows
    assert head[2:] == list(VERDICTS)
    numbers = [[int(re.sub(r"\[(\d+)\].*", r"\1", cell)) for cell in row[1:]] for row in articles]
    for key, row in zip(claims.articles(), numbers, strict=True):
        seen = re.findall(r'<span class="verdict [a-z-]+">([a-z ]+)</span>', part_of(page, key))
        assert row == [len(seen), *(seen.count(verdict) for verdict in VERDICTS)]
        assert row[0] == len(claims.articles()[key][1]) == sum(row[1:])
    assert [int(cell) for cell in total[1:]] == [sum(column) for column in zip(*numbers, strict=True)]


def part_of(page, key):
    """What the page says of one article."""
    return re.split(r"^## ", page.partition(f"{{: #{key} }}")[2], flags=re.MULTILINE)[0]


def test_what_an_article_got_right_comes_first(page):
    for key in claims.articles():
        seen = re.findall(r'<span class="verdict [a-z-]+">([a-z ]+)</span>', part_of(page, key))
        assert seen[0] == "confirmed"
        assert list(dict.fromkeys(seen)) == [verdict for verdict in VERDICTS if verdict in seen]


def test_each_measurement_is_a_row(page):
    rows = re.findall(r'<tr><th scope="row">.*?</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>', page)
    parts = [part for claim in CLAIMS.values() for part in claim.parts]
    assert len(rows) == len(parts)
    agree = {"yes": True, '<b class="claim-no">no</b>': False, "": None}
    said = Counter(None if p.said is UNSAID else same(p.true, p.said, p.within) for p in parts)
    assert Counter(agree[row[2]] for row in rows) == said


def test_the_page_is_small_enough_to_read(page):
    assert len(page.encode()) < LARGEST


def test_signs_stay_signs():
    odd = claim(part(said="<b>&", true="<b>&", measure=lambda: "<b>&"), source="a<b>.py:1")
    text = ledger.page({"frames": (judge(replace(odd, id="frames/odd", says="Is `a < b` & c?"), ["<b>&"]),)})
    assert "Is <code>a &lt; b</code> &amp; c?" in text
    assert "<td>&lt;b&gt;&amp;</td>" in text
    assert "Where: a&lt;b&gt;.py:1" in text
