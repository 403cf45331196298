"""Define what a head is, and the base classes that a new one inherits.

A head of one vector a text is a subclass of `SequenceHead` with four members: `target` says what a row asks for,
`loss` what a wrong answer costs, `decide` what metrics compare, and `predictions` what a user is given.

    class Direction(SequenceHead):
        selects_on = "accuracy"
        num_outputs = 2

        def target(self, row):
            return int(row["target"] > 0)

        def loss(self, outputs, labels):
            return torch.nn.functional.cross_entropy(outputs.logits.float(), labels)

        def decide(self, answers):
            return answers.argmax(-1)

        def predictions(self, answers):
            return [Prediction(...) for row in answers.softmax(-1).tolist()]

Heavy types are for the type checker alone: importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.adapter_files import ROWS
from adapterhub_fin.plugin.chat_templates import PLAIN, template_text
from adapterhub_fin.plugin.conversations import Messages
from adapterhub_fin.plugin.examples import IGNORED, encode_inputs, encode_texts
from adapterhub_fin.plugin.remote_code import brings_code_for, remote_code

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prediction:
    """Hold the class of one text; `scores` are probabilities by label and sum to one."""

    label: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class LabelSet:
    """Hold the labels that apply to one text, maybe none; `scores` are their probabilities, each by itself."""

    labels: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """Hold a number for one text, in the units of the training rows' target."""

    value: float


@dataclass(frozen=True)
class Likelihood:
    """Hold a language model's loss on one text: mean a token (nats), its exponential, and the tokens counted."""

    loss: float
    perplexity: float
    tokens: int


@dataclass(frozen=True)
class Vector:
    """Hold the embedding of one text; numpy makes an array of it, and a matrix of a list of them."""

    values: tuple[float, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the values as an array (hidden,), float32 unless `dtype` says otherwise."""
        import numpy as np

        return np.array(self.values, dtype=dtype or np.float32)

    def __len__(self) -> int:
        return len(self.values)


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


class SequenceHead(MergeableHead, HeadImplementation):
    """Put a head on Transformers' own sequence classifiers, encoders and decoders alike.

    A subclass writes `target`, `loss`, `decide` and `predictions`, and sets `selects_on` and `num_outputs`.
    """

    task = "SEQ_CLS"
    num_outputs: int = 1

    def __init__(self, options: Any) -> None:
        self.options = options

    def check(self, config: PretrainedConfig) -> None:
        from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

        head = type(self).__name__.lower()
        if config.is_encoder_decoder:
            raise BadRecipe(
                f"{head} reads the states of an encoder or of a decoder, and a {config.model_type} base has both: "
                "choose a base that is one of them"
            )
        known = config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
        if not (known or brings_code_for(config, "AutoModelForSequenceClassification")):
            raise BadRecipe(
                f"{head} needs a base that Transformers has a classifier for, and for {config.model_type} it has "
                "none: choose another base, or the head causal-lm"
            )

    def set_labels(self, labels: Sequence[str] | None) -> None:
        self.labels = tuple(labels) if labels else None

    def model_fields(self) -> Mapping[str, Any]:
        """Return the fields of the model's configuration that this head sets."""
        return {"num_labels": self.num_outputs}

    def row_losses(self, answers: Tensor, labels: Any) -> Tensor | None:
        """Return `loss` of each row's logits, (rows,)."""
        import torch

        ends = range(1, len(answers) + 1)
        rows = [self.loss(SimpleNamespace(logits=answers[end - 1 : end]), labels[end - 1 : end]) for end in ends]
        return torch.stack(rows)

    def finish_model(self, model: PreTrainedModel, missing: Sequence[str]) -> Sequence[str]:
        """Change a model that was just built, in place; return the parameters that the base's file does not hold."""
        return missing

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        from transformers import AutoModelForSequenceClassification

        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **self.model_fields(), **loading
        )
        # A base that brings a classifier for other labels gets a new one, as one that brings none does.
        missing = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
        return model, self.finish_model(model, sorted(missing))

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        from transformers import AutoModelForSequenceClassification

        build: Any = AutoModelForSequenceClassification.from_config
        fields = type(config).from_dict({**config.to_dict(), **self.model_fields()})
        fields.name_or_path = config.name_or_path  # where a base's own code is
        model: PreTrainedModel = build(fields, **remote_code())
        self.finish_model(model, ())
        return model


class EmbeddingHead(HeadImplementation):
    """Use a base without a head, whose hidden states become vectors; PEFT's feature extraction.

    A subclass writes `target`, `encode`, `collator`, `loss`, `weight`, `answers`, `decide` and `predictions`.
    """

    task = "FEATURE_EXTRACTION"

    def __init__(self, options: Any) -> None:
        self.options = options

    def check(self, config: PretrainedConfig) -> None:
        if config.is_encoder_decoder:
            raise BadRecipe(
                f"{type(self).__name__.lower()} reads the states of an encoder or of a decoder, and a "
                f"{config.model_type} base has both: choose a base that is one of them"
            )

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        from transformers import AutoModel

        model, info = AutoModel.from_pretrained(folder, output_loading_info=True, **loading)
        return model, sorted(info["missing_keys"])

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        from transformers import AutoModel

        build: Any = AutoModel.from_config
        model: PreTrainedModel = build(config, **remote_code())
        return model

    def raw_outputs(self, outputs: Any) -> Tensor:
        """Return the last hidden states, (texts, tokens, hidden)."""
        states: Tensor = outputs.last_hidden_state
        return states


class CausalHead(HeadImplementation):
    """Use a base's own language-model layer as the head, which also writes text."""

    task = "CAUSAL_LM"
    selects_on = "loss"

    def __init__(self, options: Any) -> None:
        self.options = options
        self.chat_template = template_text(getattr(options, "chat_template", None))
        self.replaces_chat_template = getattr(options, "replace_chat_template", False)

    def fitted_options(self) -> Mapping[str, Any]:
        """Return the text of the template that conversations are written by, so that a name means the same for ever."""
        return {} if self.chat_template is None else {"chat_template": self.chat_template or PLAIN}

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        from transformers import AutoModelForCausalLM

        read: Any = AutoModelForCausalLM.from_pretrained
        model, info = read(folder, output_loading_info=True, **loading)
        return model, sorted(info["missing_keys"])

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        from transformers import AutoModelForCausalLM

        build: Any = AutoModelForCausalLM.from_config
        model: PreTrainedModel = build(config, **remote_code())
        return model

    def prompt(self, messages: Messages, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return a conversation as training showed it, up to where the assistant begins to speak.

        Raises BadRecipe: a head that reads conversations overrides it.
        """
        raise BadRecipe(f"{type(self).__name__} reads texts, and no conversations: give the prompt as a text")

    def ending(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what closes an answer in training, such as <|im_end|>; "" where only the end of text does."""
        return ""
