"""Read the numbers of a text as quantities: a value with its sign and scale, and its unit or currency.

`12.5 %`, `12.5 percent` and `1,250 basis points` are one quantity, and so are `$1.2bn` and `1,200 million US dollars`.
A parenthesis with one quantity and nothing else is negative, as accountants write: `(3.4)` is -3.4. Years and dates are
quantities of their own units, so that none is taken for an amount. Numbers that are names (`10-K`, `S&P 500`, `Q3`,
`Item 7`, `ASC 606`), times of day and ordinals are none. Numbers in words are not read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

SYMBOLS: Final = {
    "US$": "USD",
    "U.S.$": "USD",
    "CA$": "CAD",
    "C$": "CAD",
    "AU$": "AUD",
    "A$": "AUD",
    "NZ$": "NZD",
    "HK$": "HKD",
    "S$": "SGD",
    "R$": "BRL",
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₩": "KRW",
}
CODES: Final = (
    *("USD", "EUR", "GBP", "JPY", "CHF", "CNY", "RMB", "CAD", "AUD", "NZD", "HKD", "SGD", "SEK", "NOK", "DKK", "INR"),
    *("KRW", "BRL", "MXN", "ZAR", "RUB", "TRY", "PLN", "CZK", "HUF", "ILS", "TWD", "THB", "SAR", "AED", "EEK", "LTL"),
)
CURRENCY_WORDS: Final = {
    r"(?:US|U\.S\.)\s?dollars?": ("USD", 1),
    r"Canadian\s+dollars?": ("CAD", 1),
    r"Australian\s+dollars?": ("AUD", 1),
    r"Hong\s+Kong\s+dollars?": ("HKD", 1),
    r"dollars?": ("USD", 1),
    r"euros?": ("EUR", 1),
    r"pounds?(?:\s+sterling)?": ("GBP", 1),
    r"yen": ("JPY", 1),
    r"yuan|renminbi": ("CNY", 1),
    r"(?:Indian\s+)?rupees?": ("INR", 1),
    r"Swiss\s+francs?": ("CHF", 1),
    r"cents?|¢": ("USD", 100),
    r"pence": ("GBP", 100),
}
RATES: Final = {  # what is divided to make it a percentage; percentage points are percentages
    r"%|per\s?cents?\b|pct\b|percentage\s+points?\b|ppts?\b|pp\b|p\.p\.": 1,
    r"basis\s+points?\b|bps?\b": 100,
}
SCALES: Final = {"th": 3, "k": 3, "m": 6, "b": 9, "t": 12}  # powers of ten, by how the word begins
COUNTED: Final = (  # after these words a number such as 2000 is no year
    r"shares?|employees|people|persons|units|stores|customers|clients|jobs|workers|staff|tons?|tonnes|barrels|homes|"
    r"cars|vehicles|companies|branches|points|ounces|MW|GWh|MWh|times"
)
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_DAY = r"[0-3]?\d(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d\d"
_NUMBER = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:['’]\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}"
    r"|\d+,\d{1,2}|\d+\.\d+|\.\d+|\d+)(?![\d]|[.,]\d)"
)
_SYMBOL = "|".join(re.escape(symbol) for symbol in SYMBOLS)
_BEFORE = rf"(?:(?:{_SYMBOL}|{'|'.join(CODES)})\s?)"
_SCALE = r"(?i:thousands?|millions?|mln|mio|mn|mm?|billions?|bln|bn|trillions?|trn|tn|(?<=\d)k|(?<=\d)b)(?![A-Za-z])"
_RATE = rf"(?i:{'|'.join(RATES)})"
_AFTER = rf"(?:(?i:(?:{'|'.join(CURRENCY_WORDS)})(?![A-Za-z]))|(?:{'|'.join(CODES)})(?![A-Za-z])|[€£¥₹₩])"


def _amount(tag: str) -> str:
    """Return the pattern of a number with its scale and unit; its groups end in `tag`."""
    return (
        rf"(?P<number{tag}>{_NUMBER})(?:[\s-]?(?P<scale{tag}>{_SCALE}))?"
        rf"(?:\s?-?(?:(?P<rate{tag}>{_RATE})|(?P<after{tag}>{_AFTER})))?"
    )


_TOKENS = re.compile(
    rf"""
      (?P<name>(?<![\w.])(?:
          (?:Form|Item|Section|Rule|Note|Topic|ASC|ASU|IFRS|IAS|SFAS|FAS|FIN|Level|Tier|Article|Chapter|Part|Exhibit
            |Table|Figure|Page|Step)\s?\d[\w.()-]*
        | (?i:S&P\s(?:100|400|500|600|1500)|Nasdaq[\s-]100|Russell\s(?:1000|2000|3000)|FTSE\s(?:100|250|350)
            |Nikkei\s225|CAC\s40|DAX\s(?:30|40)|Fortune\s(?:50|100|500|1000)|STOXX\s(?:50|600))\b
        | \d+-[A-Z]\b | \d+[a-z]-\d+ | \d+\([a-z]\) | \d+(?:st|nd|rd|th)\b(?!\s+{_MONTH}) | \d{{1,4}}['’]?s\b
        | \d{{1,2}}:\d\d(?::\d\d)? | \d+:\d+
      ))
    | (?P<iso>(?<![\w.])(?P<y0>{_YEAR})-(?P<m0>[01]\d)-(?P<d0>[0-3]\d)(?!\d))
    | (?P<slash>(?<![\w.])(?P<a1>\d\d?)/(?P<b1>\d\d?)/(?P<y1>\d{{4}}|\d\d)(?!\d))
    | (?P<dots>(?<![\w.])(?P<d2>\d\d?)\.(?P<m2>\d\d?)\.(?P<y2>{_YEAR})(?!\d))
    | (?P<dmy>(?<![\w.])(?P<d3>{_DAY})\s+(?:of\s+)?(?P<m3>{_MONTH})(?:,?\s+(?P<y3>{_YEAR})(?!\d))?)
    | (?P<mdy>\b(?P<m4>{_MONTH})\s+(?P<d4>{_DAY})(?!\d|[.,]\d)(?:(?:,\s*|\s+)(?P<y4>{_YEAR})(?!\d))?)
    | (?P<my>\b(?P<m5>{_MONTH}),?\s+(?P<y5>{_YEAR})(?!\d))
    | (?P<years>(?<![\w.$€£¥])(?P<y6>{_YEAR})\s?[-–/]\s?(?P<y7>{_YEAR}|\d\d)(?![\d.,]\d|\d|\s?(?:%|{_SCALE})))
    | (?P<year>(?<![\w.,$€£¥-])(?:FY\s?)?(?P<y8>{_YEAR})(?![\d]|[.,]\d|[A-Za-z]
        |[\s-]?(?:{_SCALE}|{_RATE}|{_AFTER}|(?:{COUNTED})\b)))
    | (?P<closed>(?<![\w])(?P<before_c>{_BEFORE})?\(\s?(?P<inner_c>{_BEFORE})?{_amount("_c")}\s?\)
        (?:\s?(?P<scale_d>{_SCALE}))?(?:\s?(?:(?P<rate_d>{_RATE})|(?P<after_d>{_AFTER})))?)
    | (?P<open>(?<![\w.,'’])(?:(?P<minus>(?i:minus|negative)\s+|[-–](?=[^\s]))|\+)?(?P<before_o>{_BEFORE})?
        (?P<sign_o>-)?{_amount("_o")}(?![A-Za-z_])
        (?:\s?[-–]\s?(?=\d)(?P<range>{_amount("_r")})(?![A-Za-z_]))?)
    | (?P<word>[A-Za-z_][\w&]*(?:-\d[\w-]*)?|\d[\w]*)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Quantity:
    """Hold a value and its unit: a currency's code, percent, year, month, day, or "" for a bare number."""

    value: Decimal
    unit: str


def quantities(text: str) -> list[Quantity]:
    """Return the quantities of a text, in its order."""
    return [quantity for match in _TOKENS.finditer(_plain(text)) for quantity in _read(match)]


def _plain(text: str) -> str:
    """Return a text with one form of digits, spaces and minus; spaces that group digits are left out."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2012", "-")
    return re.sub(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)", lambda match: match[0].replace(" ", ""), plain)


def _read(match: re.Match[str]) -> Iterator[Quantity]:
    kind = match.lastgroup if match.lastgroup in _DATES else _kind(match)
    if kind in _DATES:
        yield from _dates(kind, match)
    elif kind == "closed":
        yield from _closed(match)
    elif kind == "open":
        yield from _open(match)


_DATES: Final = ("iso", "slash", "dots", "dmy", "mdy", "my", "years", "year")


def _kind(match: re.Match[str]) -> str:
    return next(kind for kind in (*_DATES, "closed", "open", "name", "word") if match[kind] is not None)


def _dates(kind: str, match: re.Match[str]) -> Iterator[Quantity]:
    if kind == "year":
        yield _on(match["y8"])
    elif kind == "years":
        first, second = match["y6"], match["y7"]
        yield _on(first)
        yield _on(second if len(second) == 4 else first[:2] + second)
    elif kind == "my":
        yield _on(match["y5"], match["m5"])
    elif kind == "slash":
        month, day = (match["b1"], match["a1"]) if int(match["a1"]) > 12 else (match["a1"], match["b1"])
        yield _on(match["y1"] if len(match["y1"]) == 4 else f"20{match['y1']}", month, day)
    else:
        index = {"iso": 0, "dots": 2, "dmy": 3, "mdy": 4}[kind]
        yield _on(match[f"y{index}"], match[f"m{index}"], match[f"d{index}"])


def _on(year: str | None, month: str | None = None, day: str | None = None) -> Quantity:
    """Return a year (2024), a month (202403), a day (20240331), or a day of any year (331)."""
    value = int(year or 0)
    if month is None:
        return Quantity(Decimal(value), "year")
    number = int(month) if month.isdigit() else 1 + MONTHS.index(month[:3])
    value = value * 100 + number
    if day is None:
        return Quantity(Decimal(value), "month")
    return Quantity(Decimal(value * 100 + int(re.sub(r"\D", "", day))), "day")


def _closed(match: re.Match[str]) -> Iterator[Quantity]:
    number = match["number_c"]
    before = match["before_c"] or match["inner_c"]
    scale, rate, after = (match[f"{name}_c"] or match[f"{name}_d"] for name in ("scale", "rate", "after"))
    bare = not (before or scale or rate or after)
    if bare and re.fullmatch(_YEAR, number):
        yield _on(number)
    else:
        yield _quantity(number, before, scale, rate, after, negative=True)


def _open(match: re.Match[str]) -> Iterator[Quantity]:
    before, scale, rate, after = (match[f"{name}_o"] for name in ("before", "scale", "rate", "after"))
    if match["range"] is not None:  # 5-7 %: the first has the second's unit
        scale, rate, after = scale or match["scale_r"], rate or match["rate_r"], after or match["after_r"]
    negative = match["minus"] is not None or match["sign_o"] is not None
    yield _quantity(match["number_o"], before, scale, rate, after, negative)
    if match["range"] is not None:
        yield _quantity(match["number_r"], before, match["scale_r"], match["rate_r"], match["after_r"], negative=False)


def _quantity(
    number: str, before: str | None, scale: str | None, rate: str | None, after: str | None, negative: bool
) -> Quantity:
    value = _decimal(number) * (-1 if negative else 1)
    if scale is not None:
        value *= 10 ** next(power for word, power in SCALES.items() if scale.lower().startswith(word))
    if rate is not None:
        return _of(value / next(by for word, by in RATES.items() if re.fullmatch(word, rate, re.I)), "percent")
    if before is not None:
        return _of(value, _code(SYMBOLS.get(before.strip(), before.strip())))
    if after is None:
        return _of(value, "")
    for word, (code, by) in CURRENCY_WORDS.items():
        if re.fullmatch(word, after, re.I):
            return _of(value / by, code)
    return _of(value, _code(SYMBOLS.get(after, after)))


def _code(name: str) -> str:
    return "CNY" if name == "RMB" else name


def _of(value: Decimal, unit: str) -> Quantity:
    return Quantity(value.normalize() + 0, unit)


def _decimal(number: str) -> Decimal:
    """Return the value of a number that is grouped by commas, apostrophes or points, or has a decimal comma."""
    plain = re.sub(r"['’]", "", number)
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d+,\d{1,2}", plain):
        return Decimal(plain.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}", plain):
        return Decimal(plain.replace(".", ""))
    return Decimal(plain.replace(",", ""))
