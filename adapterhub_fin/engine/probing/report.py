"""Write what a probe measured as an HTML page with its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.probing.result import Probe
from adapterhub_fin.plugin.pictures import png
from adapterhub_fin.reporting.page import Part, Section, render
from adapterhub_fin.reporting.report import PAGE, write_files
from adapterhub_fin.stats.representations import SAME

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from adapterhub_fin.reporting import figures, probe_figures
    from adapterhub_fin.stats.representations import Measured
else:
    np = Lazy("numpy")
    figures = Lazy("adapterhub_fin.reporting.figures")
    probe_figures = Lazy("adapterhub_fin.reporting.probe_figures")

COSINES: Final = ("anisotropy", "within", "between", "separation")


def write_probe(folder: Path, probe: Probe) -> Path:
    """Write the page of a probe and its pictures to a folder, and return the page.

    Raises WriteFailed where the folder can't be written.
    """
    sections = [
        Section("rows", "Rows and settings", [_facts(probe)]),
        Section("probes", "Probes by layer", list(_probes(probe))),
        Section("cka", "What changed: CKA", [_cka(probe)]),
        Section("pca", "The last layer: principal components", [_components(probe)]),
        Section("similarities", "Similarities", list(_similarities(probe))),
    ]
    pictures = {part.file: part.png for section in sections for part in section.parts if part.png}
    write_files(folder, PAGE, render(probe.version, sections), pictures)
    return folder / PAGE


def _facts(probe: Probe) -> Part:
    rows = [
        ("corpus", f"{probe.corpus} ({probe.corpus_digest})"),
        ("rows", f"{probe.rows:,} of {probe.rows_of_split:,} ({probe.split}), {probe.texts:,} distinct texts"),
        ("vectors", f"{probe.pooling} over the tokens of a text"),
        *((name, str(value)) for name, value in probe.settings.items()),
        *((f"no {name}", reason) for name, reason in probe.unmeasured.items()),
    ]
    return Part(note=" ".join(f"Warning: {warning}." for warning in probe.warnings), rows=rows)


def _probes(probe: Probe) -> Iterator[Part]:
    if not probe.probes:
        yield Part("Probes", missing=probe.unmeasured["probes"])
        return
    figure = probe_figures.scores_by_layer(
        [each.base for each in probe.probes],
        [each.tuned for each in probe.probes],
        [each.difference for each in probe.probes],
        [each.p_corrected for each in probe.probes],
        str(probe.score),
        float(probe.constant_score or 0.0),
    )
    note = (
        f"The {probe.score} of linear probes of each layer, cross-validated in {probe.settings['folds']} folds that "
        "keep groups and copies of a text together, with 95 % intervals over rows (the folds stay as they are). Below, "
        "the version's minus the base's on the same rows: a full circle where p is below 0.05 after Holm's correction "
        "over the layers."
    )
    yield _picture("Probes by layer", "probes", note, figure)
    columns = ("layer", "base", "version", "difference", "its 95 % interval", "p", "p, corrected")
    rows = [
        (
            each.layer,
            f"{each.base.value:.4f}",
            f"{each.tuned.value:.4f}",
            f"{each.difference.value:+.4f}",
            _ends(each.difference),
            f"{each.p:.4f}",
            f"{each.p_corrected:.4f}",
        )
        for each in probe.probes
    ]
    yield Part("", f"One answer for all rows: {probe.constant_score:.4f}.", columns, rows, numeric=columns)


def _cka(probe: Probe) -> Part:
    if not probe.cka_debiased:
        return Part("CKA", missing=probe.unmeasured["cka, debiased"])
    note = (
        "Linear CKA (arXiv 1905.00414) with the unbiased HSIC (arXiv 2010.15327) of each layer of the bare base and "
        "each of this version, on distinct texts: 1 where they are the same up to rotation and scale, about 0 where "
        f"they are unrelated. A dash: {SAME} there."
    )
    return _picture("CKA", "cka", note, probe_figures.cka_matrix(probe.cka_debiased))


def _components(probe: Probe) -> Part:
    if probe.components is None:
        return Part("Principal components", missing=probe.unmeasured["pca"])
    targets, groups, names = probe.targets, None, list[str]()
    if targets is not None and targets.kind == "labels":
        most = probe_figures.SHOWN_LABELS
        counts = np.bincount(targets.values, minlength=len(targets.names))
        common = sorted(np.argsort(-counts, kind="stable")[:most].tolist())
        groups = np.array([common.index(value) if value in common else -1 for value in targets.values])
        names = [targets.names[number] for number in common]
    figure = probe_figures.components(probe.components, groups, names)
    shares = " and ".join(f"{share:.1%}" for share in probe.shares)
    note = (
        "The vectors of distinct texts in the last layer of both models, on axes that were fitted to both together; "
        f"they hold {shares} of the variance."
    )
    if names and len(names) < len(targets.names if targets else ()):
        note += f" The {len(names)} most common labels are drawn."
    return _picture("Principal components", "components", note, figure)


def _similarities(probe: Probe) -> Iterator[Part]:
    base, tuned = ([getattr(each, side) for each in probe.similarities] for side in ("base", "tuned"))
    if not any(base) or not any(tuned):
        yield Part("Similarities", missing=next(iter(probe.unmeasured.values())))
        return
    note = (
        "Mean cosines of pairs of distinct texts by layer, with 95 % jackknife intervals: near 1 for all pairs, the "
        "vectors point the same way (anisotropy, arXiv 1909.00512); higher within a label than between two, texts of "
        "one label lie closer."
    )
    yield _picture("Similarities", "similarities", note, probe_figures.cosines_by_layer(base, tuned))
    names = [name for name in COSINES if any(name in layer for layer in base)]
    columns = ("layer", *(f"{name}, version minus base" for name in names))
    rows = [(each.layer, *(_change(each.differences, name) for name in names)) for each in probe.similarities]
    yield Part("", "", columns, rows, numeric=columns)


def _change(differences: Mapping[str, Measured], name: str) -> str:
    change = differences.get(name)
    return "-" if change is None else f"{change.value:+.4f} ({_ends(change)})".replace(" ()", "")


def _ends(measured: Measured) -> str:
    return "" if measured.interval is None else f"{measured.interval[0]:+.4f} to {measured.interval[1]:+.4f}"


def _picture(title: str, file: str, note: str, figure: Figure) -> Part:
    return Part(title, note, png=png(figure), file=f"{file}.png")
