"""Check the heads' options for recipes, commands and manifests; importing them imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from adapterhub_fin.plugin import ChatTemplate, Options

Pooling: TypeAlias = Literal["base", "mean"]
POOLING: Final[Any] = Field(
    "base",
    description="The state of one token, as the base's own class has it, which plain PEFT loads too: the first's (an "
    "encoder) or the last's (a decoder). Or the mean over a text's tokens, better where sentences are embedded so.",
)


class ClassifyOptions(Options):
    """Set which labels there are, and what a wrong one costs."""

    labels: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Labels in the order of the outputs; by default those of the training rows, sorted.",
    )
    pooling: Pooling = POOLING
    smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the target spread over all labels (Szegedy et al. 2016), for noisy ones.",
    )
    weights: Literal["balanced"] | Mapping[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Weight of each label in the loss: balanced (rows / labels / rows of it), or by label."
    )
    focal: float = Field(
        0.0, ge=0, description="Focal loss: what is surely right counts (1 - p) ** focal (arXiv 1708.02002)."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> ClassifyOptions:
        if self.focal and self.smoothing:
            raise ValueError("focal and smoothing pull a sure answer both ways: choose one")
        return self


Probability: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class MultiLabelOptions(Options):
    """Set which labels there are, and when one applies."""

    labels: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Labels in the order of the outputs; by default those of the training rows, sorted.",
    )
    pooling: Pooling = POOLING
    threshold: Literal["fit"] | Probability | Mapping[str, Probability] = Field(
        0.5,
        description="Probability from which a label applies: one for all, one by label, or fit: by label, what gives "
        "the best F1 on the validation part after training.",
    )
    weights: Literal["balanced"] | Mapping[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="Weight of each label's rows in its loss: balanced (rows without it / rows with it), or by label.",
    )

    @model_validator(mode="after")
    def _are_distinct(self) -> MultiLabelOptions:
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels names one label twice: name each once")
        return self


class ConversationOptions(Options):
    """Set how conversations are written."""

    chat_template: ChatTemplate | None = Field(
        None,
        examples=["plain", "chatml", "llama-2", "alpaca"],  # which editors complete
        description="How conversations are written for a base without a chat template: plain, chatml, llama-2, alpaca, "
        "or the text of a Jinja template. By default the base's own template, else plain. The version records it.",
    )
    replace_chat_template: bool = Field(False, description="Let chat_template replace the template that the base has.")

    @model_validator(mode="after")
    def _replaces_by_something(self) -> Self:
        if self.replace_chat_template and self.chat_template is None:
            raise ValueError("replace_chat_template replaces the base's template by chat_template: give one")
        return self


class CausalLMOptions(ConversationOptions):
    """Set how text becomes examples."""

    packing: bool = Field(
        True,
        description="Cut documents into blocks of training.max_length tokens; a block holds one document's tokens. "
        "Without it, a document is one example, cut to that length.",
    )
    smallest: int = Field(8, ge=2, description="A document's last block is dropped where it is shorter than this.")


class RegressOptions(Options):
    """Set what gives the figure, what a wrong one costs, and its scale."""

    network: Literal["linear", "mlp"] = Field(
        "linear",
        description="One linear layer, which plain PEFT loads too; or two with a GELU between.",
    )
    pooling: Pooling = POOLING
    hidden: int | None = Field(None, ge=1, description="Width of the mlp; the base's hidden size by default.")
    loss: Literal["mse", "huber"] = Field("mse", description="Squared error, or Huber's, which outliers move less.")
    standardize: bool = Field(
        True, description="Learn (target - centre) / scale, with the training rows' mean and standard deviation."
    )
    centre: float | None = Field(None, description="Where the outputs' zero lies; learnt by default.")
    scale: float | None = Field(None, gt=0, description="What an output of one means; learnt by default.")

    @model_validator(mode="after")
    def _goes_together(self) -> RegressOptions:
        if self.hidden is not None and self.network != "mlp":
            raise ValueError("hidden is the width of the mlp, and the network is linear: set network to mlp")
        return self


class PreferenceOptions(ConversationOptions):
    """Set how far the model may move from its reference."""

    beta: float = Field(
        0.1, gt=0, description="DPO's beta (arXiv 2305.18290): a larger one keeps the model closer to its reference."
    )


class ContrastiveOptions(Options):
    """Set how sharply similarities are told apart."""

    scale: float = Field(
        20.0, gt=0, description="Factor of the cosine similarities in the softmax: 1 over the temperature."
    )


class MultiTaskOptions(ConversationOptions):
    """Set what is answered beside the language model, and what each loss weighs."""

    losses: Mapping[Literal["causal-lm", "classify", "regress"], Annotated[float, Field(gt=0)]] = Field(
        {"causal-lm": 1.0, "classify": 1.0},
        validate_default=True,
        description="Weight of each loss: causal-lm, and classify or regress, which says what is answered.",
    )
    classify: ClassifyOptions | None = Field(
        None, description="Options of classify: labels, smoothing, weights, focal."
    )
    regress: RegressOptions | None = Field(None, description="Options of regress: loss, standardize, centre, scale.")

    @property
    def answer(self) -> str:
        """Return the task beside the language model: classify or regress."""
        return next(name for name in self.losses if name != "causal-lm")

    def of_answer(self) -> ClassifyOptions | RegressOptions:
        """Return the options of that task."""
        return getattr(self, self.answer) or (ClassifyOptions() if self.answer == "classify" else RegressOptions())

    @model_validator(mode="after")
    def _goes_together(self) -> MultiTaskOptions:
        if len(self.losses) != 2 or "causal-lm" not in self.losses:
            raise ValueError("losses needs a weight for causal-lm, and one for classify or regress")
        other = "regress" if self.answer == "classify" else "classify"
        if getattr(self, other) is not None:
            raise ValueError(f"{other} has options and no weight in losses: give it one, or drop them")
        chosen = self.of_answer()
        if chosen.pooling != "base":
            raise ValueError("pooling mean is for encoders' heads; here the last token is read: drop it")
        if isinstance(chosen, RegressOptions) and chosen.network != "linear":
            raise ValueError("the answer is one linear layer here: drop regress.network")
        return self
