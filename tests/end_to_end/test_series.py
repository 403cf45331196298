"""A schedule gives one version for each window: none knows what came after, and none is trained twice for nothing."""

from __future__ import annotations

import csv
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_encoder
from adapterhub_fin.testing.killed import train_and_be_killed
from adapterhub_fin_registry.model.knowledge import as_of_instant

FIRST = datetime(2020, 1, 1, 15, tzinfo=UTC)
CUTOFFS = [date(2020, 4, 1), date(2020, 7, 1), date(2020, 10, 1)]
Row = dict[str, str]


def make_rows() -> list[Row]:
    return [
        {
            "text": f"Firm {place % 7}: profit {('rose', 'fell')[place % 2]} {place}.",
            "tone": ("up", "down")[place % 2],
            "at": (FIRST + timedelta(days=3 * place)).isoformat(),
        }
        for place in range(122)
    ]


@pytest.fixture
def rows() -> list[Row]:
    """A row every third day of 2020, judged a day later."""
    return make_rows()


@pytest.fixture
def table(tmp_path: Path, rows: list[Row]) -> Path:
    return written(tmp_path / "rows.csv", rows)


def written(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def walk(table: Path, encoder: Path, /, length: str | None = None, **changes: Any) -> dict[str, Any]:
    schedule = {"windows": "quarterly", "start": "2020-04-01", "embargo": "2B", "calendar": "weekdays"}
    return {
        "name": "acme/walk",
        "base": {"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2015-01-01", "evidence": "a test"},
        "method": {"name": "lora", "rank": 2},
        "head": {"name": "classify", "labels": ["down", "up"]},
        "corpus": {
            "name": "table",
            "path": str(table),
            "label": "tone",
            "available_at": "at",
            "label_horizon": "1d",
            "splitter": {"validation": 0.2},
        },
        "training": {"epochs": 2, "max_length": 32, "batch_size": 8},
        "schedule": {**schedule, **({"length": length} if length else {})},
        **changes,
    }


@pytest.fixture(scope="module")
def trained_walk(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ahf.Series]:
    """Return a registry with the three versions of `walk`, which must not be changed, and their series."""
    folder = tmp_path_factory.mktemp("walk")
    table = written(folder / "rows.csv", make_rows())
    return folder / "home", ahf.train_series(walk(table, encoder), registry=ahf.Registry(folder / "home"))


@pytest.fixture
def walked(trained_walk: tuple[Path, ahf.Series], home: Path) -> ahf.Series:
    """Return that series; its registry is copied to this test's own."""
    shutil.copytree(trained_walk[0], home)
    return trained_walk[1]


def told(series: ahf.Series) -> list[tuple[int, bool]]:
    return [(step.version.number, step.trained) for step in series.steps]


def test_each_window_gives_a_version_that_knows_nothing_from_its_cut_off_on(table: Path, encoder: Path) -> None:
    series = ahf.train_series(walk(table, encoder))
    assert [step.window.cutoff for step in series.steps] == CUTOFFS
    assert told(series) == [(1, True), (2, True), (3, True)]
    for planned, step in zip(ahf.preview_series(walk(table, encoder)), series.steps, strict=True):
        manifest, cutoff = step.version.manifest, as_of_instant(step.window.cutoff)
        assert manifest.corpus is not None and dict(manifest.corpus.rows) == dict(planned.rows)
        assert step.version.knowledge_end == planned.knowledge_end < cutoff - timedelta(days=2)
        assert planned.version == step.version
        assert ahf.Registry().resolve("acme/walk", as_of=step.window.cutoff) == step.version
        loaded = ahf.load("acme/walk", as_of=step.window.cutoff, base=encoder)
        assert loaded.version.number == step.version.number and loaded.predict(["Firm 1: profit rose."])
    with pytest.raises(ahf.Refused, match="the earliest ends at 2020-03-2"):
        ahf.load("acme/walk", as_of="2020-03-01")


def test_a_series_does_not_both_go_on_and_begin_anew(table: Path, encoder: Path) -> None:
    with pytest.raises(ahf.BadRecipe, match="give one of them"):
        ahf.train_series(walk(table, encoder), resume=True, restart=True)


def test_windows_are_told_of_where_nothing_can_be_stored(
    table: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ""
    for name in ("mine", "team"):
        (tmp_path / name).mkdir()
        text += f"[[registries]]\nname = '{name}'\npath = '{name}'\nread_only = true\n"
    (tmp_path / "config.toml").write_text(text)
    monkeypatch.setenv("AHF_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.delenv("AHF_HOME")
    assert [planned.window.cutoff for planned in ahf.preview_series(walk(table, encoder))] == CUTOFFS
    with pytest.raises(ahf.ReadOnly, match="none of the registries"):
        ahf.train_series(walk(table, encoder))


def test_what_has_not_changed_is_not_trained_again(
    walked: ahf.Series, table: Path, encoder: Path, rows: list[Row]
) -> None:
    recipe = walk(table, encoder)
    moved = written(table.with_name("moved.csv"), rows)
    elsewhere = {**recipe, "corpus": {**recipe["corpus"], "path": str(moved)}, "tags": ["other"]}
    for same in (recipe, elsewhere):
        assert told(ahf.train_series(same)) == [(1, False), (2, False), (3, False)]
    ahf.Registry().add_event(walked.versions[0].reference, "yank")
    assert told(ahf.train_series(recipe)) == [(1, False), (2, False), (3, False)], "it would be the same version"
    assert told(ahf.train_series(recipe, overrides=["training.seed=1"])) == [(4, True), (5, True), (6, True)]


def test_new_rows_give_new_windows_and_leave_the_old_ones(table: Path, encoder: Path, rows: list[Row]) -> None:
    recipe = walk(written(table, rows[:70]), encoder)  # until the end of July: the second window tests on a month
    assert told(ahf.train_series(recipe)) == [(1, True), (2, True)]
    written(table, rows)
    assert told(ahf.train_series(recipe)) == [(1, False), (2, False), (3, True)]


def test_a_corrected_row_trains_the_windows_that_learnt_from_it(table: Path, encoder: Path, rows: list[Row]) -> None:
    recipe = walk(table, encoder, length="3mo")
    assert told(ahf.train_series(recipe)) == [(1, True), (2, True), (3, True)]
    rows[40]["text"] += " Corrected."  # in April: the second window learns from it, the first is tested on it
    written(table, rows)
    series = ahf.train_series(recipe)
    assert told(series) == [(1, False), (4, True), (3, False)]
    old, refit = ahf.Registry().resolve("acme/walk@2"), series.versions[1]
    assert refit.knowledge_end == old.knowledge_end, "the highest number and an old knowledge end"
    asked = [ahf.Registry().resolve("acme/walk", as_of=day).number for day in CUTOFFS]
    assert asked == [1, 4, 3]


def test_a_series_that_was_killed_goes_on_where_it_stopped(table: Path, encoder: Path, tmp_path: Path) -> None:
    recipe, registry = walk(table, encoder), ahf.Registry(tmp_path / "killed")
    whole = ahf.train_series(recipe)
    train_and_be_killed(recipe, registry.root, step=9, window=2)
    assert [version.number for version in registry.versions("acme/walk")] == [1]
    (broken,) = (registry.root / "runs").iterdir()
    assert list(broken.glob("checkpoint-*/complete")), "its first epoch is there to go on from"
    resumed = ahf.train_series(recipe, registry=registry)
    assert told(resumed) == [(1, False), (2, True), (3, True)]
    assert [version.digest for version in resumed.versions] == [version.digest for version in whole.versions]
    assert not list((registry.root / "runs").iterdir())


def test_one_window_runs_again_alone_from_its_manifest(
    table: Path, encoder: Path, rows: list[Row], tmp_path: Path
) -> None:
    version = ahf.train_series(walk(table, encoder)).versions[0]
    written(table, [*rows, {**rows[0], "at": "2021-03-01T12:00:00+00:00"}])  # what came since changes nothing
    again = ahf.train(
        version.manifest.recipe, overrides=[f"base.path={encoder}"], registry=ahf.Registry(tmp_path / "anew")
    )
    assert again.version.digest == version.digest


def test_a_base_whose_weights_changed_trains_every_window_again(table: Path, tmp_path: Path) -> None:
    recipe = walk(table, tiny_encoder(tmp_path / "base"), schedule={"windows": "6mo", "start": "2020-07-01"})
    assert told(ahf.train_series(recipe)) == [(1, True)]
    tiny_encoder(tmp_path / "base", seed=1)
    assert told(ahf.train_series(recipe)) == [(2, True)]


def test_evaluation_counts_the_rows_that_a_window_learnt_from(walked: ahf.Series, encoder: Path) -> None:
    version = walked.versions[1]
    corpus = version.manifest.corpus
    assert corpus is not None
    own = ahf.evaluate(version.reference, base=encoder)
    assert (own.rows, own.rows_seen, own.seen_in_training) == (corpus.rows["test"], 0, False)
    assert own.metrics == pytest.approx(version.manifest.metrics)
    whole = ahf.evaluate(version.reference, split="all", base=encoder)
    assert (whole.rows, whole.rows_seen) == (122, corpus.rows["train"] + corpus.rows["validation"])


def test_what_cannot_be_a_series_is_refused_before_anything_is_trained(
    table: Path, encoder: Path, rows: list[Row]
) -> None:
    recipe = walk(table, encoder)
    with pytest.raises(ahf.BadRecipe, match="has a schedule.*ahf train"):
        ahf.train(recipe)
    with pytest.raises(ahf.BadRecipe, match="no schedule"):
        ahf.train_series({**recipe, "schedule": None})
    undated = {key: value for key, value in recipe["corpus"].items() if key != "label_horizon"}
    with pytest.raises(ahf.BadCorpus, match="window 1 of 3: .*'label_known_at'"):
        ahf.train_series({**recipe, "corpus": undated})
    with pytest.raises(ahf.BadCorpus, match="ends on 2020-12-29, before the first cut-off 2031-01-01"):
        ahf.train_series(recipe, overrides=["schedule.start=2031-01-01"])
    with pytest.raises(ahf.BadCorpus, match="window 1 of 4: .*whose cut-off is 2020-01-01 .* train and validation"):
        ahf.train_series(recipe, overrides=["schedule.start=2020-01-01"])
    written(table, [row for row in rows if not "2020-07" <= row["at"] < "2020-10"])
    with pytest.raises(ahf.BadCorpus, match="window 2 of 3: .* leaves test without rows"):
        ahf.train_series(recipe)
    assert ahf.Registry().names() == []


def test_a_window_that_cannot_be_measured_is_refused_before_the_first_is_trained(
    table: Path, encoder: Path, rows: list[Row]
) -> None:
    """G 36: the targets of the last window's test part are all alike."""
    figures = [{**row, "tone": "0.1" if row["at"] >= "2020-10" else str(place % 5)} for place, row in enumerate(rows)]
    recipe = walk(written(table, figures), encoder, head="regress")
    recipe["corpus"]["target"] = recipe["corpus"].pop("label")
    with pytest.raises(ahf.BadCorpus, match="window 3 of 3: corpus .*, test part: r2 is undefined"):
        ahf.preview_series(recipe)
    with pytest.raises(ahf.BadCorpus, match="window 3 of 3: corpus .*, test part: r2 is undefined"):
        ahf.train_series(recipe)
    assert ahf.Registry().names() == []


def test_a_base_that_knows_too_much_is_told(table: Path, encoder: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = {"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2020-08-01", "evidence": "a test"}
    series = ahf.train_series(walk(table, encoder, base=base))
    assert "knows until 2020-08-02T11:59:59.999999Z: of 3 windows, 2 are resolved" in caplog.text
    for step in series.steps[:2]:
        with pytest.raises(ahf.Refused, match="include_base=False"):
            ahf.Registry().resolve("acme/walk", as_of=step.window.cutoff)
        found = ahf.Registry().resolve("acme/walk", as_of=step.window.cutoff, include_base=False)
        assert found == step.version


def test_windows_from_before_an_option_existed_are_not_trained_again(
    walked: ahf.Series, table: Path, encoder: Path, tmp_path: Path
) -> None:
    """A version that an older release stored lacks the options that are newer: it counts as having their defaults."""
    older = ahf.Registry(tmp_path / "older")
    for version in walked.versions:
        manifest = version.manifest
        options = {key: value for key, value in manifest.method.options.items() if key not in ("init", "dropout")}
        method = manifest.method.model_copy(update={"options": options})
        older.add(version.files, manifest.model_copy(update={"method": method}), name=version.name)
    windows = ahf.preview_series(walk(table, encoder), registry=older)
    assert [planned.version is not None for planned in windows] == [True] * len(CUTOFFS)
    other = walk(table, encoder, method={"name": "lora", "rank": 2, "init": "orthogonal"})
    assert [planned.version for planned in ahf.preview_series(other, registry=older)] == [None] * len(CUTOFFS)
