"""Write the report's tables: metrics, protocol, data, knowledge end and lineage, all from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.reporting.page import Part, Section
from adapterhub_fin_registry.model.events import measured_rows

if TYPE_CHECKING:
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.manifest import CorpusRows
    from adapterhub_fin_registry.storage.lineage import Relative

Counts = Mapping[str, Mapping[str, int]]
LISTED = 100  # rows of a table of labels or relatives, at most


def metrics(version: Version) -> Part:
    """Return the metrics of the manifest and of every recorded evaluation, with intervals."""
    manifest, measured = version.manifest, version.manifest.measured_on
    rows = [
        (name, f"{value:.4f}", "", measured.split if measured else "", measured.rows if measured else "", "training")
        for name, value in sorted(manifest.metrics.items())
    ]
    for event in version.events:
        if event["kind"] == "evaluation":
            ends = event.get("intervals") or {}
            where = f"{measured_rows(event)}, {event['split']}"
            rows += [
                (name, f"{value:.4f}", _interval(ends.get(name)), where, event.get("rows", ""), event["at"])
                for name, value in sorted(event["metrics"].items())
            ]
    note = "" if rows else "No metric is recorded: this version was not measured."
    if (selection := manifest.selection) is not None:
        note = f"Selected by {selection.validated()}. The metrics of training are {selection.tested()}."
    columns = ("metric", "value", "95 % interval", "measured on", "rows", "recorded")
    return Part("Metrics", note, columns, rows, numeric=("value", "rows"))


def baseline(version: Version) -> Part:
    """Return the linear model on the base's embeddings beside the adapter, from the newest baseline event."""
    title = "Baseline"
    events = [event for event in version.events if event["kind"] == "baseline"]
    if not events:
        return Part(title, missing="no baseline is recorded: a run measures one where the extra evidence is installed")
    event = events[-1]
    apart, ends, own = (event.get(key) or {} for key in ("differences", "difference_intervals", "intervals"))
    signed = {name: f"{value:+.4f}" for name, value in apart.items()}
    rows = [
        (name, f"{value:.4f}", _interval(own.get(name)), signed.get(name, ""), _interval(ends.get(name)))
        for name, value in sorted(event["metrics"].items())
    ]
    note = (
        f"A {event['model']} on the frozen base's embeddings, on the same rows. The adapter against it"
        f"{', by ' + event['metric'] if event.get('metric') else ''}: {event['verdict']}."
    )
    columns = ("metric", "baseline", "95 % interval", "adapter minus baseline", "its 95 % interval")
    return Part(title, note, columns, rows, numeric=("baseline", "adapter minus baseline"))


def protocol(version: Version) -> Section:
    """Return how the version was made: method, head, base, recipe, splitter, seeds and environment."""
    manifest = version.manifest
    recipe = manifest.recipe or {}
    head, base, corpus = manifest.head, manifest.base, recipe.get("corpus") or {}
    rows: list[tuple[str, Any]] = [
        ("method", f"{manifest.method.name} ({_options(manifest.method.options)})"),
        ("head", f"{head.name} ({_options(head.options)})" if head else "none"),
        ("base", f"{base.exactly_called} ({base.architecture}), fingerprint {base.fingerprint}"),
        ("seed of training", "unknown" if manifest.seed is None else manifest.seed),
        ("splitter", _options(corpus.get("splitter") or {}) or "none recorded"),
        ("license", manifest.license or "not stated"),
        *((f"training.{key}", _plain(value)) for key, value in sorted((recipe.get("training") or {}).items())),
    ]
    made = [(key, value) for key, value in sorted((manifest.environment or {}).items())]
    section = Section(
        "protocol", "Protocol", [Part("", "", (), rows), Part("Environment", "", ("library", "version"), made)]
    )
    if not recipe:
        section.parts[0] = Part("", "No recipe is recorded: the version was not trained here.", (), rows)
    return section


def data(version: Version, labels: Counts | None, reason: str) -> Section:
    """Return the data report: rows by part, labels by part, dates, what was dropped, and the digest."""
    corpus = version.manifest.corpus
    if corpus is None:
        return Section("data", "Data", [Part("Corpus", missing="the manifest records none")])
    rows: list[tuple[str, Any]] = [
        *((f"stage {number}", _stage(stage)) for number, stage in enumerate(corpus.stages, 1)),
        ("corpus", corpus.name),
        ("options", _options(corpus.options)),
        ("digest of the rows", corpus.digest or "unknown"),
        *((f"rows, {split}", f"{count:,}") for split, count in corpus.rows.items()),
        ("available", " to ".join(map(str, corpus.available)) if corpus.available else "the rows have no dates"),
        *((f"rows {note}", f"{count:,}") for note, count in sorted((corpus.notes or {}).items())),
        ("license", corpus.license or "not stated"),
    ]
    parts = [Part("", "", (), rows)]
    if labels is None:
        parts.append(Part("Labels by part", missing=reason))
    elif labels:
        splits = list(next(iter(labels.values())))
        table = [(label, *(f"{counts[split]:,}" for split in splits)) for label, counts in labels.items()]
        note = f"The first {LISTED} of {len(table):,} labels." if len(table) > LISTED else ""
        parts.append(Part("Labels by part", note, ("label", *splits), table[:LISTED], numeric=splits))
    return Section("data", "Data", parts)


def knowledge(version: Version, registry: Registry) -> Section:
    """Return the knowledge end with what it is made of, and the ancestors and descendants in this registry."""
    known = version.manifest.knowledge
    inputs = [(item.input, str(item.at), item.kind, item.evidence) for item in known.inputs]
    note = f"Nothing later than {known.end} could have influenced the weights."
    found = registry.lineage(version)
    tree = [*_relatives(found.ancestors, "came from"), *_relatives(found.descendants, "led to")]
    about = "" if tree else "The registry knows no ancestor and no descendant."
    columns = ("", "version", "role", "weight", "digest")
    return Section(
        "knowledge",
        "Knowledge end and lineage",
        [
            Part("Knowledge end", note, ("input", "known at (UTC)", "kind", "evidence"), inputs),
            Part("Lineage", about, columns, tree[:LISTED], numeric=("weight",)),
        ],
    )


def _relatives(relatives: Sequence[Relative], how: str, depth: int = 0) -> Iterator[tuple[Any, ...]]:
    for relative in relatives:
        name = " = ".join(relative.references) if relative.references else f"{relative.name}, not in this registry"
        weight = "" if relative.weight is None else f"{relative.weight:g}"
        state = ", deleted" if relative.state == "deleted" else ""
        yield f"{'· ' * depth}{how}", f"{name}{state}", relative.role, weight, relative.digest[:19]
        yield from _relatives(relative.relatives, how, depth + 1)


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def _stage(stage: CorpusRows) -> str:
    rows = ", ".join(f"{split} {count:,}" for split, count in stage.rows.items())
    return f"{stage.name} ({_options(stage.options)}), rows: {rows}, license {stage.license or 'not stated'}"


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in sorted(options.items()) if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, Mapping):
        return f"({_options(value)})"
    return str(value)
