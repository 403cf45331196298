"""Evidence for a backtest: the papers' figures, purgedcv's and arch's, and a reason where there is none."""

from __future__ import annotations

import json
import math

import numpy as np
import purgedcv
import pytest
from arch.bootstrap import SPA
from scipy import stats

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.evidence import judge, judge_sweep, superior_ability
from adapterhub_fin_markets.backtest.overfitting import probability_of_overfitting
from adapterhub_fin_markets.backtest.sharpe import Moments, expected_maximum, haircut_sharpe, probabilistic_sharpe
from adapterhub_fin_markets.backtest.trials import Trials

RETURNS = np.array([0.01, -0.02, 0.03, 0, -0.01, 0.02])
FIVE = Trials(5, np.array([0.1, -0.1, 0.3, 0.27]))


def test_with_one_trial_the_deflated_ratio_is_the_probability() -> None:
    of = judge(RETURNS, a_year=252, trials=Trials(1, np.array([0.267])))
    assert of.probability == of.deflated == pytest.approx(0.723660111, abs=5e-10)
    assert of.expected_maximum == 0 and of.reasons == {} and of.trials == 1
    assert of.haircut == pytest.approx(4.242640687)


def test_trials_deflate_by_their_own_variance() -> None:
    of = judge(RETURNS, a_year=252, trials=FIVE)
    most = expected_maximum(5, float(np.var([0.1, -0.1, 0.3, 0.27], ddof=1)))
    moments = Moments(0.26726124191242434, 6, float(stats.skew(RETURNS)), float(stats.kurtosis(RETURNS, fisher=False)))
    assert of.expected_maximum == pytest.approx(most * math.sqrt(252))
    assert of.deflated == pytest.approx(probabilistic_sharpe(moments, most))
    assert of.deflated is not None and of.probability is not None and of.deflated < of.probability
    assert of.haircut == pytest.approx(haircut_sharpe(4.242640687, 6, 5, a_year=252))
    assert of.minimum_years == pytest.approx(of.minimum_periods / 252)  # type: ignore[operator]
    assert json.loads(json.dumps(of.document(), allow_nan=False))["trials"] == 5


def test_ratios_are_over_cash() -> None:
    cash = 1.05 ** (1 / 252) - 1
    assert judge(RETURNS, a_year=252, cash_rate=0.05, trials=FIVE) == judge(RETURNS - cash, a_year=252, trials=FIVE)
    assert judge(RETURNS, a_year=252, cash=[0.001] * 6, trials=FIVE) == judge(RETURNS - 0.001, a_year=252, trials=FIVE)


def test_purgedcv_agrees_once_its_conventions_are_taken() -> None:
    """It divides by n and corrects the moments' bias: .741867 where ours, as in the papers, is .723660."""
    theirs = purgedcv.probabilistic_sharpe_ratio(RETURNS, 0.0)
    of = Moments(
        RETURNS.mean() / RETURNS.std(),
        6,
        float(stats.skew(RETURNS, bias=False)),
        float(stats.kurtosis(RETURNS, bias=False, fisher=False)),
    )
    assert theirs == pytest.approx(0.741867, abs=5e-7) and probabilistic_sharpe(of) == pytest.approx(theirs)
    assert purgedcv.deflated_sharpe_ratio(RETURNS, 5, 0.03) == pytest.approx(
        probabilistic_sharpe(of, expected_maximum(5, 0.03))
    )


EIGHT_DAYS = np.array(
    [
        [0.02, 0.01, -0.01],
        [0.03, 0, 0.01],
        [-0.01, 0.01, 0.02],
        [-0.02, 0.02, 0.01],
        [0.01, 0.01, 0],
        [0.02, -0.01, 0.01],
        [-0.03, 0.01, 0.03],
        [-0.01, 0, 0.02],
    ]
)


def test_purgedcv_counts_overfitting_below_the_median_and_ours_at_it_too() -> None:
    """Agree where no logit is 0."""
    ours, theirs = probability_of_overfitting(EIGHT_DAYS, 4), purgedcv.probability_of_backtest_overfitting
    assert ours.probability == 1 and np.mean(ours.logits < 0) == pytest.approx(theirs(EIGHT_DAYS.T, n_splits=4).pbo)
    noise = np.random.default_rng(7).normal(0, 0.01, (64, 5))
    noise[:, 2] += 0.002
    by_name = {str(column): noise[:, column] for column in range(5)}
    of = judge_sweep(by_name, np.zeros(64), blocks=8, resamples=50)
    assert of.overfitting == pytest.approx(theirs(noise.T, n_splits=8).pbo) == pytest.approx(5 / 70)
    assert of.strategies == 5 and json.loads(json.dumps(of.document()))["blocks"] == 8


@pytest.mark.parametrize(
    ("returns", "trials", "name", "reason"),
    [
        (RETURNS, None, "deflated", "the trials are unknown: log the backtest in a registry"),
        (RETURNS, None, "haircut", "the trials are unknown: log the backtest in a registry"),
        (RETURNS, Trials(3, np.array([0.1])), "deflated", "of 3 trials, 1 have a Sharpe ratio: a variance needs two"),
        ([0.0] * 6, FIVE, "probability", "the returns do not vary"),
        ([0.01], FIVE, "probability", "1 periods: it needs at least 2"),
        ([0.01, -1.0, 0.01], FIVE, "deflated", "the equity was zero or below from period 2 on"),
        (-RETURNS, FIVE, "minimum_years", "the Sharpe ratio is not above the benchmark"),
    ],
)
def test_what_has_no_value_has_a_reason(returns: list[float], trials: Trials, name: str, reason: str) -> None:
    of = judge(returns, a_year=252, trials=trials)
    assert getattr(of, name) is None and of.reasons[name].startswith(reason)


def test_superior_ability_is_that_of_arch() -> None:
    rng = np.random.default_rng(1)
    benchmark, strategies = rng.normal(0, 0.01, 300), rng.normal(0.0004, 0.01, (300, 4))
    strategies[:, 3] -= 0.005 + rng.normal(0, 0.05, 300)  # so bad that it is left out of what is likely
    by_name = {str(column): strategies[:, column] for column in range(4)}
    test = SPA(-benchmark, -strategies, block_size=1, reps=500, seed=3)
    test.compute()
    ours = superior_ability(by_name, benchmark, block=1, resamples=500, seed=3)
    assert ours == pytest.approx((1 + test.pvalues["consistent"] * 500) / 501)
    assert 0.05 < ours < 1 and ours != superior_ability(by_name, benchmark, block=1, resamples=500, seed=4)


def test_superior_ability_sees_skill_and_is_not_taken_in_by_number() -> None:
    rng = np.random.default_rng(2)
    benchmark = rng.normal(0, 0.01, 500)
    noise = {str(column): rng.normal(0, 0.01, 500) for column in range(40)}
    assert superior_ability(noise, benchmark) > 0.1
    assert superior_ability({**noise, "skilled": rng.normal(0.004, 0.01, 500)}, benchmark) == pytest.approx(1 / 1001)


def test_what_a_sweep_leaves_undefined_has_a_reason() -> None:
    one = judge_sweep({"a": RETURNS}, RETURNS * 2)
    assert one.overfitting is None and one.reasons["overfitting"].startswith("overfitting is of a choice")
    assert one.spa is None and one.reasons["spa"] == "6 periods: it needs at least 20"
    assert judge_sweep({}, RETURNS).reasons["spa"] == "there is no strategy"
    with pytest.raises(ValueError, match="the same dates"):
        judge_sweep({"a": RETURNS}, RETURNS[1:])
    with pytest.raises(Undefined, match="a earns what the benchmark does"):
        superior_ability({"a": np.tile(RETURNS, 5) + 0.001}, np.tile(RETURNS, 5))
