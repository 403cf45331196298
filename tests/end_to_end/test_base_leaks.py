"""Leaks that are planted in a base's manifest or text: each is refused or seen, but for dates that are false."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import corpus_digest, read_texts
from adapterhub_fin.engine.importing.store_base import store_base
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_registry import Manifest, Version
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.trust.keys import new_key

UNTIL = datetime(2014, 1, 1, tzinfo=UTC)
LATER = UNTIL + timedelta(days=40)
Ahf = Callable[..., tuple[int, str, str]]
Text = tuple[datetime, str]


def speeches() -> list[Text]:
    """A speech every tenth day, some of them after the cut."""
    first = UNTIL - timedelta(days=205)
    return [
        (first + timedelta(days=10 * row), f"Speech {row}: growth was {row / 10:.1f} percent.") for row in range(30)
    ]


def written(path: Path, texts: list[Text]) -> CorpusChoice:
    lines = [json.dumps({"text": text, "at": at.isoformat()}) for at, text in texts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CorpusChoice.read({"name": "table", "path": str(path), "available_at": "at"})


def stored_base(choice: CorpusChoice, encoder: Path, until: datetime = UNTIL, **changes: Any) -> Version:
    """Store a base of the rows up to a day, with the record that training on them leaves."""
    table = read_texts(choice).table
    rows = [row for row, at in enumerate(table["available_at"]) if at < until]
    seen = table.select(rows)
    available = [min(seen["available_at"]), max(seen["available_at"])]
    record = {"name": choice.name, "digest": corpus_digest(seen), "available": available}
    fields: dict[str, Any] = {
        "registry": ahf.Registry(),
        "method": {"name": "pretraining", "options": {}},
        "knowledge": {f"corpus:{choice.name}": KnownAt(available[1], "observed", "available_at")},
        "corpus": {**record, "rows": {"train": len(rows) - 2, "validation": 2}},
        "recipe": {"name": "acme/fin", "corpus": choice.model_dump(mode="json")},
    }
    return store_base(encoder, name="acme/fin", **{**fields, **changes})


def rewritten(version: Version, change: Callable[[dict[str, Any]], object]) -> Manifest:
    """Rewrite a stored manifest in place, in canonical form, as somebody with access to the disk could."""
    path = version.folder / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.chmod(0o600)
    path.write_bytes(canonical(document))
    return Manifest.parse(path.read_bytes())


def earlier(document: dict[str, Any]) -> None:
    """Let a manifest say that the base knows less."""
    document["knowledge"]["end"] = document["knowledge"]["inputs"][0]["at"] = "2012-12-31T00:00:00Z"


def of_another_digest(document: dict[str, Any]) -> None:
    document["corpus"]["digest"] = f"sha256:{'0' * 64}"


@pytest.fixture
def choice(tmp_path: Path) -> CorpusChoice:
    return written(tmp_path / "speeches.jsonl", speeches())


def train_on(base: str) -> Version:
    return ahf.train(
        name="acme/tone",
        base=base,
        method={"name": "lora", "rank": 2},
        corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        training={"max_steps": 1, "batch_size": 8, "max_length": 32},
    ).version


def test_an_edited_manifest_fails_its_digest(choice: CorpusChoice, encoder: Path, run_ahf: Ahf) -> None:
    base = stored_base(choice, encoder)
    train_on("acme/fin@1")
    path = base.folder / "manifest.json"
    untouched = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(untouched.replace(b'"2013-', b'"2012-', 1) + b" ")
    code, out, _ = run_ahf("verify", "acme/fin@1")
    assert code == 1 and "canonical form" in out
    with pytest.raises(ahf.Corrupted, match="canonical form"):
        train_on("acme/fin@1")
    path.write_bytes(untouched)
    assert rewritten(base, earlier).digest != base.digest
    with pytest.raises(ahf.NotFound, match=base.digest):
        ahf.Registry().resolve(f"acme/fin@{base.digest}")
    with pytest.raises(ahf.BaseNotFound, match=f"the base acme/fin, {base.digest}, and no registry here holds it"):
        ahf.load("acme/tone@1")


def test_a_rewritten_manifest_fails_its_signature(
    choice: CorpusChoice, encoder: Path, run_ahf: Ahf, tmp_path: Path
) -> None:
    base = stored_base(choice, encoder)
    key, public = tmp_path / "desk.key", tmp_path / "desk.pub"
    for path, pem in zip((key, public), new_key(), strict=True):
        path.write_bytes(pem)
        path.chmod(0o600)
    ahf.Registry().sign(base, key)
    code, out, _ = run_ahf("verify", "acme/fin@1", "--key", str(public))
    assert code == 0 and "intact" in out
    rewritten(base, earlier)
    code, out, _ = run_ahf("verify", "acme/fin@1", "--key", str(public))
    assert code == 1 and "signature" in out


@pytest.mark.parametrize("change", [of_another_digest, earlier])
def test_a_rewritten_manifest_does_not_stand_against_its_corpus(
    choice: CorpusChoice, encoder: Path, run_ahf: Ahf, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    base = stored_base(choice, encoder)
    path = str(tmp_path / "speeches.jsonl")
    code, out, err = run_ahf("verify", "acme/fin@1", "--against", path)
    assert code == 0, out + err
    assert "records the 21 rows that are there" in out and "dated falsely is beyond detection" in out
    rewritten(base, change)
    code, out, _ = run_ahf("verify", "acme/fin@1")
    assert code == 0, "nothing in the registry alone tells it from a base that was always so"
    code, out, _ = run_ahf("verify", "acme/fin@1", "--against", path, "--json")
    [row] = json.loads(out)
    assert code == 1 and len(row["against"]["problems"]) == 1
    with pytest.raises(ahf.Unsupported, match="is an adapter"):
        ahf.verify_against(train_on("acme/fin@1"), path)


def test_a_later_document_is_seen(choice: CorpusChoice, encoder: Path, tmp_path: Path) -> None:
    """Of a base that saw one later document under an earlier end, the digest is not that of the rows until its end."""
    table = read_texts(choice).table
    late = corpus_digest(table.select([row for row, at in enumerate(table["available_at"]) if at < UNTIL] + [29]))
    honest = stored_base(choice, encoder)
    record = honest.manifest.corpus
    assert record is not None and ahf.verify_against(honest, tmp_path / "speeches.jsonl").agrees
    rows = {"train": record.rows["train"] + 1, "validation": 2}
    leaky = stored_base(choice, encoder, corpus={**record.model_dump(), "digest": late, "rows": rows})
    seen = ahf.verify_against(leaky, tmp_path / "speeches.jsonl")
    assert not seen.agrees and "trained on other text" in str(seen) and seen.digest == record.digest


def test_text_that_comes_later_changes_nothing_and_a_false_date_is_beyond_detection(
    choice: CorpusChoice, encoder: Path, tmp_path: Path
) -> None:
    stored_base(choice, encoder)
    path = tmp_path / "speeches.jsonl"
    written(path, [*speeches(), (LATER + timedelta(days=300), "Speech 30: later.")])
    assert ahf.verify_against("acme/fin@1", path).agrees
    backdated = [*speeches(), (UNTIL - timedelta(days=13), "In 2016 the vote was lost.")]
    stored_base(written(path, backdated), encoder)
    assert ahf.verify_against("acme/fin@2", path).agrees, "rows don't tell that a date is false"
    assert not ahf.verify_against("acme/fin@1", path).agrees
    weights = ahf.Registry().resolve("acme/fin@2").files / "model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ahf.Corrupted, match="model.safetensors"):
        ahf.verify_against("acme/fin@2", path)


def test_other_corpora_are_refused(choice: CorpusChoice, encoder: Path, tmp_path: Path) -> None:
    stored_base(choice, encoder, recipe={"corpus": {"name": "headlines"}})
    with pytest.raises(ahf.BadRecipe, match="trained on the corpus headlines, and nowhere is neither that nor a path"):
        ahf.verify_against("acme/fin@1", "nowhere")
    with pytest.raises(ahf.BadRecipe, match="trained on 1 corpora, and 2 are given"):
        ahf.verify_against("acme/fin@1", "a", "b")
    stored_base(choice, encoder, corpus=None)
    with pytest.raises(ahf.Unsupported, match="records no rows of its text"):
        ahf.verify_against("acme/fin@2", tmp_path / "speeches.jsonl")


def test_a_pretrained_base_and_its_vintage_stand_against_their_text(tmp_path: Path) -> None:
    texts = [
        (UNTIL + timedelta(days=day), f"Speech {day}: growth was {day % 7} percent, said member {day % 5}.")
        for day in range(400)
    ]
    path = tmp_path / "speeches.jsonl"
    written(path, texts[:200])
    recipe: dict[str, Any] = {
        "name": "acme/fin",
        "base": {"new": "llama", "layers": 1, "width": 16, "heads": 2, "tokenizer": {"train": 300}},
        "corpus": {"name": "table", "path": str(path), "available_at": "at"},
        "until": "2014-05-31",
        "training": {"max_steps": 2, "block": 32, "batch_size": 4},
    }
    first = ahf.pretrain(recipe).version
    written(path, texts)
    second = ahf.pretrain({**recipe, "base": "acme/fin@1", "until": "2014-12-31"}).version
    for version in (first, second):
        assert ahf.verify_against(version, path).agrees
    written(path, [*texts[:100], (texts[99][0], "The vote of 2016 was lost."), *texts[100:]])
    assert not ahf.verify_against(first, path).agrees
    assert ahf.verify_against(second, path).agrees, "it went on from the first, and saw none of the rows before"
    tone = train_on("acme/fin@2").manifest
    assert tone.base.version is not None and tone.base.version.digest == second.digest
    [base] = ahf.Registry().lineage("acme/tone@1").ancestors
    assert [each.references for each in base.relatives] == [("acme/fin@1",)]
