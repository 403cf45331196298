"""What lies exactly on an edge: of the cut, of a filter, of a shard, of a batch, of two bytes, of what is compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.shards import row_steps, tokenizing_run
from adapterhub_fin.engine.data.shards.documents import Document
from adapterhub_fin.engine.data.shards.seen_texts import ALIKE, COMPARED, PERMUTATIONS, SeenTexts, _bands
from adapterhub_fin.errors import BadCorpus, Refused

Rows = list[dict[str, Any]]
Written = Callable[..., Path]
DAY = "2010-01-01T00:00:01Z"
LATE = "2030-01-01"


def dated(texts: Iterable[str], day: str = DAY) -> Rows:
    return [{"text": text, "available_at": day} for text in texts]


def word_tokenizer(folder: Path, vocabulary: dict[str, int]) -> Path:
    """Return a tokenizer whose tokens are words; of an x it makes nothing."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="u"))
    tokenizer.normalizer = normalizers.Replace(Regex("x"), "")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    build: Any = PreTrainedTokenizerFast
    build(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("filters", "texts"),
    [
        ({"min_characters": 5}, {"four": False, "fives": True}),
        ({"max_characters": 5}, {"fives": True, "sixths": False}),
        ({"max_repeated_lines": 0.5}, {"a\na\nb\nb": True, "a\na\na": False, "a\n\n\n\n\n\nb": True}),
        ({"min_letters": 0.5}, {"ab 1 2": True, "a 1 2": False, "a b c 12": True, "Ωж 12": True}),
    ],
)
def test_a_text_on_the_edge_of_a_filter_is_taken(
    written: Written, decoder: Path, tmp_path: Path, filters: dict[str, Any], texts: dict[str, bool]
) -> None:
    for number, (text, is_taken) in enumerate(texts.items()):
        rows = dated(["A text that is taken", text]) if "max_characters" not in filters else dated(["taken", text])
        recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "filters": filters}
        assert len(ahf.tokenize(recipe, tmp_path / f"out-{number}")) == 1 + is_taken, text


def test_of_a_text_that_is_left_out_a_later_copy_is_taken_with_its_own_date(
    written: Written, decoder: Path, tmp_path: Path
) -> None:
    """Its date is that of the row whose text is there: never an earlier one."""
    rows = dated(["a line\n" * 9, "once"], "2005-01-01T00:00:01Z") + dated(["a  line " * 9], "2011-01-01T00:00:01Z")
    filters = {"max_repeated_lines": 0.5}
    recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "filters": filters}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    assert len(shards) == 2 and shards.knowledge_end.year == 2011


def test_what_is_left_out_keeps_no_text_in_memory_and_fills_batches() -> None:
    at = datetime(2010, 1, 1, tzinfo=UTC)
    documents = (Document(row, "x" * 10, at) for row in range(25_001))
    given = list(row_steps.batches(documents, lambda document: "odd" if document.row % 2 else None))
    assert [len(batch) for batch in given] == [10_000, 10_000, 5_001]
    assert all((document.text == "") == (why == "odd") for batch in given for document, why in batch)


def test_a_text_without_a_token_is_left_out(written: Written, tmp_path: Path) -> None:
    tokenizer = word_tokenizer(tmp_path / "words", {"u": 0, "rates": 1, "fell": 2})
    recipe = {"files": written(dated(["rates fell", "xxx", "fell"])), "until": LATE, "tokenizer": tokenizer}
    shards = ahf.tokenize({**recipe, "shard_tokens": 1}, tmp_path / "shards")
    assert [ids.tolist() for ids in shards] == [[1, 2], [2]]
    assert shards.record["left_out"] == {"without a token": 1}
    with pytest.raises(BadCorpus, match="none of 1 rows is left: 1 without a token"):
        ahf.tokenize({**recipe, "files": written(dated(["xx"]))}, tmp_path / "empty")


@pytest.mark.parametrize(
    ("highest", "gap", "width"), [(65_535, False, 2), (65_536, False, 4), (70_000, True, 4), (65_535, True, 2)]
)
def test_ids_have_the_bytes_that_the_highest_needs(
    written: Written, tmp_path: Path, highest: int, gap: bool, width: int
) -> None:
    words = {f"w{number}": number for number in range(1, 9 if gap else highest)}
    tokenizer = word_tokenizer(tmp_path / "words", {"u": 0, **words, "top": highest})
    recipe = {"files": written(dated(["top w7 top"])), "until": LATE, "tokenizer": tokenizer}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    shards.verify()
    assert shards[0].tolist() == [highest, 7, highest] and shards[0].dtype.itemsize == width


def test_a_shard_is_finished_at_its_tokens_and_at_its_documents(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = word_tokenizer(tmp_path / "words", {"u": 0, "a": 1, "b": 2, "c": 3, "d": 4})
    texts = ["a b", "c d", "a b c d a b c d", "a", "b", "c", "d"]
    recipe = {"files": written(dated(texts)), "until": LATE, "tokenizer": tokenizer, "shard_tokens": 4}
    monkeypatch.setattr(tokenizing_run, "DOCUMENTS", 3)
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    assert [shard["documents"] for shard in shards.record["shards"]] == [2, 1, 3, 1]
    assert [len(ids) for ids in shards] == [2, 2, 8, 1, 1, 1, 1], "a document is never cut"


def test_a_huge_document_is_one(written: Written, decoder: Path, tmp_path: Path) -> None:
    text = "Rates rose by 12 basis points in Zürich. " * 30_000
    recipe = {"files": written(dated(["First.", text, "Last."])), "until": LATE, "tokenizer": decoder}
    shards = ahf.tokenize({**recipe, "filters": {"duplicates": "near"}, "shard_tokens": 100}, tmp_path / "shards")
    assert len(shards) == 3 and shards.lengths[1] > 300_000 and shards.sizes[1] == len(text.encode())


def test_near_duplicates_are_found_across_shards(written: Written, decoder: Path, tmp_path: Path) -> None:
    words = [" ".join(f"w{number * 60 + place}" for place in range(60)) for number in range(4)]
    rows = dated([*words, f"{words[0]} and", f"{words[3]} so"])
    recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "filters": {"duplicates": "near"}}
    shards = ahf.tokenize({**recipe, "shard_tokens": 1}, tmp_path / "shards")
    assert len(shards.record["shards"]) == 4 and shards.record["left_out"] == {ALIKE: 2}


def synthetic(*shared: tuple[np.ndarray, slice], seed: int) -> np.ndarray:
    """Return a signature of its own that has parts of others."""
    hashes = np.random.default_rng(seed).integers(0, 1 << 32, PERMUTATIONS, np.uint64)
    for other, part in shared:
        hashes[part] = other[part]
    return hashes


def test_those_that_share_most_are_compared_where_many_share_a_little(tmp_path: Path) -> None:
    # A text that many others begin with shares a band with all of them, and is a copy of the last.
    seen, (_, rows) = SeenTexts(tmp_path / "texts", "near", 0.8), _bands(0.8)
    first = synthetic(seed=0)
    for row in range(COMPARED + 20):
        assert seen.resembles(row, synthetic((first, slice(rows)), seed=row + 1)) is None
    assert seen.resembles(1000, first) is None
    assert seen.resembles(1001, synthetic((first, slice(110)), seed=5000)) == ALIKE
    seen.close()


@pytest.mark.parametrize("near", [0.5, 0.65, 0.8, 0.9, 1.0])
def test_nearly_all_that_are_just_alike_are_found(tmp_path: Path, near: float) -> None:
    """Bands of many rows would miss a third of them."""
    seen, draw = SeenTexts(tmp_path / "texts", "near", near), np.random.default_rng(7)
    alike = []
    for number in range(200):
        first = synthetic(seed=number)
        same = np.sort(draw.permutation(PERMUTATIONS)[: int(np.ceil(near * PERMUTATIONS))])
        other = synthetic((first, same), seed=10_000 + number)  # type: ignore[arg-type]
        assert seen.resembles(2 * number, first) is None
        alike.append(seen.resembles(2 * number + 1, other))
    assert alike.count(ALIKE) >= 190
    seen.close()


def test_texts_are_alike_from_the_very_share_on(tmp_path: Path) -> None:
    seen, first = SeenTexts(tmp_path / "texts", "near", 0.5), synthetic(seed=0)
    assert seen.resembles(0, first) is None
    assert seen.resembles(1, synthetic((first, slice(63)), seed=1)) is None
    assert seen.resembles(2, synthetic((first, slice(64)), seed=2)) == ALIKE
    seen.forget_from(0)
    assert seen.resembles(0, first) is None, "and its signature is forgotten"
    seen.close()


def test_midnights_with_a_zone_are_read_as_all_of_them_say(written: Written, decoder: Path, tmp_path: Path) -> None:
    # A time at 16:00 in the last row makes instants of the midnights before it.
    days = ["2013-12-30T00:00:00-05:00", "2013-12-31T00:00:00-05:00"]
    for dates, end in (
        (days, "2014-01-01T04:59:59.999999+00:00"),
        ([*days, "2013-12-30T16:00:00-05:00"], "2013-12-31T05:00:00+00:00"),
    ):
        rows = [{"text": f"row {number}", "available_at": date} for number, date in enumerate(dates)]
        recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "timezone": "America/New_York"}
        shards = ahf.tokenize(recipe, tmp_path / f"of-{len(dates)}")
        assert shards.knowledge_end == datetime.fromisoformat(end)


def test_rows_out_of_order_end_with_the_latest_wherever_it_is(written: Written, decoder: Path, tmp_path: Path) -> None:
    dates = ["2012-05-01T00:00:01Z", "2013-05-01T00:00:01Z", "2001-05-01T00:00:01Z", "2002-05-01T00:00:01Z"]
    rows = [{"text": f"row {number}", "available_at": date} for number, date in enumerate(dates)]
    for tokens in (1, 1000):
        recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "shard_tokens": tokens}
        shards = ahf.tokenize(recipe, tmp_path / f"of-{tokens}")
        assert (shards.knowledge_end.year, shards.record["first_available_at"][:4]) == (2013, "2001")
        shards.verify()


def test_a_restart_checks_before_it_deletes(rows: Rows, written: Written, decoder: Path, tmp_path: Path) -> None:
    recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    with pytest.raises(BadCorpus, match="has no available_at"):
        ahf.tokenize({**recipe, "files": written([{"text": "a", "available_at": None}])}, shards.folder, restart=True)
    shards.verify()
    own = {**recipe, "files": written(rows), "tokenizer": shards.tokenizer}  # which the restart deletes
    assert ahf.tokenize(own, shards.folder, restart=True).digest == shards.digest


def test_a_folder_of_one_s_own_is_not_deleted(rows: Rows, written: Written, decoder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(decoder, tmp_path / "here" / "tokenizer")
    recipe = {"files": written(rows), "until": LATE, "tokenizer": tmp_path / "here" / "tokenizer"}
    with pytest.raises(Refused, match=r"tokenizer is of no pass that is known here: give another folder"):
        ahf.tokenize(recipe, tmp_path / "here")
    assert (tmp_path / "here" / "tokenizer" / "tokenizer.json").is_file()


def test_a_source_that_changes_is_refused(rows: Rows, written: Written, decoder: Path, tmp_path: Path) -> None:
    recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "shard_tokens": 2000}

    def changing(encode: Any, batches: Iterable[Any]) -> Iterator[Any]:
        for texts in batches:
            written([*rows, *dated(["one more"])])
            yield encode(texts)

    with pytest.raises(BadCorpus, match="the source has changed while it was read: run again with restart"):
        ahf.tokenize(recipe, tmp_path / "shards", mapped=changing)
    with pytest.raises(Refused, match="was begun with other files or rows"):
        ahf.tokenize(recipe, tmp_path / "shards")
    assert not (tmp_path / "shards" / "index.json").exists()
    assert ahf.tokenize(recipe, tmp_path / "shards", restart=True).record["rows"] == len(rows) + 1


def test_an_edited_record_of_an_unfinished_pass_is_written_again(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"files": written(rows), "until": LATE, "tokenizer": decoder, "shard_tokens": 2000}
    once = ahf.tokenize(recipe, tmp_path / "once")
    with monkeypatch.context() as patch:
        patch.setattr(tokenizing_run, "write_index", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ahf.tokenize(recipe, tmp_path / "edited")
    path = tmp_path / "edited" / "shard-00001.json"
    record = json.loads(path.read_text())
    record["available_at"][0] -= 10**15  # thirty years earlier
    path.write_text(json.dumps(record))
    assert ahf.tokenize(recipe, tmp_path / "edited").record == once.record


def test_a_source_that_can_t_be_read_is_named_as_such(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    path = written(rows)
    recipe = {"files": path, "until": LATE, "tokenizer": decoder}

    def gone(encode: Any, batches: Iterable[Any]) -> Iterator[Any]:
        yield from map(encode, batches)
        path.unlink()

    with pytest.raises(BadCorpus, match=r"rows.jsonl can't be read \(No such file"):
        ahf.tokenize(recipe, tmp_path / "shards", mapped=gone)


def test_a_corpus_that_repeats_rows_is_refused(rows: Rows, written: Written, decoder: Path, tmp_path: Path) -> None:
    table = {"name": "table", "path": str(written(rows)), "available_at": "available_at"}
    other = {**table, "path": str(written(rows[:9], "other.jsonl"))}
    recipe = {"until": LATE, "tokenizer": decoder}
    mixture = {"name": "mixture", "corpora": [table, {**other, "repeat": 3}]}
    with pytest.raises(BadCorpus, match="corpus mixture repeats rows, and shards hold each once: leave repeat out"):
        ahf.tokenize({**recipe, "corpus": mixture}, tmp_path / "shards")
    mixture = {"name": "mixture", "corpora": [table, other]}
    assert len(ahf.tokenize({**recipe, "corpus": mixture}, tmp_path / "shards")) > 100
