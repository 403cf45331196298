"""Write a version as an ONNX graph with its tokenizer and a manifest, after comparing it with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.check import expected_base
from adapterhub_fin.engine.inference.find import base_source, find_version
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadRecipe, Unsupported
from adapterhub_fin.exporting.onnx_graph.options import check_installed
from adapterhub_fin.exporting.onnx_graph.rows import RowSource
from adapterhub_fin.plugin.answers import AnswerForm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin.engine.inference.embedding import Embedding
    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.exporting.onnx_graph.measuring import Difference
    from adapterhub_fin.exporting.onnx_graph.options import OnnxOptions
    from adapterhub_fin_registry import Registry, Version

BATCHES = (1, 32)  # in int8-dynamic a row's answer depends on its batch, which shares the scale of its activations


def write_onnx(
    version: Version,
    registry: Registry,
    built: Path,
    options: OnnxOptions,
    base: str | Path | None,
    download: bool,
) -> dict[str, Any]:
    """Write graph, tokenizer, answer and manifest into a new folder; return the manifest, which lists all files there.

    Raises BadConfiguration without the extra, BadRecipe or BadCorpus for rows that aren't there, BaseNotFound, and
    Unsupported for a head that no formula describes or a graph that does not answer as torch does.
    """
    check_installed()
    resolved = find_version(version, registry, None, True, None)
    form = _form(resolved, options)
    rows = RowSource.of(version, options)
    source = base_source(resolved, base, download)[1]
    adapter = load(version, base=source.folder, registry=registry)
    measured = rows.read(adapter)
    writer = _Writer(resolved, adapter, form, options, built)
    writer.write_graph(source.folder, measured.rows)
    compared = writer.compare(measured.rows)
    limit = options.limit(_is_float32(adapter))
    compared.check(options.max_labels_changed, limit, version.reference, options.precision)
    return writer.finish(registry, {**measured.source, **_figures(compared, options.max_labels_changed, limit)})


def _form(resolved: ResolvedVersion, options: OnnxOptions) -> AnswerForm:
    """Return how outputs become an answer. Raises Unsupported where nothing says it."""
    head, whose = resolved.head, resolved.version.reference
    form = AnswerForm("vector") if head is None else head.answer_form()
    if form is None:
        stored = resolved.version.manifest.head
        raise Unsupported(
            f"the head {stored.name if stored else None} of {whose} does not say how its outputs become an answer: add "
            "answer_form to it, or export it with --layout merged"
        )
    if options.embeds and form.kind != "vector":
        raise BadRecipe(f"pooling, layer and normalize are for vectors, and {whose} has a head: leave them out")
    return form


def _is_float32(adapter: Adapter) -> bool:
    import torch

    return all(p.dtype == torch.float32 for p in adapter.model.parameters() if p.is_floating_point())


def _figures(compared: Difference, max_labels_changed: float, max_change: float) -> dict[str, Any]:
    figures = {"labels_changed": compared.labels_changed, "labels_changed_share": compared.share}
    return {
        **({} if compared.labels_changed is None else figures),
        "largest_change": float(f"{compared.change:.3g}"),
        "unit": compared.unit,
        "batch_sizes": list(BATCHES),
        "allowed": {"labels_changed_share": max_labels_changed, "largest_change": max_change},
    }


@dataclass(frozen=True)
class _Writer:
    """Write the files of one version, and compare them with what torch answers."""

    resolved: ResolvedVersion
    adapter: Adapter
    form: AnswerForm
    options: OnnxOptions
    built: Path

    @property
    def _embedding(self) -> Embedding | None:
        """Return how hidden states become vectors where that is not the head's to say."""
        chosen = self.options.pooling is not None or self.options.layer is not None
        return self.options.embedding if self.resolved.head is None or chosen else None

    def write_graph(self, base: Path, rows: Sequence[Any]) -> None:
        """Write the folded graph, in the precision that was chosen."""
        from adapterhub_fin.engine.folding.in_memory import fold_in_memory
        from adapterhub_fin.exporting.onnx_graph.graph import MODEL, AnsweringModel, write_graph
        from adapterhub_fin.exporting.onnx_graph.quantize import quantize

        model = fold_in_memory(self.resolved, base, self.adapter.tokenizer)
        answering = AnsweringModel(model, self.resolved.head, self._embedding, self.options.normalize)
        whose = self.resolved.version.reference
        write_graph(answering, self._example(rows[0]), self.built / MODEL, whose)
        if self.options.precision != "fp32":
            quantize(self.built / MODEL, self.options.precision)

    def _example(self, row: Any) -> dict[str, Any]:
        """Return a batch to trace with: three rows of eight tokens, one of them padded."""
        import torch

        encoded = self._encoded([row])[0]
        extra = set(encoded) - {"input_ids", "attention_mask", "features", "labels"}
        if extra:
            raise Unsupported(f"{self.adapter.reference} reads {min(extra)}, for which a graph has no input")
        tokens = (list(encoded["input_ids"]) * 8)[:8]
        mask = torch.ones(3, 8, dtype=torch.long)
        mask[1, 5:] = 0
        ids = torch.tensor([tokens] * 3).masked_fill(mask == 0, self.adapter.tokenizer.pad_token_id)
        batch = {"input_ids": ids, "attention_mask": mask}
        if "features" in encoded:
            batch["features"] = torch.tensor([encoded["features"]] * 3, dtype=torch.float32)
        return batch

    def _encoded(self, rows: Sequence[Any]) -> Sequence[dict[str, Any]]:
        from adapterhub_fin.plugin.examples import encode_inputs

        encode = encode_inputs if self.resolved.head is None else self.resolved.head.encode_inputs
        return encode(rows, tokenizer=self.adapter.tokenizer, max_length=self.adapter.max_length)

    def compare(self, rows: Sequence[Any]) -> Difference:
        """Return how far the graph's answers to rows are from torch's, at the worst of several sizes of batch."""
        from adapterhub_fin.exporting.onnx_graph.graph import MODEL
        from adapterhub_fin.exporting.onnx_graph.measuring import difference, worst
        from adapterhub_fin.exporting.onnx_graph.session import GraphSession
        from adapterhub_fin.exporting.onnx_graph.tokenizer import TOKENIZER, check_tokens, write_tokenizer

        written = write_tokenizer(self.adapter, self.built / TOKENIZER)
        check_tokens(written, self.adapter, [row["text"] for row in rows if "text" in row and "messages" not in row])
        session, encoded, expected = GraphSession(self.built / MODEL), self._encoded(rows), self._by_torch(rows)
        pad = self.adapter.tokenizer.pad_token_id
        one, several = (difference(self.form, expected, session.outputs(encoded, pad, size)) for size in BATCHES)
        return worst(one, several)

    def _by_torch(self, rows: Sequence[Any]) -> NDArray[np.float32]:
        """Return what the version answers, (rows, outputs)."""
        import numpy as np

        if self._embedding is not None:
            return self.adapter.embed(rows, **self._embedding.model_dump())
        outputs: NDArray[np.float32] = self.adapter.logits(rows).numpy()
        if self.options.normalize:
            outputs = outputs / np.maximum(np.linalg.norm(outputs, axis=1, keepdims=True), 1e-12)
        return outputs

    def finish(self, registry: Registry, measured: dict[str, Any]) -> dict[str, Any]:
        """Write what a program needs beside the graph, and the manifest, which is returned."""
        from adapterhub_fin.exporting.onnx_graph.manifest import ANSWER, write_answer, write_manifest

        version = self.resolved.version
        write_answer(self.form, version, self.adapter.max_length, self.built / ANSWER)
        base = expected_base(registry, version)
        return write_manifest(version, base, self.options.precision, measured, self.built)
