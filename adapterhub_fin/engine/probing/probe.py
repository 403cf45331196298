"""Look inside a version: what its layers hold beside those of its bare base, on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.data.corpus import corpus_digest, divide_rows, portable_options, read_texts
from adapterhub_fin.engine.data.splits import check_split
from adapterhub_fin.engine.data.units import units_of
from adapterhub_fin.engine.evaluation.evaluate import CorpusSource, SplitName, corpus_choice
from adapterhub_fin.engine.evaluation.seen import rows_seen
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.find import AsOf, base_source, find_version
from adapterhub_fin.engine.probing.probes import FOLDS, LayerProbe, probe_layers
from adapterhub_fin.engine.probing.result import Probe
from adapterhub_fin.engine.probing.similarity import similarities
from adapterhub_fin.engine.probing.states import States, pooled_states
from adapterhub_fin.engine.probing.targets import distinct_rows, read_targets
from adapterhub_fin.engine.probing.vectors import check_layer, check_vectors, write_vectors
from adapterhub_fin.errors import BadConfiguration, BadRecipe
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.registries import located
from adapterhub_fin.stats.representations import cka, principal_components
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin_registry.model.version import AnyReference
else:
    np = Lazy("numpy")

SAMPLE: Final = 1000
RESAMPLES: Final = 2000
Pooling = Literal["mean", "first", "last", "max"]
T = TypeVar("T")


def probe(
    reference: AnyReference,
    corpus: CorpusSource = None,
    *,
    split: SplitName = "test",
    overrides: Sequence[str] = (),
    sample: int = SAMPLE,
    pooling: Pooling = "mean",
    folds: int = FOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    batch_size: int = 32,
    vectors: str | Path | None = None,
    layer: int = -1,
    report: str | Path | None = None,
    base: str | Path | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
) -> Probe:
    """Return what tuning did inside a version: its layers beside those of its bare base, on the same rows.

    Probes by layer predict the rows' labels or target, cross-validated; CKA, mean cosines and principal components
    compare the vectors themselves. Without `corpus` the rows are of the version's own recipe; of more than `sample` a
    seeded sample is taken. `vectors` writes those of a layer to a .parquet or .npz file, and `report` a page with
    pictures to a folder. Raises NotFound for an unknown version, BadConfiguration where the extra `evidence` isn't
    installed, BadRecipe for an unknown option or layer, BadCorpus, BaseNotFound and WriteFailed.

    Example:
        >>> found = ahf.probe("acme/tone@1", "headlines")
        >>> [round(layer.difference.value, 2) for layer in found.probes]
        [0.0, 0.03, 0.11]
    """
    _check(split, sample, folds, resamples, report)
    embedding = checked(Embedding, {"pooling": pooling}, "probe")
    if vectors is not None:
        check_vectors(Path(vectors))
    registry, version = located(reference, registry, as_of, include_base, lock)
    choice = corpus_choice(version, corpus, overrides)
    resolved = find_version(version, registry, None, True, None)
    base_source(resolved, base, download)
    texts = read_texts(choice)
    table = texts.table
    digest = corpus_digest(table)
    if split != "all":
        table = divide_rows(texts, choice.splitter, choice.called).splits[split]
    rows = _sampled(table, sample, seed)
    states = pooled_states(resolved, rows, base=base, pooling=embedding, batch_size=batch_size, download=download)
    if vectors is not None:
        check_layer(layer, len(states.base))  # refuse before the probes are fitted
    head = version.manifest.head
    seen = rows_seen(LocatedVersion(registry, version), rows)
    measured = _measured(states, rows, None if head is None else head.name, folds, resamples, seed)
    result = Probe(
        version=version,
        corpus=choice.name,
        corpus_options=portable_options(choice),
        corpus_digest=digest,
        split=split,
        rows=len(rows),
        rows_of_split=len(table),
        texts=len(distinct_rows(rows)),
        rows_seen=seen,
        pooling=pooling,
        settings={"sample": sample, "folds": folds, "resamples": resamples, "seed": seed, "level": 0.95},
        warnings=_warnings(seen, len(rows)),
        environment=environment(),
        states=states,
        **measured,
    )
    if vectors is not None:
        names = ("corpus", "corpus_digest", "split", "pooling")
        metadata = {"reference": f"{version.name}@{version.digest}", "number": version.number}
        write_vectors(
            Path(vectors), rows, states, layer, {**metadata, **{name: getattr(result, name) for name in names}}
        )
    if report is None:
        return result
    from adapterhub_fin.engine.probing.report import write_probe

    return replace(result, page=write_probe(Path(report), result))


def _check(split: str, sample: int, folds: int, resamples: int, report: str | Path | None) -> None:
    check_split(split)
    for name, value, least in (("sample", sample, 2), ("folds", folds, 2), ("resamples", resamples, 1)):
        if value < least:
            raise BadRecipe(f"{name} is {value}: give at least {least}")
    needed = ("sklearn", *(("matplotlib", "jinja2") if report is not None else ()))
    if missing := [name for name in needed if find_spec(name) is None]:
        raise BadConfiguration(f"probe needs {' and '.join(missing)}: pip install 'adapterhub-fin[evidence]'")


def _sampled(table: Dataset, most: int, seed: int) -> Dataset:
    if len(table) <= most:
        return table
    return table.select(np.sort(np.random.default_rng(seed).choice(len(table), most, replace=False)))


def _warnings(seen: int | None, rows: int) -> list[str]:
    if seen is None:
        return [
            "the hashes of the version's training rows are not here, so that some of these rows may be among them: a "
            "higher score of the version may be that it has seen the rows"
        ]
    if seen:
        return [
            f"the version was trained on the text of {seen:,} of the {rows:,} rows: a higher score of the version may "
            "be that it has seen the rows"
        ]
    return []


def _measured(states: States, rows: Dataset, head: str | None, folds: int, resamples: int, seed: int) -> dict[str, Any]:
    """Return the measured parts of a Probe, and why the others are missing."""
    unmeasured: dict[str, str] = {}

    def part(name: str, measure: Callable[[], T], otherwise: T) -> T:
        try:
            return measure()
        except Undefined as error:
            unmeasured[name] = str(error)
            return otherwise

    units, distinct = units_of(rows), distinct_rows(rows)
    targets = part("probes", lambda: read_targets(rows, head), None)
    probes: Sequence[LayerProbe] = ()
    if targets is not None:
        options: dict[str, Any] = {"folds": folds, "resamples": resamples, "seed": seed}
        probes = part("probes", lambda: probe_layers(states, targets, units, **options), ())
    once = States([each[distinct] for each in states.base], [each[distinct] for each in states.tuned])
    labels = None if targets is None else replace(targets, values=targets.values[distinct])
    similar, missing = similarities(once, labels, units[distinct])
    unmeasured.update(missing)
    nothing: Sequence[Sequence[float | None]] = ()
    components = part("pca", lambda: principal_components(once.base[-1], once.tuned[-1]), None)
    return {
        "target": None if targets is None else targets.kind,
        "score": None if targets is None else targets.score_name,
        "constant_score": None if targets is None else targets.constant_score(),
        "probes": probes,
        "similarities": similar,
        "cka": part("cka", lambda: cka(once.base, once.tuned), nothing),
        "cka_debiased": part("cka, debiased", lambda: cka(once.base, once.tuned, debiased=True), nothing),
        "shares": () if components is None else components.shares,
        "unmeasured": unmeasured,
        "targets": labels,
        "components": components,
    }
