"""FiQA's task 1 as its files are: scores in strings, two firms in one sentence, a test part with answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing import CorpusContract
from adapterhub_fin_plugins.corpora.fiqa import Fiqa
from adapterhub_fin_plugins.corpora.options import FiqaOptions


def opinion(entity: str, score: Any) -> dict[str, Any]:
    return {"snippets": "['it's a trap']", "target": entity, "sentiment_score": score, "aspects": "['Stock']"}


def entry(sentence: str, *opinions: dict[str, Any]) -> dict[str, Any]:
    return {"sentence": sentence, "info": list(opinions)}


def write(folder: Path, **changed: Any) -> Path:
    """Four files of twelve sentences each, of one firm each but for those that are changed."""
    for kind in ("headline", "post"):
        for part in ("train", "test"):
            name = f"{kind}_{part}"
            entries = {str(i): entry(f"{name} {i} rose", opinion(f"F{i}", str(i / 20))) for i in range(12)}
            document = changed.get(name, entries)
            (folder / f"task1_{kind}_ABSA_{part}.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def load(folder: Path, **options: Any) -> Any:
    return Fiqa(FiqaOptions(path=folder, **options)).load()


class TestFiqa(CorpusContract):
    name = "fiqa"
    head = "wants-a-target"

    def options_for(self, folder: Path) -> dict[str, Any]:
        return {"path": str(write(folder))}


def test_a_sentence_about_two_firms_is_two_rows_of_one_group(tmp_path: Path) -> None:
    two = {"7": entry("Teva beats Shire ", opinion("Teva", "0.5"), opinion("Shire", "-0.25"))}
    table = load(write(tmp_path, headline_train=two), kind="headline").table
    rows = [row for row in table if row["split"] == "train"]
    assert rows == [
        {"text": "Teva: Teva beats Shire", "target": 0.5, "group": "Teva beats Shire", "split": "train",
         "origin": "task1_headline_ABSA_train.json:7"},
        {"text": "Shire: Teva beats Shire", "target": -0.25, "group": "Teva beats Shire", "split": "train",
         "origin": "task1_headline_ABSA_train.json:7"},
    ]  # fmt: skip
    assert len(table) == 14


def test_without_the_firm_such_a_sentence_contradicts_itself_and_is_dropped(tmp_path: Path) -> None:
    told = {
        "1": entry("Teva beats Shire", opinion("Teva", "0.5"), opinion("Shire", "-0.25")),
        "2": entry("Both rose", opinion("Teva", "0.5"), opinion("Shire", "0.5")),
        "3": entry("One fell", opinion("Teva", "-0.5")),
    }
    rows = load(write(tmp_path, headline_train=told), kind="headline", name_entity=False)
    assert [row["text"] for row in rows.table if row["split"] == "train"] == ["Both rose", "One fell"]
    assert dict(rows.notes) == {"repeated": 1, "conflicting": 2}


def test_headlines_and_posts_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path)
    assert [len(load(tmp_path, kind=kind).table) for kind in ("headline", "post", "both")] == [24, 24, 48]


def test_it_is_bounded_by_the_challenge_that_published_it(tmp_path: Path) -> None:
    known = load(write(tmp_path)).known
    assert (
        known.kind == "bounded" and known.at.isoformat() == "2018-05-01T12:00:00+00:00" and "WWW'18" in known.evidence
    )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"8": entry("Up", opinion("A", "high"))}, "entry 8: sentiment_score is 'high' and not a number from -1 to 1"),
        ({"8": entry("Up", opinion("A", "nan"))}, "entry 8: sentiment_score is 'nan'"),
        ({"8": entry("Up", opinion("A", "1.5"))}, "entry 8: sentiment_score is '1.5'"),
        ({"8": entry("Up", opinion("A", 0.5))}, "entry 8 has no text 'sentiment_score'"),
        ({"8": entry("Up", opinion(" ", "0.5"))}, "entry 8 has no text 'target'"),
        ({"8": entry("", opinion("A", "0.5"))}, "entry 8 has no text 'sentence'"),
        ({"8": entry("Up")}, "entry 8 has no list 'info'"),
        ({"8": "Up"}, "entry 8 has no text 'sentence'"),
        ([], "must map a number to a sentence"),
    ],
)
def test_a_fault_is_named_by_file_and_entry(tmp_path: Path, document: Any, said: str) -> None:
    with pytest.raises(ahf.BadCorpus) as caught:
        load(write(tmp_path, post_test=document))
    assert str(caught.value).startswith("corpus fiqa: task1_post_ABSA_test.json") and said in str(caught.value)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ahf.BadCorpus, match="task1_headline_ABSA_train.json can't be read"):
        load(tmp_path)
    (tmp_path / "task1_headline_ABSA_train.json").write_text("{", encoding="utf-8")
    with pytest.raises(ahf.BadCorpus, match="line 1 is not JSON"):
        load(tmp_path)
