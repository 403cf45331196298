"""Compare what a stored base records of its text with the corpora as they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.data.corpus import corpus_digest, read_texts
from adapterhub_fin.engine.data.dated_rows import read_dated
from adapterhub_fin.errors import BadRecipe, Unsupported
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.given import MIXTURE
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.manifest import Corpus
    from adapterhub_fin_registry.model.version import AnyReference

SHARDS: Final = "shards"  # what a base records as its corpus that was trained on token shards
BEYOND: Final = (
    "whether each row's date is true can't be told from the rows: text that is dated falsely is beyond detection"
)


@dataclass(frozen=True)
class Against:
    """Report what a base's record and its corpora say of each other; `problems` is empty where they agree."""

    version: Version
    rows: int  # rows of the corpora in the time that the version records
    digest: str  # of those rows
    problems: Sequence[str] = ()

    @property
    def agrees(self) -> bool:
        """Return whether the version was trained on these rows, and knows as late as they do."""
        return not self.problems

    def __str__(self) -> str:
        if self.problems:
            return "; ".join(self.problems)
        return f"{self.version.reference} records the {self.rows:,} rows that are there; {BEYOND}"


def verify_against(
    reference: AnyReference, *corpora: str | Path | Mapping[str, Any], registry: Registry | None = None
) -> Against:
    """Read the corpora of a stored base again, and compare their rows with the digest and dates that it records.

    Each of `corpora` is a corpus's name, a path that stands in for the recorded one, or a mapping as in recipes; of a
    mixture, one for each of its corpora, in their order; of token shards, their folder, which is verified too and has
    the tokenizer. The version's files are verified first. Rows count from the first to the last instant that the
    version records, so that text that came later changes nothing. A manifest that was rewritten to another digest or an
    earlier end is noticed; a row with a false date is not. Raises Unsupported for an adapter and for a base without a
    recorded corpus, BadRecipe for other corpora, BadCorpus, and Corrupted for damaged shards.

    Example:
        >>> ahf.verify_against("acme/fin@1", "data/speeches").agrees
        True
    """
    registry = registry or configured_registries().answering(reference)
    version = registry.verify(reference)
    recorded = _recorded(version)
    if recorded.name == SHARDS:
        return _against_shards(version, recorded, corpora)
    choice = _choice(version, corpora)
    table = read_dated(choice).table if choice.name == MIXTURE else read_texts(choice).table
    seen = _in_time(table, recorded)
    digest = corpus_digest(seen)
    problems = [*_other_rows(version, recorded, len(seen), digest), *_late(version, _latest(seen))]
    return Against(version, len(seen), digest, problems)


def _other_rows(version: Version, recorded: Corpus, count: int, digest: str) -> list[str]:
    """Return that a base records other rows than there are, where that is so."""
    counted = sum(recorded.rows.get(part, 0) for part in ("train", "validation"))
    if digest == recorded.digest and count == counted:
        return []
    return [
        f"{version.reference} records {counted:,} rows with the digest {recorded.digest}, and there are {count:,} with "
        f"{digest}: it was trained on other text, its manifest was rewritten, or the corpus has changed since"
    ]


def _against_shards(version: Version, recorded: Corpus, corpora: Sequence[str | Path | Mapping[str, Any]]) -> Against:
    """Compare a base's record with the token shards of a folder, and its tokenizer with theirs."""
    from adapterhub_fin.engine.data.shards.token_shards import TokenShards  # with numpy

    if len(corpora) != 1 or isinstance(corpora[0], Mapping):
        raise BadRecipe(f"{version.reference} was trained on the token shards of one folder: give that folder")
    shards = TokenShards(corpora[0])
    shards.verify()
    dates = [at.replace(tzinfo=UTC) for at in shards.available_at.tolist()]
    if recorded.available is not None:
        first, last = map(parse_instant, recorded.available)
        dates = [at for at in dates if first <= at <= last]
    problems = [
        *_other_rows(version, recorded, len(dates), shards.digest),
        *_late(version, shards.knowledge_end),
        *_other_tokenizer(version, shards.tokenizer),
    ]
    return Against(version, len(dates), shards.digest, problems)


def _other_tokenizer(version: Version, folder: Path) -> list[str]:
    """Return that a base reads text by another tokenizer than a folder's, where that is so."""
    from adapterhub_fin.engine.base.load_base import load_tokenizer
    from adapterhub_fin.engine.base.quiet import quiet_loading
    from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer

    with quiet_loading():
        own, theirs = (describe_tokenizer(load_tokenizer(each)) for each in (version.files, folder))
    if own["tokenizer_digest"] == theirs["tokenizer_digest"]:
        return []
    return [f"{version.reference} has another tokenizer than the shards, whose tokens it was trained on"]


def _recorded(version: Version) -> Corpus:
    """Return what a base records of its corpus. Raises Unsupported where it records none."""
    manifest = version.manifest
    if manifest.kind != "base":
        raise Unsupported(f"{version.reference} is an adapter: only a base's text is compared, by --against")
    if manifest.corpus is None or manifest.corpus.digest is None:
        raise Unsupported(f"{version.reference} records no rows of its text, so that nothing can be compared with them")
    return manifest.corpus


def _choice(version: Version, corpora: Sequence[str | Path | Mapping[str, Any]]) -> CorpusChoice:
    """Return the corpus of a base's recipe, read from where the caller has it. Raises BadRecipe for another one."""
    recorded = (version.manifest.recipe or {}).get("corpus")
    if not isinstance(recorded, Mapping):
        recorded = {"name": version.manifest.corpus.name if version.manifest.corpus else "unknown"}
    several = recorded.get("corpora")
    expected = len(several) if isinstance(several, Sequence) and not isinstance(several, str) else 1
    if len(corpora) != expected:
        raise BadRecipe(
            f"{version.reference} was trained on {expected} corpora, and {len(corpora)} are given: give each, in the "
            "order of its recipe"
        )
    if expected == 1 and several is None:
        return CorpusChoice.read(_replaced(version, recorded, corpora[0]))
    parts = [_replaced(version, part, given) for part, given in zip(several or (), corpora, strict=True)]
    return CorpusChoice.read({**recorded, "corpora": parts})


def _replaced(version: Version, recorded: Mapping[str, Any], given: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded corpus with the path that is given, or the one that is given where it is a whole choice."""
    without_splitter = {key: value for key, value in recorded.items() if key != "splitter"}
    if isinstance(given, Mapping):
        return dict(given)
    if given == recorded.get("name"):
        return without_splitter
    if "path" in recorded or Path(given).exists():
        return {**without_splitter, "path": str(given)}
    raise BadRecipe(
        f"{version.reference} was trained on the corpus {recorded.get('name')}, and {given} is neither that nor a path "
        "that is there: name it, or give a file or folder"
    )


def _in_time(table: Dataset, recorded: Corpus) -> Dataset:
    """Return the rows from the first to the last instant that is recorded; all of them where rows have no date."""
    if "available_at" not in table.column_names or recorded.available is None:
        return table
    first, last = map(parse_instant, recorded.available)
    return table.select([row for row, at in enumerate(_instants(table)) if first <= at <= last])


def _latest(seen: Dataset) -> datetime | None:
    """Return the latest date of rows; None where they have none."""
    return max(_instants(seen), default=None) if "available_at" in seen.column_names else None


def _late(version: Version, last: datetime | None) -> list[str]:
    """Return that a base's knowledge ends before its own rows do, where that is so."""
    end = version.knowledge_end
    if last is None or last <= end:
        return []
    return [
        f"{version.reference} says that it knows until {format_instant(end)}, and a row is of {format_instant(last)}"
    ]


def _instants(table: Dataset) -> list[datetime]:
    return [at if at.tzinfo else at.replace(tzinfo=UTC) for at in table["available_at"]]
