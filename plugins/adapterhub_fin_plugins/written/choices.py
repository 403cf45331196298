"""Read answers that should be one of some labels. What can't be read is wrong: it never counts as any label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from adapterhub_fin_plugins.written.arrays import Scores, Texts, by_row, mean

BEGINNING = 300  # characters of an answer in which a refusal stands
CANT = r"(?:can(?:no|')t|can not|could(?: not|n't)|am (?:not able|unable) to|'m (?:not able|unable) to|won't|will not)"
REFUSALS = re.compile(  # of the first person: "We cannot predict" is a sentence of many filings
    rf"""\bI(?:\s(?:am|must|have\sto))?\s?{CANT.replace(" ", chr(92) + "s")}
       |\bI(?:'m|\sam)\s(?:very\s)?sorry\b|^\W*(?:sorry|apologies)\b|\bI\sapologi[sz]e\b
       |\bas\san\s(?:AI|artificial|language\smodel|assistant)|\bI(?:'m|\sam)\s(?:just\s|only\s)?an?\s(?:AI|language)
       |\bI\s(?:do\snot|don't)\s(?:know|have\s(?:enough|access|the\sability|sufficient))
       |\b(?:not|in)(?:\s?sufficient|\senough)\sinformation\b|\bI(?:'m|\sam)\snot\sallowed\b
       |\bI(?:'d|\swould)\srather\snot\b|\bI\s(?:must\s)?(?:decline|refuse)\b""",
    re.IGNORECASE | re.VERBOSE,
)


def refuses(answer: str) -> bool:
    """Return whether an answer begins as a refusal does."""
    return REFUSALS.search(answer[:BEGINNING].replace("\u2019", "'")) is not None


def chosen(answer: str, labels: Sequence[str]) -> str | None:
    """Return the label that an answer names; None where it names none or several, denies one, or refuses.

    The answer, or its first line, is a label but for case, quotes and marks around it; or one label alone, as whole
    words, stands somewhere in it.
    """
    return _chosen(answer, tuple(labels))


@lru_cache(maxsize=100_000)
def _chosen(answer: str, labels: tuple[str, ...]) -> str | None:
    by_name = {_bare(label): label for label in labels}
    first_line = next((line for line in answer.splitlines() if line.strip()), "")
    for whole in (answer, first_line):
        if (label := by_name.get(_bare(whole))) is not None:
            return label
    if refuses(answer):
        return None
    longest = sorted(by_name, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)"
    text = _bare(answer).replace("\u2019", "'")
    found = list(re.finditer(pattern, text))
    if len({match[0] for match in found}) != 1 or any(_is_denied(text[: match.start()]) for match in found):
        return None
    return by_name[found[0][0]]


def _bare(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().strip("\"'`*_.,:;!?()[]{}<>#-\u201c\u201d\u2018\u2019 ").casefold()


def _is_denied(before: str) -> bool:
    return re.search(r"(?:\bnot|n't|\bneither|\bnor|\bnever|\bno)\W+(?:\w+\W+)?$", before) is not None


def label_accuracy_rows(truth: Texts, predicted: Texts, labels: Sequence[str]) -> Scores:
    """Return 1 for each row whose answer names the true label, else 0; each truth is one of the labels."""
    return by_row(lambda true, answer: float(chosen(answer, labels) == true), truth, predicted)


def label_accuracy(truth: Texts, predicted: Texts, labels: Sequence[str]) -> float:
    """Return the share of answers that name the true label; an unparsable answer is wrong."""
    return mean(label_accuracy_rows(truth, predicted, labels))


def label_macro_f1(truth: Texts, predicted: Texts, labels: Sequence[str]) -> float:
    """Return the mean over the labels of F1; an unparsable answer is a miss of the true label and of no other."""
    if not len(truth):
        return float("nan")
    true = np.array([str(text) for text in truth], object)
    given = np.array([chosen(str(text), labels) or "" for text in predicted], object)
    right = [np.sum((true == label) & (given == label)) for label in labels]
    counts = [np.sum(true == label) + np.sum(given == label) for label in labels]
    return float(np.mean([2 * both / count if count else 0.0 for both, count in zip(right, counts, strict=True)]))


def unparsable_rows(truth: Texts, predicted: Texts, labels: Sequence[str]) -> Scores:
    """Return 1 for each answer that names no label, or not one alone, else 0."""
    return by_row(lambda true, answer: float(chosen(answer, labels) is None), truth, predicted)


def unparsable(truth: Texts, predicted: Texts, labels: Sequence[str]) -> float:
    """Return the share of answers that name none of the labels, or several, or that refuse."""
    return mean(unparsable_rows(truth, predicted, labels))


def refusals_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return 1 for each answer that refuses, else 0."""
    return by_row(lambda true, answer: float(refuses(answer)), truth, predicted)


def refusals(truth: Texts, predicted: Texts) -> float:
    """Return the share of answers that refuse, by the phrases with which models do so in English."""
    return mean(refusals_rows(truth, predicted))


def empty_answers_rows(truth: Texts, predicted: Texts) -> Scores:
    """Return 1 for each answer without a visible character, else 0."""
    return by_row(lambda true, answer: float(not answer.strip()), truth, predicted)


def empty_answers(truth: Texts, predicted: Texts) -> float:
    """Return the share of answers without a visible character."""
    return mean(empty_answers_rows(truth, predicted))
