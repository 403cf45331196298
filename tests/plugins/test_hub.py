"""Data sets of the Hub, from a folder and from the cache: no test here needs a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

import adapterhub_fin as ahf
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.testing import CorpusContract
from adapterhub_fin_plugins.corpora.hub import Hub
from adapterhub_fin_plugins.corpora.options import HubOptions

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and no Hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub-cache"


def rows(number: int, **extra: Any) -> Dataset:
    features = Features({"sentence": Value("string"), "tone": ClassLabel(names=["bad", "good"]), "at": Value("string")})
    return Dataset.from_list(
        [
            {"sentence": f"Firm {i} rose.", "tone": i % 2, "at": f"2020-01-{i % 28 + 1:02}", **extra}
            for i in range(number)
        ],
        features=features,
    )


def copy_in(folder: Path, train: int = 40, test: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows(train).to_parquet(folder / "train.parquet")
    rows(test).to_parquet(folder / "test.parquet")
    return folder


def load(**options: Any) -> Any:
    return Hub(HubOptions(text="sentence", **options)).load()


class TestHub(CorpusContract):
    name = "hub"

    def options_for(self, folder: Path) -> dict[str, Any]:
        options = {"id": "acme/news", "path": str(copy_in(folder / "copy")), "splits": ["train", "test"]}
        return {**options, "text": "sentence", "label": "tone", "available_at": "at", "timezone": "UTC"}


def test_class_numbers_become_names_and_splits_parts(tmp_path: Path) -> None:
    table = load(path=copy_in(tmp_path / "copy"), label="tone", splits=["test", "train"]).table
    assert list(table["label"][:2]) == ["bad", "good"]
    assert list(table["split"]) == ["test"] * 12 + ["train"] * 40
    assert table["origin"][0] == f"{tmp_path / 'copy'}:test:1"
    assert "split" not in load(path=copy_in(tmp_path / "copy")).table.column_names


@pytest.mark.parametrize("streaming", [False, True])
def test_the_first_rows_of_each_split_are_taken(tmp_path: Path, streaming: bool) -> None:
    options = {"path": copy_in(tmp_path / "copy"), "splits": ["train", "test"], "streaming": streaming}
    table = load(rows=15, **options, label="tone").table
    assert list(table["split"]) == ["train"] * 15 + ["test"] * 12
    assert list(table["text"][:2]) == ["Firm 0 rose.", "Firm 1 rose."] and table["label"][1] == "good"


def test_a_label_that_is_held_back_is_refused(tmp_path: Path) -> None:
    rows(3, tone=-1).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ahf.BadCorpus, match="train, row 1: tone is missing"):
        load(path=tmp_path, label="tone")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ["validation"]}, "validation"),
        ({"splits": ["validation"], "streaming": True, "rows": 5}, "validation"),
        ({"config": "other"}, "other"),
        ({"label": "mood"}, "train, row 1 has no column 'mood'; it has sentence, tone, at"),
    ],
)
def test_what_the_copy_does_not_hold_is_named(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ahf.BadCorpus) as caught:
        load(path=copy_in(tmp_path / "copy"), **options)
    assert str(caught.value).startswith(f"corpus hub: {tmp_path}") and said in str(caught.value)


def test_a_folder_that_is_not_there_or_holds_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ahf.BadCorpus, match="none isn't a folder: download the data set"):
        load(path=tmp_path / "none")
    (tmp_path / "notes.xyz").write_text("nothing", encoding="utf-8")
    with pytest.raises(ahf.BadCorpus, match="can't be read .*check id, config, revision and splits"):
        load(path=tmp_path)


def test_without_the_hub_it_says_how_to_go_on() -> None:
    with pytest.raises(ahf.BadCorpus, match="acme/news can't be reached .*hf download --repo-type dataset"):
        load(id="acme/news")


def test_a_folder_that_happens_to_have_the_name_is_not_read_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_in(tmp_path / "acme" / "news")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ahf.BadCorpus, match="acme/news is also a folder here.*give it as path"):
        load(id="acme/news")


def cached(cache: Path, folder: Path) -> None:
    """Lay the rows of a folder where `datasets` keeps what it once downloaded from acme/news at COMMIT."""
    builder = datasets.load_dataset_builder(str(folder))
    builder.download_and_prepare()
    kept = cache / "acme___news" / "default" / "0.0.0" / COMMIT
    shutil.copytree(builder.cache_dir, kept)
    for file in kept.glob("*.arrow"):
        file.rename(kept / file.name.replace(builder.dataset_name, "news"))


def test_the_commit_is_told_and_dates_what_carries_no_date(tmp_path: Path, offline_cache: Path) -> None:
    cached(offline_cache, copy_in(tmp_path / "copy"))
    found = load(id="acme/news", label="tone")
    assert len(found.table) == 40 and found.table["origin"][0] == f"acme/news@{COMMIT[:12]}:train:1"
    assert found.known.kind == "bounded" and f"acme/news at commit {COMMIT}" in found.known.evidence
    assert len(load(id="acme/news", revision=COMMIT).table) == 40


def test_a_cached_commit_is_never_taken_for_another(tmp_path: Path, offline_cache: Path) -> None:
    cached(offline_cache, copy_in(tmp_path / "copy"))
    with pytest.raises(ahf.BadCorpus, match=f"revision v2 of acme/news is not available offline.*commit {COMMIT}"):
        load(id="acme/news", revision="v2")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give an id, a path, or both"),
        ({"id": "/data/news"}, "id"),
        ({"id": "a/b/c"}, "id"),
        ({"id": "acme/news", "streaming": True}, "streaming needs rows"),
        ({"path": "copy", "revision": "v2"}, "revision v2 is for the Hub"),
        ({"id": "acme/news", "splits": ["train", "test"], "split": "p"}, "both say where a row belongs"),
        ({"id": "acme/news", "splits": []}, "splits"),
        ({"id": "acme/news", "rows": 0}, "rows"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ahf.BadRecipe) as caught:
        extensions().options(Corpus, "hub", options)
    assert said in str(caught.value)
