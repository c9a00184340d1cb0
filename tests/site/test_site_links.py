"""The built site as files: links and anchors that lead somewhere, pages that are not too heavy, what a page says of
itself. They are marked as the browser checks are, to share one built site with them."""

import posixpath
import re
import struct
from html import unescape
from urllib.parse import unquote, urlsplit

import pytest

_UNSEEN = re.compile(r"<!--.*?-->|<(script|style)\b[^>]*>.*?</\1>", re.DOTALL)
_VALUE = r"""=(?:"([^"]*)"|([^\s"'>]+))"""  # the explorer leaves quotes out where it may
_SCRIPT_SOURCE = re.compile(rf"<script\b[^>]*\ssrc{_VALUE}")
_LINK = re.compile(rf"<(?:a|link|img|source|iframe|object)\b[^>]*?\s(?:href|src|data){_VALUE}")
_ID = re.compile(rf"<[a-z][^>]*?\sid{_VALUE}")
_IMAGES = re.compile(r"data:image/[a-z+.-]+[^\"')]*|<svg\b.*?</svg>", re.DOTALL)

ASKED_IN_ADDRESS = ("calculator/",)
"""Pages whose script takes what stands behind # for a request, not for a place."""
HEAVIEST, HEAVIEST_EXPLORER = 500_000, 300_000
"""Bytes of a page without its pictures."""


def broken(pages, files):
    """What leads nowhere: pages are texts by their paths in the site, files are all paths. Two elements of one page
    that have the same id are named too."""
    out, ids = [], {}
    for name, text in pages.items():
        found = values(_ID, _UNSEEN.sub("", text))
        ids[name] = set(found)
        out += [f"{name}: the id {one} is there twice" for one in sorted({i for i in found if found.count(i) > 1})]
    for name, text in pages.items():
        for raw in dict.fromkeys([*values(_SCRIPT_SOURCE, text), *values(_LINK, _UNSEEN.sub("", text))]):
            link = urlsplit(raw)
            if link.scheme or link.netloc:
                continue
            start = "/" if link.path.startswith("/") else posixpath.dirname(name)
            path = posixpath.normpath(posixpath.join("/", start, unquote(link.path)))[1:] if link.path else name
            target = next((p for p in (path, posixpath.join(path, "index.html")) if p in files), None)
            fragment = unquote(link.fragment)
            if target is None:
                out.append(f"{name}: {raw} leads to no file")
            elif fragment and fragment not in ids.get(target, {fragment}) and not target.startswith(ASKED_IN_ADDRESS):
                out.append(f"{name}: {raw} leads to no place on {target}")
    return out


def values(pattern, text):
    """What an attribute says, wherever a pattern finds it."""
    return [unescape(quoted or plain) for quoted, plain in pattern.findall(text)]


def weight(text):
    """Bytes of a page without its pictures."""
    return len(_IMAGES.sub("", text).encode())


@pytest.fixture(scope="module")
def pages(site):
    """The pages of the built site as texts."""
    return {name: (site.folder / name).read_text(encoding="utf-8") for name in site.pages}


@pytest.mark.browser
class TestSite:
    def test_every_link_and_anchor_leads_somewhere(self, site, pages):
        files = {path.relative_to(site.folder).as_posix() for path in site.folder.rglob("*") if path.is_file()}
        faults = broken(pages, files)
        if faults:
            pytest.fail("\n".join(faults), pytrace=False)

    def test_no_page_is_heavy(self, pages):
        most = {name: HEAVIEST_EXPLORER if name.startswith("explore/") else HEAVIEST for name in pages}
        heavy = {name: weight(text) for name, text in pages.items()}
        assert {name: size for name, size in heavy.items() if size >= most[name]} == {}

    def test_every_page_says_what_it_is(self, pages):
        for name, text in pages.items():
            if not name.startswith("explore/"):
                assert '<meta property="og:title" content="' in text, name
                assert '<meta name="description" content="' in text, name
                assert "og:image" not in text, name  # it needs the whole address of the site, which is not known here

    def test_the_picture_for_other_sites_has_their_size(self, site):
        head = (site.folder / "assets" / "card.png").read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", head[16:]) == (1200, 630)

    def test_nothing_offers_colab_while_no_repository_is_known(self, pages):
        assert [name for name, text in pages.items() if "colab" in text] == []


PAGES = {
    "index.html": '<a href="a/#one">1</a><a href="./a/">2</a><a href="#top" id="top">3</a><a href="x.json">4</a>',
    "a/index.html": '<h2 id="one">1</h2><a href="..">2</a><a href="https://example.org/#none">3</a>',
}
"""A site without faults, beside a file x.json."""


class TestBroken:
    def test_what_leads_somewhere_is_not_named(self):
        assert broken(PAGES, {*PAGES, "x.json"}) == []

    @pytest.mark.parametrize(
        ("link", "told"),
        [
            ('<a href="b/">', "index.html: b/ leads to no file"),
            ('<a class="x" href="a/#two">', "index.html: a/#two leads to no place on a/index.html"),
            ('<a href="#two">', "index.html: #two leads to no place on index.html"),
            ('<img alt="" src="y.png">', "index.html: y.png leads to no file"),
            ('<script src="/y.js"></script>', "index.html: /y.js leads to no file"),
            ("<a href=b>", "index.html: b leads to no file"),
            ('<p id="top">', "index.html: the id top is there twice"),
        ],
    )
    def test_what_leads_nowhere_is(self, link, told):
        pages = PAGES | {"index.html": PAGES["index.html"] + link}
        assert broken(pages, {*pages, "x.json"}) == [told]

    def test_text_that_looks_like_a_link_is_none(self):
        text = '<!-- <a href=\'no\'> --><script>const a = \'<a href="no" id="top">\'</script>&lt;a href="no"&gt;'
        pages = PAGES | {"index.html": PAGES["index.html"] + text}
        assert broken(pages, {*pages, "x.json"}) == []

    def test_pictures_do_not_weigh(self):
        assert weight('<p><img src="data:image/png;base64,AAAA"><svg><path d="M0 0"/></svg></p>') == len(
            '<p><img src=""></p>'
        )
