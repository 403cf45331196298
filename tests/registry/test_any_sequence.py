"""Whatever is done in whatever order, the registry agrees with a model of it that fits in a few dictionaries."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from adapterhub_fin_registry import NotFound, Refused, Registry
from adapterhub_fin_registry.model.knowledge import parse_instant

CASES = int(os.environ.get("AHF_CASES", "60"))  # of fifty steps each; `make properties` runs thousands
NAMES = ["acme/tone", "acme/risk"]
ALIASES = ["champion", "stable"]
tags = st.sampled_from(["production", "finance"])
names, aliases, years = st.sampled_from(NAMES), st.sampled_from(ALIASES), st.integers(2018, 2024)
# Few of each, so that the same adapter, version and alias come up again.
seeds, numbers = st.integers(0, 3), st.integers(1, 6)


def _machine(make_folder: Any, make_manifest: Any, work_folder_name: Any) -> type[RuleBasedStateMachine]:
    folders = [make_folder(seed) for seed in range(4)]

    class Sequence(RuleBasedStateMachine):
        steps = 0

        def __init__(self) -> None:
            super().__init__()
            self.folder = tempfile.TemporaryDirectory()
            self.registry = Registry(Path(self.folder.name) / "root")
            self.used = dict.fromkeys(NAMES, 0)
            self.stored: dict[tuple[str, int], tuple[int, int, int]] = {}  # what each live version was made of
            self.yanked: set[tuple[str, int]] = set()
            self.tags: dict[tuple[str, int], set[str]] = {}
            self.aliases: dict[tuple[str, str], int] = {}

        def teardown(self) -> None:
            self.reopen()
            assert self.registry.doctor() == []
            self.folder.cleanup()

        def live(self, name: str) -> list[int]:
            return sorted(number for of, number in self.stored if of == name)

        @rule(name=names, seed=seeds, base=years, corpus=years)
        def add(self, name: str, seed: int, base: int, corpus: int) -> None:
            manifest = make_manifest(f"{base}-01-01T00:00:00Z", f"{corpus}-07-01T00:00:00Z", tags=["finance"])
            version = self.registry.add(folders[seed], manifest, name=name)
            made = (seed, base, corpus)
            known = [number for number in self.live(name) if self.stored[name, number] == made]
            if known:
                assert [version.number] == known
            else:
                self.used[name] += 1
                assert version.number == self.used[name]
                self.stored[name, version.number] = made
                self.tags[name, version.number] = {"finance"}

        @rule(name=names, number=numbers)
        def delete(self, name: str, number: int) -> None:
            if (name, number) not in self.stored:
                with pytest.raises(NotFound):
                    self.registry.delete(f"{name}@{number}")
            elif number in [to for (of, _), to in self.aliases.items() if of == name]:
                with pytest.raises(Refused):
                    self.registry.delete(f"{name}@{number}")
            else:
                self.registry.delete(f"{name}@{number}")
                del self.stored[name, number]
                self.yanked.discard((name, number))

        @precondition(lambda self: self.stored)
        @rule(data=st.data(), withdrawn=st.booleans())
        def yank(self, data: Any, withdrawn: bool) -> None:
            name, number = data.draw(st.sampled_from(sorted(self.stored)))
            self.registry.add_event(f"{name}@{number}", "yank" if withdrawn else "unyank")
            (self.yanked.add if withdrawn else self.yanked.discard)((name, number))

        @precondition(lambda self: self.stored)
        @rule(data=st.data(), tag=tags, gone=st.booleans())
        def tag(self, data: Any, tag: str, gone: bool) -> None:
            name, number = data.draw(st.sampled_from(sorted(self.stored)))
            self.registry.add_event(f"{name}@{number}", "untag" if gone else "tag", {"tag": tag})
            (self.tags[name, number].discard if gone else self.tags[name, number].add)(tag)

        @rule(name=names, number=numbers)
        def verify(self, name: str, number: int) -> None:
            if (name, number) in self.stored:
                version = self.registry.verify(f"{name}@{number}")
                assert (version.number, version.files) == (number, self.registry.path(f"{name}@{number}"))
            else:
                with pytest.raises(NotFound):
                    self.registry.verify(f"{name}@{number}")

        @rule(dead=st.booleans(), broken_off=st.booleans())
        def gc(self, dead: bool, broken_off: bool) -> None:
            """Also after a writer that died, and after a deletion that was broken off."""
            left = []
            if dead:
                left.append(self.registry.root / "tmp" / work_folder_name("dead"))
                (left[-1] / "built" / "files").mkdir(parents=True)
            buried = [
                self.registry.root / "adapters" / name / "versions" / str(number)
                for name in NAMES
                for number in range(1, self.used[name] + 1)
                if (name, number) not in self.stored
            ]
            if broken_off and buried:
                left.append(buried[0])
                (buried[0] / "files").mkdir()
            listed = self.registry.gc(dry_run=True, grace=timedelta(0))
            assert [item.path for item in listed] == left
            assert [item.path for item in self.registry.gc(grace=timedelta(0)) if item.removed] == left
            assert self.registry.gc(grace=timedelta(0)) == []

        @rule(name=names, alias=aliases, number=numbers | st.none())
        def set_alias(self, name: str, alias: str, number: int | None) -> None:
            if (number is None and (name, alias) not in self.aliases) or (number and (name, number) not in self.stored):
                with pytest.raises(NotFound):
                    self.registry.set_alias(name, alias, number)
                return
            self.registry.set_alias(name, alias, number)
            if number is None:
                del self.aliases[name, alias]
            else:
                self.aliases[name, alias] = number

        @rule(name=names, year=years, include_base=st.booleans())
        def as_of(self, name: str, year: int, include_base: bool) -> None:
            def end(number: int) -> str:
                _, base, corpus = self.stored[name, number]
                own = f"{corpus}-07-01"
                return max(own, f"{base}-01-01") if include_base else own

            choosable = [number for number in self.live(name) if (name, number) not in self.yanked]
            known = [(end(number), number) for number in choosable if end(number) < f"{year}-01-01"]
            if known:
                assert (
                    self.registry.resolve(name, as_of=f"{year}-01-01", include_base=include_base).number
                    == max(known)[1]
                )
            else:
                with pytest.raises(Refused if choosable else NotFound):
                    self.registry.resolve(name, as_of=f"{year}-01-01", include_base=include_base)

        @rule()
        def reopen(self) -> None:
            """All that there is, as another process would see it."""
            self.registry = reopened = Registry(self.registry.root)
            rows = {(row["name"], row["version"]): row for row in reopened.rows()}
            found = reopened.search("yanked IN (true, false)", limit=None)
            assert {(row["name"], row["version"]): row for row in found} == rows and not found.damaged
            assert set(rows) == set(self.stored)
            assert reopened.names() == sorted({name for name, _ in self.stored})
            for (name, number), row in rows.items():
                assert row["tags"] == sorted(self.tags[name, number])
                assert row["yanked"] == ((name, number) in self.yanked)
                assert row["aliases"] == sorted(a for (of, a), to in self.aliases.items() if (of, to) == (name, number))
                assert parse_instant(row["knowledge_end"]) == reopened.resolve(f"{name}@{number}").knowledge_end
            for name in NAMES:
                choosable = [number for number in self.live(name) if (name, number) not in self.yanked]
                if choosable:
                    assert reopened.resolve(name).number == choosable[-1]
                else:
                    with pytest.raises(NotFound):
                        reopened.resolve(name)
            assert reopened.damaged() == {}

        @invariant()
        def aliases_are_known(self) -> None:
            type(self).steps += 1
            for name in NAMES:
                assert self.registry.aliases(name) == {a: to for (of, a), to in self.aliases.items() if of == name}

    return Sequence


def test_any_sequence(make_folder: Any, make_manifest: Any, work_folder_name: Any) -> None:
    """Two thousand steps and more; a failure prints the few that it needs."""
    machine: Any = _machine(make_folder, make_manifest, work_folder_name)
    run_state_machine_as_test(
        machine, settings=settings(max_examples=CASES, stateful_step_count=50, deadline=None, derandomize=True)
    )
    assert machine.steps >= 40 * CASES
