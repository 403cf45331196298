"""Define `ahf show`."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from adapterhub_fin.cli.options import REFERENCE, as_of_options, dated_by, interval_text, lock_option, say_answering
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table
from adapterhub_fin_registry.model.events import measured_rows


@click.command("show")
@click.argument("reference", type=REFERENCE)
@click.option("--lineage", is_flag=True, help="Draw its ancestors and descendants.")
@as_of_options
@lock_option
@json_option
def command(
    reference: str, lineage: bool, as_of: str | None, include_base: bool, lock: str | None, as_json: bool
) -> None:
    """Show a version's manifest, aliases and events.

    \b
    Examples:
      ahf show acme/tone
      ahf show acme/tone@1 --json
      ahf show acme/tone --lineage
    """
    from adapterhub_fin.registries import configured_registries

    registry, version = configured_registries().locate(
        reference,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
    )
    if lineage:
        from adapterhub_fin.cli.lineage import show_lineage

        if as_of and not as_json:
            say_answering(version.reference, as_of, include_base)
        show_lineage(registry.lineage(version), dated_by(as_of, include_base), as_json)
        return
    manifest = json.loads(version.manifest_bytes)
    aliases = sorted(alias for alias, number in registry.aliases(version.name).items() if number == version.number)
    events = list(registry.events(version))
    if as_json:
        document = {
            "reference": version.reference,
            "digest": version.digest,
            "path": str(version.files),
            **dated_by(as_of, include_base),
        }
        print_json({**document, "aliases": aliases, "events": events, "record": version.record, "manifest": manifest})
        return
    if as_of:
        say_answering(version.reference, as_of, include_base)
    print_facts(_rows(version.reference, version.digest, aliases, manifest, version.record))
    for event in events:
        if event["kind"] not in MEASURED:
            click.echo(f"{event['at']}  {event['kind']}")
    if evaluations := [row for event in events if event["kind"] in MEASURED for row in MEASURED[event["kind"]](event)]:
        click.echo()
        print_table(("evaluated", "corpus", "split", "metric", "value", "interval", "rows"), evaluations)


def _evaluation(event: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each metric; other programs may have recorded nothing but the metrics."""
    in_training = event.get("seen_in_training")
    seen = " (may be seen in training)" if in_training is None else " (SEEN IN TRAINING)" if in_training else ""
    return [
        (
            event["at"][:10],
            measured_rows(event),
            event["split"] + seen,
            metric,
            f"{value:.4f}",
            interval_text((event.get("intervals") or {}).get(metric)),
            str(event.get("rows", "")),
        )
        for metric, value in sorted(event["metrics"].items())
    ]


def _baseline(event: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each metric of the linear model that the run was compared with."""
    return [
        (
            event["at"][:10],
            event["model"],
            "test",
            metric,
            f"{value:.4f}",
            interval_text((event.get("intervals") or {}).get(metric)),
            str((event.get("rows") or {}).get("test", "")),
        )
        for metric, value in sorted(event["metrics"].items())
    ]


def _forgetting(event: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row of what the model got on a corpus before training, and one after."""
    return [
        (
            event["at"][:10],
            event["corpus"],
            event["split"],
            f"{event['metric']} {when} training",
            f"{event[when]:.4f}",
            interval_text(event.get(f"{when}_interval")),
            str(event.get("rows", "")),
        )
        for when in ("before", "after")
    ]


MEASURED: Final = {
    "evaluation": _evaluation,
    "baseline": _baseline,
    "forgetting": _forgetting,
}  # events that are shown as tables


def _rows(
    reference: str, digest: str, aliases: list[str], manifest: dict[str, Any], record: dict[str, Any]
) -> list[tuple[str, str]]:
    method, head, base, corpus = (manifest.get(key) or {} for key in ("method", "head", "base", "corpus"))
    provider = method.get("provider") or {}
    measured = manifest.get("measured_on") or {}
    options = ", ".join(f"{key}={value}" for key, value in sorted(method["options"].items()) if value is not None)
    rows = [
        ("version", reference),
        ("digest", digest),
        ("aliases", " ".join(aliases)),
        ("added", f"{record['added_at']} by {record['added_by']}"),
        ("method", f"{method['name']} ({options})"),
        ("provider", f"{provider['distribution']} {provider['version']}" if provider else ""),
        ("head", f"{head['name']}: {', '.join(head.get('labels') or ())}" if head else ""),
        ("kind", manifest.get("kind", "")),
        ("base", f"{_base_name(base)} ({base.get('architecture')}), fingerprint {base['fingerprint']}"),
        *((f"stage {n}", _corpus(stage)) for n, stage in enumerate(corpus.get("stages") or (), 1)),
        ("corpus", _corpus(corpus)),
        ("knowledge end", manifest["knowledge"]["end"]),
    ]
    rows += [(f"  {i['input']}", f"{i['at']} {i['kind']}: {i['evidence']}") for i in manifest["knowledge"]["inputs"]]
    validated, tested = _selected(manifest.get("selection"))
    rows += [
        (f"metric {m}", f"{v:.4f} on {measured.get('rows', '?')} {measured.get('split', '')} rows{tested}")
        for m, v in sorted(manifest["metrics"].items())
    ]
    rows += [("selected by", validated)]
    rows += [("parent", f"{p['name']} {p['digest']} ({p['role']}{_weight(p)})") for p in manifest["parents"]]
    rows += [("merged", _merged((manifest.get("recipe") or {}).get("merge") or {}))]
    rows += [
        ("license", manifest.get("license") or ""),
        ("description", manifest["description"]),
        ("tags", " ".join(manifest["tags"])),
    ]
    rows += [("files", ", ".join(f"{path} ({size:,} bytes)" for path, size, _ in manifest["files"]))]
    return [(key, value) for key, value in rows if value]


def _base_name(base: dict[str, Any]) -> str:
    """Return what a base is called: its repository, and its stored version with the digest."""
    stored = base.get("version") or {}
    names = [base.get("repository"), f"{stored['name']}, {stored['digest']}" if stored else None]
    return ", ".join(name for name in names if name) or "unnamed"


def _selected(selection: dict[str, Any] | None) -> tuple[str, str]:
    """Return how a version was chosen among others, and what that makes of its metrics; empty where it wasn't."""
    if selection is None:
        return "", ""
    from adapterhub_fin_registry.model.manifest import Selection

    read = Selection.model_validate(selection)
    return read.validated(), f", {read.tested()}"


def _weight(parent: dict[str, Any]) -> str:
    return "" if parent.get("weight") is None else f", weight {parent['weight']:g}"


def _merged(details: dict[str, Any]) -> str:
    """Return how the parents were merged, or an empty string if the version is no merge."""
    if not details:
        return ""
    options = [f"{key}={value}" for key, value in sorted(details["options"].items()) if value is not None]
    options += [f"rank={details['rank']}"] if details["rank"] is not None else []
    energy = min(details["energy"].values(), default=1.0)
    merger = f"{details['merger']} ({', '.join(options)})" if options else details["merger"]
    return f"{merger} in {details['space']} space, seed {details['seed']}; energy kept {energy:.4g} or more"


def _corpus(corpus: dict[str, Any]) -> str:
    if not corpus:
        return ""
    rows = ", ".join(f"{count} {split}" for split, count in corpus["rows"].items())
    return f"{corpus['name']} ({rows}), license {corpus.get('license') or 'unknown'}"
