"""Rows that each choose their version by their own time: in one scan, by what an alias meant then, each loaded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference import dated_versions, load
from adapterhub_fin.errors import BadInstant, LookAhead, NotFound
from adapterhub_fin_registry import Version
from adapterhub_fin_registry.storage.name_folder import NameFolder

TEXTS = ["Arlo: profit rose.", "Brent: profit fell.", "Corvo: meets in May.", "Dunel: profit rose."]
DATES = ["2015-12-31", "2016-01-01", "2018-06-01", "2017-12-31", "2026-01-01"]


def numbers(versions: ahf.DatedVersions) -> list[int | None]:
    return [version and version.number for version in versions]  # type: ignore[misc]


def test_each_row_has_the_version_that_its_time_allows(dated_tone: Any) -> None:
    versions = ahf.versions_as_of("acme/tone", DATES)
    assert numbers(versions) == [None, 1, 2, 1, 3]  # an end at the very instant is too late
    assert versions.reasons == {0: "no version of acme/tone had ended its knowledge by then"}
    instants = np.array(DATES, "datetime64[us]")
    assert list(ahf.versions_as_of("acme/tone", instants)) == list(versions)
    assert list(ahf.versions_as_of("acme/tone", DATES, registry=dated_tone)) == list(versions)
    checked = ahf.versions_as_of("acme/tone@2", DATES)
    assert numbers(checked) == [None, None, 2, None, 2]
    assert set(checked.reasons.values()) == {"acme/tone@2 knows until 2017-12-31T00:00:00Z"}


def test_an_alias_means_what_it_meant_then(dated_tone: Any) -> None:
    dated_tone.set_alias("champion", 1, "2016-06-01T12:00:00Z")
    dated_tone.set_alias("champion", 3, "2018-06-01T12:00:00Z")  # which ends in 2019: nobody could have set it so early
    dated_tone.set_alias("champion", 2, "2018-09-01T00:00:00Z")
    dated_tone.set_alias("champion", None, "2021-01-01T00:00:00Z")
    dated_tone.set_alias("champion", 1, "2022-01-01T00:00:00Z")
    dates = {
        "2016-06-01T12:00:00Z": None,  # set at the very instant
        "2016-06-01T12:00:00.000001Z": 1,
        "2018-06-01T12:00:00Z": 1,
        "2018-06-02": None,
        "2018-09-01": None,
        "2018-09-02": 2,
        "2020-12-31": 2,
        "2021-06-01": None,
        "2022-06-01": 1,
        "2016-01-02": None,
    }
    versions = ahf.versions_as_of("acme/tone@champion", list(dates))
    assert dict(zip(dates, numbers(versions), strict=True)) == dates
    unset = "the alias acme/tone@champion named no version then"
    later = "acme/tone@3, which acme/tone@champion named then, knows until 2019-12-31T00:00:00Z"
    assert versions.reasons == {0: unset, 3: later, 4: later, 7: unset, 9: unset}
    with pytest.raises(NotFound, match="acme/tone never had an alias stable: it has champion"):
        ahf.versions_as_of("acme/tone@stable", list(dates))


def test_a_setting_of_a_slow_clock_counts_by_its_number(dated_tone: Any) -> None:
    dated_tone.set_alias("champion", 1, "2021-06-01T00:00:00Z")
    dated_tone.set_alias("champion", 2, "2021-05-01T00:00:00Z")
    dates = ["2021-05-15", "2021-06-15"]
    assert numbers(ahf.versions_as_of("acme/tone@champion", dates)) == [2, 2]
    assert [dated_tone.alias_on("acme/tone", "champion", date) for date in dates] == [2, 2]


def test_what_has_no_past_or_is_no_instant_is_refused(dated_tone: Any) -> None:
    with pytest.raises(LookAhead, match="hf://acme/tone@main is a branch"):
        ahf.versions_as_of("hf://acme/tone@main", DATES)
    with pytest.raises(BadInstant, match="instant 1 is missing"):
        ahf.versions_as_of("acme/tone", np.array(["2020-01-01", "NaT"], "datetime64[us]"))
    with pytest.raises(BadInstant, match="has no time zone"):
        ahf.versions_as_of("acme/tone", ["2020-01-01T09:00:00"])
    with pytest.raises(NotFound, match="there is no adapter named acme/none"):
        ahf.versions_as_of("acme/none", DATES)


@pytest.mark.parametrize("reference", ["acme/tone", "acme/tone@champion"])
def test_twenty_thousand_rows_read_the_registry_once(
    dated_tone: Any, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated_tone.set_alias("champion", 1, "2016-06-01T12:00:00Z")
    dated_tone.set_alias("champion", 2, "2018-06-01T12:00:00Z")
    scans: list[str] = []
    read = Version.read
    monkeypatch.setattr(
        Version, "read", classmethod(lambda cls, *place: (scans.append(str(place[1])), read(*place))[1])
    )
    settings: list[str] = []
    alias_history = NameFolder.alias_history
    monkeypatch.setattr(
        NameFolder, "alias_history", lambda folder, alias: (settings.append(alias), alias_history(folder, alias))[1]
    )
    instants = np.datetime64("2015-06-01", "us") + np.arange(20_000) * np.timedelta64(4, "h")
    versions = ahf.versions_as_of(reference, instants)
    assert len(versions) == 20_000 and {1, 2} <= set(numbers(versions))
    assert len(scans) <= 3 and settings == (["champion"] if "@" in reference else [])


@pytest.mark.parametrize("base", ["recorded", "folder", "model"])
def test_each_version_is_loaded_once_onto_one_base(
    dated_tone: Any, encoder: Any, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModel

    versions = ahf.versions_as_of("acme/tone", [*DATES, *DATES])
    alone = {number: ahf.load(f"acme/tone@{number}").logits(TEXTS) for number in (1, 2, 3)}
    bases: list[Any] = []
    load_base = load.load_base
    monkeypatch.setattr(load, "load_base", lambda *given: (bases.append(given), load_base(*given))[1])
    chosen = {"recorded": None, "folder": encoder, "model": None}[base]
    if base == "model":
        chosen = AutoModel.from_pretrained(encoder)
    rows: dict[int, list[int]] = {}
    for adapter, indices in ahf.load_versions(versions, base=chosen):
        rows[adapter.version.number] = indices
        assert torch.equal(adapter.logits(TEXTS), alone[adapter.version.number])
    assert rows == {1: [1, 3, 6, 8], 2: [2, 7], 3: [4, 9]}
    assert len(bases) == (0 if base == "model" else 1)


def test_a_version_that_shares_no_base_has_one_of_its_own(dated_tone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {number: ahf.load(f"acme/tone@{number}").logits(TEXTS) for number in (1, 2, 3)}

    def refuse(*given: Any, base: Any = None, **options: Any) -> Any:
        if base is not None:
            raise ahf.WrongBase("an adapter of another method is on the model")
        return load.load(*given, **options)

    monkeypatch.setattr(dated_versions, "load", refuse)
    for adapter, _ in ahf.load_versions(ahf.versions_as_of("acme/tone", DATES)):
        assert torch.equal(adapter.logits(TEXTS), alone[adapter.version.number])


def test_a_version_that_was_yanked_later_answers_for_when_it_stood(dated_tone: Any) -> None:
    dated_tone.date_record(3, "2020-02-01T00:00:00Z")
    dated_tone.yank(3, "2020-06-01T00:00:00Z", "trained on the wrong rows")
    dates = ["2020-01-15", "2020-02-01", "2020-02-02", "2020-05-31", "2020-06-01", "2021-01-01"]
    then = ahf.versions_as_of("acme/tone", dates)
    assert numbers(then) == [2, 2, 3, 3, 2, 2]
    assert numbers(ahf.versions_as_of("acme/tone", dates, yanked="before_yank")) == [3, 3, 3, 3, 2, 2]
    left_out = ahf.versions_as_of("acme/tone", dates, yanked="left_out")
    assert numbers(left_out) == [2] * 6
    noted = "acme/tone@3 was yanked at 2020-06-01T00:00:00Z (trained on the wrong rows): "
    [version] = then.yanked()
    assert (version.answered, version.after, version.left_out) == (2, 0, 2)
    assert version.sentence() == (
        f"{noted}it answered 2 rows and it is left out of 2 rows from before, which it would have answered"
    )
    [version] = left_out.yanked()
    assert version.sentence("texts") == f"{noted}it is left out of 4 texts from before, which it would have answered"
    assert [each.after for each in ahf.versions_as_of("acme/tone@3", dates).yanked()] == [2], "by its number it answers"
    assert not ahf.versions_as_of("acme/tone@2", dates).yanked() and not then.yanked([0, 4, 5])[0].answered
    with pytest.raises(BadInstant, match="yanked is 'none'"):
        ahf.versions_as_of("acme/tone", dates, yanked="none")  # type: ignore[arg-type]


def test_a_name_whose_only_version_was_yanked_says_so(dated_tone: Any) -> None:
    for number in (1, 2):
        dated_tone.delete(f"acme/tone@{number}")
    dated_tone.yank(3, "2020-06-01T00:00:00Z", "leaks")
    versions = ahf.versions_as_of("acme/tone", ["2019-06-01", "2020-01-15"])
    assert versions.reasons == {
        0: "no version of acme/tone had ended its knowledge by then",
        1: "acme/tone@3, which had ended its knowledge by then, was yanked at 2020-06-01T00:00:00Z (leaks)",
    }
    with pytest.raises(NotFound, match="every version of acme/tone is yanked"):
        ahf.load("acme/tone")


def test_an_alias_that_named_a_version_yanked_later(dated_tone: Any) -> None:
    dated_tone.set_alias("champion", 3, "2020-02-01T00:00:00Z")
    dated_tone.yank(3, "2020-06-01T00:00:00Z", "leaks")
    dates = ["2020-01-15", "2020-03-01", "2020-07-01"]
    versions = ahf.versions_as_of("acme/tone@champion", dates)
    assert numbers(versions) == [None, 3, 3], "an alias finds a yanked version, as it did then"
    assert [(each.answered, each.after, each.left_out) for each in versions.yanked()] == [(2, 1, 0)]
    left_out = ahf.versions_as_of("acme/tone@champion", dates, yanked="left_out")
    assert numbers(left_out) == [None] * 3 and "was yanked at 2020-06-01T00:00:00Z (leaks)" in left_out.reasons[1]
    assert [(each.answered, each.after, each.left_out) for each in left_out.yanked()] == [(0, 0, 1)]
