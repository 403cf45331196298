"""Fingerprint what a tokenizer does: two of one vocabulary may still read a text as other tokens.

The ids of some texts are kept beside the texts, so that a difference can be shown, and a digest of the ids of all
plain words of its vocabulary, so that other merges are seen. Padding, truncation and the token that pads are choices
of whoever batches, and not looked at; nor is the class of the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from adapterhub_fin.engine.base import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry.model.manifest import Base

# Old characters alone: what Unicode added lately, two releases of one library may read otherwise.
TEXTS = (
    "Net sales rose 12.5% to EUR 1,234.56 million in Q3 2021, beating analysts' estimates.",
    "EBITDA fell; the company WARNED of a $3.2bn write-down (versus -0.7 a year ago).",
    "don't can't we'll it's U.S. e-mail AT&T S&P500 10-K 8-K/A http://www.sec.gov",
    "Der Umsatz stieg um 5,3 % auf 1.234 Mio. € in Österreich; café, naïve, Zürich",
    "Москва: рост 7 % 日本銀行は金利を据え置いた 净利润增长 الأرباح",
    "  two  spaces\tand a tab\nand a line\r\n\n  end  ",
    "1234567890 0.001 1e-5 ½ ² ™ … – — “quoted” ‘single’ ﬁnance",
    "a",
)
ADDED = 16  # tokens beside the vocabulary, at most, whose place in a text is looked at
WORDS = 16384  # of the vocabulary, at most
CHUNK = 500  # of one text


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the fields of a base that tell of its tokenizer."""
    digest = fingerprint.tokenizer_digest(tokenizer)
    texts = {text: _ids(tokenizer, text) for text in (*TEXTS, *_marked(tokenizer))}
    return {
        "tokenizer_digest": digest,
        "tokenizer_probe": {"texts": texts, "words": _words_digest(tokenizer, (digest, texts))},
        "chat_template_digest": _template_digest(tokenizer),
    }


def other_tokenizer(tokenizer: PreTrainedTokenizerBase, base: Base, *, conversations: bool = False) -> str | None:
    """Return how a tokenizer differs from a base's, to be followed by "of" and the base's name; None where it doesn't.

    With `conversations`, the chat template counts too.
    """
    digest = fingerprint.tokenizer_digest(tokenizer)
    if base.tokenizer_digest is not None and digest != base.tokenizer_digest:
        return "has another vocabulary or other special tokens than that"
    if base.tokenizer_probe is not None:
        texts = {text: _ids(tokenizer, text) for text in base.tokenizer_probe.texts}
        for text, stored in base.tokenizer_probe.texts.items():
            if texts[text] != list(stored):
                return f"reads {text[:40]!r} as {_shown(texts[text], stored)}, otherwise than that"
        if _words_digest(tokenizer, (digest, texts)) != base.tokenizer_probe.words:
            return "splits words of its own vocabulary otherwise than that"
    known = base.chat_template_digest
    if conversations and known is not None and _template_digest(tokenizer) != known:
        return "has another chat template than that"
    return None


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, marks: bool = True) -> list[int]:
    return [int(each) for each in tokenizer(text, add_special_tokens=marks, verbose=False)["input_ids"]]


def _marked(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield texts with the tokens that are added to the vocabulary in them, but for the one that pads."""
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda each: each[1])
    tokens = [token for token, _ in added if token != tokenizer.pad_token][:ADDED]
    if tokens:
        yield " ".join(tokens)
        yield "".join(f"x{token}y {token} " for token in tokens)


def _words_digest(tokenizer: PreTrainedTokenizerBase, read: Any) -> str:
    """Digest the ids of the vocabulary's plain words, half a second's work for 50,000 and so done once.

    `read` is what else was found of this tokenizer: while that is the same, so are the words.
    """
    known = _words.get(tokenizer)
    if known is None or known[0] != read:
        known = _words[tokenizer] = (read, _digest([_ids(tokenizer, text, marks=False) for text in _texts(tokenizer)]))
    return known[1]


_words: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, str]] = WeakKeyDictionary()


def _texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield texts of the vocabulary's plain words, evenly taken from the last one on: it is the last that was merged.

    Each stands on a line of its own, or follows a space where it is a token that does.
    """
    words: list[str] = []
    for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda each: each[1]):
        bare = token.lstrip("Ġ▁").removeprefix("##").removesuffix("</w>")
        if bare and bare.isascii() and bare.isprintable():
            words.append(f" {bare}" if token[:1] in "Ġ▁" else f"\n{bare}")
    words = words[:: -max(1, math.ceil(len(words) / WORDS))]
    for start in range(0, len(words), CHUNK):
        yield "".join(words[start : start + CHUNK])


def _template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest the chat template; that there is none is one too, since a conversation is then written plainly."""
    return _digest(tokenizer.chat_template)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _shown(here: Sequence[int], stored: Sequence[int]) -> str:
    """Show where two lists of ids part."""
    place = next((k for k, (a, b) in enumerate(zip(here, stored, strict=False)) if a != b), min(len(here), len(stored)))
    return f"{list(here[place : place + 3])} at token {place} where it was {list(stored[place : place + 3])}"
