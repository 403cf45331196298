"""Rows become shards: the ids are the tokenizer's, the cut is strict, what is left out is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead, NotFound, Refused

Rows = list[dict[str, Any]]
Written = Callable[..., Path]
UNTIL = "2013-12-31"


def test_documents_are_the_tokenizer_s_ids_of_the_rows_up_to_the_cut(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    bare = {"begin_token": "", "end_token": ""}
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": decoder, "shard_tokens": 3000, **bare}
    shards = ahf.tokenize({**recipe, "filters": {"duplicates": "none"}}, tmp_path / "shards")
    taken = [row for row in rows if row["available_at"] < "2014"]
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    expected = [tokenizer(row["text"], add_special_tokens=False, verbose=False).input_ids for row in taken]
    assert [ids.tolist() for ids in shards] == expected and len(shards.record["shards"]) > 2
    assert shards[-1].tolist() == expected[-1] and [ids.tolist() for ids in shards[2:5]] == expected[2:5]
    assert shards.tokens == sum(map(len, expected)) and shards.lengths.tolist() == [*map(len, expected)]
    assert shards.sizes.tolist() == [len(row["text"].encode()) for row in taken]
    assert shards.available_at.tolist() == [datetime.fromisoformat(r["available_at"][:-1]) for r in taken]
    assert shards.knowledge_end == max(datetime.fromisoformat(row["available_at"]) for row in taken)
    assert shards.record["left_out"] == {"available after until": len(rows) - len(taken)}
    assert shards[0].dtype == np.uint16 and isinstance(shards[0].base, np.memmap) and not shards[0].flags.writeable
    with pytest.raises(IndexError):
        shards[len(shards)]
    shards.verify()


def test_a_day_ends_in_utc_and_an_instant_is_one(written: Written, decoder: Path, tmp_path: Path) -> None:
    dates = ["2013-12-31", "2013-12-31T23:59:59.999999Z", "2014-01-01T00:00:00Z", "2013-12-31T20:00:00-05:00"]
    rows = [{"text": f"row {number}", "available_at": date} for number, date in enumerate(dates)]
    recipe = {"files": written(rows), "tokenizer": decoder, "timezone": "UTC"}
    day = ahf.tokenize({**recipe, "until": UNTIL}, tmp_path / "day")
    assert len(day) == 2 and day.until == datetime(2013, 12, 31, 23, 59, 59, 999999, UTC)
    instant = ahf.tokenize({**recipe, "until": "2014-01-01T00:00:00Z"}, tmp_path / "instant")
    assert len(instant) == 3
    later = ahf.tokenize({**recipe, "until": "2014-12-31", "after": UNTIL}, tmp_path / "later")
    assert len(later) == 2 and later.record["left_out"] == {"available up to after": 2}


def test_rows_after_the_cut_don_t_change_the_digest(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    later = [{"text": "what nobody knew", "available_at": "2019-05-01T00:00:01Z"}]
    recipe = {"until": UNTIL, "tokenizer": decoder, "shard_tokens": 3000}
    one = ahf.tokenize({**recipe, "files": written(rows)}, tmp_path / "one")
    other = ahf.tokenize({**recipe, "files": written([*later, *rows], "more.jsonl")}, tmp_path / "other")
    assert one.digest == other.digest and one.record["source"] != other.record["source"]
    earlier = [{"text": "what one could know", "available_at": "2012-05-01T00:00:01Z"}]
    third = ahf.tokenize({**recipe, "files": written([*earlier, *rows], "third.jsonl")}, tmp_path / "third")
    assert third.digest != one.digest


def test_copies_are_left_out_and_the_first_stays(rows: Rows, written: Written, decoder: Path, tmp_path: Path) -> None:
    shards = ahf.tokenize({"files": written(rows), "until": "2030-01-01", "tokenizer": decoder}, tmp_path / "shards")
    first = {" ".join(row["text"].casefold().split()): row["text"] for row in reversed(rows)}
    assert len(shards) == len(first) < len(rows)
    assert shards.record["left_out"] == {"copies of an earlier text": len(rows) - len(first)}


def test_texts_are_left_out_by_length_lines_and_letters(written: Written, decoder: Path, tmp_path: Path) -> None:
    texts = ["short", "a line\n" * 9 + "another line", "1,234 5,678 9,012 3,456 7,890", "x" * 300, "A text to keep."]
    rows = [{"text": text, "available_at": "2010-01-01T00:00:01Z"} for text in texts]
    filters = {"min_characters": 10, "max_characters": 200, "max_repeated_lines": 0.3, "min_letters": 0.5}
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": decoder, "filters": filters}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    assert len(shards) == 1
    assert shards.record["left_out"] == {
        "letters under 0.5 of the characters": 1,
        "over 200 characters": 1,
        "repeated lines over 0.3 of the lines": 1,
        "under 10 characters": 1,
    }


def test_all_faults_are_named_before_anything_is_written(written: Written, decoder: Path, tmp_path: Path) -> None:
    day = "2010-01-01"
    rows: Rows = [
        {"text": "good", "available_at": day},
        {"text": " ", "available_at": day},
        {"text": "no date", "available_at": None},
        {"text": "no such day", "available_at": "2010-02-30"},
        {"text": "half \ud800", "available_at": day},
        {"txt": "no text", "available_at": day},
    ]
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": decoder, "timezone": "UTC"}
    with pytest.raises(BadCorpus, match="5 faults") as raised:
        ahf.tokenize(recipe, tmp_path / "shards")
    message = str(raised.value)
    for sentence in (
        "rows.jsonl, line 2 text is blank",
        "line 3 has no available_at: undated text can't be cut at a date",
        "line 4 available_at: '2010-02-30' isn't a date",
        "line 5 text holds half of a surrogate pair",
        "line 6 has no column 'text'; it has txt, available_at; did you mean txt?",
    ):
        assert sentence in message
    with pytest.raises(NotFound, match="holds no token shards: write them with `ahf tokenize`"):
        ahf.TokenShards(tmp_path / "shards")
    usable = [row for row in rows[:3] if row]
    shards = ahf.tokenize({**recipe, "files": written(usable), "drop_missing": True}, tmp_path / "shards")
    assert len(shards) == 1 and shards.record["left_out"] == {"without a text or a date": 2}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"until": "2013-13-31"}, BadRecipe, "until: '2013-13-31' isn't on the calendar"),
        ({"until": "1999-12-31"}, BadCorpus, "none of 200 rows is left: 200 available after until"),
        ({"files": []}, BadRecipe, "give files, or a corpus: one of them"),
        ({"files": "none-*.jsonl"}, BadCorpus, "no file matches none-"),
        ({"tokenizer": "nowhere"}, BadRecipe, "nowhere has no tokenizer.json"),
        ({"end_token": "<none>"}, BadRecipe, "'<none>' is no token of"),
        ({"tokenizer_known": "2020-01-01"}, BadRecipe, "tokenizer_known and tokenizer_evidence go together"),
        ({"after": "2013-12-31"}, BadRecipe, "after 2013-12-31T23:59:59.999999Z leaves no row up to until"),
        ({"timezone": "Mars"}, BadRecipe, "'Mars' isn't a time zone"),
        ({"filter": {}}, BadRecipe, "there is no option 'filter'; did you mean filters"),
    ],
)
def test_what_can_t_be_tokenized_is_refused_in_a_sentence(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path, changed: Any, error: type[Exception], message: str
) -> None:
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": decoder, **changed}
    with pytest.raises(error) as raised:
        ahf.tokenize(recipe, tmp_path / "shards")
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_tokenizer_that_was_trained_on_later_text_is_refused(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": decoder, "tokenizer_evidence": "its card"}
    with pytest.raises(LookAhead, match="was trained on text up to 2014-01-01T23:59:59.999999Z, after until"):
        ahf.tokenize({**recipe, "tokenizer_known": "2014-01-01"}, tmp_path / "shards")
    shards = ahf.tokenize({**recipe, "tokenizer_known": "2013-12-31"}, tmp_path / "shards")
    assert shards.tokenizer_known is not None and shards.tokenizer_known.evidence == "its card"
    assert shards.tokenizer_known.at == shards.until


def test_a_folder_of_another_recipe_or_source_is_refused_and_restarted(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    recipe = {"files": written(rows), "until": UNTIL, "tokenizer": decoder}
    first = ahf.tokenize(recipe, tmp_path / "shards")
    assert ahf.tokenize(recipe, tmp_path / "shards").digest == first.digest
    with pytest.raises(Refused, match=r"was begun with another until: give another folder, or restart"):
        ahf.tokenize({**recipe, "until": "2012-12-31"}, tmp_path / "shards")
    written(rows[:100])
    with pytest.raises(Refused, match="was begun with other files or rows"):
        ahf.tokenize(recipe, tmp_path / "shards")
    with pytest.raises(BadCorpus, match="none of 100 rows is left"):  # which leaves nothing that a next recipe meets
        ahf.tokenize({**recipe, "until": "1999-12-31"}, tmp_path / "shards", restart=True)
    again = ahf.tokenize(recipe, tmp_path / "shards")
    assert again.digest != first.digest and again.record["rows"] == 100


def test_a_parquet_file_and_csv_files_give_the_same_shards(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    import pandas as pd

    table = pd.DataFrame(rows)
    table.to_parquet(tmp_path / "rows.parquet")
    table[:70].to_csv(tmp_path / "part-1.csv", index=False)
    table[70:].to_csv(tmp_path / "part-2.csv", index=False)
    recipe = {"until": UNTIL, "tokenizer": decoder, "shard_tokens": 2000}
    sources = [written(rows), tmp_path / "rows.parquet", tmp_path / "part-*.csv"]
    digests = {
        ahf.tokenize({**recipe, "files": source}, tmp_path / f"out-{number}").digest
        for number, source in enumerate(sources)
    }
    assert len(digests) == 1


def test_a_corpus_gives_the_shards_of_its_file(rows: Rows, written: Written, decoder: Path, tmp_path: Path) -> None:
    path = written(rows)
    recipe = {"until": UNTIL, "tokenizer": decoder}
    of_file = ahf.tokenize({**recipe, "files": path}, tmp_path / "file")
    corpus = {"name": "table", "path": str(path), "available_at": "available_at"}
    of_corpus = ahf.tokenize({**recipe, "corpus": corpus}, tmp_path / "corpus")
    assert [ids.tolist() for ids in of_corpus] == [ids.tolist() for ids in of_file]
    assert (of_corpus.available_at == of_file.available_at).all()
    assert str(path) not in json.dumps(of_corpus.record)
    undated = {"name": "table", "path": str(path)}
    with pytest.raises(BadCorpus, match="is undated, and a base knows until the date of its text"):
        ahf.tokenize({**recipe, "corpus": undated}, tmp_path / "undated")


@pytest.mark.parametrize("base", ["encoder", "decoder"])
def test_documents_begin_and_end_as_the_tokenizer_s_special_tokens_say(
    rows: Rows, written: Written, request: pytest.FixtureRequest, tmp_path: Path, base: str
) -> None:
    from transformers import AutoTokenizer

    folder = request.getfixturevalue(base)
    recipe = {"files": written(rows[:3]), "until": "2030-01-01", "tokenizer": folder}
    plain = ahf.tokenize({**recipe, "begin_token": "", "end_token": ""}, tmp_path / "plain")
    framed = ahf.tokenize(recipe, tmp_path / "framed")
    chosen = ahf.tokenize({**recipe, "begin_token": "", "end_token": "[SEP]"}, tmp_path / "chosen")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = tokenizer.mask_token is not None
    first = tokenizer.cls_token_id if encoder else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if encoder else tokenizer.eos_token_id
    before, after = ([token] if token is not None else [] for token in (first, last))
    assert [ids.tolist() for ids in framed] == [[*before, *ids.tolist(), *after] for ids in plain]
    end = tokenizer.get_vocab()["[SEP]"]
    assert [ids.tolist() for ids in chosen] == [[*ids.tolist(), end] for ids in plain]
    assert plain.digest != chosen.digest


def test_some_documents_are_a_sequence_of_the_same_kind(
    rows: Rows, written: Written, decoder: Path, tmp_path: Path
) -> None:
    recipe = {"files": written(rows), "until": "2030-01-01", "tokenizer": decoder, "shard_tokens": 2000}
    shards = ahf.tokenize(recipe, tmp_path / "shards")
    order = np.argsort(shards.available_at, kind="stable")
    train = shards.take(order[:-9])
    assert len(train) == len(shards) - 9 and (train.lengths == shards.lengths[order[:-9]]).all()
    assert all((train[number] == shards[int(order[number])]).all() for number in range(len(train)))
    assert (train.sizes == shards.sizes[order[:-9]]).all()
    assert [ids.tolist() for ids in train[-2:]] == [shards[int(number)].tolist() for number in order[-11:-9]]
    with pytest.raises(IndexError):
        train[len(train)]
