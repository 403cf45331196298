"""Write a version's README.md: metadata for a Hub, and for people what the version is, how to load it, and its limits.

All of it comes from the manifest and the events. Their texts are untrusted, so each is escaped for YAML, Markdown or
code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.model.events import measured_rows
from adapterhub_fin_registry.model.file_rules import CONFIG
from adapterhub_fin_registry.model.reference import parse_reference

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from adapterhub_fin_registry.model.manifest import Manifest

TAG: Final = "adapterhub_fin"  # lets a Hub's own lists find what was published with this package
_PIPELINES: Final = {
    "classify": "text-classification",
    "regress": "text-classification",  # a Hub has no task for a number from a text
    "causal-lm": "text-generation",
    "multi-label": "text-classification",
    "preference": "text-generation",
    "multi-task": "text-generation",
    "contrastive": "feature-extraction",
}
_CLASSIFIERS: Final = ("classify", "regress", "multi-label")  # heads that are Transformers' own, if _PLAIN holds
# The licenses of https://huggingface.co/docs/hub/repositories-licenses that adapters and corpora have. A Hub rejects
# any that is not on its list.
_LICENSES: Final = frozenset(
    [
        *("apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bsd"),
        *("bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
        *("cdla-permissive-2.0", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0"),
        *("mpl-2.0", "eupl-1.1", "eupl-1.2", "isc", "unlicense", "wtfpl", "zlib", "odbl", "odc-by", "pddl"),
        *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "gemma", "unknown", "other"),
    ]
)
_PLAIN: Final = (("network", "linear"), ("pooling", "base"))  # the head options whose weights plain PEFT can load
_DATA_SET: Final = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_PUNCTUATION: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$:=@^-])")
_LONG: Final = 2000  # characters; a longer text is cut


def card(manifest: Manifest, repository: str, events: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the README.md of a version in a Hub repository, with the evaluations among its events."""
    evaluations = [event for event in events if event["kind"] == "evaluation"]
    parts = (
        _title(manifest, repository),
        _loading(manifest, repository),
        _training(manifest),
        _knowledge(manifest),
        _measured(manifest, evaluations),
        _limits(manifest),
    )
    return f"---\n{metadata(manifest, repository)}\n---\n\n" + "\n\n".join(parts) + "\n"


def metadata(manifest: Manifest, repository: str) -> str:
    """Return the card's YAML, by which a Hub shows, filters and finds the version.

    Raises BadReference if `repository` isn't one that a Hub allows.
    """
    from huggingface_hub import ModelCardData

    parse_reference(f"hf://{repository}")
    is_base = manifest.kind == "base"
    base, head = None if is_base else manifest.base.repository, manifest.head.name if manifest.head else ""
    relation: dict[str, Any] = {"base_model_relation": "adapter"} if base else {}
    data = ModelCardData(
        base_model=base,
        datasets=_data_sets(manifest),
        eval_results=_results(manifest) or None,
        library_name="transformers" if is_base else "peft",
        **_license(manifest.license),
        model_name=repository,
        pipeline_tag=_PIPELINES.get(head),
        tags=sorted({TAG, *(_line(tag) for tag in (manifest.method.name, *manifest.tags))}),
        **relation,
    )
    return data.to_yaml(line_break="\n")


def _title(manifest: Manifest, repository: str) -> str:
    parts = [f"# {_text(repository)}", _made(manifest)]
    if manifest.description:
        parts.append(_text(manifest.description))
    if manifest.head and manifest.head.labels:
        listed = ", ".join(f"{number} is {_text(label)}" for number, label in enumerate(manifest.head.labels))
        parts.append(f"Its answers: {listed}.")
    parts.append(f"Its identity is the digest of `ahf_manifest.json`: `{manifest.digest}`.")
    return "\n\n".join(parts)


def _made(manifest: Manifest) -> str:
    """Return what the version is, and on which base an adapter was trained, in a sentence or two."""
    method = f"`{_code(manifest.method.name)}`"
    if manifest.kind == "base":
        return f"A base model made by {method}, of the architecture `{_code(manifest.base.architecture or 'unknown')}`."
    base = f" on [{_text(b)}](https://huggingface.co/{b})" if (b := manifest.base.repository) else ""
    head = f", with the head `{_code(manifest.head.name)}`" if manifest.head else ""
    stored = manifest.base.version
    stored_base = (
        "" if stored is None else f" Its base is the version `{stored.digest}`, stored as `{_code(stored.name)}`."
    )
    return f"An adapter made by {method}{base}{head}.{stored_base}"


def _loading_base(repository: str) -> str:
    name = json.dumps(f"hf://{repository}@vN")
    ours = ["import adapterhub_fin as ahf", "", f'run = ahf.train(name="acme/tone", base={name}, corpus="headlines")']
    plain = [
        "from transformers import AutoModel, AutoTokenizer",
        "",
        f'model = AutoModel.from_pretrained("{repository}")',
    ]
    plain += [f'tokenizer = AutoTokenizer.from_pretrained("{repository}")']
    return "\n\n".join(
        ["## Load it", "Train an adapter on it:", _fenced(ours), "With nothing but Transformers:", _fenced(plain)]
    )


def _loading(manifest: Manifest, repository: str) -> str:
    if manifest.kind == "base":
        return _loading_base(repository)
    name, text = json.dumps(f"hf://{repository}"), "Margins widened in the third quarter."
    task = manifest.head.name if manifest.head else None
    ways = {"causal-lm": "generate", "preference": "generate", "contrastive": "embed"}
    use = f'adapter.{ways.get(task or "", "predict")}(["{text}"])'
    ours = ["import adapterhub_fin as ahf", "", f'adapter = ahf.load({name}, download=True)  # or {name[:-1]}@vN"']
    ours += [f"print({use})"] if task else []
    parts = ["## Load it", _fenced(ours)]
    if provider := manifest.method.provider:
        parts[0] += f"\n\n`pip install {_code(provider.distribution)}`, and:"
    return "\n\n".join([*parts, *_plain(manifest, repository)])


def _plain(manifest: Manifest, repository: str) -> list[str]:
    """Return how plain PEFT loads the adapter, or why it can't."""
    if all(file.path != CONFIG for file in manifest.files):
        return ["Its method isn't one of PEFT's, and needs the package that provides it."]
    head = manifest.head
    if head is None or head.name == "contrastive":
        kind, options = "AutoPeftModelForFeatureExtraction", ""
    elif head.name in ("causal-lm", "preference", "multi-task"):
        kind, options = "AutoPeftModelForCausalLM", ""
    elif head.name in _CLASSIFIERS and all(head.options.get(key, value) == value for key, value in _PLAIN):
        kind, options = "AutoPeftModelForSequenceClassification", f", num_labels={len(head.labels or (0,))}"
    else:
        return ["Plain PEFT can't load the weights of its head, and so can't use it."]
    introduction = "With nothing but PEFT, which does not check that the base is the right one:"
    return [
        introduction,
        _fenced([f"from peft import {kind}", "", f'model = {kind}.from_pretrained("{repository}"{options})']),
    ]


def _training(manifest: Manifest) -> str:
    corpus = manifest.corpus
    if corpus is None:
        return "## Training data\n\nNothing is recorded of it."
    sentences = [
        f"Stage {number}: `{_code(stage.name)}`, license {_text(stage.license or 'unknown')}."
        for number, stage in enumerate(corpus.stages, 1)
    ]
    sentences.append(f"`{_code(corpus.name)}`, license {_text(corpus.license or 'unknown')}.")
    if corpus.rows:
        sentences.append(
            "Rows: " + ", ".join(f"{count} {_text(part)}" for part, count in sorted(corpus.rows.items())) + "."
        )
    if corpus.available:
        sentences.append(f"They became available from {corpus.available[0]} to {corpus.available[1]}.")
    if corpus.notes:
        sentences.append(
            "Noted: " + "; ".join(f"{count} {_text(reason)}" for reason, count in corpus.notes.items()) + "."
        )
    return "## Training data\n\n" + " ".join(sentences)


def _knowledge(manifest: Manifest) -> str:
    rows = [(_text(i.input), i.at, i.kind, _text(i.evidence)) for i in manifest.knowledge.inputs]
    included = "its tokenizer included" if manifest.kind == "base" else "its base included"
    end = f"Nothing that became known after {manifest.knowledge.end} can have influenced the weights, {included}."
    return f"## Knowledge end\n\n{end}\n\n" + _table(("input", "known at the latest", "kind", "evidence"), rows)


def _measured(manifest: Manifest, evaluations: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    if (on := manifest.measured_on) is not None:
        where = _text(manifest.corpus.name if manifest.corpus else "")
        rows += [(where, _text(on.split), _text(m), f"{v:.4f}", "", str(on.rows)) for m, v in manifest.metrics.items()]
    for event in evaluations:
        seen = " (may be seen in training)" if (s := event.get("seen_in_training")) is None else " (seen)" if s else ""
        ranges = event.get("intervals") if isinstance(event.get("intervals"), Mapping) else {}
        for metric, value in sorted(event["metrics"].items()):
            ends = _interval((ranges or {}).get(metric), event.get("bootstrap"))
            part, count = _text(event["split"]) + seen, event.get("rows", "")
            rows.append((_text(measured_rows(event)), part, _text(metric), f"{value:.4f}", ends, _text(str(count))))
    if not rows:
        return "## Evaluation\n\nNothing was measured."
    table = _table(("corpus", "part", "metric", "value", "interval", "rows"), rows)
    if (chosen := manifest.selection) is not None:
        table += f"\n\nSelected by {_text(chosen.validated())}. Its own metrics are {_text(chosen.tested())}."
    return f"## Evaluation\n\n{table}"


def _limits(manifest: Manifest) -> str:
    sentences = [
        "Only the metrics above were measured: other texts, other times and other uses were not.",
        "No test of bias, toxicity or robustness is part of this card.",
    ]
    if manifest.base.fingerprint != "verified":
        sentences.append("Which base it was trained on was declared and not verified.")
    if any(entry.kind == "bounded" for entry in manifest.knowledge.inputs):
        sentences.append("A date that is bounded is the latest possible one; what was learnt may end earlier.")
    if manifest.license is None:
        sentences.append(f"No license was given for the {manifest.kind}: ask its makers before you use it.")
    return "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)


def _results(manifest: Manifest) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    if manifest.corpus is None or manifest.measured_on is None:
        return []
    task = _PIPELINES.get(manifest.head.name if manifest.head else "", "other")
    name = _line(manifest.corpus.name)
    return [
        EvalResult(
            task_type=task,
            dataset_type=name,
            dataset_name=name,
            dataset_split=_line(manifest.measured_on.split),
            metric_type=_line(metric),
            metric_value=value,
        )
        for metric, value in sorted(manifest.metrics.items())
    ]


def _data_sets(manifest: Manifest) -> list[str] | None:
    """Return the corpus by its id on a Hub, if it has one."""
    corpus = manifest.corpus
    candidates = (corpus.options.get("id"), corpus.name) if corpus else ()
    return [name for name in candidates if isinstance(name, str) and _DATA_SET.fullmatch(name)][:1] or None


def _license(license: str | None) -> dict[str, Any]:
    """Return a license as a Hub accepts it: one of the Hub's own list, else `other` with a name."""
    if license is None:
        return {}
    if license.lower() in _LICENSES:
        return {"license": license.lower()}
    return {"license": "other", "license_name": _line(license)}


def _interval(ends: Any, drawn: Any) -> str:
    if not (isinstance(ends, Sequence) and len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)):
        return ""
    level = drawn.get("level") if isinstance(drawn, Mapping) else None
    return f"{ends[0]:.4f} to {ends[1]:.4f}" + (f" ({level:.0%})" if isinstance(level, float) else "")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _fenced(lines: Iterable[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _line(text: str) -> str:
    """Return a text on one line, without unprintable characters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return words if len(words) <= _LONG else words[:_LONG] + "..."


def _text(text: str) -> str:
    """Return a text escaped for Markdown: no markup, link or HTML is left in it."""
    escaped = _PUNCTUATION.sub(r"\\\1", _line(text))
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", escaped)


def _code(text: str) -> str:
    """Return a text for use between backticks, with what could end them replaced: nothing can be escaped there."""
    return re.sub(r"[`|<>]", "?", _line(text))
