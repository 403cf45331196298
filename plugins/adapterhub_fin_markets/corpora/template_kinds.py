"""Write the four kinds of instruction; an answer repeats words of the text that is shown, and adds none."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from adapterhub_fin.plugin import count_terms
from adapterhub_fin_markets.corpora.quantity_patterns import AMOUNTS, DATES, FIGURES, PERCENTAGES

_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\bInc\.)(?<!\bCorp\.)(?<!\bNo\.)\s+(?=[A-Z“\"(])")
KINDS = {"percentages": PERCENTAGES, "amounts of money": AMOUNTS, "dates": DATES}
SUMMARY = 3  # sentences


@dataclass(frozen=True)
class Instruction:
    """Hold one instruction: its kind, what is asked, the answer, and when that was given, if not by the document."""

    task: str
    question: str
    answer: str
    available_at: datetime | None = None


def sentences(text: str) -> list[str]:
    """Return the sentences of a text's prose; headings, page numbers and rows of tables are left out."""
    sentences = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"(?<=[^\n.!?:|])\n(?=[a-z])", " ", text)):
        for line in paragraph.split("\n"):
            if "|" not in line and len(line.split()) >= 5:
                sentences += [part.strip() for part in _SENTENCE_END.split(line) if len(part.split()) >= 4]
    return [sentence for sentence in sentences if sentence.endswith((".", "!", "?", "”", '"'))]


def excerpt(all_sentences: list[str], limit: int, generator: random.Random) -> list[str]:
    """Return sentences that follow each other, of `limit` characters at most, from a place that is drawn."""
    if not all_sentences:
        return []
    total = sum(map(len, all_sentences)) + len(all_sentences)
    first = generator.randrange(len(all_sentences)) if total > limit else 0
    shown: list[str] = []
    for sentence in all_sentences[first:]:
        if sum(map(len, shown)) + len(shown) + len(sentence) > limit:
            break
        shown.append(sentence)
    return shown


def understanding(shown: list[str], generator: random.Random) -> Instruction | None:
    """Ask for the percentages, amounts or dates of a text; the answer is those of the text in their order."""
    text = " ".join(shown)
    mentions = {kind: [*dict.fromkeys(match[0] for match in pattern.finditer(text))] for kind, pattern in KINDS.items()}
    kinds = [kind for kind in KINDS if mentions[kind]]
    if not kinds:
        return None
    kind = generator.choice(kinds)
    return Instruction("understanding", f"Which {kind} does this text name?\n\n{text}", "; ".join(mentions[kind]))


def completion(shown: list[str], generator: random.Random) -> Instruction | None:
    """Ask to continue a text; the answer is how it goes on."""
    if len(shown) < 2:
        return None
    cut = generator.randrange(1, len(shown))
    return Instruction("completion", f"Continue this text.\n\n{' '.join(shown[:cut])}", " ".join(shown[cut:]))


def summary(shown: list[str], generator: random.Random) -> Instruction | None:
    """Ask for a summary; the answer is the sentences with most finance terms and figures, in their order."""
    if len(shown) <= SUMMARY:
        return None
    weights = [sum(count_terms(each).values()) + len(FIGURES.findall(each)) for each in shown]
    best = sorted(sorted(range(len(shown)), key=lambda number: (-weights[number], number))[:SUMMARY])
    question = f"Summarise this text in {SUMMARY} of its sentences.\n\n{' '.join(shown)}"
    return Instruction("summary", question, " ".join(shown[number] for number in best))


def questions(shown: list[str], generator: random.Random) -> Instruction | None:
    """Ask for a figure that was taken out of a sentence; the answer is that figure."""
    places = [(sentence, match) for sentence in shown for match in FIGURES.finditer(sentence)]
    if not places:
        return None
    sentence, match = generator.choice(places)
    gap = f"{sentence[: match.start()]}____{sentence[match.end() :]}"
    question = f"Which figure of the text stands in the gap?\n\n{gap}\n\nText: {' '.join(shown)}"
    return Instruction("questions", question, match[0])


MAKERS: Mapping[str, Callable[[list[str], random.Random], Instruction | None]] = {
    "understanding": understanding,
    "completion": completion,
    "summary": summary,
    "questions": questions,
}
