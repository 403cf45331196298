"""Find finance terms in texts; the terms, with their date and sources, are in `finance_terms.txt`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def finance_terms() -> tuple[str, ...]:
    """Return the terms, in lower case and sorted; lines of the file that begin with # give its sources and date."""
    lines = files("adapterhub_fin.plugin").joinpath("finance_terms.txt").read_text("utf-8").splitlines()
    return tuple(sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")}))


def count_terms(text: str) -> Counter[str]:
    """Count the finance terms of a text; one that stands only within a longer term isn't counted."""
    plain = re.sub(r"[\s-]+", " ", text.casefold().replace("\u2019", "'"))
    forms = _forms()
    return Counter(forms[match[0]] for match in _pattern().finditer(plain))


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
