"""Name the items of forms 10-K, 10-Q and 8-K."""

from __future__ import annotations

import re

_NAME = re.compile(r"(?:(?:PART\s*)?(I{1,3}|IV)[.\s]+)?(?:ITEM\s*)?(\d{1,2}[A-C]?|\d\.\d{2})", re.IGNORECASE)


def item_name(item: str) -> str:
    """Return an item's name as it is recorded: `1A`, `II.1A` or `2.02`. Raises ValueError for anything else."""
    match = _NAME.fullmatch(str(item).strip())
    if match is None:
        raise ValueError(f"{item!r} is no item: write 1A or 7 (10-K), I.2 or II.1A (10-Q), or 2.02 (8-K)")
    return ".".join(filter(None, (match[1], match[2]))).upper()


def is_item_of(item: str, form: str) -> bool:
    """Return whether a form has items so named: I.2 stands in a 10-Q, 2.02 in an 8-K, and 1A in a 10-K."""
    if re.fullmatch(r"\d\.\d{2}", item):
        return form.upper().startswith("8-K")
    return form.upper().startswith("10-Q") if "." in item else not form.upper().startswith(("8-K", "10-Q"))
