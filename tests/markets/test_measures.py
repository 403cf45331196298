"""Measures of a strategy: against figures made by hand and empyrical's, and never NaN or infinite."""

from __future__ import annotations

import json
import math
import os

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.annualisation import periods_a_year
from adapterhub_fin_markets.backtest.measures import PeriodMeasures, measures
from adapterhub_fin_markets.prices.errors import BadPrices

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
RETURNS = np.array([0.01, -0.02, 0.03, 0, -0.01, 0.02])
OTHERS = np.array([0.01, -0.01, 0.02, 0, 0, 0.01])


def test_the_figures_made_by_hand() -> None:
    of = measures(RETURNS, a_year=252)
    assert of.sharpe == pytest.approx(4.242640687, abs=5e-10)
    assert of.sortino == pytest.approx(8.694826048, abs=5e-10)
    assert of.total_return == pytest.approx(0.0294850412, abs=5e-11)
    assert of.volatility == pytest.approx(0.296984848, abs=5e-10)
    assert of.max_drawdown == pytest.approx(-0.02)
    assert (of.win_rate, of.win_rate_active, of.periods) == (0.5, 0.6, 6)


def test_the_start_is_a_peak() -> None:
    of = measures([-0.10, 0.05, 0.02], a_year=252)
    assert of.max_drawdown == pytest.approx(-0.10)
    assert of.drawdown_periods == 3, "it was never reached again"
    assert measures([0.1, -0.1, 0.05, 0.1, 0, 0.1], a_year=252).drawdown_periods == 2


@settings(max_examples=CASES or 100, deadline=None)
@given(
    rows=st.integers(2, 400),
    seed=st.integers(0, 999),
    size=st.sampled_from([1e-4, 0.01, 0.2]),
    cash_rate=st.sampled_from([0.0, 0.04]),
    a_year=st.sampled_from([12, 252, 365]),
)
def test_empyrical_agrees(rows: int, seed: int, size: float, cash_rate: float, a_year: int) -> None:
    rng = np.random.default_rng(seed)
    others = rng.normal(0, size, rows)
    returns = np.maximum(0.5 * others + rng.normal(0, size, rows), -0.9)
    returns[rng.random(rows) < 0.2] = 0.0
    of = measures(returns, a_year=a_year, cash_rate=cash_rate, benchmark=others)
    cash = (1 + cash_rate) ** (1 / a_year) - 1
    alpha, beta = empyrical.alpha_beta_aligned(returns, others, risk_free=cash, annualization=a_year)
    expected = {
        "total_return": empyrical.cum_returns_final(returns),
        "annual_return": empyrical.annual_return(returns, annualization=a_year),
        "volatility": empyrical.annual_volatility(returns, annualization=a_year),
        "sharpe": empyrical.sharpe_ratio(returns, risk_free=cash, annualization=a_year),
        "sortino": empyrical.sortino_ratio(returns, required_return=cash, annualization=a_year),
        "calmar": empyrical.calmar_ratio(returns, annualization=a_year),
        "max_drawdown": empyrical.max_drawdown(returns),
        "alpha": alpha,
        "beta": beta,
    }
    ours = {name: of.values()[name] for name in expected if of.values()[name] is not None}
    assert ours == pytest.approx({name: expected[name] for name in ours}, rel=1e-9, abs=1e-12)
    assert set(expected) - set(ours) <= set(of.reasons)
    if rows > 40:
        assert ours.keys() == expected.keys()


def test_what_cash_earned_may_be_given_by_period() -> None:
    """A flat account on a calendar with weekends earns three days' interest on a Monday: that is no risk."""
    interest = np.where(np.arange(200) % 5, 0.0001, 0.0003)
    flat = measures(interest, a_year=252, cash=interest)
    assert flat.reasons["sharpe"] == "the returns do not vary" and flat.cash_rate is None
    assert flat.reasons["sortino"] == "no return was below that of cash"
    above, market = np.resize(RETURNS, 200), np.resize(OTHERS, 200)
    over = measures(above + interest, a_year=252, cash=interest, benchmark=market + interest)
    plain = measures(above, a_year=252, benchmark=market)
    for name in ("sharpe", "sortino", "alpha", "beta"):
        assert getattr(over, name) == pytest.approx(getattr(plain, name), abs=1e-9), name
    assert over.total_return != plain.total_return
    with pytest.raises(ValueError, match="what cash earned has shape"):
        measures(RETURNS, a_year=252, cash=[0.0])


def test_beta_and_alpha_by_hand() -> None:
    """Twice the benchmark and a thousandth a period beside it."""
    of = measures(2 * OTHERS + 0.001, a_year=252, benchmark=OTHERS)
    assert of.beta == pytest.approx(2) and of.alpha == pytest.approx(1.001**252 - 1)


def test_turnover_and_exposure_are_means() -> None:
    of = measures(
        RETURNS, [0, 1, 0, 0, 2, 0], a_year=252, exposure=[0, 1, 1, 1, 2, 1], net_exposure=[0, 1, -1, -1, 0, 0]
    )
    assert of.turnover == 0.5 and of.annual_turnover == 126 and of.exposure == 1
    assert of.net_exposure == pytest.approx(-1 / 6)


FLAT_IN_CASH = np.diff(cash := 100_000 * 1.0001 ** np.arange(400)) / cash[:-1]  # its returns differ by rounding alone


@pytest.mark.parametrize(
    ("returns", "name", "reason"),
    [
        ([0.0] * 5, "sharpe", "the returns do not vary"),
        ([0.01] * 5, "sharpe", "the returns do not vary"),
        (FLAT_IN_CASH, "sharpe", "the returns do not vary"),
        ([0.01], "sharpe", "one period has no variance"),
        ([0.01], "volatility", "one period has no variance"),
        ([0.01], "sortino", "one period has no variance"),
        ([0.01, 0.02], "sortino", "no return was below that of cash"),
        ([0.01, 0.02], "calmar", "there was no drawdown"),
        ([0.0] * 5, "win_rate_active", "no period has a return"),
        ([], "total_return", "0 periods: it needs at least 1"),
        ([0.01, np.nan], "total_return", "a return is NaN, infinite or beyond 1e+100"),
        ([0.01, -1.2, 0.5], "annual_return", "the equity was zero or below from period 2 on"),
        ([1e50] * 9, "total_return", "it is too large for a number"),
        ([0.01, 0.02], "turnover", "no turnover was given"),
        ([0.01, 0.02], "exposure", "no exposure was given"),
        ([0.01, 0.02], "beta", "no benchmark was given"),
    ],
)
def test_what_has_no_value_has_a_reason(returns: list[float], name: str, reason: str) -> None:
    of = measures(returns, a_year=252)
    assert getattr(of, name) is None and of.reasons[name] == reason


def test_lost_equity_still_has_a_total_and_a_drawdown() -> None:
    of = measures([0.1, -1.2, np.nan], [0.5, 1, np.nan], a_year=252)  # as a ledger has it, which was left with nothing
    assert of.reasons["turnover"] == "the turnover of a period is undefined: nothing was left"
    assert of.reasons["sharpe"] == "the equity was zero or below from period 2 on"
    assert of.total_return == pytest.approx(1.1 * -0.2 - 1) and of.max_drawdown == pytest.approx(-1.2)


def test_a_benchmark_that_does_not_vary_has_a_reason() -> None:
    of = measures(RETURNS, a_year=252, benchmark=[0.01] * 6)
    assert of.reasons["alpha"] == of.reasons["beta"] == "of the benchmark, the returns do not vary"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turnover": [1.0]}, "one value a period"),
        ({"benchmark": [1.0]}, "one value a period"),
        ({"cash_rate": -1.0}, "give one above -1"),
        ({"a_year": 0.0}, "one above 0"),
    ],
)
def test_what_can_not_be_measured_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measures(RETURNS, **{"a_year": 252, **options})


FLOATS = st.floats(-2, 1e6) | st.floats(-1e-12, 1e-12) | st.sampled_from([0.0, -1.0, 1e99, math.inf, math.nan])


@settings(max_examples=CASES or 100, deadline=None)
@given(st.lists(FLOATS, max_size=8), st.sampled_from([252, 365, 8760]), st.floats(-0.5, 1))
def test_each_is_a_finite_number_or_none_with_its_reason(returns: list[float], a_year: int, cash_rate: float) -> None:
    of: PeriodMeasures = measures(
        returns, a_year=a_year, cash_rate=cash_rate, benchmark=[0.01 * item for item in returns]
    )
    for name, value in of.values().items():
        assert (value is None) == (name in of.reasons) and (value is None or math.isfinite(value)), name
    assert json.loads(json.dumps(of.document(), allow_nan=False)) == of.document()


@pytest.mark.parametrize(
    ("calendar", "interval", "number"),
    [
        ("XNYS", "1d", 252),
        ("24/7", "1d", 365),
        ("weekdays", "1d", 261),
        ("24/7", "1h", 8760),
        ("XNYS", "1h", 1758),  # 7 a session, 4 on a half day
        ("XTKS", "1h", 1464),  # 3 before lunch and 3 after it
    ],
)
def test_a_year_is_counted_on_the_calendar(calendar: str, interval: str, number: int) -> None:
    assert periods_a_year(calendar, interval) == number


def test_an_unknown_calendar_and_interval_are_refused() -> None:
    with pytest.raises(BadRecipe, match="calendar"):
        periods_a_year("nowhere")
    with pytest.raises(BadPrices, match="no length of a bar"):
        periods_a_year("24/7", "1w")
