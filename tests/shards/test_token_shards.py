"""A changed byte, a missing shard and a shard of another run are named, wherever they are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.shards.index_file import index_contents
from adapterhub_fin.errors import AdapterHubError, Corrupted, NotFound
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of

CASES = int(os.environ.get("AHF_CASES", "60"))
TEXTS = ["Margins rose.", "Rates fell.", "Loans grew by 12.5%.", "Zürich: steady.", "The euro fell.", "Net loss."]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, decoder: Path) -> Path:
    """Three shards of six documents, in a folder that must not be changed."""
    return tokenized(tmp_path_factory.mktemp("pristine"), decoder, TEXTS)


def tokenized(folder: Path, tokenizer: Path, texts: list[str]) -> Path:
    rows = [{"text": text, "available_at": f"201{number}-06-30T12:00:00Z"} for number, text in enumerate(texts)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {"files": folder / "rows.jsonl", "until": "2018-12-31", "tokenizer": tokenizer, "shard_tokens": 25}
    shards = ahf.tokenize(recipe, folder / "shards")
    assert len(shards.record["shards"]) == 3
    return folder / "shards"


@pytest.fixture
def copy(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "copy"))


def redigested(folder: Path, changed: dict[str, Any]) -> None:
    """Change an index and write the digests that the changed one has."""
    index = {**json.loads((folder / "index.json").read_text()), **changed}
    index["digest"] = digest_of(canonical(index_contents(index)))
    index["index_digest"] = digest_of(canonical({key: index[key] for key in index if key != "index_digest"}))
    (folder / "index.json").write_text(json.dumps(index))


def test_what_is_untouched_is_verified(copy: Path) -> None:
    ahf.TokenShards(copy).verify()


@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_found_wherever_it_is(pristine: Path, tmp_path: Path, data: st.DataObject) -> None:
    names = sorted(
        str(path.relative_to(pristine)) for path in pristine.rglob("*.*") if path.suffix in (".bin", ".json")
    )
    name = data.draw(st.sampled_from([name for name in names if name != "index.json"]))
    content = bytearray((pristine / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    folder = tmp_path / "flipped"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    (folder / name).write_bytes(content)
    with pytest.raises(Corrupted):
        ahf.TokenShards(folder).verify()


@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_value_of_the_index_is_found(pristine: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    index = json.loads((folder / "index.json").read_text())
    here: Any = index
    while isinstance(here, dict | list) and here:
        keys = sorted(here) if isinstance(here, dict) else range(len(here))
        parent, key = here, data.draw(st.sampled_from(list(keys)))
        here = here[key]
    values = st.one_of(st.integers(-3, 10**6), st.text(max_size=4), st.none(), st.just({}))
    parent[key] = data.draw(values.filter(lambda value: value != here))
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(AdapterHubError):
        ahf.TokenShards(folder).verify()


@pytest.mark.parametrize("name", ["shard-00001.bin", "shard-00002.json", "tokenizer/tokenizer.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(Corrupted, match=name):
        ahf.TokenShards(copy).verify()


def test_a_shard_of_another_run_is_named(copy: Path, decoder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tokenized(tmp_path / "other", decoder, [text[::-1] for text in TEXTS])
    for ending in ("bin", "json"):
        shutil.copyfile(other / f"shard-00001.{ending}", copy / f"shard-00001.{ending}")
    with pytest.raises(Corrupted, match="shard-00001.json is not what the index says"):
        ahf.TokenShards(copy).verify()


def test_a_shard_of_another_cut_is_named_without_reading_ids(copy: Path, pristine: Path, tmp_path: Path) -> None:
    recipe = {"files": pristine.parent / "rows.jsonl", "until": "2017-12-31", "shard_tokens": 25}
    ahf.tokenize({**recipe, "tokenizer": pristine / "tokenizer"}, tmp_path / "other")
    shutil.copyfile(tmp_path / "other" / "shard-00000.json", copy / "shard-00000.json")
    with pytest.raises(Corrupted, match="shard-00000.json is the record of another run's shard"):
        ahf.TokenShards(copy)


def test_shards_in_another_order_are_found(copy: Path) -> None:
    first, second = copy / "shard-00000.bin", copy / "shard-00001.bin"
    data = first.read_bytes(), second.read_bytes()
    second.write_bytes(data[0]), first.write_bytes(data[1])
    with pytest.raises(Corrupted, match=r"shard-0000[01].bin"):
        ahf.TokenShards(copy).verify()


def test_an_index_with_an_earlier_end_is_found_though_it_is_digested_again(copy: Path) -> None:
    assert ahf.TokenShards(copy).knowledge_end.year == 2015
    redigested(copy, {"knowledge_end": "2012-06-30T12:00:00Z"})
    with pytest.raises(Corrupted, match="index.json contradicts its shards"):
        ahf.TokenShards(copy).verify()


def test_an_index_without_its_last_shard_is_found_though_it_is_digested_again(copy: Path) -> None:
    index = json.loads((copy / "index.json").read_text())
    redigested(copy, {"shards": index["shards"][:-1]})
    with pytest.raises(Corrupted, match="index.json contradicts its shards"):
        ahf.TokenShards(copy).verify()


def test_an_unfinished_folder_is_not_read(copy: Path, tmp_path: Path) -> None:
    (copy / "index.json").unlink()
    with pytest.raises(NotFound, match="its `ahf tokenize` has not finished: run it again"):
        ahf.TokenShards(copy)
    with pytest.raises(NotFound, match="write them with `ahf tokenize`"):
        ahf.TokenShards(tmp_path)
