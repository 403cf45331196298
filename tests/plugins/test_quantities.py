"""Numbers of finance texts as quantities: one value and unit, however they are written."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_plugins.written.amounts import number_accuracy, number_precision
from adapterhub_fin_plugins.written.quantities import quantities


def read(text: str) -> list[tuple[str, str]]:
    return [(format(quantity.value, "f"), quantity.unit) for quantity in quantities(text)]


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("12.5 %", "12.5", "percent"),
        ("12.5 percent", "12.5", "percent"),
        ("12,5 per cent", "12.5", "percent"),
        ("12.5-percent", "12.5", "percent"),
        ("12.5 percentage points", "12.5", "percent"),
        ("1,250 basis points", "12.5", "percent"),
        ("25bps", "0.25", "percent"),
        ("$1.2bn", "1200000000", "USD"),
        ("$ 1.2 mln", "1200000", "USD"),
        ("US$1.2 billion", "1200000000", "USD"),
        ("1,200 million US dollars", "1200000000", "USD"),
        ("USD1,200m", "1200000000", "USD"),
        ("EUR 13.1 mn", "13100000", "EUR"),
        ("€13.1m", "13100000", "EUR"),
        ("13.1 million euros", "13100000", "EUR"),
        ("EUR 1.200,50", "1200.5", "EUR"),
        ("CHF 1'200", "1200", "CHF"),
        ("5 cents", "0.05", "USD"),
        ("(3.4)", "-3.4", ""),
        ("$(3.4) million", "-3400000", "USD"),
        ("($3.4 million)", "-3400000", "USD"),
        ("(3.4)%", "-3.4", "percent"),
        ("\u22123.4", "-3.4", ""),
        ("minus 3.4", "-3.4", ""),
        ("-$5", "-5", "USD"),
        ("$-5", "-5", "USD"),
        ("1,200 thousand", "1200000", ""),
        ("1.2 million", "1200000", ""),
        ("1 200 000", "1200000", ""),
        ("1\u00a0200", "1200", ""),
        ("2,019", "2019", ""),
        ("2019 million", "2019000000", ""),
        ("2000 shares", "2000", ""),
        ("\uff11\uff12 \uff05", "12", "percent"),
        ("2019", "2019", "year"),
        ("(2019)", "2019", "year"),
        ("FY2019", "2019", "year"),
        ("May 2020", "202005", "month"),
        ("31 December 2019", "20191231", "day"),
        ("December 31, 2019", "20191231", "day"),
        ("12/31/2019", "20191231", "day"),
        ("31.12.2019", "20191231", "day"),
        ("2019-12-31", "20191231", "day"),
        ("March 3", "303", "day"),
    ],
)
def test_one_quantity(text: str, value: str, unit: str) -> None:
    assert read(text) == [(value, unit)]
    assert read(f"Growth, at {text}, went on.") == [(value, unit)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Net sales rose 3 % (2 % in 2008).", [("3", "percent"), ("2", "percent"), ("2008", "year")]),
        ("EUR 5-7 mn", [("5000000", "EUR"), ("7000000", "EUR")]),
        ("2.5x of 12 months ended 31 March 2024", [("12", ""), ("20240331", "day")]),
        ("from 5-7 %", [("5", "percent"), ("7", "percent")]),
        ("2018-2019 and 2018/19", [("2018", "year"), ("2019", "year")] * 2),
        ("Q3 of the S&P 500, COVID-19, a 10-K, Item 7A, ASC 606, Rule 10b-5, 401(k), the 1990s, 3rd at 10:30", []),
        ("", []),
        ("no number here, nor in \u5229\u6da6\u589e\u957f", []),
    ],
)
def test_several_or_none(text: str, expected: list[tuple[str, str]]) -> None:
    assert read(text) == expected


SCALES = {"": 0, " thousand": 3, "k": 3, " million": 6, "m": 6, " mn": 6, " billion": 9, "bn": 9, " trillion": 12}
CURRENCIES = {
    "USD": ("${}", "US${}", "USD {}", "{} dollars", "{} USD"),
    "EUR": ("€{}", "EUR {}", "{} euros", "EUR{}", "{} €"),
    "GBP": ("£{}", "GBP {}", "{} pounds"),
    "percent": ("{} %", "{}%", "{} percent", "{} per cent", "{} pct"),
    "": ("{}",),
}


@st.composite
def formatted(draw: st.DrawFn) -> tuple[str, Decimal, str]:
    """Draw one quantity, and a text that says it."""
    unit = draw(st.sampled_from(sorted(CURRENCIES)))
    number = draw(st.decimals(0, 999_999_999, places=draw(st.integers(0, 3)), allow_nan=False))
    scale = "" if unit == "percent" else draw(st.sampled_from(sorted(SCALES)))
    digits = format(number, draw(st.sampled_from([",f", "f"])))
    if "." not in digits and scale == "" and unit == "" and "," not in digits:
        digits = f"{digits}.0"  # a bare 2019 is a year
    text = draw(st.sampled_from(CURRENCIES[unit])).format(digits + scale)
    if draw(st.booleans()):
        text, number = draw(st.sampled_from(["-{}", "\u2212{}", "({})", "minus {}"])).format(text), -number
    return text, number * 10 ** SCALES[scale], unit


@settings(deadline=None, max_examples=300)
@given(formatted())
def test_however_a_quantity_is_written_it_is_the_same(drawn: tuple[str, Decimal, str]) -> None:
    text, value, unit = drawn
    found = quantities(f"It was {text}.")
    assert [(quantity.value, quantity.unit) for quantity in found] == [(value, unit)], text


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(quantity.value.is_finite() for quantity in quantities(text))


def texts(*values: str) -> np.ndarray:
    return np.array(values, object)


def test_accuracy_counts_the_quantities_of_the_truth_and_precision_those_of_the_answer() -> None:
    truth = texts("Sales of $1.2bn in 2019, up 5 %.", "No number.")
    answer = texts("Up 5 percent at 1,200 million dollars, from EUR 1.1bn.", "Three of 7.")
    assert number_accuracy(truth, answer) == pytest.approx(2 / 3)
    assert number_precision(truth, answer) == pytest.approx(2 / 4)


def test_another_unit_or_a_year_is_another_quantity_and_each_counts_once() -> None:
    assert number_accuracy(texts("$5 million"), texts("5 million")) == 0
    assert number_accuracy(texts("$5 million"), texts("EUR 5 million")) == 0
    assert number_accuracy(texts("in 2019"), texts("2,019")) == 0
    assert number_accuracy(texts("5 % and 5 %"), texts("5 %")) == 0.5
    assert number_accuracy(texts("5 % and 5 %"), texts("5 %, 5 %")) == 1


def test_texts_without_numbers_leave_it_undefined() -> None:
    assert np.isnan(number_accuracy(texts("None."), texts("5 %")))
    assert np.isnan(number_precision(texts("5 %"), texts("None.")))
