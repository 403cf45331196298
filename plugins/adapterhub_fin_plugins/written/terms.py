"""Measure how many of the truth's finance terms an answer has; the terms are in `finance_terms.txt`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np

from adapterhub_fin_plugins.written.arrays import Texts, Weighted, weighted_mean


@cache
def finance_terms() -> tuple[str, ...]:
    """Return the terms, in lower case and sorted; lines of the file that begin with # give its sources and date."""
    lines = files("adapterhub_fin_plugins.written").joinpath("finance_terms.txt").read_text("utf-8").splitlines()
    return tuple(sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")}))


@cache
def _forms() -> Mapping[str, str]:
    """Return each term by each form in which it is found: with spaces for hyphens, in the singular and the plural."""
    forms = dict[str, str]()
    for term in finance_terms():
        plain = term.replace("-", " ")
        plurals = (f"{plain}s", f"{plain}es", f"{plain[:-1]}ies" if plain.endswith("y") else plain)
        forms |= dict.fromkeys((plain, *plurals), term)
    return forms


@cache
def _pattern() -> re.Pattern[str]:
    longest = sorted(_forms(), key=lambda form: (-len(form), form))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)")


@lru_cache(maxsize=100_000)
def terms_in(text: str) -> frozenset[str]:
    """Return the finance terms of a text; one that stands only within a longer term is not among them."""
    plain = re.sub(r"[\s-]+", " ", text.casefold().replace("\u2019", "'"))
    return frozenset(_forms()[match[0]] for match in _pattern().finditer(plain))


def term_recall_rows(truth: Texts, predicted: Texts) -> Weighted:
    """Return the share of each truth's finance terms that its answer has, and how many they are."""
    pairs = [(terms_in(str(true)), terms_in(str(answer))) for true, answer in zip(truth, predicted, strict=True)]
    weights = np.array([len(true) for true, _ in pairs], np.float64)
    shared = np.array([len(true & answer) for true, answer in pairs], np.float64)
    return shared / np.where(weights, weights, 1), weights


def term_recall(truth: Texts, predicted: Texts) -> float:
    """Return the share of the truth's finance terms that the answers have; NaN where the truth has none."""
    return weighted_mean(*term_recall_rows(truth, predicted))
