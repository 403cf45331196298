"""Take the fingerprint of a tokenizer's behaviour: two with one vocabulary may still encode a text differently.

The fingerprint holds the token ids of some texts, with the texts, so that an error can show a difference. It also holds
a digest of the ids of the vocabulary's plain words, which other merge rules would change. Padding, truncation, the
padding token and the tokenizer's class are left out: they change no answer.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from adapterhub_fin.engine.base.fingerprint_once import tokenizer_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry.model.manifest import Base

# Only characters that are old: recent additions to Unicode may be encoded differently by another release of a library.
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
ADDED = 16  # added tokens that are probed, at most
WORDS = 16384  # words of the vocabulary that are probed, at most
WORDS_PER_TEXT = 500


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the fields of a base that describe its tokenizer: two digests and a probe."""
    digest = tokenizer_digest(tokenizer)
    texts = {text: _ids(tokenizer, text) for text in (*TEXTS, *_marked(tokenizer))}
    return {
        "tokenizer_digest": digest,
        "tokenizer_probe": {"texts": texts, "words": _words_digest(tokenizer, (digest, texts))},
        "chat_template_digest": _template_digest(tokenizer),
    }


def other_tokenizer(tokenizer: PreTrainedTokenizerBase, base: Base, *, conversations: bool = False) -> str | None:
    """Return how a tokenizer differs from a base's, or None; an error continues it with "of" and the base's name.

    With `conversations`, the chat template is compared too.
    """
    digest = tokenizer_digest(tokenizer)
    if base.tokenizer_digest is not None and digest != base.tokenizer_digest:
        return "has another vocabulary or other special tokens than that"
    if base.tokenizer_probe is not None:
        texts = {text: _ids(tokenizer, text) for text in base.tokenizer_probe.texts}
        for text, stored in base.tokenizer_probe.texts.items():
            if texts[text] != list(stored):
                return f"reads {text[:40]!r} as {_shown(texts[text], stored)}, otherwise than that"
        if _words_digest(tokenizer, (digest, texts)) != base.tokenizer_probe.words:
            return "splits words of its own vocabulary otherwise than that"
    expected = base.chat_template_digest
    if conversations and expected is not None and _template_digest(tokenizer) != expected:
        return "has another chat template than that"
    return None


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]]


def _marked(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield texts that contain the tokens added to the vocabulary, without the padding token."""
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in added if token != tokenizer.pad_token][:ADDED]
    if tokens:
        yield " ".join(tokens)
        yield "".join(f"x{token}y {token} " for token in tokens)


def _words_digest(tokenizer: PreTrainedTokenizerBase, state: Any) -> str:
    """Digest the ids of the vocabulary's plain words; cached, as it takes half a second for 50,000.

    `state` is the rest of the tokenizer's fingerprint: a cached digest counts as long as it is the same.
    """
    cached = _words.get(tokenizer)
    if cached is None or cached[0] != state:
        digest = _digest([_ids(tokenizer, text, special=False) for text in _texts(tokenizer)])
        cached = _words[tokenizer] = (state, digest)
    return cached[1]


_words: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, str]] = WeakKeyDictionary()


def _texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield texts of the vocabulary's plain words, at even steps back from the last one, which was merged last.

    Each word follows a newline, or a space if its token begins with one.
    """
    words: list[str] = []
    for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        bare = token.lstrip("Ġ▁").removeprefix("##").removesuffix("</w>")
        if bare and bare.isascii() and bare.isprintable():
            words.append(f" {bare}" if token[:1] in "Ġ▁" else f"\n{bare}")
    words = words[:: -max(1, math.ceil(len(words) / WORDS))]
    for start in range(0, len(words), WORDS_PER_TEXT):
        yield "".join(words[start : start + WORDS_PER_TEXT])


def _template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest the chat template; None has a digest too, since a conversation is then written plainly."""
    return _digest(tokenizer.chat_template)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _shown(here: Sequence[int], stored: Sequence[int]) -> str:
    """Return the first three ids from where two lists of ids differ."""
    pairs = enumerate(zip(here, stored, strict=False))
    index = next((k for k, (a, b) in pairs if a != b), min(len(here), len(stored)))
    return f"{list(here[index : index + 3])} at token {index} where it was {list(stored[index : index + 3])}"
