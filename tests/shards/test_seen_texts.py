"""Copies and near-copies of earlier texts are found on disk, and forgotten from a row on."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from adapterhub_fin.engine.data.shards.seen_texts import RUN, SeenTexts, signature
from adapterhub_fin.errors import BadRecipe, Corrupted

COPY, NEAR = "copies of an earlier text", "near-duplicates of an earlier text"


def text_of(draw: random.Random, words: int = 200) -> list[str]:
    return [f"w{draw.randrange(5000)}" for _ in range(words)]


def taken(seen: SeenTexts, row: int, text: str) -> str | None:
    """Why a pass leaves a text out, as it asks."""
    reason = seen.copied(row, text)
    return reason if reason or seen.duplicates == "exact" else seen.resembles(row, signature(text))


def common(one: list[str], other: list[str]) -> float:
    """The true share of common runs of five words, which the signatures estimate."""
    a, b = ({tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)} for words in (one, other))
    return len(a & b) / len(a | b)


def test_what_the_true_share_says_is_found(tmp_path: Path) -> None:
    """Of texts well above the threshold all are found, of those well below it none."""
    draw, seen = random.Random(3), SeenTexts(tmp_path / "texts", "near", 0.8)
    results: dict[bool, list[str | None]] = {True: [], False: []}
    for number in range(120):
        words = text_of(draw)
        assert taken(seen, 2 * number, " ".join(words)) is None
        changed = list(words)
        for place in draw.sample(range(200), draw.choice([1, 1, 10, 14])):
            changed[place] = "changed"
        share = common(words, changed)
        if not 0.7 < share < 0.9:
            results[share > 0.9].append(taken(seen, 2 * number + 1, " ".join(changed)))
    assert min(map(len, results.values())) > 30
    assert set(results[True]) == {NEAR} and set(results[False]) == {None}
    seen.close()


def test_exact_copies_are_those_of_the_corpora(tmp_path: Path) -> None:
    seen = SeenTexts(tmp_path / "texts", "exact", 0.8)
    texts = ["Margins rose.", "margins  ROSE.", "Margins rose", "Ｍargins\u00a0rose.", "\ufeffMargins rose."]
    assert [seen.copied(row, text) for row, text in enumerate(texts)] == [None, COPY, None, COPY, COPY]
    seen.close()


@pytest.mark.parametrize("duplicates", ["exact", "near"])
def test_rows_from_a_number_on_are_forgotten_and_read_again(tmp_path: Path, duplicates: str) -> None:
    draw, path = random.Random(1), tmp_path / "texts"
    texts = [" ".join(text_of(draw, 40)) for _ in range(30)]
    texts += [f"{text} and" for text in texts[:20]] + texts[5:15]
    seen = SeenTexts(path, duplicates, 0.8)  # type: ignore[arg-type]
    first = [taken(seen, row, text) for row, text in enumerate(texts)]
    assert first.count(COPY) == 10 and first.count(NEAR) == (20 if duplicates == "near" else 0)
    seen.commit()
    seen.close()
    for start in (60, 45, 33, 7, 0):
        seen = SeenTexts(path, duplicates, 0.8)  # type: ignore[arg-type]
        seen.forget_from(start)
        assert [taken(seen, row, texts[row]) for row in range(start, 60)] == first[start:]
        seen.close()  # without a commit, which a kill is too
        seen = SeenTexts(path, duplicates, 0.8)  # type: ignore[arg-type]
        assert [taken(seen, row, texts[row]) for row in range(start, 60)] == first[start:]
        seen.close()


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(b"no database" * 100)
    with pytest.raises(Corrupted, match=r"can't be read again .*: run again with restart"):
        SeenTexts(tmp_path / "texts", "exact", 0.8)


def test_without_datasketch_near_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(BadRecipe, match=r"needs datasketch: pip install 'adapterhub-fin\[pretraining\]', or set exact"):
        SeenTexts(tmp_path / "texts", "near", 0.8)
