"""Rows of a table are embedded by the version that their own time allows, and say when they were known."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference import dated_rows, embed_table
from adapterhub_fin.engine.inference.aligning import Alignment, Procrustes
from adapterhub_fin.engine.inference.vector_rows import KEY, VectorRows
from adapterhub_fin_registry import Version
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

TIMES = ["2016-01-01T12:00:00Z", "2017-12-31T00:00:00Z", "2018-06-01T09:00:00Z", "2021-02-03T04:05:06Z"]
NUMBERS = [1, 1, 2, 3]  # an end at the very instant is too late
ENDS = {1: "2015-12-31T00:00:00Z", 2: "2017-12-31T00:00:00Z", 3: "2019-12-31T00:00:00Z"}


def titles(count: int) -> list[str]:
    return [f"Brent {number}: profit {'rose' if number % 2 else 'fell'} in {number % 7}." for number in range(count)]


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """Four rows, of which each version that there is may answer one at least."""
    path = tmp_path / "news.parquet"
    rows = {"title": titles(4), "published": TIMES, "symbol": list("ABCD"), "rank": pa.array([1, 2, 3, 4], pa.int16())}
    pyarrow.parquet.write_table(pa.table(rows), path)
    return path


def embedded(news: Path, out: Path, **options: Any) -> tuple[ahf.EmbeddedTable, Any]:
    made = ahf.embed_table("acme/tone", news, out, **{"time": "published", "text": "title", **options})
    return made, pyarrow.parquet.read_table(out)


def vectors(table: Any) -> np.ndarray:
    names = [name for name in table.column_names if name[0] == "e" and name[1:].isdecimal()]
    return np.stack([table[name].to_numpy() for name in names], 1)


def test_each_row_has_a_vector_of_its_own_version(dated_tone: Any, news: Path, tmp_path: Path) -> None:
    made, table = embedded(news, tmp_path / "features.parquet")
    assert table.column_names[:9] == [
        *("title", "published", "symbol", "rank", "at", "known_at", "text_id", "reference", "digest")
    ]
    assert table.schema.field("rank").type == pa.int16() and table.schema.field("e000").type == pa.float32()
    assert table["reference"].to_pylist() == [f"acme/tone@{number}" for number in NUMBERS]
    assert table["at"].to_pylist() == [ahf_instant(time) for time in TIMES] == table["known_at"].to_pylist()
    for row, number in enumerate(NUMBERS):
        adapter = ahf.load(f"acme/tone@{number}")
        assert vectors(table)[row] == pytest.approx(adapter.embed(titles(4)[row : row + 1])[0], abs=1e-5)
        assert table["digest"][row].as_py() == adapter.version.digest
    facts = json.loads(table.schema.metadata[KEY.encode()])
    assert facts == made.record() and made.rows == 4 and made.refused == 0
    assert [(each["reference"], each["knowledge_end"], each["rows"]) for each in made.versions.values()] == [
        (f"acme/tone@{number}", ENDS[number], NUMBERS.count(number)) for number in (1, 2, 3)
    ]
    assert made.warning is not None and "of 3 versions" in made.warning


def ahf_instant(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def test_a_row_that_no_version_may_answer_is_refused_or_counted(dated_tone: Any, news: Path, tmp_path: Path) -> None:
    rows = pyarrow.parquet.read_table(news).to_pylist()
    early = [{**rows[0], "published": "2015-12-30T12:00:00Z"}, rows[1], {**rows[0], "published": "2001-01-01"}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(early), news)
    out = tmp_path / "features.parquet"
    with pytest.raises(
        ahf.LookAhead,
        match="news.parquet, row 1 of 2015-12-30T12:00:00Z is refused: no version of acme/tone had ended its "
        "knowledge by then; of 3 rows 2 are refused: leave them out",
    ):
        embedded(news, out, timezone="UTC")
    assert not out.exists()
    made, table = embedded(news, out, timezone="UTC", skip_refused=True)
    assert (made.rows, made.refused, made.warning) == (1, 2, None)
    assert table["symbol"].to_pylist() == ["B"]
    pyarrow.parquet.write_table(pa.Table.from_pylist(early[::2]), news)
    with pytest.raises(ahf.LookAhead, match="row 1"):
        embedded(news, out, timezone="UTC", skip_refused=True)


def add_version(registry: Any, tmp_path: Path, year: int) -> None:
    """Add a fourth version, which knows until the end of a year and answers otherwise."""
    import shutil

    from safetensors.torch import load_file, save_file

    last = registry.resolve("acme/tone@3")
    folder = tmp_path / "more"
    shutil.copytree(last.files, folder)
    tensors = {name: tensor * 1.7 for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    inputs = [
        KnowledgeInput(input="base", at="2014-12-31T00:00:00Z", kind="asserted", evidence="invented"),
        KnowledgeInput(input="corpus:invented", at=f"{year}-12-31T00:00:00Z", kind="observed", evidence="dates"),
    ]
    changed = {"knowledge": Knowledge.of(inputs), "files": (), "tensors": ()}
    registry.add(folder, last.manifest.model_copy(update=changed), name="acme/tone")


@pytest.mark.parametrize("align", [False, True])
def test_a_later_version_changes_no_earlier_row(dated_tone: Any, tmp_path: Path, align: bool) -> None:
    news = dated_news(tmp_path, 160)
    options: dict[str, Any] = {"align": "first", "align_on": "2017-09-01", "skip_refused": True} if align else {}
    before = embedded(news, tmp_path / "before.parquet", **options)[1]
    add_version(dated_tone, tmp_path, 2018)
    after = embedded(news, tmp_path / "after.parquet", **options)[1]
    assert "acme/tone@4" in after["reference"].to_pylist()
    same = np.array(before["at"].to_numpy() <= np.datetime64("2018-12-31"))
    assert 40 < same.sum() < len(same)
    for name in ("at", "known_at", "text_id", "reference", "digest", "title"):
        assert before[name].filter(pa.array(same)) == after[name].filter(pa.array(same))
    assert np.abs(vectors(before)[same] - vectors(after)[same]).max() < 1e-5


def dated_news(tmp_path: Path, count: int) -> Path:
    """Rows eight days apart from 2016-12 on, in no order of versions."""
    at = np.datetime64("2016-12-01T12:00", "us") + np.arange(count) * np.timedelta64(8, "D")
    rows = pa.table({"title": titles(count), "published": pa.array(at, pa.timestamp("us", "UTC"))})
    pyarrow.parquet.write_table(rows, tmp_path / "news.parquet")
    return tmp_path / "news.parquet"


def test_vectors_are_rotated_onto_one_version_s(dated_tone: Any, tmp_path: Path) -> None:
    news = dated_news(tmp_path, 160)
    plain = embedded(news, tmp_path / "plain.parquet")[1]
    made, table = embedded(news, tmp_path / "aligned.parquet", align="first", align_on="2017-12-15", skip_refused=True)
    assert made.warning is None and made.alignment is not None and made.refused == 0
    fit = made.alignment
    assert (fit.onto, fit.rows, fit.rows_digest[:7]) == ("acme/tone@1", 48, "sha256:")
    rows, onto = np.array(plain["reference"].to_pylist()), "acme/tone@1"
    assert np.array_equal(vectors(table)[rows == onto], vectors(plain)[rows == onto])
    loaded = {number: ahf.load(f"acme/tone@{number}") for number in (1, 2)}
    of_fit = {number: adapter.embed(titles(48)) for number, adapter in loaded.items()}
    left, _, right = np.linalg.svd(of_fit[2].T.astype(float) @ of_fit[1].astype(float))
    second = rows == "acme/tone@2"
    assert vectors(table)[second] == pytest.approx(vectors(plain)[second] @ (left @ right), abs=1e-4)
    rest = np.linalg.norm(of_fit[2] @ (left @ right) - of_fit[1]) / np.linalg.norm(of_fit[1])
    assert fit.residuals[loaded[2].version.digest] == pytest.approx(rest, abs=1e-4)
    assert rest < np.linalg.norm(of_fit[2] - of_fit[1]) / np.linalg.norm(of_fit[1])


def test_a_row_is_refused_that_its_rotation_knows_of(dated_tone: Any, tmp_path: Path) -> None:
    news, out = dated_news(tmp_path, 160), tmp_path / "aligned.parquet"
    with pytest.raises(
        ahf.LookAhead,
        match=r"of 2018-01-05T12:00:00Z is refused: acme/tone@1 and the texts that it was aligned on are known until "
        r"2018-12-31T12:00:00Z",
    ):
        embedded(news, out, align="first", align_on="2019-01-01")
    made, table = embedded(news, out, align="first", align_on="2019-01-01", skip_refused=True)
    at, references = table["at"].to_numpy(), np.array(table["reference"].to_pylist())
    assert at[references != "acme/tone@1"].min() > np.datetime64("2018-12-31T12:00") and made.refused == 46
    made, table = embedded(news, out, align="acme/tone@3", align_on="2017-10-01", skip_refused=True)
    assert made.alignment is not None and str(made.alignment.until)[:10] == "2019-12-31"
    assert set(table["reference"].to_pylist()) == {"acme/tone@3"}


def test_another_table_to_align_on_counts_with_its_latest_time(dated_tone: Any, tmp_path: Path) -> None:
    news, out, other = dated_news(tmp_path, 160), tmp_path / "aligned.parquet", tmp_path / "other.csv"
    lines = [f"{title},2018-03-01T00:00:00Z" for title in titles(60)]
    other.write_text("\n".join(["title,published", *lines]) + "\n")
    made, table = embedded(news, out, align="first", align_on=str(other), skip_refused=True)
    assert made.alignment is not None and made.alignment.before is None and made.alignment.rows == 60
    at, references = table["at"].to_numpy(), np.array(table["reference"].to_pylist())
    assert at[references != "acme/tone@1"].min() > np.datetime64("2018-03-01")
    other.write_text("\n".join(["title,published", *lines[:5]]) + "\n")
    with pytest.raises(ahf.BadCorpus, match=r"other.csv has 5 texts to align on, and \d+ dimensions need as many"):
        embedded(news, out, align="first", align_on=str(other), skip_refused=True)
    with pytest.raises(ahf.BadRecipe, match="is no date and no file"):
        embedded(news, out, align="first", align_on="soon")
    with pytest.raises(ahf.BadCorpus, match="has no row from before 2001-01-01 to align on"):
        embedded(news, out, align="first", align_on="2001-01-01")
    with pytest.raises(ahf.BadRecipe, match="align needs align_on"):
        embedded(news, out, align="first")


def test_rows_of_the_date_itself_are_not_fitted_on(dated_tone: Any, tmp_path: Path) -> None:
    news, out = dated_news(tmp_path, 160), tmp_path / "aligned.parquet"
    for on, rows in (("2017-12-28T12:00:00Z", 49), ("2017-12-28T12:00:01Z", 50), ("2017-12-29", 50)):
        made = embedded(news, out, align="first", align_on=on, skip_refused=True)[0]
        assert made.alignment is not None and made.alignment.rows == rows


def test_all_rows_left_out_are_refused(dated_tone: Any, tmp_path: Path) -> None:
    source = tmp_path / "news.csv"
    source.write_text("text,at\nUp.,2018-02-01T00:00:01Z\nDown.,2018-03-01T00:00:01Z\n")
    with pytest.raises(
        ahf.LookAhead, match="line 2 .* aligned on are known until 2019-12-31.*; of 2 rows 2 are refused"
    ):
        ahf.embed_table(
            "acme/tone",
            source,
            tmp_path / "features.csv",
            time="at",
            align="acme/tone@3",
            align_on="2018-02-15",
            skip_refused=True,
        )


def test_a_row_is_known_when_all_that_made_it_is(dated_tone: Any, tmp_path: Path) -> None:
    """Rows that are refused could not have it otherwise: what is written is computed, and not assumed."""
    versions = tuple(dated_tone.resolve(f"acme/tone@{number}") for number in (1, 3))
    instants = np.array(["2016-06-01", "2018-06-01", "2016-06-01", "2022-06-01"], "datetime64[us]")
    rows = dated_rows.DatedRows(
        tmp_path, embed_table.TableReading(), instants, np.array([0, 1, -1, 1]), versions, dated_tone, True
    )
    plain = VectorRows(rows, {}, {}, None, "at").known_at()
    assert plain.astype("M8[D]").astype(str).tolist() == ["2016-06-01", "2019-12-31", "2016-06-01", "2022-06-01"]
    until = ahf_instant("2023-01-01T00:00:00Z")
    fit = Alignment("acme/tone@1", versions[0].digest, None, until, 9, "sha256:")
    rotated = VectorRows(rows, {}, {versions[1].digest: np.eye(2)}, fit, "at").known_at()
    assert rotated.astype("M8[D]").astype(str).tolist() == ["2016-06-01", "2023-01-01", "2016-06-01", "2023-01-01"]


def test_versions_of_bases_of_two_widths_are_refused(dated_tone: Any, encoder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    from adapterhub_fin.testing import tiny_corpus

    config = BertConfig.from_pretrained(encoder)
    config.update({"hidden_size": config.hidden_size * 2, "intermediate_size": config.intermediate_size * 2})
    BertModel(config).save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "wide")
    ahf.train(
        name="acme/tone",
        base={"id": "acme/wide", "path": str(tmp_path / "wide")},
        method={"name": "lora", "rank": 4},
        corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        training={"epochs": 1, "batch_size": 8, "max_length": 32},
        registry=dated_tone,
    )
    source, out = tmp_path / "news.csv", tmp_path / "features.csv"
    source.write_text("text,at\nUp.,2021-02-01T00:00:01Z\nDown.,2100-03-01T00:00:01Z\n")
    with pytest.raises(ahf.BadRecipe, match=r"acme/tone@4 gives vectors of (\d+) dimensions, and the others have"):
        ahf.embed_table("acme/tone", source, out, time="at")
    assert not out.exists()


def test_a_rotation_is_found_again() -> None:
    rng = np.random.default_rng(0)
    onto = rng.normal(size=(50, 8))
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    fit = Procrustes(8)
    for start in range(0, 50, 20):
        fit.add(onto[start : start + 20] @ rotation.T, onto[start : start + 20])
    solved, residual = fit.solve()
    assert solved == pytest.approx(rotation, abs=1e-9) and residual == pytest.approx(0, abs=1e-6)
    assert solved @ solved.T == pytest.approx(np.eye(8), abs=1e-9)


def test_parts_of_a_table_are_embedded_as_the_whole(
    dated_tone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = dated_news(tmp_path, 90)
    options: dict[str, Any] = {"align": "first", "align_on": "2017-12-15", "skip_refused": True}
    whole = embedded(news, tmp_path / "whole.parquet", **options)[1]
    sizes: list[int] = []
    embed = ahf.load("acme/tone@1").__class__.embed

    def counted(adapter: Any, rows: Any, *arguments: Any, **keywords: Any) -> Any:
        sizes.append(len(rows))
        return embed(adapter, rows, *arguments, **keywords)

    monkeypatch.setattr("adapterhub_fin.engine.inference.adapter.Adapter.embed", counted)
    monkeypatch.setattr(embed_table, "CHUNK", 7)
    parts = embedded(news, tmp_path / "parts.parquet", **options)[1]
    assert max(sizes) <= 7 and sum(sizes) == 90 + 2 * 48
    names = [name for name in whole.column_names if not name[1:].isdecimal()]
    assert parts.select(names) == whole.select(names)
    assert np.abs(vectors(parts) - vectors(whole)).max() < 1e-4


def test_csv_and_json_lines_hold_the_same(dated_tone: Any, news: Path, tmp_path: Path) -> None:
    table = embedded(news, tmp_path / "features.parquet")[1]
    ahf.embed_table("acme/tone", news, tmp_path / "features.jsonl", time="published", text="title")
    lines = [json.loads(line) for line in (tmp_path / "features.jsonl").read_text().splitlines()]
    assert [line["known_at"] for line in lines] == TIMES
    assert np.array([line["e001"] for line in lines], np.float32).tolist() == table["e001"].to_pylist()
    source = tmp_path / "news.csv"
    source.write_text("title;at\n" + "\n".join(f"{a};{b}" for a, b in zip(titles(4), TIMES, strict=True)) + "\n")
    ahf.embed_table("acme/tone", source, tmp_path / "features.csv", time="at", text="title", reading={"separator": ";"})
    with (tmp_path / "features.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["at"] for row in rows] == TIMES and list(rows[0]).count("at") == 1
    assert [float(row["e002"]) for row in rows] == pytest.approx(table["e002"].to_pylist(), abs=1e-6)


def test_dates_end_in_their_zone(dated_tone: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "news.csv", tmp_path / "features.jsonl"
    source.write_text("text,day\nProfit rose.,30.06.2018\nProfit fell.,02.07.2018\n")
    options: dict[str, Any] = {"time": "day", "date_format": "%d.%m.%Y"}
    ahf.embed_table("acme/tone", source, out, timezone="America/New_York", **options)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["at"] for line in lines] == ["2018-07-01T03:59:59.999999Z", "2018-07-03T03:59:59.999999Z"]
    with pytest.raises(ahf.BadCorpus, match=r"news.csv, line 2: day: .* has no time zone"):
        ahf.embed_table("acme/tone", source, out, **options)
    source.write_text("text,day\nProfit rose.,2018-06-30T00:00:00-04:00\nProfit fell.,2018-07-01T00:00:00-04:00\n")
    ahf.embed_table("acme/tone", source, out, time="day")
    at = [json.loads(line)["at"] for line in out.read_text().splitlines()]
    assert at == ["2018-07-01T03:59:59.999999Z", "2018-07-02T03:59:59.999999Z"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("text,day\n", {}, "news.csv has no rows"),
        ("text,day\nProfit rose.,\n", {}, "line 2 has no day: give its time"),
        ("text,day\nProfit rose.,soon\n\nUp.,later\n", {}, "2 faults:"),
        ("text,when\nProfit rose.,2020-01-01\n", {}, "the table has no column 'day'"),
        ("title,day\nProfit rose.,2020-01-01\n", {}, "rename the column of the text"),
        ("title,day\nProfit rose.,2020-01-01\n", {"text": "titel"}, "did you mean title"),
        ("text,day\n ,2020-01-01\n", {}, "line 2: text is blank"),
        ("text,day,known_at\nUp.,2020-01-01,2001\n", {}, "has a column 'known_at' already"),
        ("text,day,e000\nUp.,2020-01-01,2001\n", {}, "has a column 'e000' already"),
        ("text,day\nUp.,2020-01-01\n", {"pooling": "median"}, "pooling"),
        ("text,day\nUp.,2020-01-01\n", {"layers": 3}, "layer"),
        ("text,day\nUp.,2020-01-01\n", {"date_format": "%Q"}, "date_format"),
    ],
)
def test_bad_input_is_named(dated_tone: Any, tmp_path: Path, rows: str, options: Any, message: str) -> None:
    source, out = tmp_path / "news.csv", tmp_path / "features.csv"
    source.write_text(rows)
    with pytest.raises(ahf.AdapterHubError, match=message):
        ahf.embed_table("acme/tone", source, out, time="day", **{"timezone": "UTC", **options})
    assert list(tmp_path.glob("*features*")) == [] == list(tmp_path.glob(".*"))


def test_twenty_thousand_rows_read_the_registry_once(
    dated_tone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = np.datetime64("2016-06-01", "us") + np.arange(20_000) * np.timedelta64(2, "h")
    source = tmp_path / "news.parquet"
    pyarrow.parquet.write_table(
        pa.table({"text": ["Up."] * len(at), "at": pa.array(at, pa.timestamp("us", "UTC"))}), source
    )
    scans: list[str] = []
    read = Version.read
    monkeypatch.setattr(
        Version, "read", classmethod(lambda cls, *place: (scans.append(str(place[1])), read(*place))[1])
    )
    rows = dated_rows.dated_rows("acme/tone", source, embed_table.TableReading(), embed_table.TimeColumn("at"))
    assert len(rows.numbers) == 20_000 and len(rows.versions) == 3 and len(scans) <= 3


def test_the_command_says_what_was_done(
    dated_tone: Any, news: Path, tmp_path: Path, run_ahf: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "features.parquet"
    table = ["--table", str(news), "--text", "title", "--time", "published", "--as-of-row", "--out", str(out)]
    status, output, told = run_ahf("embed", "acme/tone", *table, "--pooling", "max")
    assert status == 0 and output == "" and "warning: the vectors are of 3 versions" in told
    assert "acme/tone@2, known until 2017-12-31T00:00:00Z: 1 rows" in told and "4 rows in" in told
    status, output, told = run_ahf("embed", "acme/tone@1", *table, "--json")
    assert status == 0 and json.loads(output)["rows"] == 4 and "warning" not in told
    status, output, told = run_ahf("embed", "acme/tone@2", *table)
    assert status == 1 and told.startswith(
        "ahf: news.parquet, row 1 of 2016-01-01T12:00:00Z is refused: acme/tone@2 kno"
    )
    status, output, told = run_ahf("embed", "acme/tone@2", *table, "--skip-refused")
    assert status == 0 and "2 rows in" in told and "2 refused and left out" in told
    for wrong in ([*table[:-2]], [*table, "Up."], [*table, "--as-of", "now"], ["--as-of-row", "Up."]):
        assert run_ahf("embed", "acme/tone", *wrong)[0] == 2


def test_a_version_that_was_yanked_later_embeds_the_rows_from_before(
    dated_tone: Any, news: Path, tmp_path: Path, run_ahf: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "features.parquet"
    before = [row["reference"] for row in embedded(news, out)[1].to_pylist()]
    dated_tone.date_record(1, "2015-12-31T12:00:00Z")
    dated_tone.yank(1, "2018-01-01T00:00:00Z", "leaks")
    made, table = embedded(news, out)
    count = before.count("acme/tone@1")
    assert table["reference"].to_pylist() == before and made.yanked[0].answered == count == 2
    table = ["--table", str(news), "--text", "title", "--time", "published", "--as-of-row", "--out", str(out)]
    sentence = "note: acme/tone@1 was yanked at 2018-01-01T00:00:00Z (leaks): it answered 2 rows"
    assert sentence in run_ahf("embed", "acme/tone", *table)[2]
    _, output, _ = run_ahf("embed", "acme/tone", *table, "--yanked", "left_out", "--skip-refused", "--json")
    assert [(each["answered"], each["left_out"]) for each in json.loads(output)["yanked"]] == [(0, count)]
    assert run_ahf("embed", "acme/tone", "--yanked", "left_out", "Up.")[0] == 2
