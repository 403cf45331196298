"""Bases that are versions: stored, named in recipes, and found again by digest by what was trained on them."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.stored_base import known_of_version
from adapterhub_fin.engine.importing.store_base import store_base
from adapterhub_fin.errors import BaseNotFound, NotFound, Refused, Unsupported, WrongTensors
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.model_parts import backbone
from adapterhub_fin.testing import tiny_corpus, tiny_encoder
from adapterhub_fin_registry import Version
from adapterhub_fin_registry.model.knowledge import as_of_instant
from adapterhub_fin_registry.model.manifest import Knowledge

END = datetime(2013, 12, 31, 23, 59, tzinfo=UTC)
Store = Callable[..., Version]
Ahf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stored(home: Path, encoder: Path) -> Store:
    """Store the tiny encoder as a base, in the test's registry unless another is given."""

    def store(name: str = "acme/fin", folder: Path = encoder, end: datetime = END, **more: Any) -> Version:
        fields: dict[str, Any] = {
            "registry": ahf.Registry(home),
            "method": {"name": "pretraining", "options": {"layers": 1}},
            "knowledge": {"corpus:speeches": KnownAt(end, "observed", "available_at of its rows")},
            "corpus": {"name": "speeches", "rows": {"train": 800}},
        }
        return store_base(folder, name=name, **{**fields, **more})

    return store


def train_on(base: Any, name: str = "acme/tone", **keys: Any) -> Version:
    recipe: dict[str, Any] = {
        "name": name,
        "base": base,
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        "training": {"max_steps": 2, "batch_size": 8, "max_length": 32},
    }
    return ahf.train(**{**recipe, **keys}).version


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_an_adapter_finds_its_base_by_digest_in_a_clean_process(stored: Store) -> None:
    base = stored()
    assert base.manifest.kind == "base" and base.manifest.base.fingerprint == "verified"
    version = train_on("acme/fin@1")
    manifest = version.manifest
    assert manifest.base.version is not None
    assert (manifest.base.version.digest, manifest.base.version.name) == (base.digest, "acme/fin")
    assert manifest.base.structure_digest == base.manifest.base.structure_digest
    assert manifest.recipe is not None and manifest.recipe["base"] == {"version": "acme/fin@1"}
    known = {entry.input: entry for entry in manifest.knowledge.inputs}
    assert known["base"].at == "2013-12-31T23:59:00Z" and known["base"].kind == "observed"
    assert base.digest in known["base"].evidence
    answered = in_a_process('import adapterhub_fin as ahf; print(ahf.load("acme/tone@1").predict(["Up"])[0].label)')
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip() in ("negative", "neutral", "positive")


def test_the_name_of_a_base_is_no_matter(stored: Store, tmp_path: Path) -> None:
    stored()
    version = train_on("acme/fin@1")
    elsewhere = ahf.Registry(tmp_path / "elsewhere")
    for name, one in (("acme/tone", version), ("desk/renamed", ahf.Registry().resolve("acme/fin@1"))):
        elsewhere.add(one.files, one.manifest, name=name)
    assert ahf.load("acme/tone@1", registry=elsewhere).predict(["Up"])
    odd = version.manifest.base.version
    assert odd is not None
    renamed = version.manifest.base.model_copy(update={"version": odd.model_copy(update={"name": "../../No name"})})
    elsewhere.add(version.files, version.manifest.model_copy(update={"base": renamed}), name="acme/odd")
    assert ahf.load("acme/odd@1", registry=elsewhere).predict(["Up"])
    elsewhere.delete("desk/renamed@1", allow_orphans=True)
    ahf.Registry().delete("acme/fin@1", allow_orphans=True)
    with pytest.raises(BaseNotFound, match="desk/renamed@1 here was deleted"):
        ahf.load("acme/odd@1", registry=elsewhere, download=True)  # no repository of a Hub has such a name


def test_a_load_says_which_base_is_missing(stored: Store, tmp_path: Path) -> None:
    first = stored()
    other = stored(name="acme/other", folder=tiny_encoder(tmp_path / "other", seed=1))
    train_on("acme/fin@1")
    train_on("acme/other@1", "acme/second")
    ahf.Registry().delete("acme/fin@1", allow_orphans=True)
    with pytest.raises(BaseNotFound, match=f"the base acme/fin, {first.digest}, and acme/fin@1 here was deleted"):
        ahf.load("acme/tone@1")
    assert ahf.load("acme/second@1").predict(["Up"])  # the base of the other is still there
    shutil.rmtree(other.folder)
    with pytest.raises(BaseNotFound, match=f"{other.digest}, and no registry here holds it: pull it"):
        ahf.load("acme/second@1")


def test_the_command_deletes_a_base_of_adapters_on_request_alone(stored: Store, run_ahf: Ahf) -> None:
    stored()
    train_on("acme/fin@1")
    code, _, err = run_ahf("rm", "acme/fin@1")
    assert code == 1 and err.count("\n") == 1 and "acme/fin@1 is the base of acme/tone@1, and no other version" in err
    assert ahf.load("acme/tone@1").predict(["Up"])
    code, out, _ = run_ahf("rm", "acme/fin@1", "--allow-orphans", "--reason", "its license ended")
    assert code == 0 and "acme/fin@1 is deleted" in out


def test_a_base_is_no_adapter_and_an_adapter_no_base(stored: Store) -> None:
    stored()
    train_on("acme/fin@1")
    with pytest.raises(Unsupported, match="acme/fin@1 is a base and no adapter: `ahf path acme/fin@1`"):
        ahf.load("acme/fin@1")
    with pytest.raises(Unsupported, match="acme/tone@1 is an adapter and no base"):
        train_on("acme/tone@1", "acme/third")
    with pytest.raises(NotFound, match="acme/fin"):
        train_on("acme/fin@9", "acme/third")
    with pytest.raises(BaseNotFound, match="a stored base has that name: write acme/fin@1, or {version: acme/fin} for"):
        ahf.pool("acme/fin")
    for name in ("acme/tone", "acme/nowhere", "nowhere", "Org/Model"):  # an adapter's name, and names of none
        with pytest.raises(BaseNotFound, match=f"base '{name}' is not on this machine: name its folder"):
            ahf.pool(name)


def test_a_changed_base_is_refused(stored: Store) -> None:
    base = stored()
    train_on("acme/fin@1")
    weights = base.files / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    for use in (lambda: train_on("acme/fin@1", "acme/third"), lambda: ahf.load("acme/tone@1")):
        with pytest.raises(ahf.Corrupted, match="model.safetensors"):
            use()


def test_only_a_whole_model_is_a_base(stored: Store, encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(encoder, tmp_path / "folder")
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(tensors) if "attention" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(WrongTensors, match=f"lacks the weights of {lost}"):
        stored(folder=folder)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["OwnModel"]}))
    with pytest.raises(Refused, match="OwnModel architecture"):
        stored(folder=folder)
    (folder / "config.json").write_text(json.dumps(config))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(BaseNotFound, match="holds no tokenizer"):
        stored(folder=folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(Refused, match="holds an adapter"):
        stored(folder=folder)
    assert ahf.Registry().names() == []


def test_a_lineage_goes_through_the_base_both_ways(stored: Store) -> None:
    first = stored()
    parent = {"digest": first.digest, "name": first.name, "role": "continued"}
    later = datetime(2014, 12, 31, 23, 59, tzinfo=UTC)
    second = stored(end=later, parents=[parent])
    train_on("acme/fin@2")
    registry = ahf.Registry()
    (base,) = registry.lineage("acme/tone@1").ancestors
    assert (base.role, base.references, base.digest) == ("base", ("acme/fin@2",), second.digest)
    assert [(each.role, each.references) for each in base.relatives] == [("continued", ("acme/fin@1",))]
    (continued,) = registry.lineage("acme/fin@1").descendants
    assert [(each.role, each.references) for each in continued.relatives] == [("base", ("acme/tone@1",))]


def test_a_base_from_elsewhere_is_imported_with_its_date(encoder: Path, tmp_path: Path, run_ahf: Ahf) -> None:
    folder = shutil.copytree(encoder, tmp_path / "theirs")
    for name in ("README.md", "training_args.bin", "consolidated.safetensors"):
        shutil.copy(folder / "model.safetensors", folder / name)
    dated = ("--knowledge-end", "2013-12-31", "--evidence", "its model card")
    code, out, err = run_ahf("import", str(folder), "--as", "acme/fin", "--base-id", "acme/tiny", *dated, "--json")
    assert code == 0, err
    printed = json.loads(out)
    assert printed["reference"] == "acme/fin@1"
    assert printed["dropped"] == ["README.md", "consolidated.safetensors", "training_args.bin"]
    version = ahf.Registry().verify("acme/fin@1")
    manifest = version.manifest
    assert (manifest.kind, manifest.method.name, manifest.base.repository) == ("base", "given", "acme/tiny")
    [known] = manifest.knowledge.inputs
    assert (known.input, known.kind, known.evidence) == ("corpus:unknown", "asserted", "its model card")
    assert manifest.knowledge.end == "2014-01-01T11:59:59.999999Z"  # the end of that day in the westernmost zone
    adapter = train_on("acme/fin@1").manifest
    assert {entry.input: entry.kind for entry in adapter.knowledge.inputs}["base"] == "asserted"
    code, _, err = run_ahf("import", str(folder), "--as", "acme/fin", "--labels", "down,up")
    assert code == 2 and "--labels is for an adapter" in err


def test_a_base_without_a_date_is_bounded_by_now(encoder: Path, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    added = ahf.add_base(encoder, "acme/fin", description="theirs", tags=["tiny"])
    [known] = added.version.manifest.knowledge.inputs
    assert known.kind == "bounded" and before <= added.version.knowledge_end
    assert added.version.manifest.tags == ("tiny",) and not added.dropped
    vintage = {"repository": "manelalab/chrono-bert-v1-20131231"}
    for stated, end in (({}, "2014-01-01"), ({"knowledge_end": "2010-12-31", "evidence": "the paper"}, "2011-01-01")):
        known_version = ahf.add_base(encoder, "acme/chrono", **vintage, **stated).version
        assert known_version.manifest.knowledge.end == f"{end}T11:59:59.999999Z"  # what is stated, else the plugin's
    with pytest.raises(ahf.BadRecipe, match="go together"):
        ahf.add_base(encoder, "acme/fin", knowledge_end="2013-12-31")
    with pytest.raises(ahf.NotAnAdapter, match="take it in as a base"):
        ahf.import_folder(encoder, "acme/fin")
    own_code = shutil.copytree(encoder, tmp_path / "own")
    config = json.loads((own_code / "config.json").read_text())
    (own_code / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(Refused, match="brings Python code of its own"):
        ahf.add_base(own_code, "acme/fin")
    (own_code / "config.json").write_text(json.dumps(config))
    (own_code / "model.safetensors").rename(own_code / "pytorch_model.bin")
    with pytest.raises(Refused, match="a pickle"):
        ahf.add_base(own_code, "acme/fin")


VINTAGES = (2019, 2020, 2021)


@pytest.fixture
def vintages(stored: Store, tmp_path: Path) -> list[Version]:
    """Bases acme/fin@1 to @3, each until the end of March of its year, and of other weights."""
    return [
        stored(
            folder=tiny_encoder(tmp_path / str(year), seed=number),
            end=datetime(year, 3, 31, 23, 59, 59, tzinfo=UTC),
            corpus={"name": f"speeches-{year}"},
        )
        for number, year in enumerate(VINTAGES)
    ]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A row every third day of 2020 and the first quarter of 2021, known at once."""
    lines = ["text,tone,at"]
    for row in range(150):
        at = datetime(2020, 1, 1, 15, tzinfo=UTC) + timedelta(days=3 * row)
        text = f"Firm {row % 7}: profit {('rose', 'fell')[row % 2]} {row}."
        lines.append(f"{text},{('up', 'down')[row % 2]},{at.isoformat()}")
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def walk(rows: Path, base: Any, **changes: Any) -> dict[str, Any]:
    return {
        "name": "acme/walk",
        "base": base,
        "method": {"name": "lora", "rank": 2},
        "head": {"name": "classify", "labels": ["down", "up"]},
        "corpus": {"name": "table", "path": str(rows), "label": "tone", "available_at": "at", "label_horizon": "0d"},
        "training": {"max_steps": 1, "max_length": 32, "batch_size": 8},
        "schedule": {"windows": "6mo", "start": "2020-04-01", "end": "2020-10-01"},
        **changes,
    }


def test_a_window_takes_the_newest_base_from_before_its_cut_off(vintages: list[Version], rows: Path) -> None:
    planned = ahf.preview_series(walk(rows, {"version": "acme/fin"}))
    assert [window.recipe.base.version for window in planned] == ["acme/fin@2", "acme/fin@2"]
    earlier = ahf.preview_series(walk(rows, {"version": "acme/fin", "as_of": "2020-01-01"}))
    assert [window.recipe.base.version for window in earlier] == ["acme/fin@1", "acme/fin@1"]  # as it says itself
    series = ahf.train_series(walk(rows, {"version": "acme/fin"}))
    for step in series.steps:
        recorded = step.version.manifest.base.version
        assert recorded is not None and recorded.digest == vintages[1].digest
        assert step.version.manifest.recipe is not None
        assert step.version.manifest.recipe["base"] == {"version": "acme/fin@2"}
        assert step.version.knowledge_end < as_of_instant(step.window.cutoff)  # the base included
    assert [step.trained for step in ahf.train_series(walk(rows, {"version": "acme/fin"})).steps] == [False, False]


def test_a_base_that_ends_at_the_cut_off_is_one_too_late(
    stored: Store, rows: Path, encoder: Path, tmp_path: Path
) -> None:
    cutoff = datetime(2020, 4, 1, tzinfo=UTC)
    stored(end=cutoff - timedelta(microseconds=1))
    stored(end=cutoff, folder=tiny_encoder(tmp_path / "later", seed=1))
    [first, second] = ahf.preview_series(walk(rows, {"version": "acme/fin"}))
    assert (first.recipe.base.version, second.recipe.base.version) == ("acme/fin@1", "acme/fin@2")
    with pytest.raises(ahf.LookAhead, match="acme/fin ended its knowledge before 2020-03-28"):
        ahf.preview_series(walk(rows, {"version": "acme/fin"}, schedule={"windows": "6mo", "start": "2020-03-28"}))


def test_as_of_picks_the_vintage_and_a_new_vintage_trains_its_window_again(
    vintages: list[Version], rows: Path, stored: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = {"schedule": None, "corpus": {**walk(rows, None)["corpus"], "splitter": {"by": "time"}}}
    version = ahf.train(walk(rows, {"version": "acme/fin", "as_of": "2020-01-01"}, **one)).version
    assert version.manifest.base.version is not None
    assert version.manifest.base.version.digest == vintages[0].digest
    assert version.manifest.recipe is not None and version.manifest.recipe["base"] == {"version": "acme/fin@1"}
    with pytest.raises(ahf.LookAhead, match="acme/fin@3 knows"):
        ahf.preview(walk(rows, {"version": "acme/fin@3", "as_of": "2020-01-01"}, **one))
    late = ahf.preview(walk(rows, "acme/fin@3", **one))  # a number is taken at its word, with a warning
    assert any("the base knows until 2021-03-31T23:59:59Z" in warning for warning in late.warnings)
    recipe = walk(rows, {"version": "acme/fin"})
    assert [step.trained for step in ahf.train_series(recipe).steps] == [True, True]
    between = datetime(2020, 8, 1, tzinfo=UTC)
    stored(end=between, folder=tiny_encoder(tmp_path / "between", seed=9), corpus={"name": "speeches-2020-08"})
    assert [step.trained for step in ahf.train_series(recipe).steps] == [False, True]


def test_a_yanked_vintage_is_not_chosen(vintages: list[Version], rows: Path) -> None:
    ahf.Registry().add_event("acme/fin@2", "yank", {"reason": "a later document was in it"})
    planned = ahf.preview_series(walk(rows, {"version": "acme/fin"}))
    assert [window.recipe.base.version for window in planned] == ["acme/fin@1", "acme/fin@1"]


def test_vintages_are_searched_as_a_series(vintages: list[Version], run_ahf: Ahf) -> None:
    train_on("acme/fin@2")
    page = ahf.Registry().search("kind = base ORDER BY knowledge_end")
    assert [(row["name"], row["version"]) for row in page] == [("acme/fin", number) for number in (1, 2, 3)]
    assert [row["name"] for row in ahf.Registry().search("kind = adapter AND base = acme/fin")] == ["acme/tone"]
    assert [row["name"] for row in ahf.Registry().search(f"parent = '{vintages[1].digest}'")] == ["acme/tone"]
    code, out, _ = run_ahf("search", "kind = base ORDER BY knowledge_end DESC")
    listed = [line.split()[:2] for line in out.splitlines() if "acme/fin@" in line]
    assert code == 0 and listed == [["base", f"acme/fin@{number}"] for number in (3, 2, 1)]
    code, out, _ = run_ahf("show", "acme/tone", "--lineage")
    assert code == 0 and "acme/fin@2  (base)" in out
    code, out, _ = run_ahf("diff", "acme/fin@1", "acme/fin@2")
    assert "knowledge.end" in out
    code, out, _ = run_ahf("show", "acme/fin@2")
    assert code == 0 and "2020-03-31T23:59:59Z observed: available_at of its rows" in out
    assert ahf.Registry().doctor() == []


def test_dated_rows_are_each_answered_on_their_own_vintage(vintages: list[Version], rows: Path) -> None:
    schedule = {"windows": "yearly", "start": "2020-04-01", "end": "2021-04-01"}
    series = ahf.train_series(walk(rows, {"version": "acme/fin"}, schedule={**schedule, "end": "2021-03-01"}))
    assert len(series.steps) == 1
    later = walk(rows, {"version": "acme/fin@3"}, schedule=None)
    later["corpus"] = {**later["corpus"], "splitter": {"by": "random"}}
    ahf.train(later)
    dated = ahf.versions_as_of("acme/walk", ["2020-04-01", "2020-04-02", "2021-12-31"])
    bases = {adapter.reference: adapter.manifest.base.version for adapter, _ in ahf.load_versions(dated)}
    assert [bases[f"acme/walk@{number}"].digest for number in (1, 2)] == [vintages[1].digest, vintages[2].digest]
    between = "2021-03-31T23:59:59Z"  # the end of the later base to the second, after its adapter's own rows
    for include_base, number in ((True, 1), (False, 2)):
        [version] = ahf.versions_as_of("acme/walk", [between], include_base=include_base)
        assert version is not None and version.number == number
    [version] = ahf.versions_as_of("acme/walk", ["2021-03-31T23:59:59.000001Z"])
    assert version is not None and version.number == 2


def test_one_vintage_after_the_other_is_in_memory(vintages: list[Version]) -> None:
    for vintage in vintages:
        for steps in (1, 2):
            train_on(vintage.reference, "acme/walk", training={"max_steps": steps, "batch_size": 8, "max_length": 32})
    in_turn = [ahf.Registry().resolve(f"acme/walk@{number}") for number in (1, 3, 5, 2, 4, 6, 1)]
    rows: dict[int, list[int]] = {}
    seen: list[weakref.ref[Any]] = []
    for adapter, indices in ahf.load_versions(in_turn):
        rows[adapter.version.number] = indices
        seen.append(weakref.ref(backbone(adapter.model).get_input_embeddings().weight))
        gc.collect()
        assert len({id(each()) for each in seen} - {id(None)}) == 1, "none of another vintage"
    assert rows == {1: [0, 6], 2: [3], 3: [1], 4: [4], 5: [2], 6: [5]} and list(rows) == [1, 2, 3, 4, 5, 6]


def test_adapters_on_two_vintages_stay_apart(vintages: list[Version]) -> None:
    # A merge, a pool and a load say in a sentence which vintage each adapter is of.
    for number, name in ((1, "acme/a"), (2, "acme/b")):
        train_on(f"acme/fin@{number}", name)
    first, second = (f"acme/fin \\({vintage.digest[:19]}\\)" for vintage in vintages[:2])
    with pytest.raises(
        ahf.BadMerge, match=f"acme/a@1 is for {first} and acme/b@1 for {second}, which has other weights"
    ):
        ahf.merge(["acme/a@1", "acme/b@1"], weights=[0.5, 0.5], into="acme/ab")
    with pytest.raises(ahf.WrongBase, match=f"has other weights than {second[:-2]}"):
        ahf.pool("acme/fin@1").predict([("Up", "acme/b@1")])
    with pytest.raises(ahf.WrongBase, match=f"has other weights than {first[:-2]}"):
        ahf.load("acme/a@1", base="acme/fin@2")
    assert "acme/ab" not in ahf.Registry().names()


def test_a_merge_names_the_stored_base_that_one_parent_has(stored: Store, encoder: Path) -> None:
    """One was trained on the folder before it was stored: the weights are those of the version."""
    dated = {"knowledge_end": "2013-12-31", "evidence": "its card"}
    train_on({"path": str(encoder), **dated}, "acme/a")
    base = stored()
    train_on("acme/fin@1", "acme/b", training={"max_steps": 3, "batch_size": 8, "max_length": 32})
    for order in (["acme/a@1", "acme/b@1"], ["acme/b@1", "acme/a@1"]):
        merged = ahf.merge(order, weights=[0.5, 0.5], into="acme/ab").version.manifest
        assert merged.base.version is not None and merged.base.version.digest == base.digest
    shutil.rmtree(ahf.Registry().resolve("acme/a@1").folder)
    assert ahf.load("acme/ab").predict(["Up"])


def test_an_adapter_that_dates_its_base_too_early_is_refused(
    vintages: list[Version], stored: Store, tmp_path: Path
) -> None:
    """Its own manifest is all that `as_of` reads: nothing but the base shows that the date is wrong."""
    version = train_on("acme/fin@2")

    def dated(at: str, version: Version = version) -> Version:
        inputs = [
            entry.model_copy(update={"at": at}) if entry.input == "base" else entry
            for entry in version.manifest.knowledge.inputs
        ]
        manifest = version.manifest.model_copy(update={"knowledge": Knowledge.of(inputs)})
        return ahf.Registry().add(version.files, manifest, name="acme/dated")

    early = dated("2020-03-31T23:59:58.999999Z")
    assert ahf.load("acme/dated@1", base=vintages[1].files).predict(["Up"])  # a folder has no date
    with pytest.raises(
        ahf.LookAhead,
        match="acme/dated@1 says that its base knows until 2020-03-31T23:59:58.999999Z, and that base, acme/fin@2, ",
    ):
        ahf.load(early)
    assert ahf.load(dated("2020-03-31T23:59:59Z")).predict(["Up"])
    old = stored("acme/old", folder=tiny_encoder(tmp_path / "old", seed=7))
    until_2018 = dated("2010-01-01T00:00:00Z", train_on("acme/old@1"))  # its own rows are later than its base
    assert until_2018.knowledge_end > old.knowledge_end
    with pytest.raises(ahf.LookAhead, match="its base knows until 2010-01-01T00:00:00Z, and that base, acme/old@1"):
        ahf.load(until_2018)
    assert ahf.load(dated("2021-03-31T23:59:59Z")).predict(["Up"])  # more than it is: never too early


def test_the_registry_that_holds_the_name_answers_for_it(stored: Store, tmp_path: Path) -> None:
    """As in a chain of registries: numbers and vintages of one name are never mixed from two."""
    stored()
    other = ahf.Registry(tmp_path / "other")
    theirs = stored(folder=tiny_encoder(tmp_path / "theirs", seed=3), registry=other)
    stored(folder=tiny_encoder(tmp_path / "second", seed=4))
    recorded = train_on("acme/fin@1", registry=other).manifest.base.version
    assert recorded is not None and recorded.digest == theirs.digest
    other.add_event("acme/fin@1", "yank", {"reason": "a later document"})
    for base in ("acme/fin@2", {"version": "acme/fin"}):
        with pytest.raises(NotFound, match="acme/fin"):
            train_on(base, registry=other)
    digest = ahf.Registry().resolve("acme/fin@2").digest
    again = train_on(digest, registry=other).manifest.base.version  # a digest is the same base anywhere
    assert again is not None and again.digest == digest


def test_a_yanked_base_is_named_with_its_reason(stored: Store, caplog: pytest.LogCaptureFixture) -> None:
    stored()
    train_on("acme/fin@1")
    ahf.Registry().add_event("acme/fin@1", "yank", {"reason": "a later document was in it"})
    caplog.clear()
    assert ahf.load("acme/tone@1").predict(["Up"]) and "yanked" not in caplog.text  # it was trained before
    train_on("acme/fin@1", "acme/other")
    assert "the base acme/fin@1 was yanked at" in caplog.text and "(a later document was in it)" in caplog.text
    with pytest.raises(NotFound, match="every version of acme/fin is yanked"):
        train_on({"version": "acme/fin"}, "acme/other")


def test_a_date_goes_through_three_generations(stored: Store, tmp_path: Path) -> None:
    # A base that goes on from an asserted one is asserted, however well its own text is dated.
    first = stored(knowledge={"corpus:given": KnownAt(END, "asserted", "its card")})
    later = END + timedelta(days=365)
    inputs = {"base": known_of_version(first), "corpus:speeches": KnownAt(later, "observed", "available_at")}
    second = stored(folder=tiny_encoder(tmp_path / "second", seed=1), knowledge=inputs)
    known = {entry.input: entry for entry in second.manifest.knowledge.inputs}
    assert (known["base"].kind, known["base"].at) == ("asserted", "2013-12-31T23:59:00Z")
    for base, end in ((first, END), (second, later)):
        version = train_on(base.reference)
        [entry] = [entry for entry in version.manifest.knowledge.inputs if entry.input == "base"]
        assert (entry.kind, as_of_instant(entry.at)) == ("asserted", end) and base.digest in entry.evidence
        assert version.knows_until(include_base=True) >= end
    third = ahf.merge(["acme/tone@2"], weights=[1.0], into="acme/merged").version
    assert third.knowledge_end == ahf.Registry().resolve("acme/tone@2").knowledge_end
    assert third.manifest.base.version is not None and third.manifest.base.version.digest == second.digest


def test_threads_that_store_and_load_one_base_at_once(stored: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        digests = {version.digest for version in pool.map(lambda _: stored(), range(4))}
    assert len(digests) == 1 and [each.number for each in ahf.Registry().versions("acme/fin")] == [1]
    train_on("acme/fin@1")
    alone = ahf.load("acme/tone@1").logits(["Up"])
    with ThreadPoolExecutor(4) as pool:
        for logits in pool.map(lambda _: ahf.load("acme/tone@1").logits(["Up"]), range(4)):
            assert torch.equal(logits, alone)


def test_everything_that_an_adapter_does_it_does_on_a_stored_base(stored: Store, tmp_path: Path) -> None:
    """Merge, pool, fold, evaluate, export and plan, none of which is given the base's folder."""
    base = stored()
    train_on("acme/fin@1", "acme/a")
    train_on(
        {"version": f"sha256:{base.digest.removeprefix('sha256:')}"},
        "acme/b",
        training={"max_steps": 3, "max_length": 32},
    )
    merged = ahf.merge(["acme/a@1", "acme/b@1"], weights=[0.5, 0.5], into="acme/ab").version.manifest
    assert merged.base.version is not None and merged.base.version.digest == base.digest
    texts = ["Margins widened.", "Orders fell."]
    alone = [ahf.load(f"acme/{name}").predict(texts) for name in ("a", "ab")]
    pool = ahf.pool("acme/fin@1")
    together = pool.predict([(text, f"acme/{name}@1") for name in ("a", "ab") for text in texts])
    assert [answer.value.label for answer in together] == [answer.label for answers in alone for answer in answers]
    folded = ahf.load("acme/a", fold=True).predict(texts)
    assert [answer.label for answer in folded] == [answer.label for answer in alone[0]]
    evaluation = ahf.evaluate("acme/a@1", tiny_corpus(), split="test")
    assert evaluation.metrics
    exported = ahf.export("acme/a@1", tmp_path / "whole", layout="merged")
    assert (exported.folder / "model.safetensors").is_file()
    recipe: dict[str, Any] = {"base": "acme/fin@1", "corpus": tiny_corpus(), "method": {"name": "lora", "rank": 2}}
    assert ahf.plan({**recipe, "training": {"max_length": 32}}).fits


def test_what_only_an_adapter_can_do_a_base_refuses(stored: Store, tmp_path: Path, run_ahf: Ahf) -> None:
    stored()
    train_on("acme/fin@1", "acme/a")
    refusals: list[Callable[[], Any]] = [
        lambda: ahf.merge(["acme/a@1", "acme/fin@1"], weights=[0.5, 0.5], into="acme/ab"),
        lambda: ahf.export("acme/fin@1", tmp_path / "out"),
        lambda: ahf.check("acme/fin@1", "vllm"),
        lambda: ahf.evaluate("acme/fin@1", tiny_corpus(), split="test"),
        lambda: ahf.load("acme/fin@1", fold=True),
        lambda: train_on("acme/fin@1", "acme/b", start="acme/fin@1"),
        lambda: ahf.pool("acme/fin@1").predict([("Up", "acme/fin@1")]),
    ]
    for refused in refusals:
        with pytest.raises(Unsupported, match="acme/fin@1 is a base and no adapter"):
            refused()
    code, _, err = run_ahf("predict", "acme/fin@1", "Up")
    assert code == 1 and "acme/fin@1 is a base and no adapter" in err
    code, out, _ = run_ahf("path", "acme/fin@1")
    assert code == 0
    from transformers import AutoModel

    assert AutoModel.from_pretrained(out.strip()).config.model_type == "bert"


def test_a_peft_folder_is_imported_onto_a_stored_base(stored: Store, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = stored()
    folder = base.files
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path / "theirs")
    for version in (
        ahf.import_folder(tmp_path / "theirs", "acme/theirs", base="acme/fin@1").version,
        ahf.save(adapted, "acme/saved", base="acme/fin@1", tokenizer=AutoTokenizer.from_pretrained(folder)),
    ):
        manifest = version.manifest
        assert manifest.base.version is not None and manifest.base.version.digest == base.digest
        assert {entry.input: entry.kind for entry in manifest.knowledge.inputs}["base"] == "observed"
        assert ahf.load(version).predict(["Orders rose."])


def test_another_base_under_the_same_number_trains_its_window_again(
    stored: Store, rows: Path, tmp_path: Path, home: Path
) -> None:
    series = ahf.Registry(tmp_path / "series")
    recipe = walk(rows, {"version": "acme/fin"}, schedule={"windows": "yearly", "start": "2020-10-01"})
    stored()
    assert [step.trained for step in ahf.train_series(recipe, registry=series).steps] == [True]
    shutil.rmtree(home)
    stored(folder=tiny_encoder(tmp_path / "other", seed=5))
    assert [step.trained for step in ahf.train_series(recipe, registry=series).steps] == [True]
    assert [step.trained for step in ahf.train_series(recipe, registry=series).steps] == [False]


@pytest.mark.parametrize(
    ("kinds", "weakest"),
    [(("observed", "asserted"), "asserted"), (("bounded", "asserted"), "bounded"), (("observed",), "observed")],
)
def test_a_base_is_dated_as_well_as_the_weakest_of_its_inputs(stored: Store, kinds: Any, weakest: str) -> None:
    base = stored(knowledge={f"corpus:{kind}": KnownAt(END, kind, "a test") for kind in kinds})
    known = known_of_version(base)
    assert (known.kind, known.at) == (weakest, END) and base.digest in known.evidence
