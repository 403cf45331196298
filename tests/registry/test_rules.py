"""Which rules a version breaks, by the rules alone; `test_policy` has registries."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapterhub_fin_registry.errors import Refused
from adapterhub_fin_registry.trust.policy import Policy, Rules

HERE, THERE = Path("client.toml"), Path("policy.toml")


def manifest(*sizes: int, license: str | None = "MIT", base: str | None = "acme/base", corpus: Any = None) -> Any:
    return SimpleNamespace(
        files=[SimpleNamespace(size=size) for size in sizes],
        license=license,
        base=SimpleNamespace(repository=base),
        corpus=corpus,
    )


def broken(rules: Rules, what: Any, registry: Rules | None = None) -> list[str]:
    return list(Policy(rules, registry).violations("acme/tone@1", what, []))


@pytest.mark.parametrize(
    ("most", "sizes", "allowed"),
    [
        (30, (10, 20), True),
        (29, (10, 20), False),
        (20, (10, 20), False),
        (30, (31,), False),
        (0, (0,), True),
        (0, (1,), False),
        (0, (), True),
        (None, (10**12,), True),
    ],
)
def test_all_files_together_have_the_largest_size_at_most(
    most: int | None, sizes: tuple[int, ...], allowed: bool
) -> None:
    assert (broken(Rules(HERE, max_size=most), manifest(*sizes)) == []) == allowed


@pytest.mark.parametrize(
    ("pattern", "license", "allowed"),
    [
        ("MIT", "mit", True),
        ("apache-*", "Apache-2.0", True),
        ("mit", "MIT-0", False),
        ("*", "GPL-3.0", True),
        ("*", None, False),
        ("bsd-?-clause", "BSD-3-Clause", True),
    ],
)
def test_a_license_fits_a_whole_pattern_in_any_case(pattern: str, license: str | None, allowed: bool) -> None:
    rules = Rules(HERE, allowed_licenses=("none-such", pattern))
    assert (broken(rules, manifest(license=license)) == []) == allowed
    corpus = SimpleNamespace(licenses=("MIT", license))
    assert (broken(Rules(HERE, allowed_licenses=("MIT", pattern)), manifest(corpus=corpus)) == []) == allowed


@pytest.mark.parametrize(
    ("pattern", "base", "allowed"),
    [("acme/*", "acme/base", True), ("acme/*", "Acme/base", False), ("acme", "acme/base", False), ("*", None, False)],
)
def test_a_base_fits_a_whole_pattern_in_its_own_case(pattern: str, base: str | None, allowed: bool) -> None:
    assert (broken(Rules(HERE, allowed_bases=("none/such", pattern)), manifest(base=base)) == []) == allowed
    assert broken(Rules(HERE), manifest(base=base)) == [] != broken(Rules(HERE, allowed_bases=()), manifest(base=base))


def test_both_sets_of_rules_must_agree_and_each_violation_is_told() -> None:
    """A registry's file can only tighten."""
    loose, tight = Rules(HERE, max_size=100), Rules(THERE, max_size=5, allowed_bases=("other/*",))
    for client, registry, sources in ((loose, tight, [THERE, THERE]), (tight, loose, [HERE, HERE])):
        client, registry = (
            Rules(source, max_size=each.max_size, allowed_bases=each.allowed_bases)
            for source, each in ((HERE, client), (THERE, registry))
        )
        told = broken(client, manifest(10), registry)
        assert len(told) == 2 and all(str(source) in each for source, each in zip(sources, told, strict=True))
        with pytest.raises(Refused) as refused:
            Policy(client, registry).check("acme/tone@1", manifest(10), [])
        assert str(refused.value) == told[0]
    Policy(loose, loose).check("acme/tone@1", manifest(10), [])


def test_a_signature_that_nobody_could_have_made_is_missed() -> None:
    asking = Rules(HERE, require_signature=True)
    for policy in (Policy(asking), Policy(Rules(HERE), asking), Policy(asking, asking)):
        assert policy.requires_signature
        told = list(policy.violations("acme/tone@1", manifest(1), []))
        assert told and all("name the keys you trust" in each for each in told)
    assert not Policy(Rules(HERE), Rules(THERE)).requires_signature and not Policy(Rules(HERE)).requires_signature
