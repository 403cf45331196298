"""HTML without its markup: nothing shown is lost, nothing else comes through, whatever a page holds. (G 38)"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from html import escape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin_plugins.corpora.text import plain_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p><![CDATA[Sales rose]]> by 5%</p>", "Sales rose by 5%"),
        ("<p>P<![CDATA[&G <b> & co]]>.</p>", "P&G <b> & co."),  # in CDATA nothing is markup
        ("a<![CDATA[]]>b<![CDATA[]]]]><![CDATA[>]]>c", "ab]]>c"),
        ("<ix:header><![CDATA[hidden]]></ix:header>seen", "seen"),
        ("<script>//<![CDATA[\nif (a < b && c > '</p>') {}\n//]]></script>seen", "seen"),
        ("<style>/*<![CDATA[*/ td > p {} <!-- /*]]>*/</style>seen", "seen"),
        ("a<!-- <p>hidden</p> -->b", "ab"),
        ("a<!--> b <!---> c <!-- x --!> d <!----> e", "a b c d e"),
        ("a<!-- x -- > y -->b", "ab"),
        ("a<!-- <![CDATA[ -->b]]>", "ab]]>"),
        ("a<![CDATA[ <!-- ]]>b", "a <!-- b"),
        ('<p title="a > b <!-- c">d</p>', "d"),
        ("<p title='<![CDATA['>d</p>", "d"),
        ("<td title=it's>d</td> <td>e", "d e"),
        ('<p class="a"b"c">d</p>', "d"),
        ("<title>a <b> c</title>d<title/>e", "de"),
        ("<SCRIPT>x</Script >a<script src='x'/>b", "ab"),
        ("<script>var a = '</scripts>'</script>b", "b"),
        ("<?xml version='1.0'?><!DOCTYPE html><p>a</p></>b</ c>d", "a\nbd"),
        ("1 < 2 <5% a<", "1 < 2 <5% a<"),
        ("R&amp;D &lt;b&gt; &#8217; &nbsp; x&am", "R&D <b> \u2019 x&am"),
        ("<div><DIV>a</DIV\n>b<br/>c<BR>d", "a\nb\nc\nd"),
        ("<ix:header><ix:header>a</ix:header>b</ix:header>c", "c"),
        ("un<b>believ</b>able<td>a</td><td>b", "unbelievable a b"),
    ],
)
def test_a_page_is_read_as_it_is_shown(html: str, text: str) -> None:
    assert plain_text(html, "a.html") == text


@pytest.mark.parametrize(
    ("html", "what"),
    [
        ("<p>Sales</p><!-- <p>rose</p>", "comment <!--"),
        ("<p>Sales</p><!-- rose -- ></p>", "comment <!--"),
        ("<p>Sales</p><![CDATA[rose</p>", r"<!\[CDATA\["),
        ("<p>Sales</p><a href='x", "tag <a"),
        ("<p>Sales</p><a title=\"x'>rose", None),  # a quote that nobody closes is a letter
        ("<p>Sales</p></p", "tag </p"),
        ("<p>Sales</p><!DOCTYPE", "<!"),
        ("<p>Sales</p><?xml", r"<\?"),
        ("<title>Sales", "<title>"),
    ],
)
def test_what_is_never_closed_is_refused_and_not_let_through(html: str, what: str | None) -> None:
    if what is None:
        assert plain_text(html, "a.html") == "Sales\nrose"
        return
    with pytest.raises(ahf.BadCorpus, match=f"a.html never closes its {what}.*would be lost"):
        plain_text(html, "a.html")


words = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="]"), min_size=1, max_size=12)
hidden = st.sampled_from(["<!--{}-->", "<script>{}</script>", "<style a='>'>{}</style>", "<p title='{}'></p>"])
shown = st.sampled_from(["<p>{}</p>", "<td class=x>{}</td>", "<![CDATA[{}]]>", "<br/>{}"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(shown | hidden, words), max_size=12))
def test_what_is_shown_comes_through_whole_and_nothing_else(parts: list[tuple[str, str]]) -> None:
    html, wanted = "", ""
    for form, word in parts:
        if "CDATA" in form:
            wanted += word
        elif form.endswith(("</p>", "</td>", "/>{}")) and "title" not in form:
            word, wanted = escape(word), wanted + word
        else:
            word = re.sub("[-<>'&]", "", word)
        html += form.format(word)
    assert "".join(plain_text(html, "a.html").split()) == "".join(wanted.split())


HOSTILE = [
    *("<!--", "<![CDATA[", "<!", "<?", "</", "<a ", '<a ="', "<a ='\"", "</a", "<", "< ", "&", "&#x", "&amp"),
    *("<div>", "</x>", "<!-->", "<![CDATA[]]>", "<ix:header>", "<script>", "<title>a</title>", "<b><p></b>", "a ]]>"),
]


def _cost(html: str) -> float:
    """Seconds of this process alone, the least of three."""
    found = []
    for _ in range(3):
        start = time.process_time()
        with suppress(ahf.BadCorpus):
            plain_text(html, "a.html")
        found.append(time.process_time() - start)
    return min(found)


@pytest.mark.parametrize("token", HOSTILE)
@pytest.mark.parametrize("end", ["", ">", "-->"])
def test_eight_times_the_page_costs_no_sixty_four_times(token: str, end: str) -> None:
    small, large = (_cost(token * count + end) for count in (2_000, 16_000))
    assert large < 24 * small + 0.02, "work that grows with the square of a page"


def test_filings_are_read_as_other_parsers_read_them(shared: Path) -> None:
    """html.parser's tokens, of pages that have neither CDATA nor anything unclosed."""
    from html.parser import HTMLParser

    class Letters(HTMLParser):
        unseen = 0
        text = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.unseen += tag in ("script", "style", "title", "ix:header")

        def handle_endtag(self, tag: str) -> None:
            self.unseen -= tag in ("script", "style", "title", "ix:header")

        def handle_data(self, data: str) -> None:
            self.text += "" if self.unseen else data

    for path in sorted((shared / "data" / "sec_filings" / "10-Q").glob("*.html")):
        reader = Letters()
        reader.feed(html := path.read_text(encoding="utf-8"))
        assert "".join(plain_text(html, path.name).split()) == "".join(reader.text.split())
