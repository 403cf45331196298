"""What a manifest says of a merge: how it was made, from what, and when all of that could have been known."""

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

DIGITS = 6  # of an energy that is recorded


def merge_manifest(
    plan: MergePlan, config: Mapping[str, Any], energies: Mapping[str, float], stated: Mapping[str, Any]
) -> Manifest:
    """All that is known of a merge; `stated` is what its maker says: description, license and tags."""
    parents = plan.parents
    return checked(
        Manifest,
        {
            "method": method_record_for({**config, "target_modules": _ends(config)}),
            "head": plan.head.head,
            "base": merged_base(parents).model_dump(),
            "knowledge": merged_knowledge(parents).model_dump(),
            "recipe": {"merge": _details(plan, energies), **_length(parents)},
            "seed": plan.manner.seed,
            "environment": environment(),
            "parents": [
                {"digest": each.version.digest, "name": each.version.name, "role": "merge", "weight": weight}
                for each, weight in zip(parents, plan.weights.usual, strict=True)
            ],
            **stated,
            "license": stated.get("license") or merged_license(parents),
        },
        "manifest",
    )


def _details(plan: MergePlan, energies: Mapping[str, float]) -> dict[str, Any]:
    """How it was merged, with the distribution that brought the merger; energies where a rank cut something off."""
    manner = plan.manner
    owner = extensions().owner(manner.merger)
    kept = {name: round(energy, DIGITS) for name, energy in energies.items()}
    return {
        "merger": manner.merger.name,
        "options": manner.options.model_dump(mode="json"),
        "version": manner.implementation.version,
        "provider": {"distribution": owner.distribution, "version": owner.version} if owner.version else None,
        "space": manner.space,
        "rank": manner.rank,
        "seed": manner.seed,
        "weights_for": [[pattern, list(weights)] for pattern, weights in plan.weights.patterns.items()],
        "head_from": plan.head_parent.version.digest if plan.head_parent else None,
        "notes": list(plan.warnings),
        "energy": {name: energy for name, energy in kept.items() if energy < 1},
    }


def _ends(config: Mapping[str, Any]) -> list[str]:
    """The adapted layers as a recipe would name them; adapter_config.json has every one of them."""
    return sorted({name.rpartition(".")[2] for name in config["target_modules"]})


def merged_knowledge(parents: Sequence[MergeParent]) -> Knowledge:
    """The parents' inputs; of one that several have, the latest instant."""
    latest: dict[str, KnowledgeInput] = {}
    for entry in (entry for each in parents for entry in _inputs(each)):
        there = latest.get(entry.input)
        if there is None or parse_instant(entry.at) > parse_instant(there.at):
            latest[entry.input] = entry
    return Knowledge.of(latest[name] for name in sorted(latest))


def _inputs(parent: MergeParent) -> list[KnowledgeInput]:
    """A parent's inputs; one that its base alone dates counts by that date, also where bases are left out."""
    inputs = list(parent.version.manifest.knowledge.inputs)
    if any(entry.input != BASE for entry in inputs):
        return inputs
    last = max(inputs, key=lambda entry: parse_instant(entry.at))
    return [*inputs, last.model_copy(update={"input": f"parent:{parent.version.name}"})]


def merged_license(parents: Sequence[MergeParent]) -> str | None:
    """All the parents' licenses, joined by AND as SPDX has it; none where a parent states none."""
    found = [each.version.manifest.license for each in parents]
    known = list(dict.fromkeys(license for license in found if license))
    if None in found or not known:
        return None
    return known[0] if len(known) == 1 else " AND ".join(f"({each})" if " " in each else each for each in known)


def _length(parents: Sequence[MergeParent]) -> dict[str, Any]:
    """The longest text that a parent was trained on, which is where a loaded version cuts its texts."""
    recipes = [each.version.manifest.recipe or {} for each in parents]
    lengths = [length for recipe in recipes if (length := recipe.get("training", {}).get("max_length"))]
    return {"training": {"max_length": max(lengths)}} if len(lengths) == len(recipes) else {}
