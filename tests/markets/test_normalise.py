"""Normalisation loses and changes no digit, sign, percentage, currency or date."""

from __future__ import annotations

import os
import re
import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapterhub_fin_markets.corpora.normalise import normalise

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
# No-break and thin spaces, zero-width and soft characters, controls, every line end.
NOISE = "\u00a0\u202f\u2009\u200b\u200d\u00ad\ufeff\x00\x07\x0b\x0c\r\n\u2028\t "
noise = st.text(NOISE, max_size=4)
numbers = st.one_of(
    st.from_regex(r"[-+]?[$€£¥]?\d{1,3}(,\d{3}){0,3}(\.\d{1,4})?( ?%| bp| mn)?", fullmatch=True),
    st.dates().map(str),
    st.sampled_from(
        ["31.12.2019", "12/31/2019", "1.234,50 EUR", "½", "10²", "(1,234)", "٣٫٥", "5‰", "₹ 3 crore", "Q3'24"]
    ),
)
texts = st.lists(st.one_of(numbers, st.text(max_size=6), noise), max_size=12).map("".join)


def counted(text: str) -> list[str]:
    """Every digit, currency sign, percent sign, minus, and what groups or points numbers."""
    kinds = ("Nd", "No", "Nl", "Sc")
    signs = "%‰.,:/()+'-"
    return [c for c in text.replace("\u2212", "-") if unicodedata.category(c) in kinds or c in signs]


@settings(max_examples=CASES or 800, deadline=None)
@given(texts)
@example("−5.2\u202f%")
def test_no_digit_or_sign_is_lost_or_changed(text: str) -> None:
    assert counted(normalise(text)) == counted(unicodedata.normalize("NFC", text))


@settings(max_examples=CASES or 200, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=6), noise)
def test_a_number_stays_one_word(values: list[str], between: str) -> None:
    """Between spaces, whatever else is there, each number is found as it was written."""
    words = normalise(f" {between} ".join(values))
    assert re.sub(r"\s+", " ", words) == " ".join(" ".join(value.split()) for value in values)


@settings(max_examples=CASES or 600, deadline=None)
@given(st.text())
def test_it_is_done_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_spaces_lines_and_minus() -> None:
    assert (
        normalise("up\u00a05.2\u202f% \r\n\r\n\r\n\r\nand\t\u22123\u200b00 in\x00 2024\u00ad ")
        == "up 5.2 %\n\nand -300 in 2024"
    )
    assert normalise("10² and ½") == "10² and ½"
