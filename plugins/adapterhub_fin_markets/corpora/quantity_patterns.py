"""Find the percentages, amounts of money, dates and other figures of a text, each whole or not at all.

A match has its sign, currency, scale, unit and range: `-$3.1 million`, `($2.5bn)`, `10-15%`, `1-1/4 to 1-1/2 percent`.
A figure of which a pattern can read a part alone, such as the 5.2 of `$5.2xyz`, is left out.
"""

from __future__ import annotations

import re
from typing import Final

_SIGN = r"(?:(?:[Mm]inus|[Nn]egative)\s|[-−–+])?"
_NUMBER = (
    r"(?>(?:\d+[- ])?\d+/\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+,\d{1,2}|\d+\.\d+|\.\d+|\d+)"  # 1-3/4; 1,234.5; 5,2
    r"(?!\d|[.,:/]\d)"
)
_SCALE = r"(?:[\s-]?(?:thousands?|millions?|billions?|trillions?|mln|mio|mn|bln|bn|trn|tn)|[kKmMbB])(?![A-Za-z])"
_CODE = r"(?:USD|EUR|GBP|JPY|CHF|CNY|RMB|CAD|AUD|NZD|HKD|SGD|SEK|NOK|DKK|INR|KRW|BRL|MXN|ZAR)"
_SYMBOL = rf"(?:U\.S\.\$|[A-Z]{{0,3}}\$|[€£¥₹₩]|{_CODE})\s?"
_WORD = (
    rf"[\s-]?(?:(?:(?:US|U\.S\.|Canadian|Australian|Hong\sKong)\s)?dollars?|euros?|pounds?(?:\ssterling)?|yen|yuan|renminbi"
    rf"|rupees?|(?:Swiss\s)?francs?|cents?|pence|{_CODE}|[€£¥₹₩])(?![A-Za-z])"
)
_PERCENT = r"\s?(?:%(?:[\s-]points?\b)?|per\s?cent\b|pct\b|percentage\spoints?\b)"
_POINTS = r"\s?(?:basis\spoints?|bps?)\b"
_DASH = r"(?:\s[-−–]\s|[-−–])"
_TO = rf"(?:{_DASH}|\sto\s)"
# What stands before and after a match: nothing that the figure goes on with.
_LEFT = r"(?<![\w.,:/%)$€£¥₹₩#&−–-])(?<![−–$€£¥₹₩-]\s)"
_ALONE = r"(?<!\d\s)(?<!\d\sto\s)(?<!\d\sor\s)(?<!\d\sand\s)"  # before a number without a symbol
_RIGHT = rf"(?!\w|[.,:/]\d|\s\d|{_TO}(?:{_SYMBOL})?\d|{_SCALE}|\s?%|[$€£¥₹₩])"


def _whole(core: str) -> str:
    """Return the pattern of a quantity, in parentheses where it fills them: so accountants write what is negative."""
    return rf"(?:{_LEFT}\((?>{core})\)|{_LEFT}(?>{core}){_RIGHT})"


_LIST = rf"(?:(?:,|,?\s(?:and|or))\s[$€£¥₹₩]?{_NUMBER})+"  # in `$5 and $7 million` the $5 are millions
_SCALED = rf"{_NUMBER}(?:{_SCALE}|(?!{_LIST}{_SCALE}))"
_MONEY = (
    rf"{_SIGN}{_SYMBOL}(?:{_SIGN}{_SCALED}|\({_NUMBER}\)(?:{_SCALE})?)"
    rf"(?:{_TO}{_SYMBOL}{_SCALED}|{_DASH}{_SCALED}|\sto\s{_NUMBER}{_SCALE})?(?:{_WORD})?"
    rf"|{_ALONE}{_SIGN}{_SCALED}(?:(?:{_WORD})?{_TO}{_SCALED})?{_WORD}"
)
_RATE = (
    rf"(?<=etween\s){_NUMBER}\sand\s{_NUMBER}{_PERCENT}"
    rf"|{_ALONE}{_SIGN}{_NUMBER}(?:(?:{_PERCENT})?{_TO}{_SIGN}{_NUMBER})?{_PERCENT}"
)
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"\d{4}(?!\d)"
_DATE = (
    rf"(?:{_DAY}{_DASH})?{_DAY}\s(?:of\s)?{_MONTH},?\s{_YEAR}"
    rf"|{_MONTH}\s{_DAY}(?:{_DASH}(?:{_MONTH}\s)?{_DAY})?,?\s{_YEAR}|{_MONTH},?\s{_YEAR}|\d{{4}}-\d{{2}}-\d{{2}}"
)
_BARE = rf"{_ALONE}{_SIGN}{_SCALED}(?:{_TO}{_SIGN}{_SCALED})?(?:{_POINTS})?"

PERCENTAGES: Final = re.compile(rf"{_LEFT}\({_SIGN}{_NUMBER}\){_PERCENT}|{_whole(_RATE)}")
AMOUNTS: Final = re.compile(_whole(_MONEY))
DATES: Final = re.compile(rf"(?<![\w.,/−–-])(?<!\d\s)(?>{_DATE})(?!\w|[-−–/]\d)")
_REST = rf"{_whole(_BARE)}(?![-−–]|{_PERCENT}|{_WORD}|{_LIST}(?:{_SCALE}|{_PERCENT}|{_POINTS}|{_WORD}))"
FIGURES: Final = re.compile("|".join([DATES.pattern, AMOUNTS.pattern, PERCENTAGES.pattern, _REST]))
