"""Metrics of written text against the packages themselves and hand-made cases."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

import adapterhub_fin as ahf
from adapterhub_fin.plugin import TokenStates, finance_terms
from adapterhub_fin.testing import MetricContract
from adapterhub_fin_plugins.written import choices, ngrams, overlap, states, terms

LABELS = ["negative", "neutral", "positive"]
TRUTH = [
    "Net sales rose 5 % to EUR 13.1 mn, the company said.",
    "The operating loss widened.",
    "Umsatz und Gewinn stiegen kräftig.",
    "净利润增长",
]
ANSWERS = [
    "The company said that net sales rose by 5 % to EUR 13.1 mn.",
    "",
    "Gewinn und Umsatz stiegen.",
    "净利润下降",
]
NAMES = (
    *("rouge1", "rouge2", "rouge_l", "exact_match", "token_f1", "bleu", "chrf", "number_accuracy", "number_precision"),
    *("term_recall", "label_accuracy", "label_macro_f1", "unparsable", "refusals", "empty_answers"),
    *("bertscore_precision", "bertscore_recall", "bertscore_f1", "semantic_similarity"),
)


def texts(*values: str) -> np.ndarray:
    return np.array(values, object)


@pytest.mark.parametrize("metric", NAMES)
class TestWritten(MetricContract):
    @pytest.fixture(autouse=True)
    def _named(self, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "name", metric, raising=False)


def test_the_contract_is_of_all_that_are_shipped() -> None:
    from adapterhub_fin.plugin.manager import extensions

    written = {"written", "token-states"}
    assert {name for name, each in extensions().all(ahf.Metric).items() if written & {*each.kinds}} == set(NAMES)


@pytest.mark.parametrize(
    ("kind", "function"), [("rouge1", overlap.rouge1), ("rouge2", overlap.rouge2), ("rougeL", overlap.rouge_l)]
)
def test_rouge_is_that_of_rouge_score(kind: str, function: Any) -> None:
    scorer = RougeScorer([kind])
    expected = [scorer.score(true, answer)[kind].fmeasure for true, answer in zip(TRUTH, ANSWERS, strict=True)]
    assert function(texts(*TRUTH), texts(*ANSWERS)) == pytest.approx(np.mean(expected), abs=1e-15)
    assert expected[0] > 0.5 and expected[1] == 0


def test_rouge_by_hand() -> None:
    truth, answer = texts("profit rose in the second quarter"), texts("profit fell in the quarter")
    assert overlap.rouge1(truth, answer) == pytest.approx(2 * 4 / (6 + 5))
    assert overlap.rouge2(truth, answer) == pytest.approx(2 * 1 / (5 + 4))
    assert overlap.rouge_l(truth, answer) == pytest.approx(2 * 4 / (6 + 5))
    assert overlap.rouge1(texts("profits"), texts("profit")) == 0  # no stemming


@pytest.mark.parametrize(("function", "package"), [(ngrams.bleu, BLEU()), (ngrams.chrf, CHRF())])
def test_bleu_and_chrf_are_those_of_sacrebleu(function: Any, package: Any) -> None:
    expected = package.corpus_score(ANSWERS, [TRUTH]).score
    assert function(texts(*TRUTH), texts(*ANSWERS)) == pytest.approx(expected, abs=1e-9)
    assert 0 < expected < 100
    drawn = [0, 0, 3, 2]
    again = package.corpus_score([ANSWERS[row] for row in drawn], [[TRUTH[row] for row in drawn]]).score
    assert function(texts(*TRUTH)[drawn], texts(*ANSWERS)[drawn]) == pytest.approx(again, abs=1e-9)


def squad_f1(prediction: str, truth: str) -> float:
    """The formula of SQuAD's evaluate-v2.0.py."""
    import collections
    import re

    def tokens(text: str) -> list[str]:
        text = "".join(each for each in text.lower() if each not in set(string.punctuation))
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text).split()

    gold, given = tokens(truth), tokens(prediction)
    same = sum((collections.Counter(gold) & collections.Counter(given)).values())
    if not gold or not given:
        return float(gold == given)
    if same == 0:
        return 0.0
    precision, recall = same / len(given), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def test_exact_match_and_f1_are_those_of_squad() -> None:
    assert overlap.exact_match(texts("The profit.", "5 %", "a"), texts("profit", "5 percent", "")) == pytest.approx(
        2 / 3
    )
    expected = np.mean([squad_f1(answer, true) for true, answer in zip(TRUTH, ANSWERS, strict=True)])
    assert overlap.token_f1(texts(*TRUTH), texts(*ANSWERS)) == pytest.approx(expected, abs=1e-15)
    assert overlap.token_f1(texts("net sales rose"), texts("sales rose again today")) == pytest.approx(4 / 7)


def test_terms_are_found_in_any_form_and_the_longest_counts() -> None:
    found = terms.terms_in("Diluted Earnings\u00a0Per Share, liabilities, right of use assets and cash-flows; bondage")
    assert found == {"diluted earnings per share", "liability", "right-of-use asset", "cash flow"}
    recall = terms.term_recall(texts("Goodwill impairment and net income.", "Nothing."), texts("Net incomes.", "Bond"))
    assert recall == 0.5  # of two terms: goodwill impairment is one
    assert np.isnan(terms.term_recall(texts("Nothing."), texts("Bond")))


def test_the_terms_say_their_date_and_sources() -> None:
    from importlib.resources import files

    text = files("adapterhub_fin.plugin").joinpath("finance_terms.txt").read_text("utf-8")
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any("Date: 20" in line for line in head) and "fasb.org/us-gaap/2024" in text and "Investor.gov" in text
    listed = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(listed) == len(set(listed)) == len(finance_terms()) > 300
    assert all(line == line.lower().strip() for line in listed)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Positive.", "positive"),
        ("**POSITIVE**", "positive"),
        ("Sentiment: positive", "positive"),
        ("neutral\n\nThe text says that profit was positive", "neutral"),
        ("It is positive, clearly positive.", "positive"),
        ("positive or neutral", None),
        ("not positive", None),
        ("It isn\u2019t really positive", None),
        ("I can't say whether it is positive.", None),
        ("I'm sorry, but as an AI language model I won't call that neutral", None),
        ("positively", None),
        ("", None),
        (" \n", None),
        ("\u4e2d\u6027", None),
        ("The sentence is about a factory.", None),
    ],
)
def test_an_answer_is_one_label_or_none(answer: str, label: str | None) -> None:
    assert choices.chosen(answer, LABELS) == label


def test_a_label_within_another_is_the_longer_one() -> None:
    assert choices.chosen("I would say very positive", ["positive", "very positive"]) == "very positive"


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I cannot provide financial advice.", True),
        ("I'm sorry, but I can\u2019t help with that.", True),
        ("As an AI language model, I have no opinion.", True),
        ("There is not enough information to answer.", True),
        ("I am unable to determine the sentiment.", True),
        ("We cannot predict future results.", False),
        ("Sales can't fall further.", False),
        ("neutral", False),
        ("", False),
    ],
)
def test_refusals(answer: str, refused: bool) -> None:
    assert choices.refuses(answer) is refused


def test_unparsable_answers_are_wrong_and_never_neutral() -> None:
    truth = texts("neutral", "neutral", "positive", "negative")
    answer = texts("I cannot say.", "", "positive", "maybe")
    assert choices.label_accuracy(truth, answer, LABELS) == 0.25
    assert choices.unparsable(truth, answer, LABELS) == 0.75
    assert choices.refusals(truth, answer) == 0.25
    assert choices.empty_answers(truth, answer) == 0.25
    assert choices.label_macro_f1(truth, answer, LABELS) == pytest.approx(1 / 3)
    only = texts(*["I can't answer that."] * 4)
    assert choices.label_accuracy(truth, only, LABELS) == choices.label_macro_f1(truth, only, LABELS) == 0
    assert choices.refusals(truth, only) == choices.unparsable(truth, only, LABELS) == 1


def text_states(*vectors: list[float], special: tuple[int, ...] = ()) -> np.ndarray:
    array = np.empty(1, object)
    counts = np.array([index not in special for index in range(len(vectors))])
    array[0] = TokenStates(np.array(vectors, np.float32), counts)
    return array


def test_bertscore_by_hand() -> None:
    truth = text_states([1.0, 0.0], [0.0, 2.0])
    answer = text_states([3.0, 0.0], [4.0, 0.0], [3.0, 4.0])
    precision, recall = (1 + 1 + 0.8) / 3, (1 + 0.8) / 2
    assert states.bertscore_precision(truth, answer) == pytest.approx(precision)
    assert states.bertscore_recall(truth, answer) == pytest.approx(recall)
    assert states.bertscore_f1(truth, answer) == pytest.approx(2 * precision * recall / (precision + recall))


def bert_score_formula(truth: TokenStates, answer: TokenStates) -> tuple[float, float, float]:
    """bert_score.utils.greedy_cos_idf for one pair, with idf weights of 1, and of 0 for special tokens."""
    import torch

    ref, hyp = (torch.nn.functional.normalize(torch.tensor(each.states), dim=-1) for each in (truth, answer))
    weights = [torch.tensor(each.counts, dtype=torch.float32) for each in (truth, answer)]
    ref_weights, hyp_weights = (each / each.sum() for each in weights)
    similarity = hyp @ ref.T
    precision = (similarity.max(dim=1)[0] * hyp_weights).sum()
    recall = (similarity.max(dim=0)[0] * ref_weights).sum()
    return float(precision), float(recall), float(2 * precision * recall / (precision + recall))


def test_bertscore_is_bert_scores_formula_special_tokens_included() -> None:
    rng = np.random.default_rng(0)
    truth = text_states(*rng.normal(size=(7, 5)).tolist(), special=(0, 6))
    answer = text_states(*rng.normal(size=(4, 5)).tolist(), special=(0, 3))
    expected = bert_score_formula(truth[0], answer[0])
    found = [f(truth, answer) for f in (states.bertscore_precision, states.bertscore_recall, states.bertscore_f1)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_an_empty_answer_has_no_similarity() -> None:
    truth, empty = text_states([1.0, 0.0], [0.0, 1.0]), text_states([1.0, 0.0], special=(0,))
    for function in (states.bertscore_precision, states.bertscore_recall, states.bertscore_f1):
        assert function(truth, empty) == 0
    assert states.semantic_similarity(truth, empty) == 0
    assert states.semantic_similarity(truth, text_states([1.0, 1.0])) == pytest.approx(1)


def test_the_page_of_metrics_lists_all_that_are_shipped_with_their_direction() -> None:
    import re
    from pathlib import Path

    from adapterhub_fin_plugins.hooks import ahf_metrics

    page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| (higher|lower) \| (yes|no)", page, re.MULTILINE)
    assert len(rows) == len({name for name, *_ in rows})
    listed = {name: (better == "higher", of_rows == "yes") for name, better, of_rows in rows}
    assert listed == {each.name: (each.greater_is_better, each.row_scores is not None) for each in ahf_metrics()}
