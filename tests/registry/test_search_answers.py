"""SQLite's answers against a plain evaluation of the same tree over the same versions, some fields of them missing."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.search import page
from adapterhub_fin_registry.search.parser import microseconds, parse
from adapterhub_fin_registry.search.query import (
    FIELDS,
    All,
    Comparison,
    Condition,
    Either,
    Not,
    Phrase,
    Query,
    Value,
    Words,
    field,
)

NAMES = ("acme/tone", "acme/topic", "beta/tone.v2")
WORDS = ("profit", "Tone", "quarter", "lora")
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Facts = dict[str, list[Value]]  # the values of each path; of a set, perhaps none


def random_version(draw: random.Random) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The fields of a manifest, and events."""
    maybe: Callable[[Any], Any] = lambda value: value if draw.random() < 0.6 else None  # noqa: E731
    metrics = {name: round(draw.random(), 1) for name in ("accuracy", "f1") if draw.random() < 0.6}
    options = {
        "rank": maybe(draw.choice((4, 8, 16))),
        "bias": maybe(draw.choice(("none", "all", 3))),
        "dora": maybe(draw.random() < 0.5),
        "targets": maybe(draw.sample(("query", "key", "value"), 2)),
        "nested": {"bits": 4},
    }
    fields = {
        "method": {"name": draw.choice(("lora", "stranger-tuning")), "options": options},
        "head": maybe({"name": "classify", "options": maybe({"task": "sentiment"}) or {}, "labels": ["down", "up"]}),
        "corpus": maybe({"name": draw.choice(("headlines", "Calls")), "options": {"rows": draw.choice((10, 20))}}),
        "metrics": metrics,
        "seed": maybe(draw.randrange(3)),
        "license": maybe("MIT"),
        "description": " ".join(draw.sample(WORDS, 2)),
        "tags": draw.sample(("finance", "old"), draw.randrange(3)),
        "kind": "adapter",
        "base": {"repository": "acme/base", "fingerprint": "declared"},
    }
    if draw.random() < 0.2:
        own = {"repository": maybe("acme/base"), "fingerprint": "verified"}
        fields |= {"kind": "base", "head": None, "base": own}
    elif draw.random() < 0.3:
        version = {"digest": f"sha256:{'b' * 64}", "name": "acme/fin"}
        fields["base"] = {"repository": None, "version": version, "fingerprint": "verified"}
    events: list[tuple[str, dict[str, Any]]] = []
    for _ in range(draw.randrange(3)):
        measured = {"corpus": "calls", "split": "test", "metrics": {"f1": round(draw.random(), 1)}}
        events.append(
            draw.choice((("evaluation", measured), ("tag", {"tag": "late"}), ("untag", {"tag": "old"}), ("yank", {})))
        )
    return fields, events


def facts(name: str, number: int, record: dict[str, Any], digest: str, fields: dict[str, Any], events: Any) -> Facts:
    """What the language says a version's fields are, told from what was stored and not from the index."""
    one: Callable[[Any], list[Value]] = lambda value: [] if value is None else [value]  # noqa: E731
    head, corpus = fields["head"] or {}, fields["corpus"] or {}
    tags = set(fields["tags"])
    stored = fields["base"].get("version")
    base = fields["base"]["repository"] or (stored and stored["name"])
    found: Facts = {f"metrics.{metric}": [value] for metric, value in fields["metrics"].items()}
    yanked = False
    for kind, body in events:
        if kind == "evaluation":
            found |= {f"eval.calls.test.{metric}": [value] for metric, value in body["metrics"].items()}
        tags = tags | {body["tag"]} if kind == "tag" else tags - {body["tag"]} if kind == "untag" else tags
        yanked = yanked or kind == "yank"
    for option, value in fields["method"]["options"].items():
        if isinstance(value, dict):
            found |= {f"method.{option}.{key}": [item] for key, item in value.items()}
        elif value is not None:
            found[f"method.{option}"] = value if isinstance(value, list) else [value]
    found |= {f"corpus.{option}": [value] for option, value in corpus.get("options", {}).items()}
    found |= {f"head.{option}": [value] for option, value in head.get("options", {}).items()}
    return found | {
        "name": [name],
        "namespace": [name.partition("/")[0]],
        "version": [number],
        "digest": [digest],
        "kind": [fields["kind"]],
        "method": [fields["method"]["name"]],
        "head": one(head.get("name")),
        "corpus": one(corpus.get("name")),
        "task": one(head.get("options", {}).get("task") or head.get("name")),
        "base": one(base),
        "seed": one(fields["seed"]),
        "license": one(fields["license"]),
        "description": [fields["description"]],
        "tag": sorted(tags),
        "alias": [],
        "label": list(head.get("labels", ())),
        "trait": [],
        "parent": [stored["digest"], stored["name"]] if stored else [],
        "yanked": [int(yanked)],
        "fingerprint": [fields["base"]["fingerprint"]],
        "architecture": [],
        "provider": [],
        "added_by": [record["added_by"]],
        "added_at": [instant(record["added_at"])],
        "words": [
            " ".join((base or "", name, fields["description"], *tags, fields["method"]["name"], corpus.get("name", "")))
        ],
    }


def instant(text: str) -> int:
    return microseconds(datetime.fromisoformat(text))


def truth(condition: Condition, row: Facts) -> bool | None:
    """True, False, or None for what can't be told."""
    if isinstance(condition, Not):
        inner = truth(condition.condition, row)
        return None if inner is None else not inner
    if isinstance(condition, All | Either):
        parts = [truth(part, row) for part in condition.conditions]
        decisive = isinstance(condition, Either)
        return decisive if decisive in parts else None if None in parts else not decisive
    if isinstance(condition, Words):
        words = str(row["words"][0]).casefold().replace("/", " ").replace(".", " ").replace("-", " ").split()
        return all(
            any(word.startswith(p.text.casefold()) if p.is_prefix else word == p.text.casefold() for word in words)
            for p in condition.phrases
        )
    values = row.get(condition.field.path, [])
    return None if not values and not condition.field.is_set else any(fits(value, condition) for value in values)


def fits(value: Value, condition: Comparison) -> bool:
    first = condition.values[0]
    if condition.operator == "IN":
        return value in condition.values
    if condition.operator == "~":
        return isinstance(value, str) and str(first).casefold() in value.casefold()
    if isinstance(value, str) != isinstance(first, str):
        return False
    return COMPARED[condition.operator](value, first)


@pytest.fixture(scope="module")
def shelf(
    tmp_path_factory: pytest.TempPathFactory,
    make_folder: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
) -> tuple[Registry, list[Facts]]:
    """Forty versions, and what is known of them."""
    draw = random.Random(7)
    registry = Registry(tmp_path_factory.mktemp("shelf") / "root")
    folders, rows = {"adapter": make_folder(), "base": make_folder(files={"config.json": b"{}"})}, []
    for path in folders["base"].glob("adapter_*"):
        path.rename(path.with_name("model.safetensors")) if path.suffix == ".safetensors" else path.unlink()
    start = datetime(2019, 1, 1, tzinfo=UTC)
    for place in range(40):
        fields, events = random_version(draw)
        end = start + timedelta(days=draw.randrange(400), microseconds=draw.choice((0, 500_000)))
        manifest = make_manifest("2018-01-01T00:00:00Z", end, **{**fields, "recipe": {"place": place}})
        version = registry.add(folders[manifest.kind], manifest, name=draw.choice(NAMES))
        for kind, body in events:
            registry.add_event(version.reference, kind, body)
        row = facts(version.name, version.number, version.record, version.digest, fields, events)
        rows.append(row | {"knowledge_end": [microseconds(end)]})
    named: dict[str, list[int]] = {}
    for place in draw.sample(range(40), 8):
        name, number = str(rows[place]["name"][0]), int(rows[place]["version"][0])
        registry.set_alias(name, f"a{place}", number)
        rows[place]["alias"] = [f"a{place}"]
        named.setdefault(name, []).append(number)
    return registry, sorted(rows, key=lambda row: (row["name"], row["version"]))


@pytest.fixture(autouse=True)
def one_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHF_CACHE", str(tmp_path_factory.getbasetemp() / "answers"))


@pytest.fixture(params=[0, 1000], ids=["walked through in order", "fetched and ordered"])
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way in which the index can be asked."""
    monkeypatch.setattr(page, "FEW", request.param)


OPEN = ("metrics.accuracy", "metrics.f1", "metrics.none", "eval.calls.test.f1", "method.rank", "method.bias")
PATHS = (*sorted(FIELDS), *OPEN, "method.dora", "method.targets", "method.nested.bits", "corpus.rows", "head.task")
SINGLE = [path for path in PATHS if path not in FIELDS or not FIELDS[path].is_set]
TEXTS = st.sampled_from(
    (
        *NAMES,
        "acme",
        "lora",
        "classify",
        "sentiment",
        "headlines",
        "Calls",
        "MIT",
        "finance",
        "old",
        "late",
        "query",
        "none",
        "all",
        "a3",
        "up",
        "profit Tone",
        "x",
        "",
        "declared",
        "é'\"%_",
    )
)
NUMBERS = st.sampled_from((0, 1, 2, 3, 4, 8, 16, 10, 0.5, 0.7, -1, 1e300))
INSTANTS = st.integers(0, 400).map(lambda days: microseconds(datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=days)))
KINDS: dict[str, st.SearchStrategy[Value]] = {
    "text": TEXTS,
    "number": NUMBERS,
    "instant": INSTANTS,
    "truth": st.sampled_from((0, 1)),
    "any": TEXTS | NUMBERS,
}


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    subject = field(draw(st.sampled_from(PATHS)))
    assert subject is not None
    signs = ["=", "IN"] if subject.kind == "truth" else ["=", "<", "<=", ">", ">=", "IN"]
    sign: Any = draw(st.sampled_from([*signs, "~"] if subject.kind in ("text", "any") else signs))
    values = KINDS["text"] if sign == "~" else KINDS[subject.kind]
    return Comparison(subject, sign, tuple(draw(st.lists(values, min_size=1, max_size=3 if sign == "IN" else 1))))


PHRASES = st.builds(Phrase, st.sampled_from((*WORDS, "acme", "fin", "t")), st.booleans())
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    comparisons() | st.builds(Words, st.tuples(PHRASES)),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Either, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def written(condition: Condition) -> str:
    """A tree as a user would write it."""
    if isinstance(condition, Not):
        return f"NOT ({written(condition.condition)})"
    if isinstance(condition, All | Either):
        return (" AND " if isinstance(condition, All) else " OR ").join(f"({written(p)})" for p in condition.conditions)
    if isinstance(condition, Words):
        return " ".join(phrase.text + "*" * phrase.is_prefix for phrase in condition.phrases)
    values = [literal(value, condition) for value in condition.values]
    wanted = f"({', '.join(values)})" if condition.operator == "IN" else values[0]
    return f"`{condition.field.path}` {condition.operator} {wanted}"


def literal(value: Value, condition: Comparison) -> str:
    if condition.field.kind == "instant":
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(value))).strftime("%Y-%m-%d")
    if condition.field.kind == "truth":
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS)
def test_the_index_answers_as_plain_python_does(
    shelf: tuple[Registry, list[Facts]], plan: None, condition: Condition
) -> None:
    registry, rows = shelf
    text = written(condition)
    assert parse(text) == Query(condition)
    # What asks about `yanked` finds the yanked too, and this asks in a way that leaves nothing out.
    found = registry.search(f"({text}) AND yanked IN (true, false)", limit=None)
    expected = [(row["name"][0], row["version"][0]) for row in rows if truth(condition, row)]
    assert [(row["name"], row["version"]) for row in found] == expected


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS, path=st.sampled_from(SINGLE), descending=st.booleans(), size=st.integers(1, 7))
def test_pages_are_in_order_and_whole(
    shelf: tuple[Registry, list[Facts]], plan: None, condition: Condition, path: str, descending: bool, size: int
) -> None:
    registry, rows = shelf
    text = f"({written(condition)}) AND yanked IN (true, false) ORDER BY {path} {'DESC' if descending else 'ASC'}"
    found, cursor = [], None
    while True:
        part = registry.search(text, limit=size, after=cursor)
        found += [(row["name"], row["version"]) for row in part]
        assert len(part) == size or part.next is None
        if (cursor := part.next) is None:
            break
    fitting = [row for row in rows if truth(condition, row)]  # by name and number, which settles ties
    having = [row for row in fitting if row.get(path)]
    # SQLite's order of kinds: numbers, then texts; of several values the least counts.
    key: Callable[[Facts], Any] = lambda row: min((isinstance(v, str), v) for v in row[path])  # noqa: E731
    having = sorted(having, key=key, reverse=descending)  # which keeps the order of equals both ways
    expected = having + [row for row in fitting if not row.get(path)]
    assert found == [(row["name"][0], row["version"][0]) for row in expected]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="'"), min_size=1, max_size=12))
def test_any_words_are_only_ever_words(shelf: tuple[Registry, list[Facts]], text: str) -> None:
    registry, _ = shelf
    for row in registry.search(f"name = '{text}' OR name ~ '{text}'"):
        assert text.casefold() in row["name"]
    if any(character.isalnum() for character in text):
        registry.search(f"'{text}'")  # whatever it finds, no sign in it is one of the full text's
