"""The corpus edgar: acceptance in New York time, items, readable tables, and what is refused."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin_markets.corpora.dissemination import available_at, is_business_day
from adapterhub_fin_markets.corpora.markup import page_text
from adapterhub_fin_markets.corpora.sections import items_in

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
NEW_YORK = ZoneInfo("America/New_York")
PAGE = """<?xml version='1.0' encoding='ASCII'?>
<html xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"><head><title>aapl</title></head><body>
<div style="display:none"><ix:header><ix:hidden>00003200193 hidden</ix:hidden></ix:header></div>
<p>PART I</p><table><tr><td>Item 1.</td><td><a href="#a">Business</a></td><td>1</td></tr>
<tr><td>Item 1A.</td><td>Risk Factors</td><td>5</td></tr><tr><td>Item 7.</td><td>Discussion</td><td>9</td></tr></table>
<div>Item&#160;1.&#160;&#160;Business</div><p>We make <b>pho</b>nes &amp; sell them.</p>
<div>Item 1A. Risk Factors</div><p>Demand may fall by 5.2% or $1,234.50 on January 31, 2024.</p>
<div>Item 7. Management&#8217;s Discussion</div>
<table><tr><td><span>Total net sales</span></td><td>$</td>
<td style="text-align:right"><span><ix:nonFraction>391,035</ix:nonFraction></span></td>
<td></td><td>2</td><td>%</td><td>$</td><td>(1,234</td><td>)</td></tr>
<tr><td><div>Services<sup>1</sup></div></td><td></td><td>96,169<sup>2</sup></td><td></td><td>(3</td><td>)%</td></tr></table>
<p><![CDATA[Free cash < debt]]></p><div>SIGNATURES</div><p>Jo Doe</p></body></html>"""
SUBMISSION = """<SEC-DOCUMENT>0000000001-24-000001.txt : 20240311
<SEC-HEADER>0000000001-24-000001.hdr.sgml : 20240311
<ACCEPTANCE-DATETIME>{accepted}
ACCESSION NUMBER:\t\t0000000001-24-000001
CONFORMED SUBMISSION TYPE:\t{form}
FILED AS OF DATE:\t\t{filed}
FILER:
\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tACME CORP
\t\tCENTRAL INDEX KEY:\t\t\t0000000001
</SEC-HEADER>
<DOCUMENT>
<TYPE>{form}
<SEQUENCE>1
<FILENAME>main.htm
<TEXT>
<html><body><p>Item 2.02 Results of Operations</p><p>Item 2.02 of this report says that sales rose 4%.</p>
<p>Item 9.01 Exhibits</p><p>99.1</p></body></html>
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>EX-99.1
<SEQUENCE>2
<FILENAME>press.htm
<TEXT>
<html><body><p>ACME posts record sales of EUR 12.5 million.</p></body></html>
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>GRAPHIC
<FILENAME>logo.jpg
<TEXT>
begin 644 logo.jpg
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""


def load(**options: Any) -> Rows:
    return load_corpus(*corpus_options({"name": "edgar", **options}))


def submission(accepted: str = "20240311160500", filed: str = "20240311", form: str = "8-K") -> str:
    return SUBMISSION.format(accepted=accepted, filed=filed, form=form)


@pytest.fixture
def filings(tmp_path: Path) -> Path:
    folder = tmp_path / "filings"
    folder.mkdir()
    (folder / "acme-10-k-2024-03-08.html").write_text(PAGE)
    (folder / "0000000001-24-000001.txt").write_text(submission())
    (folder / "0000000001-24-000002.txt").write_text(submission(form="8-K/A"))
    return folder


def test_the_time_of_acceptance_is_new_yorks_and_a_day_alone_is_known_at_its_end(filings: Path) -> None:
    rows = load(path=filings)
    assert rows.notes == {"other files": 0, "other forms": 1}
    assert {row["origin"]: row["available_at"] for row in rows.table} == {
        "0000000001-24-000001.txt": datetime(2024, 3, 11, 20, 5, tzinfo=UTC),  # the first Monday of summer time
        "acme-10-k-2024-03-08.html": datetime(2024, 3, 9, 4, 59, 59, 999999, tzinfo=UTC),
    }
    assert rows.table["group"][:] == ["0000000001", "ACME"]
    assert rows.table["slices"][0] == {"form": "8-K", "item": None, "company": "0000000001"}


def test_what_is_accepted_in_the_evening_is_shown_the_next_morning(filings: Path) -> None:
    (filings / "0000000001-24-000001.txt").write_text(submission("20240308190626", "20240311"))
    rows = load(path=filings, forms=["8-K"])
    assert rows.table["available_at"][0] == datetime(2024, 3, 11, 10, 0, tzinfo=UTC)


def test_items_are_rows_and_what_a_form_lacks_is_counted(filings: Path) -> None:
    rows = load(path=filings, items=["1a", "Item 7", "2.02", "8"])
    assert [(row["slices"]["item"], row["text"]) for row in rows.table] == [
        ("2.02", "Item 2.02 Results of Operations\nItem 2.02 of this report says that sales rose 4%."),
        ("1A", "Item 1A. Risk Factors\nDemand may fall by 5.2% or $1,234.50 on January 31, 2024."),
        (
            "7",
            "Item 7. Management’s Discussion\nTotal net sales | $391,035 | 2% | $(1,234)\n"
            "Services 1 | 96,169 2 | (3)%\nFree cash < debt",
        ),
    ]
    assert rows.notes["without item 8"] == 1
    with pytest.raises(BadRecipe, match="'risks' is no item: write 1A or 7"):
        load(path=filings, items=["risks"])


def test_exhibits_are_rows_of_their_own(filings: Path) -> None:
    rows = load(path=filings, forms=["8-K"], exhibits=["EX-99"])
    assert [row["slices"]["form"] for row in rows.table] == ["8-K", "EX-99.1"]
    assert rows.table["text"][1] == "ACME posts record sales of EUR 12.5 million."
    assert rows.table["available_at"][0] == rows.table["available_at"][1]


def test_a_table_of_dates_is_read_as_new_york_time_whatever_zone_it_claims(filings: Path) -> None:
    (filings / "0000000001-24-000001.txt").unlink()
    (filings / "acme-10-k-2024-03-08.html").rename(filings / "acme.html")
    (filings / "acme.html").write_text(PAGE.replace("<body>", '<body><p name="dei:DocumentType">10-K</p>'))
    dates = filings.parent / "dates.csv"
    with pytest.raises(BadCorpus, match=r"acme\.html has neither a time of acceptance nor a filing date"):
        load(path=filings)
    dates.write_text("file,accepted,filed\nacme.html,2025-12-23T19:06:26.000Z,2025-12-23\n")
    assert load(path=filings, dates=dates).table["available_at"][0] == datetime(2025, 12, 24, 0, 6, 26, tzinfo=UTC)
    recent = {"accessionNumber": ["1-25-1"], "primaryDocument": ["acme.html"], "filingDate": ["2025-12-24"]}
    recent["acceptanceDateTime"] = ["2025-12-23T19:06:26.000Z"]
    (filings.parent / "CIK1.json").write_text(json.dumps({"cik": "1", "filings": {"recent": recent}}))
    table = load(path=filings, dates=filings.parent / "CIK1.json").table
    assert table["available_at"][0] == datetime(2025, 12, 24, 11, 0, tzinfo=UTC), "the filing date is the day after"


def test_a_submission_without_a_header_is_refused_and_other_texts_too(filings: Path) -> None:
    (filings / "0000000001-95-000001.txt").write_text(
        "<DOCUMENT>\n<TYPE>10-K\n<TEXT>\nAs filed on May\n25, 1995\n</TEXT>"
    )
    (filings / "readme.txt").write_text("hello")
    with pytest.raises(BadCorpus, match=r"(?s)2 faults:.*95-000001\.txt has neither a.*readme\.txt is no subm"):
        load(path=filings)


def test_companies_need_an_identity_and_are_no_path(filings: Path) -> None:
    with pytest.raises(BadRecipe, match="the SEC asks programs for a name and an address"):
        load(companies=["AAPL"])
    with pytest.raises(BadRecipe, match="give a path, or companies"):
        load(companies=["AAPL"], path=filings, identity="Jo jo@acme.com")


def test_running_heads_and_references_begin_no_item() -> None:
    text = (
        "Item 7. Discussion\nfirst\nItem 7. Discussion (continued)\nsecond\nItem 8. Statements\nItem 7 of this report"
    )
    assert items_in(text, "10-K")["7"] == "Item 7. Discussion\nfirst\nItem 7. Discussion (continued)\nsecond"


def test_an_item_of_a_10q_is_named_by_its_part() -> None:
    text = "PART I. FINANCIAL INFORMATION\nItem 1. Statements\na\nItem 2. Discussion\nb\nPART II. OTHER INFORMATION\n"
    assert items_in(text + "Item 1. Legal\nc\nItem 1A. Risks\nd", "10-Q") == {
        "I.1": "Item 1. Statements\na",
        "I.2": "Item 2. Discussion\nb",
        "II.1": "Item 1. Legal\nc",
        "II.1A": "Item 1A. Risks\nd",
    }


def test_a_page_without_text_is_refused() -> None:
    with pytest.raises(BadCorpus, match=r"a\.html has no text"):
        page_text("  ", "a.html")


moments = st.datetimes(datetime(1994, 1, 1), datetime(2035, 12, 31))


def midnights_of(accepted: datetime | None) -> list[datetime]:
    """Return a time, first as New York's clocks show it, where it is a midnight and so a day."""
    if accepted is None:
        return []
    both = (accepted.astimezone(NEW_YORK) if accepted.tzinfo else accepted, accepted)
    return [each for each in both if each.time() == time()]


@settings(max_examples=CASES or 300, deadline=None)
@given(
    accepted=st.none() | moments | st.datetimes(datetime(1994, 1, 1), datetime(2035, 1, 1), timezones=st.timezones()),
    filed=st.none() | st.dates(date(1994, 1, 1), date(2035, 12, 31)),
)
def test_no_filing_is_known_before_the_latest_instant_that_it_names(
    accepted: datetime | None, filed: date | None
) -> None:
    if accepted is None and filed is None:
        with pytest.raises(ValueError, match="needs a time"):
            available_at(accepted, filed)
        return
    at = available_at(accepted, filed)
    days = [each.date() for each in midnights_of(accepted)]
    if accepted is None or days:
        day = max([*days[:1], *([filed] if filed else [])])
        assert at.astimezone(NEW_YORK).date() == day
        assert (at + timedelta(microseconds=1)).astimezone(NEW_YORK).date() == day + timedelta(days=1)
        return
    assert at >= max(accepted.replace(tzinfo=NEW_YORK, fold=fold) for fold in (0, 1))
    if accepted.tzinfo is not None:
        assert at >= accepted
    if filed is not None and filed > accepted.date():
        assert at >= datetime.combine(filed, time(6), NEW_YORK)


@settings(max_examples=CASES or 300, deadline=None)
@given(moments.filter(lambda at: at.time() != time()), st.sampled_from([None, -1, 0, 1, 3]))
def test_no_filing_is_known_while_edgar_shows_nothing(accepted: datetime, apart: int | None) -> None:
    filed = None if apart is None else accepted.date() + timedelta(days=apart)
    known = available_at(accepted, filed).astimezone(NEW_YORK)
    assert time(6) <= known.time() < time(22)
    if filed is None or filed <= accepted.date():
        assert is_business_day(known.date())
    if not (filed == accepted.date() or known.time() == time(6)):
        assert known.time() <= time(17, 30)


@pytest.mark.parametrize(
    ("accepted", "filed", "known"),
    [
        ("2024-11-01T06:01:36", "2024-11-01", "2024-11-01T06:01:36"),
        ("2024-11-01T17:30:00", None, "2024-11-01T17:30:00"),
        ("2024-11-01T17:30:01", None, "2024-11-04T06:00:00"),  # a Friday
        ("2024-11-01T17:45:00", "2024-11-04", "2024-11-04T06:00:00"),
        ("2024-11-01T18:01:00", "2024-11-01", "2024-11-01T18:01:00"),  # as a Form 4: the filing date is that day
        ("2024-11-01T22:00:01", "2024-11-01", "2024-11-04T06:00:00"),
        ("2024-11-01T03:26:38", "2024-11-01", "2024-11-01T06:00:00"),
        ("2024-11-02T12:00:00", "2024-11-02", "2024-11-04T06:00:00"),
        ("2024-11-27T18:00:00", None, "2024-11-29T06:00:00"),  # Thanksgiving, after which the exchange closes early
        ("2024-10-11T18:00:00", None, "2024-10-15T06:00:00"),  # Columbus Day, on which the exchange is open
        ("2021-12-30T18:00:00", None, "2022-01-03T06:00:00"),  # New Year's Day is a Saturday
    ],
)
def test_a_filing_is_known_when_edgar_shows_it(accepted: str, filed: str | None, known: str) -> None:
    at = available_at(datetime.fromisoformat(accepted), filed and date.fromisoformat(filed))  # type: ignore[arg-type]
    assert at == datetime.fromisoformat(known).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize("accepted", ["1998-01-26T05:00:00+00:00", "1998-01-26T00:00:00+00:00", "1998-01-26T00:00:00"])
@pytest.mark.parametrize("filed", [None, date(1998, 1, 26), date(1998, 1, 27)])
def test_a_midnight_is_the_filing_date_alone(accepted: str, filed: date | None) -> None:
    day = filed or date(1998, 1, 26)
    assert available_at(datetime.fromisoformat(accepted), filed) == available_at(None, day)


TABLE_OF_TEXT = """<PAGE>   2
<TABLE>
<CAPTION>
Title of each class            Name of each exchange
<S>                            <C>
Common Stock                   NYSE
</TABLE>
ITEM 1.  BUSINESS

The Company makes anvils. Margins were <5% in 1996.

ITEM 7.  DISCUSSION

                      1996       1995
Net loss               (56)       (78)
"""


def test_a_plain_filing_keeps_its_lines_whatever_tables_it_has(tmp_path: Path) -> None:
    text = submission(form="10-K", filed="19970331").split("<html>")[0] + TABLE_OF_TEXT + "</TEXT>\n</DOCUMENT>\n"
    (tmp_path / "a.txt").write_text(text)
    (row,) = load(path=tmp_path, normalise=False).table
    assert row["text"].split("\n") == [
        "Title of each class            Name of each exchange",
        "Common Stock                   NYSE",
        *TABLE_OF_TEXT.rstrip().split("\n")[7:],
    ]
    items = load(path=tmp_path, items=["1", "7"], normalise=False).table["text"]
    assert items[0].endswith("<5% in 1996.") and items[1].endswith("Net loss               (56)       (78)")


def test_a_table_of_html_without_a_body_is_a_page(tmp_path: Path) -> None:
    page = "<TABLE><TR><TD>Sales</TD><TD>$</TD><TD>5</TD></TR></TABLE>"
    (tmp_path / "a.txt").write_text(submission(form="10-K").split("<html>")[0] + page + "</TEXT>\n</DOCUMENT>\n")
    assert load(path=tmp_path).table["text"][0] == "Sales | $5"


def test_files_in_exhibits_are_no_text(filings: Path) -> None:
    pdf = "<PDF>\nbegin 644 ex99.pdf\nM)5!$1BTQ+C0-\nend\n</PDF>"
    path = filings / "0000000001-24-000001.txt"
    path.write_text(path.read_text().replace("<html><body><p>ACME posts record sales of EUR 12.5 million.</p>", pdf))
    rows = load(path=filings, forms=["8-K"], exhibits=["EX-99"])
    assert [row["slices"]["form"] for row in rows.table] == ["8-K"] and rows.notes["documents without text"] == 1


def test_edgars_json_may_name_a_document_twice_and_have_its_columns_at_the_top(tmp_path: Path) -> None:
    folder = tmp_path / "filings"
    folder.mkdir()
    columns = {
        "accessionNumber": ["0000000001-24-000001", "0000000001-24-000002", "0000000001-24-000003"],
        "acceptanceDateTime": ["2024-01-02T16:10:00.000Z", "2024-05-02T16:30:00.000Z", "2024-06-03T09:00:00.000Z"],
        "primaryDocument": ["form8-k.htm", "form8-k.htm", "one.htm"],
    }
    page = '<p name="dei:DocumentType">8-K</p><p>Sales rose.</p>'
    for name in ("000000000124000002", "x"):
        (folder / name).mkdir()
    (folder / "000000000124000002" / "form8-k.htm").write_text(page)
    (folder / "x" / "one.htm").write_text(page)
    for content in (columns, {"cik": "1", "filings": {"recent": columns, "files": []}}):
        (tmp_path / "CIK1.json").write_text(json.dumps(content))
        assert load(path=folder, glob="*/*", dates=tmp_path / "CIK1.json").table["available_at"][:] == [
            datetime(2024, 5, 2, 20, 30, tzinfo=UTC),
            datetime(2024, 6, 3, 13, 0, tzinfo=UTC),
        ]
    (folder / "x" / "form8-k.htm").write_text(page)
    with pytest.raises(BadCorpus, match=r"x/form8-k\.htm has neither a time"):
        load(path=folder, glob="*/*", dates=tmp_path / "CIK1.json")


def test_edgars_json_with_lists_of_unequal_length_is_refused(filings: Path) -> None:
    columns = {"accessionNumber": ["0000000001-24-000001"], "filingDate": []}
    (filings.parent / "CIK1.json").write_text(json.dumps(columns))
    with pytest.raises(BadCorpus, match=r"CIK1\.json has lists of 0 to 1 filings"):
        load(path=filings, dates=filings.parent / "CIK1.json")


def test_a_class_of_shares_stays_in_its_company_s_name(filings: Path) -> None:
    (filings / "brk-b-10-k-2024-02-26.html").write_text(PAGE)
    assert set(load(path=filings).table["group"]) == {"0000000001", "ACME", "BRK-B"}


CONTENTS = [
    "Item 1. | Business | 3\nItem 7. | Discussion | F-30\nItem 16. | Summary | 90",
    "ITEM 1.  BUSINESS ........ 3\nITEM 7.  DISCUSSION      30\nITEM 16.  SUMMARY . . . . 90",
    "Item 1. Business\nItem 7. Discussion\nItem 15. Exhibits\nItem 16. Summary",
    "Item 1.\nBusiness\n3\nItem 7.\nDiscussion\n30\nItem 15.\nExhibits\n80\nItem 16.\nSummary\n90",
]


@pytest.mark.parametrize("contents", CONTENTS)
def test_a_table_of_contents_begins_no_item_whatever_follows_it(contents: str) -> None:
    text = f"{contents}\n{'We caution you. ' * 30}\nItem 1. Business\nAnvils.\nItem 7. Discussion\nSales rose.\n"
    found = items_in(text + "Item 16. Summary\nNone.\nTHE ACCOUNTS\nSales | 5", "10-K")
    assert {name: found[name] for name in ("1", "7", "16")} == {
        "1": "Item 1. Business\nAnvils.",
        "7": "Item 7. Discussion\nSales rose.",
        "16": "Item 16. Summary\nNone.",
    }


def test_a_reference_in_a_sentence_begins_no_item() -> None:
    risks = "Item 1A. Risk Factors\nOil falls."
    business = "Item 1. Business\nWells, as discussed in\nItem 1A. Risk Factors, may fail."
    discussion = f"Item 7. Discussion\nSales rose. Risks:\nItem 1A. Risk Factors, above.\n{'Costs rose. ' * 50}".strip()
    found = items_in("\n".join([business, risks, discussion, "Item 8. Statements\nSee F-1."]), "10-K")
    assert (found["1"], found["1A"], found["7"]) == (business, risks, discussion)


def test_items_under_one_heading_are_one_row_and_one_without_a_body_is_counted(tmp_path: Path) -> None:
    text = (
        "ITEMS 1 AND 2. BUSINESS AND PROPERTIES\nWe drill.\nITEM 3. LEGAL PROCEEDINGS\nNone.\nITEM 6.\nITEM 7. D\nUp."
    )
    head = submission(form="10-K").split("<html>")[0]
    (tmp_path / "a.txt").write_text(f"{head}{text}\n</TEXT>\n</DOCUMENT>\n")
    rows = load(path=tmp_path, items=["1", "2", "3", "6", "8"])
    assert [(row["slices"]["item"], row["text"]) for row in rows.table] == [
        ("1", "ITEMS 1 AND 2. BUSINESS AND PROPERTIES\nWe drill."),
        ("3", "ITEM 3. LEGAL PROCEEDINGS\nNone."),
    ]
    assert {name: count for name, count in rows.notes.items() if "item" in name} == {
        "in the row of another item, item 2": 1,
        "without a body, item 6": 1,
        "without item 8": 1,
    }


FORMS = {"10-K": 6, "10-Q": 3, "8-K": 2}


def test_the_real_filings_by_item(shared: Path) -> None:
    rows = load(path=shared / "data" / "sec_filings", glob="*/*", items=["1A", "7", "I.2", "II.1A", "2.02"])
    assert Counter(row["slices"]["item"] for row in rows.table) == {"1A": 6, "7": 6, "I.2": 3, "II.1A": 3, "2.02": 1}
    assert rows.notes["other forms"] == 3
    apple = next(row for row in rows.table if row["group"] == "AAPL" and row["slices"]["item"] == "7")
    assert "Total net sales | $391,035 | 2% | $383,285 | (3)% | $394,328" in apple["text"]
    short = load(path=shared / "data" / "sec_filings", glob="10-K/*", items=["1B", "16"])
    assert len(short.table) == 12 and max(map(len, short.table["text"])) < 70
    assert all(
        row["text"].rstrip(".").casefold().endswith(("none", "not applicable"))
        for row in short.table
        if row["slices"]["item"] == "16"
    )
    risks = next(row for row in rows.table if row["group"] == "NVDA" and row["slices"]["item"] == "1A")
    assert risks["text"].startswith("Item 1A. Risk Factors") and len(risks["text"]) > 100_000


def test_the_real_filings_whole(shared: Path) -> None:
    rows = load(path=shared / "data" / "sec_filings", glob="*/*")
    assert Counter(row["slices"]["form"] for row in rows.table) == FORMS
    dates = {row["origin"]: row["available_at"] for row in rows.table}
    assert dates["sgml/0000943374-24-000509.txt"] == datetime(2024, 12, 27, 21, 29, 40, tzinfo=UTC)
    assert dates["10-K/aapl-10-k-2024-11-01.html"] == datetime(2024, 11, 2, 3, 59, 59, 999999, tzinfo=UTC)


def test_the_real_submission_of_1995_has_no_date(shared: Path) -> None:
    with pytest.raises(BadCorpus, match=r"0000899681-95-000096\.txt has neither a time of acceptance"):
        load(path=shared / "data" / "sec_filings" / "sgml", forms=["S-3/A"])


def test_the_real_submission_of_1995_keeps_its_lines(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "dates.csv").write_text("file,filed\n0000899681-95-000096.txt,1995-05-25\n")
    options = {"path": shared / "data" / "sec_filings" / "sgml", "glob": "*95-000096.txt", "forms": ["S-3/A"]}
    (text,) = load(**options, dates=tmp_path / "dates.csv").table["text"]
    lines = text.split("\n")
    assert max(map(len, lines)) < 200 and len(lines) > 500 and "<S>" not in text and "<PAGE>" not in text
