"""What can't be trained on is refused with its place; what training saw is dated by what training saw."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import corpus_digest, read_corpus
from adapterhub_fin.plugin.interfaces import CorpusImplementation, KnownAt, Rows
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.splitter import Splitter

START = datetime(2020, 1, 1, tzinfo=UTC)
names: Iterator[int] = count()
tables: dict[str, Rows] = {}


class InMemory(CorpusImplementation):
    """Whatever a test put under the name it was registered with."""

    name = ""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        return tables[self.name]


def corpus(rows: Rows | list[dict[str, Any]]) -> str:
    name = f"in-memory-{next(names)}"
    tables[name] = rows if isinstance(rows, Rows) else Rows(Dataset.from_list(rows))
    globals()[f"Named{name.replace('-', '')}"] = type("Named", (InMemory,), {"name": name})
    ahf.register(
        ahf.Corpus(
            name=name, summary="A test's rows.", target=f"{__name__}:Named{name.replace('-', '')}", license="CC0-1.0"
        )
    )
    return name


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or __import__(__name__))


def rows(**changed: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": "ab"[i % 2], "origin": f"rows.csv:{i + 1}", **changed} for i in range(40)]


def read(name: str, **split: Any) -> Any:
    return read_corpus(CorpusChoice(name=name, splitter=Splitter(**split)), "classify")


@pytest.mark.parametrize("value", [None, "", float("nan"), float("inf")])
def test_a_row_without_an_answer_is_named_by_file_and_row(value: Any) -> None:
    table = Dataset.from_list(rows())
    labels: list[Any] = list(table["label"]) if not isinstance(value, float) else [0.0] * 40
    labels[7] = value
    with pytest.raises(ahf.BadCorpus, match=r"row 7 \(rows.csv:8\): label is"):
        read(corpus(Rows(table.remove_columns("label").add_column("label", labels))), by="random")


def test_a_missing_column_is_named_beside_those_there_are() -> None:
    with pytest.raises(ahf.BadCorpus, match="no column 'label', which the head needs; it has text, origin"):
        read(corpus([{"text": "a", "origin": "x"}] * 9), by="random")
    with pytest.raises(ahf.BadCorpus, match="no column 'text'"):
        read(corpus([{"label": "a"}] * 9), by="random")


def test_one_class_is_refused() -> None:
    with pytest.raises(ahf.BadCorpus, match="all 2[0-9] rows of the training part hold one label, 'only'"):
        read(corpus(rows(label="only")), by="random")


@pytest.mark.parametrize(
    ("tones", "said"),
    [
        (["up", "down"], "split by stratified leaves validation and test without rows"),
        (["up"] * 20, "all 14 rows of the training part hold one label, 'up'"),
        ([float("nan")] * 20, "line 2: .*tone"),
    ],
)
def test_the_file_is_named_whose_rows_do_not_do(tones: list[Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("text,tone\n" + "".join(f"Firm {i}.,{tone}\n" for i, tone in enumerate(tones)))
    options = {"text": "text", "label": "tone"} if isinstance(tones[0], str) else {"text": "text", "target": "tone"}
    choice = CorpusChoice.read({"name": "table", "path": str(path), "timezone": "UTC", **options})
    with pytest.raises(ahf.BadCorpus, match=f"{path.name}.*{said}"):
        read_corpus(choice, "regress" if "target" in options else "classify")


def test_the_digest_is_of_the_rows_and_not_of_where_they_came_from() -> None:
    one, other = Dataset.from_list(rows()), Dataset.from_list(rows(origin="elsewhere"))
    assert corpus_digest(one) == corpus_digest(other)
    assert corpus_digest(one) != corpus_digest(Dataset.from_list(rows(text="changed")))
    assert corpus_digest(one) != corpus_digest(one.select(range(39)))


def test_knowledge_is_of_what_training_and_validation_saw_and_not_of_the_test_part() -> None:
    dated = [
        {**row, "available_at": START + timedelta(days=i), "label_known_at": START + timedelta(days=i + 5)}
        for i, row in enumerate(rows())
    ]
    found = read(corpus(dated), by="time", validation=0.2, test=0.2)
    known = {name.partition(":")[0]: each for name, each in found.known.items()}
    last_seen = max(found.splits["validation"]["available_at"])
    assert known["corpus"].at == last_seen == START + timedelta(days=26), "test begins 32 days in, strictly later"
    assert known["labels"].at == last_seen + timedelta(days=5)
    assert known["labels"].kind == "observed"
    assert found.record["available"] == [START, START + timedelta(days=39)]


def test_labels_that_nobody_dates_are_bounded_by_now() -> None:
    before = datetime.now(UTC)
    dated = [{**row, "available_at": START + timedelta(days=i)} for i, row in enumerate(rows())]
    known = {name.partition(":")[0]: each for name, each in read(corpus(dated)).known.items()}
    assert known["labels"].kind == "bounded" and before <= known["labels"].at <= datetime.now(UTC)
    assert known["corpus"].kind == "observed"


def test_a_corpus_that_states_its_bound_is_taken_at_its_word() -> None:
    stated = KnownAt(START, "asserted", "its paper")
    found = read(corpus(Rows(Dataset.from_list(rows()), known=stated)))
    assert set(found.known.values()) == {stated}


def test_labels_are_dated_by_their_own_column_whatever_dates_the_rows() -> None:
    stated = KnownAt(START, "asserted", "its paper")
    later = [{**row, "label_known_at": START + timedelta(days=400 + i)} for i, row in enumerate(rows())]
    known = {
        name.partition(":")[0]: each
        for name, each in read(corpus(Rows(Dataset.from_list(later), known=stated))).known.items()
    }
    assert known["corpus"] == stated and known["labels"].at > START + timedelta(days=430)


@pytest.mark.parametrize("value", [None, "2020-01-01"])
def test_a_date_that_is_no_instant_is_named_by_row(value: Any) -> None:
    days: list[Any] = [START + timedelta(days=i) for i in range(40)]
    days = [value if i == 3 else (day if value is None else str(day)) for i, day in enumerate(days)]
    with pytest.raises(ahf.BadCorpus, match=r"row [03] \(rows.csv:[14]\): available_at is"):
        read(corpus(Rows(Dataset.from_list(rows()).add_column("available_at", days))))


def test_phrasebank_names_file_and_line(tmp_path: Any) -> None:
    def load(data: bytes) -> Any:
        (tmp_path / "Sentences_50Agree.txt").write_bytes(data)
        choice = CorpusChoice.model_validate(
            {"name": "phrasebank", "path": str(tmp_path), "splitter": {"by": "random"}}
        )
        return read_corpus(choice, "classify")

    lines = b"".join(b"Sentence %d rose .@%s\n" % (i, [b"positive", b"negative"][i % 2]) for i in range(40))
    for bad, said in (
        (b"no label here\n", "line 41 is not"),
        (b"Wrong .@glad\n", "line 41 is not"),
        (b"\x81\x8d broken .@neutral\n", "line 41 is neither UTF-8 nor latin-1"),
    ):
        with pytest.raises(ahf.BadCorpus, match=said) as caught:
            load(lines + bad)
        assert "Sentences_50Agree.txt" in str(caught.value)
    found = load(lines + "Señor rose .@positive\n".encode("latin-1") + "Año fell .@negative\n".encode())
    texts = [text for part in found.splits.values() for text in part["text"]]
    assert "Señor rose ." in texts and "Año fell ." in texts
    twice = load(lines + b"Sentence 0 rose .@positive\nSentence 1 rose .@positive\n")
    assert dict(twice.notes) == {"repeated": 1, "conflicting": 2}
    assert sum(len(part) for part in twice.splits.values()) == 39
    with pytest.raises(ahf.BadCorpus, match="can't be read"):
        read_corpus(CorpusChoice.model_validate({"name": "phrasebank", "path": str(tmp_path / "no")}), "classify")
