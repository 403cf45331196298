"""Build the manifest of a merge: how it was made, from what, and when all of that could have been known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterhub_fin.engine.base.provenance import environment, method_record_for
from adapterhub_fin.engine.merging.parents import MergeParent, merged_base
from adapterhub_fin.engine.merging.plan import MergePlan
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_registry import Manifest
from adapterhub_fin_registry.model.knowledge import BASE, parse_instant
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

DIGITS = 6  # decimals of a recorded energy


def merge_manifest(
    plan: MergePlan, config: Mapping[str, Any], energies: Mapping[str, float], stated: Mapping[str, Any]
) -> Manifest:
    """Return the manifest of a merge; `stated` holds its maker's description, license and tags."""
    parents = plan.parents
    return checked(
        Manifest,
        {
            "method": method_record_for({**config, "target_modules": _ends(config)}),
            "head": plan.head.head,
            "base": merged_base(parents).model_dump(),
            "knowledge": merged_knowledge(parents).model_dump(),
            "recipe": {"merge": _details(plan, energies), **_length(parents)},
            "seed": plan.settings.seed,
            "environment": environment(),
            "parents": [
                {"digest": parent.version.digest, "name": parent.version.name, "role": "merge", "weight": weight}
                for parent, weight in zip(parents, plan.weights.usual, strict=True)
            ],
            **stated,
            "license": stated.get("license") or merged_license(parents),
        },
        "manifest",
    )


def _details(plan: MergePlan, energies: Mapping[str, float]) -> dict[str, Any]:
    """Return how the merge was made, with the merger's provider, and the energies of parameters that lost some."""
    settings = plan.settings
    owner = extensions().owner(settings.merger)
    rounded = {name: round(energy, DIGITS) for name, energy in energies.items()}
    return {
        "merger": settings.merger.name,
        "options": settings.options.model_dump(mode="json"),
        "version": settings.implementation.version,
        "provider": {"distribution": owner.distribution, "version": owner.version} if owner.version else None,
        "space": settings.space,
        "rank": settings.rank,
        "seed": settings.seed,
        "weights_for": [[pattern, list(weights)] for pattern, weights in plan.weights.patterns.items()],
        "head_from": plan.head_parent.version.digest if plan.head_parent else None,
        "notes": list(plan.warnings),
        "energy": {name: energy for name, energy in rounded.items() if energy < 1},
    }


def _ends(config: Mapping[str, Any]) -> list[str]:
    """Return the last parts of the adapted layers' names, as a recipe would list them."""
    return sorted({name.rpartition(".")[2] for name in config["target_modules"]})


def merged_knowledge(parents: Sequence[MergeParent]) -> Knowledge:
    """Return the parents' knowledge inputs; where several have the same input, the latest instant counts."""
    latest: dict[str, KnowledgeInput] = {}
    for entry in (entry for parent in parents for entry in _inputs(parent)):
        current = latest.get(entry.input)
        if current is None or parse_instant(entry.at) > parse_instant(current.at):
            latest[entry.input] = entry
    return Knowledge.of(latest[name] for name in sorted(latest))


def _inputs(parent: MergeParent) -> list[KnowledgeInput]:
    """Return a parent's inputs; one that only its base dates counts by that date, even where bases are ignored."""
    inputs = list(parent.version.manifest.knowledge.inputs)
    if any(entry.input != BASE for entry in inputs):
        return inputs
    last = max(inputs, key=lambda entry: parse_instant(entry.at))
    return [*inputs, last.model_copy(update={"input": f"parent:{parent.version.name}"})]


def merged_license(parents: Sequence[MergeParent]) -> str | None:
    """Return the parents' licenses joined by AND, as SPDX writes it; None where any parent states none."""
    stated = [parent.version.manifest.license for parent in parents]
    licenses = list(dict.fromkeys(license for license in stated if license))
    if None in stated or not licenses:
        return None
    parts = licenses if len(licenses) == 1 else [f"({part})" if " " in part else part for part in licenses]
    return " AND ".join(parts)


def _length(parents: Sequence[MergeParent]) -> dict[str, Any]:
    """Return the longest max_length of the parents, at which the loaded merge truncates texts."""
    recipes = [parent.version.manifest.recipe or {} for parent in parents]
    lengths = [length for recipe in recipes if (length := recipe.get("training", {}).get("max_length"))]
    return {"training": {"max_length": max(lengths)}} if len(lengths) == len(recipes) else {}
