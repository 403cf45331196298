"""List what `ahf export --layout onnx` refuses."""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin.errors import UnknownName
from adapterhub_fin.exporting.finding import Finding, StoredAdapter
from adapterhub_fin.exporting.folding_rules import cannot_fold, writes_text
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.heads import HeadImplementation
from adapterhub_fin.plugin.manager import extensions


def rules(stored: StoredAdapter, max_rank: int | None) -> list[Finding]:
    """Return every finding on a version; ranks have no limit in a folded graph."""
    return [*writes_text(stored, "the graph"), *cannot_fold(stored), *_quantized(stored), *_head(stored)]


def _quantized(stored: StoredAdapter) -> Iterator[Finding]:
    if stored.is_quantized:
        says = "it was trained on a quantized base, and a graph is made of the weights before that"
        do = "export it with --layout merged, which measures the difference"
        yield Finding("refused", "quantization", "base", says, do)


def _head(stored: StoredAdapter) -> Iterator[Finding]:
    """Report a head whose class does not say how its outputs become an answer."""
    if stored.head is None or stored.config.get("task_type") == "CAUSAL_LM":
        return
    try:
        implementation = extensions().get(Head, stored.head).load()
    except UnknownName as error:
        yield Finding("refused", "head", "head", f"its head is not installed ({error})", "install its plugin")
        return
    if getattr(implementation, "answer_form", None) in (None, HeadImplementation.answer_form):
        says = f"the head {stored.head} does not say how its outputs become an answer"
        yield Finding("refused", "head", "head", says, "add answer_form to the head, or export it with --layout merged")
