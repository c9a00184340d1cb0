"""What the build adds to pages: the tree of the front page, addresses of stages, cells that stand apart, a picture."""

import re
import struct
from html import unescape

import anchors
import card
import front
import pages
from stored import stored

from tracer.outline import Options, rows

CHECKPOINT = "cogvideox-5b"


def text_of(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


class TestTree:
    def test_it_has_every_row_of_the_walk_with_its_shapes_and_its_reason(self):
        text = text_of(front.tree(stored(CHECKPOINT)))
        for row in rows(stored(CHECKPOINT), Options()):
            if not row.important:
                assert row.label in text
                assert " ".join(row.why.split()) in text
            for size in row.sizes:
                assert size in text

    def test_its_shares_are_those_of_the_stages_and_add_up(self):
        trace = stored(CHECKPOINT)
        said = [int(n) for n in re.findall(r"<i>(\d+) %</i>", front.tree(trace))]
        by_hand = sorted(
            (c.flops.size / trace.root.cost.flops.size for c in trace.stage_costs().values()), reverse=True
        )
        assert sorted(said, reverse=True) == [round(100 * share) for share in by_hand if share >= 0.005]
        assert abs(sum(said) - 100) <= 1

    def test_stages_inside_the_block_are_inside_its_fold(self):
        html = front.tree(stored(CHECKPOINT))
        assert html.count("<details") == html.count("</details>")
        inside = html.partition('<details class="front-block" open>')[2]
        assert inside.index("<b>rope</b>") < inside.index("</details></details>") < inside.index("<b>norm-out</b>")

    def test_a_page_gets_it_where_it_asks_and_only_there(self):
        asked = f'<p>1</p><div class="front-tree" data-checkpoint="{CHECKPOINT}"></div><p>2</p>'
        page = front.fill(asked)
        assert page.startswith('<p>1</p><figure class="front-tree"')
        assert page.endswith("</figure><p>2</p>")
        assert front.fill("<p>1</p>") == "<p>1</p>"


class TestAnchors:
    ROW = '<tr><th class="stage" scope="row" title="why">rope</th></tr>'

    def test_a_stage_has_an_address_the_first_time(self):
        page = anchors.add_anchors(self.ROW * 2)
        assert page.count('id="rope"') == 1
        assert page.startswith('<tr><th class="stage" scope="row" id="rope" title="why"><a href="#rope">rope</a></th>')
        assert page.endswith(self.ROW)

    def test_a_heading_that_has_it_keeps_it(self):
        page = f'<h2 id="rope">Rope</h2>{self.ROW}'
        assert anchors.add_anchors(page) == page

    def test_rows_without_a_stage_have_none(self):
        page = '<tr><th class="stage" scope="row"></th></tr>'
        assert anchors.add_anchors(page) == page


def test_cells_that_touch_are_parted():
    assert pages.part_cells("<tr><th>a</th><td>b</td><td>c</td></tr>") == "<tr><th>a</th>\n<td>b</td>\n<td>c</td></tr>"


def test_the_picture_is_a_png_of_the_size_other_sites_ask_for():
    data = card.card("Title", "About", CHECKPOINT)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == card.SIZE
    assert len(data) < 300_000
