"""Check what is to be compared before anything is loaded, with both sides named in every refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from adapterhub_fin.engine.evaluation.metrics import metrics_for
from adapterhub_fin.engine.inference.find import ResolvedVersion
from adapterhub_fin.errors import BadRecipe, UnknownName
from adapterhub_fin.plugin.descriptions import Metric
from adapterhub_fin.plugin.manager import extensions

if TYPE_CHECKING:
    from adapterhub_fin.plugin.heads import HeadImplementation

BASE: Final = "base"
WORDS: Final = "bag-of-words"


def check_options(contenders: Sequence[str], interval: str, level: float, resamples: int, rounds: int) -> None:
    """Raise BadRecipe for contenders that are none, and for options out of their range."""
    if len(contenders) < 2:
        raise BadRecipe(f"compare needs two contenders or more: name another version, {BASE} or {WORDS}")
    if twice := sorted({name for name in contenders if contenders.count(name) > 1}):
        raise BadRecipe(f"{twice[0]} is named twice: a version can't be compared with itself")
    if interval not in ("percentile", "bca"):
        raise BadRecipe(f"interval is {interval!r}: choose percentile or bca")
    if not 0.5 <= level < 1:
        raise BadRecipe(f"level is {level}: give a share from 0.5 to below 1, such as 0.95")
    if resamples < 100 or rounds < 100:
        raise BadRecipe(f"resamples is {resamples} and rounds {rounds}: give at least 100 of each")


def check_contenders(contenders: Sequence[str], versions: Mapping[str, ResolvedVersion]) -> ResolvedVersion:
    """Return the first version. Raises BadRecipe where the versions can't be measured alike, and names both sides."""
    if not versions:
        raise BadRecipe(f"{' and '.join(contenders)}: compare them with a version, which says what the task is")
    first, *others = versions.values()
    by_digest: dict[str, str] = {}
    for name, resolved in versions.items():
        if (same := by_digest.setdefault(resolved.version.digest, name)) != name:
            raise BadRecipe(f"{same} and {name} are one version, {resolved.version.reference}: name another")
        if resolved.version.manifest.head is None or resolved.head is None:
            raise BadRecipe(f"{name} has no head, and so no answers to compare: train one, or use ahf probe")
    for other in others:
        one, two = first.version, other.version
        if set(metrics_for(head_name(first), first.head)) != set(metrics_for(head_name(other), other.head)):
            raise BadRecipe(
                f"{one.reference} ({head_name(first)}) and {two.reference} ({head_name(other)}) have other "
                "metrics: compare versions of one task"
            )
        labels = [set(each.labels or ()) for each in (head_of(first), head_of(other))]
        if labels[0] != labels[1]:
            raise BadRecipe(
                f"{one.reference} answers {', '.join(sorted(labels[0]))} and {two.reference} "
                f"{', '.join(sorted(labels[1]))}: compare versions with the same labels"
            )
    return first


def check_bases(contenders: Sequence[str], *, generate: bool) -> dict[str, int]:
    """Return the contenders that are the bare base, each with the number of answered rows in its prompts.

    Raises BadRecipe for another count of rows than a number, and for what can't write.
    """
    shots = {}
    for name in contenders:
        kind, colon, count = name.partition(":")
        if kind != BASE:
            continue
        if colon and not (generate and count.isdigit() and int(count)):
            raise BadRecipe(f"{name}: with generate, {BASE}:4 is the bare base after four answered rows; else {BASE}")
        shots[name] = int(count) if colon else 0
    if generate and WORDS in contenders:
        raise BadRecipe(f"{WORDS} writes nothing: leave it out, or compare without generate")
    return shots


def check_metric(first: ResolvedVersion, metric: str | None, *, written: bool) -> None:
    """Raise UnknownName for a metric to decide by that the head hasn't, or that isn't one of written text."""
    if metric is None:
        return
    kinds = {"written", "token-states"}
    offered = {name for name, each in extensions().all(Metric).items() if kinds & {*each.kinds}}
    if not written:
        offered = set(metrics_for(head_name(first), first.head))
    if metric not in offered:
        raise UnknownName("metric to decide by", metric, offered)


def head_of(resolved: ResolvedVersion) -> HeadImplementation:
    """Return the head of a version that has one."""
    assert resolved.head is not None, "refused before"
    return resolved.head


def head_name(resolved: ResolvedVersion) -> str:
    """Return the name of the head of a version that has one."""
    head = resolved.version.manifest.head
    assert head is not None, "refused before"
    return head.name
