"""Trace a folded model into an ONNX graph, and drop what names the machine that traced it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from adapterhub_fin.engine.base.locks import building
from adapterhub_fin.errors import Unsupported
from adapterhub_fin.plugin.model_parts import backbone

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.embedding import Embedding
    from adapterhub_fin.plugin.heads import HeadImplementation

OPSET: Final = 18  # which the engines of other languages read too
MODEL: Final = "model.onnx"
DATA: Final = "model.onnx.data"
INPUTS: Final = ("input_ids", "attention_mask")
OUTPUT: Final = "outputs"
ONE_FILE: Final = 1_900_000_000  # bytes of weights beside which a file of 2 GiB still has room for the graph


class AnsweringModel(nn.Module):
    """Return the outputs of a head, or one vector a text, as one tensor (batch, outputs) in float32."""

    def __init__(
        self, model: nn.Module, head: HeadImplementation | None, embedding: Embedding | None, normalize: bool
    ) -> None:
        """Use `embedding` in place of the head where it is given; else `normalize` scales a head's vectors to one."""
        super().__init__()
        self.model, self.head, self.embedding, self.normalize = model, head, embedding, normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor, features: Tensor | None = None) -> Tensor:
        """Answer tokens (batch, sequence), the mask of those that are not padding, and numbers (batch, numbers)."""
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.embedding is not None:
            states = backbone(self.model)(**batch, output_hidden_states=True).hidden_states
            return self.embedding.pool(states, attention_mask)
        assert self.head is not None, "a model without a head embeds"
        if features is not None:
            batch["features"] = features
        outputs = self.head.answers(self.head.raw_outputs(self.model(**batch)), batch).float()
        return nn.functional.normalize(outputs, dim=-1) if self.normalize else outputs


def write_graph(model: AnsweringModel, example: Mapping[str, Tensor], path: Path, whose: str) -> None:
    """Write the graph with a free number of rows and tokens; `example` has two rows or more of three tokens or more.

    Weights of more than ONE_FILE bytes go into a file beside it. Raises Unsupported where PyTorch can't trace it.
    """
    rows, tokens = torch.export.Dim("batch"), torch.export.Dim("sequence")
    shapes = {name: {0: rows, 1: tokens} if name in INPUTS else {0: rows} for name in example}
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    with building(), torch.no_grad(), _quiet():
        model(**example)  # which raises what is wrong in its own words
        try:
            program = torch.onnx.export(
                model,
                (),
                kwargs=dict(example),
                input_names=list(example),
                output_names=[OUTPUT],
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise Unsupported(
                f"PyTorch can't write {whose} as an ONNX graph ({_reason(error)}): export it with --layout merged"
            ) from error
        assert program is not None, "dynamo=True returns it"
        _strip(program.model)
        program.save(path, external_data=size > ONE_FILE)


def _reason(error: BaseException) -> str:
    """Return the first line of the error that the exporter's own was raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _strip(model: Any) -> None:
    """Drop descriptions and metadata from an onnx_ir model: they name source files of this machine."""
    model.doc_string = None
    model.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        _strip_graph(graph)


def _strip_graph(graph: Any) -> None:
    graph.doc_string = None
    graph.metadata_props.clear()
    for value in (*graph.inputs, *graph.outputs, *getattr(graph, "initializers", {}).values()):
        _strip_value(value)
    for node in graph:
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            _strip_value(value)
        for attribute in node.attributes.values():
            for inner in _graphs(attribute):
                _strip_graph(inner)


def _strip_value(value: Any) -> None:
    value.doc_string = None
    value.metadata_props.clear()


def _graphs(attribute: Any) -> Sequence[Any]:
    """Return the graphs that an attribute holds, such as the branches of an If."""
    import onnx_ir

    if attribute.type == onnx_ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return attribute.as_graphs() if attribute.type == onnx_ir.AttributeType.GRAPHS else []


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop the warnings of the exporter, which are of its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
