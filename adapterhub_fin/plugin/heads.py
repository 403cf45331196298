"""Define what a head is; `head_bases` has the classes that a new one inherits.

Heavy types are for the type checker alone: importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from adapterhub_fin.plugin.adapter_files import ROWS
from adapterhub_fin.plugin.answers import AnswerForm
from adapterhub_fin.plugin.examples import IGNORED, encode_inputs, encode_texts

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class HeadImplementation(Protocol):
    """Define one task, built from its options."""

    task: str | None  # PEFT's task type
    selects_on: str  # the validation metric that early stopping and the best checkpoint use
    labels: Sequence[str] | None = None  # in the order of the outputs; None where a task has no labels
    metrics: tuple[str, ...] | None = None  # the kinds of metric, where the options choose among the description's
    min_batch: int = 1  # how many examples must pass through the model together in training
    calibrates: bool = False  # whether `calibrate` is called after training, with the validation part's answers
    baseline: Literal["logistic", "ridge"] | None = None  # on the base's embeddings, which a run is compared with
    chat_template: str | None = None  # Jinja in place of the tokenizer's template, "" for the plain form; None: its own
    replaces_chat_template: bool = False  # whether that holds for a base that has a template, too
    num_references: int = 0  # how many `answers` of the model before training the loss compares an example with

    def __init__(self, options: Any) -> None: ...

    # The task

    def target(self, row: Mapping[str, Any]) -> Any:
        """Return what the model is asked to answer for a row: one element of its batch's `labels`."""
        ...

    def loss(self, outputs: Any, labels: Any) -> Tensor:
        """Return the mean loss over a batch's answers, those labelled other than -100: a scalar.

        Several losses that are means over different answers are returned side by side, (losses,); training takes their
        sum, and `weight` gives as many weights. `labels` are those of the collator: a tensor, or a mapping of tensors
        by name.
        """
        ...

    def decide(self, answers: np.ndarray) -> Any:
        """Return what metrics compare with the truth: one answer for each row of (rows, outputs).

        With several kinds of metric, return a mapping with the answers for each kind, and so does `truth`.
        """
        ...

    def predictions(self, answers: Tensor) -> Sequence[Any]:
        """Return typed answers, one for each row of (rows, outputs)."""
        ...

    def answer_form(self) -> AnswerForm | None:
        """Return how outputs become an answer in a program that has no head; None if a formula can't say it.

        `ahf export --layout onnx` writes it beside the graph, whose outputs are those of `answers`.
        """
        return None

    # The model

    def check(self, config: PretrainedConfig) -> None:
        """Raise BadRecipe where this head does not fit a base of that kind."""

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        """Return the base with this head on it, and the names of the parameters that the base's file does not hold."""
        ...

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        """Return the same model without values: built under `torch.device("meta")`."""
        ...

    def new_modules(self, model: nn.Module) -> Sequence[str]:
        """Return the modules of a built model that this head trains whole, whether or not the base's file has them."""
        from adapterhub_fin.plugin.model_parts import outside_backbone

        return outside_backbone(model) if self.task == "SEQ_CLS" else ()

    # What is fitted to the training rows

    def fit_labels(self, rows: Dataset) -> None:
        """Take from the training rows what the options left open, such as the labels."""

    def fitted_options(self) -> Mapping[str, Any]:
        """Return the options that `fit_labels` settled: a version records them, and its head is built with them."""
        return {}

    def set_labels(self, labels: Sequence[str] | None) -> None:
        """Take the labels of a stored version."""

    def calibrate(self, answers: np.ndarray, truth: np.ndarray) -> None:
        """Take from the validation part what training leaves open, such as thresholds; `fitted_options` returns it.

        `answers` (rows, outputs) are those of the checkpoint that was picked, and `truth` is what `truth` returns.
        """
        return

    # Batches

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequence[dict[str, Any]]:
        """Return examples ready to be batched: `input_ids`, `attention_mask` and `labels`, cut to `max_length` tokens.

        Mostly one a row; a head that packs rows gives fewer. An example of several texts has a list of token ids for
        each. Raises BadCorpus naming a row that can't be encoded.
        """
        return encode_texts(rows, tokenizer, max_length, self.target)

    def encode_inputs(
        self, rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Sequence[dict[str, Any]]:
        """Return what the model reads of rows that have no answer: by default the tokens of `text` or `messages`.

        One example a row: `input_ids`, and further fields of one length for all, such as numbers that the model reads.
        With `labels`, which say what `answers` counts, the collator makes the batch. Raises BadText or BadCorpus for a
        row that can't be read.
        """
        return encode_inputs(rows, tokenizer, max_length)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Return a function that makes a batch of examples, padded to the longest.

        `labels` may be a mapping of tensors by name, each with one row an example, where a loss needs more than one.
        With `num_references`, each example has so many numbers as `reference`.
        """
        from transformers import DataCollatorWithPadding

        collate: Callable[[list[dict[str, Any]]], dict[str, Any]] = DataCollatorWithPadding(tokenizer)
        return collate

    def weight(self, labels: Any) -> Tensor:
        """Return what the mean loss of these labels weighs beside others: by default how many there are, a scalar.

        Of several losses, return a weight for each, (losses,).
        """
        count: Tensor = (labels != IGNORED).sum()
        return count

    def raw_outputs(self, outputs: Any) -> Any:
        """Return what `answers` needs of a model's outputs: a tensor, or a mapping of tensors by name."""
        return outputs.logits

    def answers(self, logits: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Return what is kept of a batch's outputs, (rows, outputs): the logits, where they are that already.

        `logits` are those of `raw_outputs`.

        `inputs` holds the batch; its `labels` in evaluation, its tokens elsewhere.
        """
        kept: Tensor = logits
        return kept

    def row_losses(self, answers: Tensor, labels: Any) -> Tensor | None:
        """Return the loss of each row alone, (rows,); None where it depends on the other rows of its batch.

        `answers` (rows, outputs) are what `answers` returns, and `labels` those of the collator.
        """
        return None

    # Metrics

    def truth(self, labels: Any) -> Any:
        """Return labels (rows, ...), as metrics take them; an array, or a mapping of arrays as the collator's."""
        return labels

    def undefined_metrics(self, rows: Dataset) -> Mapping[str, str]:
        """Return the metrics that rows leave undefined whatever is answered, each with its reason ("where" it is so).

        A run or an evaluation that needs one of them is refused before it computes anything.
        """
        return {}


class MergeableHead:
    """Define the members by which merging averages heads whose outputs differ in order or in units."""

    @property
    def averages(self) -> bool:
        """Return whether the average of two such heads is one: False where a layer between is not linear."""
        return True

    def output_scale(self) -> tuple[float, float]:
        """Return centre and scale: an answer is centre + scale * output. Heads are averaged in these units."""
        return 0.0, 1.0

    def with_output_scale(self, centre: float, scale: float) -> Mapping[str, Any]:
        """Return the options that give this head another scale; {} where the scale is always the same."""
        return {}

    def decided_by(self) -> Mapping[str, Any]:
        """Return the options that make an answer of the outputs: heads in which they differ are not averaged."""
        return {}

    def outputs(self) -> Collection[str]:
        """Return the parameters whose rows are the outputs, by their names in the model; some may be other models'.

        By default those of the last layer of Transformers' own classifiers.
        """
        return ROWS
