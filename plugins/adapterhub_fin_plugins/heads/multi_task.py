"""Model causal language and answer about a text on one backbone: the weighted sum of two losses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import (
    IGNORED,
    BadCorpus,
    CausalHead,
    MergeableHead,
    backbone,
    encode_columns,
    pad_labels,
    pad_texts,
)
from adapterhub_fin_plugins.heads.causal_lm import CausalLM
from adapterhub_fin_plugins.heads.classify import Classify
from adapterhub_fin_plugins.heads.regress import Regress

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

LANGUAGE = "causal-lm"
KINDS = {"classify": "classification", "regress": "regression"}  # what each answer is measured by
COLUMNS = {"classify": "label", "regress": "target"}
SCORE = "score"  # the name of the new layer, as in Transformers' classifiers on decoders


class MultiTask(MergeableHead, CausalLM):
    """Train a base's own language-model layer and one new linear layer, which reads a text's last token."""

    called = "multi-task"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.name = options.answer
        self.answer: Classify | Regress = (Classify if self.name == "classify" else Regress)(options.of_answer())
        self.labels = self.answer.labels
        self.selects_on = self.answer.selects_on
        self.metrics = (KINDS[self.name], "likelihood")

    # What the answer is: as its own head says.

    def fit_labels(self, rows: Dataset) -> None:
        if (column := COLUMNS[self.name]) not in rows.column_names:
            raise BadCorpus(
                f"the corpus has no column {column!r}, which multi-task needs for {self.name}; it has "
                f"{', '.join(rows.column_names)}"
            )
        self.answer.fit_labels(rows)
        self.labels = self.answer.labels

    def fitted_options(self) -> Mapping[str, Any]:
        return {**super().fitted_options(), **self._options(self.answer.fitted_options())}

    def set_labels(self, labels: Sequence[str] | None) -> None:
        self.answer.set_labels(labels)
        self.labels = self.answer.labels

    def output_scale(self) -> tuple[float, float]:
        return self.answer.output_scale()

    def with_output_scale(self, centre: float, scale: float) -> Mapping[str, Any]:
        return self._options(self.answer.with_output_scale(centre, scale))

    def _options(self, changed: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options of the answer, changed, among this head's."""
        if not changed:
            return {}
        own = self.options.of_answer().model_dump(mode="json", exclude_unset=True)
        return {self.name: {**own, **changed}}

    def outputs(self) -> Collection[str]:
        return (f"{SCORE}.weight",)

    def undefined_metrics(self, rows: Dataset) -> Mapping[str, str]:
        return self.answer.undefined_metrics(rows)

    def target(self, row: Mapping[str, Any]) -> Any:
        return self.answer.target(row)

    # The model

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        model, missing = super().load_model(folder, **loading)
        return self._with_score(model), sorted({*missing, f"{SCORE}.weight"})

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        return self._with_score(super().skeleton(config))

    def new_modules(self, model: nn.Module) -> Sequence[str]:
        return (SCORE,)

    def _with_score(self, model: PreTrainedModel) -> PreTrainedModel:
        """Add the layer of the answer, whose `scores` (rows, tokens, outputs) are among the model's outputs."""
        from torch import nn

        config = model.config.get_text_config()
        like = next(parameter for parameter in model.parameters() if parameter.is_floating_point())
        layer = nn.Linear(config.hidden_size, int(self.answer.model_fields()["num_labels"]), bias=False)
        nn.init.normal_(layer.weight, std=getattr(config, "initializer_range", 0.02))
        setattr(model, SCORE, layer.to(like.device, like.dtype))
        model.__class__ = _scoring(type(model))
        return model

    def raw_outputs(self, outputs: Any) -> dict[str, Tensor]:
        """Return the logits (rows, tokens, vocabulary) and the scores (rows, tokens, outputs)."""
        return {"logits": outputs.logits, "scores": outputs["scores"]}

    # Batches

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequence[dict[str, Any]]:
        """Return an example for each row, of which the answer is read at the text's last token.

        An end of text is predicted after it, where there is room. Raises BadCorpus for a text of one token.
        """
        examples = []
        for number, (ids,) in enumerate(encode_columns(rows, ["text"], tokenizer, max_length)):
            end, last = tokenizer.eos_token_id, len(ids) - 1
            if end is not None and ids[-1] != end and len(ids) < max_length:
                ids = [*ids, end]
            if len(ids) < 2:
                raise BadCorpus(f"row {number}: the text is one token, after which nothing is predicted; drop the row")
            read = [int(position == last) for position in range(len(ids))]
            labels = {"tokens": [IGNORED, *ids[1:]], "read": read, "answer": self.target(rows[number])}
            examples.append({"input_ids": ids, "labels": labels})
        return examples

    def encode_inputs(
        self, rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Sequence[dict[str, Any]]:
        """Return the tokens of texts and conversations, all of which count. Raises what the default raises."""
        return CausalHead.encode_inputs(self, rows, tokenizer, max_length)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        import torch

        def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = pad_texts(examples, tokenizer)
            length, rows = batch["input_ids"].shape[1], [example["labels"] for example in examples]
            labels = {
                name: pad_labels([row[name] for row in rows], length, tokenizer.padding_side)
                for name in ("tokens", "read")
            }
            return {**batch, "labels": {**labels, "answer": torch.tensor([row["answer"] for row in rows])}}

        return collate

    # Loss and answers

    def loss(self, outputs: Any, labels: Any) -> Tensor:
        """Return both losses times their weights, (2,): each is a mean over its own answers."""
        import torch

        logits = SimpleNamespace(logits=_read(outputs["scores"], labels["read"]))
        language = super().loss(outputs, labels["tokens"])
        weights = self.options.losses
        return torch.stack(
            [weights[LANGUAGE] * language, weights[self.name] * self.answer.loss(logits, labels["answer"])]
        )

    def weight(self, labels: Any) -> Tensor:
        """Return the tokens that are predicted, and what the rows weigh, (2,)."""
        import torch

        return torch.stack([super().weight(labels["tokens"]).float(), self.answer.weight(labels["answer"]).float()])

    def answers(self, logits: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Return the answer's outputs, then the mean loss over the text's tokens and their number, (rows, outputs + 2).

        `logits` is what `raw_outputs` returns.
        """
        import torch

        labels = inputs.get("labels")
        if labels is None:
            read, tokens = _last(inputs["attention_mask"]), {**inputs}
        else:
            read, tokens = labels["read"], {"labels": labels["tokens"]}
        return torch.cat([_read(logits["scores"], read), super().answers(logits["logits"], tokens)], 1)

    def row_losses(self, answers: Tensor, labels: Any) -> Tensor | None:
        """Return the weighted sum of each row's two losses, (rows,)."""
        weights, answered = self.options.losses, self.answer.row_losses(answers[:, :-2], labels["answer"])
        losses: Tensor = weights[LANGUAGE] * answers[:, -2] + weights[self.name] * answered
        return losses

    def truth(self, labels: Any) -> Any:
        """Return the truth by kind of metric, each (rows,); none of a language model's is needed."""
        import numpy as np

        return {KINDS[self.name]: self.answer.truth(labels["answer"]), "likelihood": np.zeros(len(labels["answer"]))}

    def decide(self, answers: np.ndarray) -> Any:
        """Return the answers by kind of metric: (rows,), and (rows, 2) of a language model."""
        return {KINDS[self.name]: self.answer.decide(answers[:, :-2]), "likelihood": answers[:, -2:]}

    def predictions(self, answers: Tensor) -> Sequence[Any]:
        return self.answer.predictions(answers[:, :-2])


def _scoring(plain: type[PreTrainedModel]) -> type[PreTrainedModel]:
    @wraps(plain.forward)  # whose signature PEFT and the Trainer ask for
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        states: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            states.append(output.last_hidden_state)

        # While this model computes, and no longer: others may share its backbone.
        hook = backbone(self).register_forward_hook(keep)
        try:
            outputs = plain.forward(self, *args, **kwargs)
        finally:
            hook.remove()
        outputs["scores"] = self.get_submodule(SCORE)(states[0])
        return outputs

    return type(f"Scoring{plain.__name__}", (plain,), {"forward": forward})


def _read(scores: Tensor, read: Tensor) -> Tensor:
    """Return the scores (rows, tokens, outputs) at the token of each row that `read` (rows, tokens) marks with 1."""
    scores = scores[:, -read.shape[1] :].float()  # a prompt of trained vectors stands before the text
    chosen = (read == 1)[:, :, None].to(scores.dtype)
    return (scores * chosen).sum(1)


def _last(mask: Tensor) -> Tensor:
    """Mark the last token of each row that is not padding, (rows, tokens)."""
    import torch

    positions = torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask
    return (positions == positions.amax(1, keepdim=True)).long()
