"""Say why a text is left out of training data: its length, lines that repeat, few letters.

The rules on repeated lines and on letters are those of Gopher's filters (Rae et al. 2021, arXiv 2112.11446, table A1),
with limits that the recipe chooses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from adapterhub_fin.recipe.tokenize_recipe import Filters

_LETTERS = re.compile(r"[^\W\d_]+")


def text_filter(filters: Filters) -> Callable[[str], str | None]:
    """Return the function from a text to why it is left out, None where it is taken; the cheapest rule comes first."""
    rules: list[tuple[str, Callable[[str], bool]]] = []
    if (least := filters.min_characters) > 1:
        rules.append((f"under {least} characters", lambda text: len(text) < least))
    if (most := filters.max_characters) is not None:
        rules.append((f"over {most} characters", lambda text: len(text) > most))
    if (share := filters.max_repeated_lines) is not None:
        rules.append((f"repeated lines over {share:g} of the lines", lambda text: repeated_lines(text) > share))
    if (letters := filters.min_letters) is not None:
        rules.append((f"letters under {letters:g} of the characters", lambda text: letter_share(text) < letters))
    return lambda text: next((reason for reason, applies in rules if applies(text)), None)


def repeated_lines(text: str) -> float:
    """Return the share of a text's lines, blank ones apart, that repeat an earlier one."""
    lines: Sequence[str] = [line for each in text.splitlines() if (line := each.strip())]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def letter_share(text: str) -> float:
    """Return the share of a text's characters, spaces apart, that are letters of any script."""
    dense = "".join(text.split())
    return sum(map(len, _LETTERS.findall(dense))) / len(dense) if dense else 0.0
