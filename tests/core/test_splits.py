"""Three parts that never overlap, whatever the rows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin import BadCorpus
from adapterhub_fin.engine.data.duplicates import text_key
from adapterhub_fin.engine.data.splits import SPLITS, divide, resolve
from adapterhub_fin.engine.data.stratify import quotas
from adapterhub_fin.recipe.splitter import Splitter

START = datetime(2020, 1, 1, tzinfo=UTC)


def table(labels: list[str], groups: list[int], days: list[int]) -> Dataset:
    rows = zip(labels, groups, days, strict=True)
    return Dataset.from_list(
        [
            {"text": str(i), "label": label, "group": group, "available_at": START + timedelta(days=day)}
            for i, (label, group, day) in enumerate(rows)
        ]
    )


many = st.integers(12, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abc"), min_size=n, max_size=n),
        st.lists(st.integers(0, 9), min_size=n, max_size=n),
        st.lists(st.integers(0, 20), min_size=n, max_size=n),
    )
)


@settings(max_examples=60, deadline=None)
@given(many, st.sampled_from(["random", "stratified", "grouped", "time"]), st.integers(0, 5))
def test_every_row_is_in_one_part_and_the_seed_decides(rows: Any, by: Any, seed: int) -> None:
    whole, split = table(*rows), Splitter(by=by, validation=0.2, test=0.2, seed=seed)
    try:
        parts = divide(whole, split, "c").splits
    except BadCorpus:
        return  # too few rows or groups for three parts, which is said
    assert sorted(text for part in SPLITS for text in parts[part]["text"]) == sorted(whole["text"])
    for part in SPLITS:
        assert list(parts[part]["text"]) == sorted(parts[part]["text"], key=int), "rows keep their order"
    assert {part: list(rows["text"]) for part, rows in parts.items()} == {
        part: list(rows["text"]) for part, rows in divide(whole, split, "c").splits.items()
    }
    if by == "grouped":
        groups = [set(parts[part]["group"]) for part in SPLITS]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    if by == "time":
        assert max(parts["train"]["available_at"]) < min(parts["validation"]["available_at"])
        assert max(parts["validation"]["available_at"]) < min(parts["test"]["available_at"])


def test_strata_keep_their_shares() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    parts = divide(table(labels, [0] * 100, [0] * 100), Splitter(by="stratified", validation=0.1, test=0.2), "c").splits
    assert Counter(parts["test"]["label"]) == {"a": 12, "b": 6, "c": 2}
    assert Counter(parts["validation"]["label"]) == {"a": 6, "b": 3, "c": 1}


@pytest.mark.parametrize("by", ["random", "stratified", "grouped"])
def test_another_seed_gives_another_split(by: Any) -> None:
    whole = table(["a", "b"] * 50, [i // 4 for i in range(100)], [0] * 100)
    tests = [list(divide(whole, Splitter(by=by, seed=seed), "c").splits["test"]["text"]) for seed in (0, 1)]
    assert tests[0] != tests[1]


def test_parts_that_leave_nothing_to_train_on_are_refused() -> None:
    for validation, test in ((0.5, 0.5), (0.6, 0.6)):
        with pytest.raises(ValueError, match="leave nothing to train on"):
            Splitter(validation=validation, test=test)
    assert Splitter(validation=0.4, test=0.5).test == 0.5


def test_no_class_gives_more_than_it_can_spare() -> None:
    assert quotas([2, 2], [0, 1], (0.5, 0.25), (2, 1), [0, 1]) == [
        {"test": 0, "validation": 0},
        {"test": 1, "validation": 0},
    ]


def test_a_share_that_is_whole_is_not_lost_to_rounding() -> None:
    """29 % of 100 is 28.999999999999996: the third class gives 29 all the same, and the first is not asked for it."""
    found = quotas([50, 100, 100], [49, 99, 99], (0.05, 0.29), (12, 72), [0, 1, 2])
    assert [share["validation"] for share in found] == [14, 29, 29]


def test_validation_is_carved_from_train_where_only_a_test_part_is_given() -> None:
    whole = table(["a", "b"] * 10, list(range(20)), [0] * 20).add_column("split", ["train"] * 15 + ["test"] * 5)
    parts = divide(whole, Splitter(by="given", validation=0.2), "c").splits
    assert [len(parts[part]) for part in SPLITS] == [12, 3, 5]
    assert list(parts["test"]["text"]) == [str(i) for i in range(15, 20)]


def test_an_empty_part_is_refused_with_its_name() -> None:
    with pytest.raises(BadCorpus, match="leaves validation and test without rows"):
        divide(table(["a", "b"], [0, 1], [0, 1]), Splitter(by="stratified"), "c")
    with pytest.raises(BadCorpus, match="at least 3 groups"):
        divide(table(["a"] * 30, [0] * 30, [0] * 30), Splitter(by="grouped"), "c")
    with pytest.raises(BadCorpus, match="holds 'dev'"):
        whole = table(["a", "b"], [0, 1], [0, 1]).add_column("split", ["dev", "test"])
        divide(whole, Splitter(by="given"), "c")
    with pytest.raises(BadCorpus, match="needs a column 'group'"):
        divide(table(["a"] * 9, [0] * 9, [0] * 9).remove_columns("group"), Splitter(by="grouped"), "c")


def test_validation_is_carved_from_train_in_whole_groups() -> None:
    whole = table(["a", "b"] * 10, [i // 4 for i in range(20)], [0] * 20)
    parts = divide(
        whole.add_column("split", ["train"] * 16 + ["test"] * 4), Splitter(by="given", validation=0.2), "c"
    ).splits
    assert [len(parts[part]) for part in SPLITS] == [12, 4, 4]
    assert not set(parts["train"]["group"]) & set(parts["validation"]["group"])


@pytest.mark.parametrize(
    ("columns", "by"),
    [
        (["text", "label"], "stratified"),
        (["text", "label", "group"], "grouped"),
        (["text", "target", "group"], "grouped"),
        (["text", "target"], "random"),
        (["messages", "available_at", "split"], "given"),
    ],
)
def test_an_open_split_is_settled_by_what_the_rows_have(columns: list[str], by: str) -> None:
    assert resolve(Splitter(), columns) == Splitter(by=by)
    assert resolve(Splitter(by="time", embargo="5d"), columns) == Splitter(by="time", embargo="5d")


def test_what_an_open_split_became_is_told() -> None:
    whole = table(["a", "b"] * 30, [i // 2 for i in range(60)], [0] * 60)
    division = divide(whole.remove_columns("group"), Splitter(), "c")
    assert division.splitter.by == "stratified" and dict(division.notes) == {}
    division = divide(whole, Splitter(), "c")
    assert division.splitter.by == "grouped" and len(set(division.splits["test"]["group"]) & set(range(30))) == 6


def dated(days: list[int], delays: list[int] | None = None) -> Dataset:
    """Rows of these days, their labels known so many days later."""
    rows = Dataset.from_list(
        [{"text": str(i), "available_at": START + timedelta(days=day)} for i, day in enumerate(days)]
    )
    known = (
        [START + timedelta(days=day + delay) for day, delay in zip(days, delays or [], strict=True)] if delays else []
    )
    return rows.add_column("label_known_at", known) if delays else rows


def last_known(rows: Dataset) -> datetime:
    columns = {"available_at", "label_known_at"} & set(rows.column_names)
    found: datetime = max(max(rows[column]) for column in columns)
    return found


times = st.lists(st.integers(0, 40), min_size=12, max_size=80).flatmap(
    lambda days: st.tuples(
        st.just(days), st.none() | st.lists(st.integers(0, 9), min_size=len(days), max_size=len(days))
    )
)
walks = st.integers(1, 6).flatmap(lambda folds: st.tuples(st.just(folds), st.integers(1, folds)))


@settings(max_examples=150, deadline=None)
@given(times, st.none() | walks, st.integers(0, 8), st.sampled_from([0.1, 0.3]))
def test_under_an_embargo_nothing_learnt_was_known_later_than_it_allows(
    rows: Any, walk: Any, days: int, validation: float
) -> None:
    whole = dated(*rows)
    by: dict[str, Any] = {"by": "walk-forward", "folds": walk[0], "fold": walk[1]} if walk else {"by": "time"}
    free = Splitter(**by, validation=validation)
    try:
        division = divide(whole, free, "c")
        before, dropped = division.splits, division.notes
        after = divide(whole, free.model_copy(update={"embargo": f"{days}d"}), "c")
    except BadCorpus as error:
        assert "without rows" in str(error)  # too few instants, or too long an embargo, which is said
        return
    for part, following in (("train", "validation"), ("validation", "test"), ("train", "test")):
        start = min(before[following]["available_at"])
        assert last_known(after.splits[part]) < start - timedelta(days=days), "strictly, as under as_of"
        assert last_known(before[part]) < start, "without an embargo too"
    texts = [text for part in SPLITS for text in after.splits[part]["text"]]
    assert len(texts) == len(set(texts))
    assert list(after.splits["test"]["text"]) == list(before["test"]["text"])
    for part in ("train", "validation"):
        assert set(after.splits[part]["text"]) <= set(before[part]["text"])
        late = dropped.get(f"under embargo, {part}", 0)
        assert after.notes[f"under embargo, {part}"] == late + len(before[part]) - len(after.splits[part])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=20, max_size=90), st.integers(1, 6))
def test_the_tests_of_a_walk_follow_one_another_and_are_never_seen_before(days: list[int], folds: int) -> None:
    whole = dated(days)
    tested: list[str] = []
    for fold in range(1, folds + 1):
        try:
            parts = divide(whole, Splitter(by="walk-forward", folds=folds, fold=fold), "c").splits
        except BadCorpus:
            return  # more rows share an instant than a block holds, which is said
        seen = {text for part in ("train", "validation") for text in parts[part]["text"]}
        assert set(tested) <= seen and not seen & set(parts["test"]["text"])
        tested += parts["test"]["text"]
    assert max(int(days[int(text)]) for text in tested) == max(days), "the last fold tests to the end"


def test_a_walk_cuts_time_into_equal_blocks() -> None:
    whole = dated(list(range(60)))
    sizes = [
        [len(parts[part]) for part in SPLITS]
        for fold in (1, 2, 3)
        for parts in [divide(whole, Splitter(by="walk-forward", folds=3, fold=fold, validation=0.2), "c").splits]
    ]
    assert sizes == [[12, 3, 15], [24, 6, 15], [36, 9, 15]]


def test_a_walk_over_months_validates_on_whole_months() -> None:
    """Ten firms a month: a tenth of two months is less than one month, and one month it must be."""
    whole = dated([30 * (i // 10) for i in range(60)])
    parts = divide(whole, Splitter(by="walk-forward", folds=2, fold=1, validation=0.1), "c").splits
    assert [len(parts[part]) for part in SPLITS] == [10, 10, 20]


def test_an_embargo_counts_from_when_the_label_was_known() -> None:
    whole = dated([*range(10), 16, 17, 18, 19, 30, 31], [3] * 16)
    division = divide(whole, Splitter(by="time", validation=0.25, test=0.125, embargo="5d"), "c")
    assert [list(division.splits[part]["text"]) for part in SPLITS] == [
        [*"01234567"],  # the label of row 8 was known at the very start of validation less the embargo
        ["10", "11", "12", "13"],
        ["14", "15"],
    ]
    assert dict(division.notes) == {"under embargo, train": 2, "under embargo, validation": 0}


def test_an_embargo_that_leaves_nothing_is_refused_with_the_part() -> None:
    with pytest.raises(BadCorpus, match="the embargo of 9d leaves train and validation without rows"):
        divide(dated(list(range(10))), Splitter(by="time", validation=0.2, test=0.2, embargo="9d"), "c")


# -- copies (G 5) ------------------------------------------------------------------------------------------------------

FORMS = (
    str,
    str.upper,
    lambda text: f"  {text.replace(' ', '   ')}\n",
    lambda text: text.replace("e", "e\u0301").replace("e\u0301", "é"),
    lambda text: text.replace("é", "e\u0301"),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: "\ufeff" + text.replace("fi", "ﬁ"),
)


def keys(rows: Dataset) -> set[str]:
    column = "messages" if "messages" in rows.column_names else "text"
    return {text_key(cell) for cell in rows[column]}


def crossing(parts: Any) -> int:
    """Rows whose text stands in an earlier part too."""
    seen, found = set(), 0
    for part in SPLITS:
        column = "messages" if "messages" in parts[part].column_names else "text"
        found += sum(text_key(cell) in seen for cell in parts[part][column])
        seen |= keys(parts[part])
    return found


copied = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(range(len(FORMS))), st.sampled_from("aab"), st.integers(0, 9)),
    min_size=15,
    max_size=90,
)


def copied_table(rows: Any, kind: str) -> Dataset:
    made = []
    for place, (number, form, label, group) in enumerate(rows):
        text = FORMS[form](f"café firm {number} rose")
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": f"Yes, {number % 7}."}]
        cells: dict[str, Any] = {"messages": turns} if kind == "messages" else {"text": text, "label": label}
        cells |= {"target": float(number)} if kind == "target" else {}
        cells |= {"features": [1.0, float(place)]} if kind == "features" else {}
        available = START + timedelta(days=place // 2)
        made.append({**cells, "group": group, "available_at": available, "split": ["train", "test"][place % 3 == 0]})
    return Dataset.from_list(made)


@settings(max_examples=80, deadline=None)
@given(
    copied,
    st.sampled_from(["random", "stratified", "grouped"]),
    st.sampled_from(["text", "messages", "features"]),
    st.integers(0, 3),
)
def test_rows_of_one_text_are_in_one_part(rows: Any, by: Any, kind: str, seed: int) -> None:
    if kind == "messages" and by == "stratified":
        by = "random"
    whole, split = copied_table(rows, kind), Splitter(by=by, seed=seed, validation=0.2, test=0.2)
    try:
        division = divide(whole, split, "c")
    except BadCorpus as error:
        assert "without rows" in str(error) or "at least 3 groups" in str(error)
        return
    assert crossing(division.splits) == 0
    assert sorted(row for part in SPLITS for row in division.row_indices[part]) == list(range(len(whole))), (
        "none is dropped"
    )
    assert dict(division.row_indices) == dict(divide(whole, split, "c").row_indices)
    assert division.notes.get("that are copies of another", 0) == len(whole) - len(keys(whole))
    if by == "grouped":
        groups = [set(division.splits[part]["group"]) for part in SPLITS]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


@settings(max_examples=60, deadline=None)
@given(copied, st.sampled_from(["time", "walk-forward", "window", "given", "grouped"]), st.booleans())
def test_ordered_and_published_splits_count_copies_and_drop_them_where_that_is_asked(
    rows: Any, by: Any, embargo: bool
) -> None:
    whole = copied_table(rows, "text").add_column("label_known_at", [START] * len(rows))
    more: dict[str, Any] = {"folds": 2, "fold": 2} if by == "walk-forward" else {}
    if by == "window":
        more = {"cutoff": START + timedelta(days=len(rows) // 3), "until": START + timedelta(days=400)}
    if embargo and by in ("time", "walk-forward"):
        more["embargo"] = "1d"
    split = Splitter(by=by, validation=0.2, test=0.2, **more)
    try:
        before = divide(whole, split, "c")
        after = divide(whole, split.model_copy(update={"drop_copies": True}), "c")
    except BadCorpus as error:
        assert "without rows" in str(error) or "at least 3 groups" in str(error)
        return
    notes = before.notes
    told = ("of validation that are copies of train", "of test that are copies of train or validation")
    if by not in ("grouped",):
        assert sum(notes.get(reason, 0) for reason in told) == crossing(before.splits)
    if by == "given":  # no row of the source's own parts is moved
        assert before.row_indices["test"] == [row for row in range(len(whole)) if whole[row]["split"] == "test"]
    assert crossing(after.splits) == 0 and not any(after.notes.get(reason) for reason in told)
    if by != "grouped":  # which joins no groups then
        for part in SPLITS:
            assert set(after.row_indices[part]) <= set(before.row_indices[part])
            assert (
                len(before.row_indices[part]) - len(after.row_indices[part])
                == after.notes[f"dropped as copies, {part}"]
            )
        stays = "test" if by == "given" else "train"  # what is published, or what was known first
        assert after.row_indices[stays] == before.row_indices[stays]


def test_forty_copies_are_not_forty_right_answers() -> None:
    """Two hundred rows, fifty texts: before, every row of the test part stood in train as well."""
    rows = [{"text": f"Firm {i % 50} rose.", "label": "ab"[i % 2]} for i in range(200)]
    for by in ("random", "stratified"):
        division = divide(Dataset.from_list(rows), Splitter(by=by), "c")
        assert [len(division.row_indices[part]) for part in SPLITS] == [140, 20, 40]
        assert crossing(division.splits) == 0 and dict(division.notes) == {"that are copies of another": 150}


def test_contradicted_texts_are_counted_and_stay_together() -> None:
    rows = [{"text": f"Firm {i}.", "label": "ab"[i % 2]} for i in range(60)]
    rows += [{"text": f"FIRM {i}. ", "label": "ba"[i % 2]} for i in range(7)] + [{"text": "firm 59.", "label": "b"}]
    for by in ("random", "stratified"):
        division = divide(Dataset.from_list(rows), Splitter(by=by), "c")
        assert division.notes == {"that are copies of another": 8, "with contradictory labels": 14}
        assert crossing(division.splits) == 0
    numbers = [{"text": row["text"], "target": float(row["label"] == "a")} for row in rows]
    assert divide(Dataset.from_list(numbers), Splitter(), "c").notes["with contradictory labels"] == 14


def test_one_text_of_half_the_rows_goes_to_train() -> None:
    rows = [{"text": "Shares rose." if i % 2 else f"Firm {i} fell.", "label": "ab"[i % 2]} for i in range(100)]
    for by, seed in ((by, seed) for by in ("random", "stratified") for seed in range(5)):
        parts = divide(Dataset.from_list(rows), Splitter(by=by, seed=seed), "c").splits
        assert "Shares rose." in parts["train"]["text"] and len(parts["test"]) >= 10 and len(parts["validation"]) >= 5


def test_three_texts_are_enough_for_three_parts() -> None:
    rows = [{"text": f"Firm {i % 3}.", "label": "a"} for i in range(210)]
    for seed in range(5):
        parts = divide(Dataset.from_list(rows), Splitter(by="random", seed=seed), "c").splits
        assert [len(parts[part]) for part in SPLITS] == [70, 70, 70]


def test_copies_join_groups_and_the_error_says_so() -> None:
    rows = [{"text": f"Firm {i // 2}.", "label": "a", "group": i % 2} for i in range(40)]
    with pytest.raises(BadCorpus, match=r"needs at least 3 groups and has 1 \(copies of texts join its 2 groups"):
        divide(Dataset.from_list(rows), Splitter(by="grouped"), "c")
    rows = [{"text": f"Firm {i // 2 if i < 2 else i}.", "label": "a", "group": i % 8} for i in range(80)]
    parts = divide(Dataset.from_list(rows), Splitter(by="grouped"), "c").splits
    assert any({0, 1} <= set(parts[part]["group"]) for part in SPLITS)


def test_validation_is_carved_without_copies_of_what_stays() -> None:
    rows = [{"text": f"Firm {i % 12}.", "label": "a", "split": "train" if i < 48 else "test"} for i in range(60)]
    division = divide(Dataset.from_list(rows), Splitter(by="given", validation=0.25), "c")
    assert not keys(division.splits["train"]) & keys(division.splits["validation"])
    assert division.notes["of test that are copies of train or validation"] == 12


# -- many classes (G 13) -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=60),
    st.sampled_from([(0.1, 0.2), (0.2, 0.2), (0.05, 0.3), (0.4, 0.4)]),
    st.integers(0, 3),
)
def test_each_class_gives_what_it_is_due_rounded_and_the_whole_its_shares(
    sizes: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    whole, split = (
        Dataset.from_list([{"text": f"{i}", "label": label} for i, label in enumerate(labels)]),
        Splitter(by="stratified", validation=shares[0], test=shares[1], seed=seed),
    )
    try:
        parts = divide(whole, split, "c").splits
    except BadCorpus as error:
        assert "without rows" in str(error)
        return
    counts = {part: Counter(parts[part]["label"]) for part in SPLITS}
    short = 0
    for number, size in enumerate(sizes):
        test, validation = counts["test"][str(number)], counts["validation"][str(number)]
        assert counts["train"][str(number)] >= 1, "a class that isn't trained on can't be answered"
        assert test <= size * shares[1] + 1 and validation <= size * shares[0] + 1
        if size >= 6:
            assert test > size * shares[1] - 1 and validation > size * shares[0] - 1.0001
        short += size < 6
    if not short:
        assert [len(parts[part]) for part in ("validation", "test")] == [round(len(whole) * each) for each in shares]


@pytest.mark.parametrize(("classes", "rows"), [(1000, 4), (402, 5), (402, 3), (77, 9)])
def test_many_small_classes_are_spread_over_the_parts(classes: int, rows: int) -> None:
    labels = [str(i % classes) for i in range(classes * rows)]
    whole = Dataset.from_list([{"text": f"{i}", "label": label} for i, label in enumerate(labels)])
    parts = divide(whole, Splitter(by="stratified"), "c").splits
    assert [len(parts[part]) for part in ("validation", "test")] == [round(len(whole) * each) for each in (0.1, 0.2)]
    held = Counter([*parts["validation"]["label"], *parts["test"]["label"]])
    assert len(set(parts["train"]["label"])) == classes
    assert len(held) >= min(classes, 0.9 * 0.3 * classes * rows), "what is held out is of as many classes as it can be"


def test_two_large_classes_and_four_hundred_small_ones() -> None:
    labels = ["large", "larger"] * 1000 + [f"{i}" for i in range(400) for _ in range(5)]
    whole = Dataset.from_list([{"text": f"{i}", "label": label} for i, label in enumerate(labels)])
    parts = divide(whole, Splitter(by="stratified"), "c").splits
    counts = {part: Counter(parts[part]["label"]) for part in SPLITS}
    assert len(counts["validation"]) >= 200 and len(counts["test"]) == 402
    assert counts["test"]["large"] == counts["test"]["larger"] == 200
    assert counts["validation"]["large"] == counts["validation"]["larger"] == 100
