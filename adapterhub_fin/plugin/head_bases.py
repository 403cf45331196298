"""Define the base classes that a new head inherits.

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

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.chat_templates import PLAIN, template_text
from adapterhub_fin.plugin.conversations import Messages
from adapterhub_fin.plugin.heads import HeadImplementation, MergeableHead
from adapterhub_fin.plugin.trusted_code import brings_code_for, remote_code

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


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
        supported = config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
        if not (supported or brings_code_for(config, "AutoModelForSequenceClassification")):
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
