"""Share the code of prompt methods, which prepend trained vectors to every text on an unchanged base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AttachContext, BadRecipe, PeftMethod, peft_model

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


class PromptMethod(PeftMethod):
    """Attach a PEFT prompt that is computed in training and stored as plain vectors."""

    embedded = True  # True for embeddings, False for keys and values of every layer

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.num_virtual_tokens = options.tokens

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"tokens": config.get("num_virtual_tokens")}

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise BadRecipe for an encoder-decoder base."""
        if config.is_encoder_decoder:
            raise BadRecipe(
                "prompt methods support encoders and decoders, and the base is an encoder-decoder: use lora"
            )

    def fill(self, model: nn.Module, adapter_name: str, stored: Mapping[str, Tensor]) -> None:
        """Put stored values into the live tensors, also into a prompt that is to be trained further.

        PEFT gives such a prompt as a copy. One that is computed through a projection is not stored in that form.
        """
        import torch

        super().fill(model, adapter_name, stored)
        weight = peft_model(model).prompt_encoder[adapter_name].embedding.weight
        if (vectors := stored.get("prompt_embeddings")) is not None and vectors.shape == weight.shape:
            with torch.no_grad():
                weight.copy_(vectors)

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        return self._align_padding(super().attach(model, context))

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        return self._align_padding(super().rebuild(model, context, folder))

    def _align_padding(self, model: nn.Module) -> nn.Module:
        """Make a batch give the same outputs as its rows alone, although Transformers can't see padding in embeddings.

        For a decoder that answers from its last position, padding is moved in front of the prompt. For a decoder that
        generates, padding is between the prompt and the text, and is left out of the positions, where PEFT counts it.
        """
        inner = peft_model(model).get_base_model()
        if not self.embedded:
            return model
        if hasattr(inner, "score") and not getattr(inner, "_ahf_pads_first", False):
            inner.register_forward_pre_hook(_padding_first, with_kwargs=True)
            inner._ahf_pads_first = True
        elif _generates(inner) and not getattr(inner, "_ahf_skips_padding", False):
            inner.register_forward_pre_hook(_padding_uncounted, with_kwargs=True)
            inner._ahf_skips_padding = True
        return model

    def hidden_states(self, model: nn.Module, adapter_name: str, batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        self.activate(model, adapter_name)
        mask = batch["attention_mask"]
        states = model(**batch, output_hidden_states=True).hidden_states
        if not self.embedded:
            return list(states)
        inner, tokens = peft_model(model).get_base_model(), mask.shape[1]
        if not getattr(inner, "_ahf_pads_first", False):
            return [state[:, -tokens:] for state in states]
        # The hook moved each row's padding to the front: move it back to the end.
        return [_rolled(state, mask.sum(1) + self.num_virtual_tokens)[:, self.num_virtual_tokens :] for state in states]


def _padding_first(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Turn [prompt, text, padding] into [padding, prompt, text], with positions counted from the prompt."""
    embeds, mask = kwargs.get("inputs_embeds"), kwargs.get("attention_mask")
    if embeds is None or mask is None or not (mask == 0).any():
        return None
    shift = mask.shape[1] - mask.sum(1)
    mask = _rolled(mask, shift)
    positions = (mask.cumsum(1) - 1).clamp(min=0).long()
    return args, {**kwargs, "inputs_embeds": _rolled(embeds, shift), "attention_mask": mask, "position_ids": positions}


def _generates(model: nn.Module) -> bool:
    """Return whether the model predicts next tokens and accepts position_ids."""
    causal = getattr(model, "can_generate", None)
    return causal is not None and causal() and "position_ids" in signature(model.forward).parameters


def _padding_uncounted(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Set the positions of [prompt, padding, text], or of tokens generated after it, as if there were no padding."""
    mask, position_ids = kwargs.get("attention_mask"), kwargs.get("position_ids")
    inputs = kwargs.get("inputs_embeds") if kwargs.get("inputs_embeds") is not None else kwargs.get("input_ids")
    if position_ids is not None or inputs is None or mask is None or mask.dim() != 2 or not (mask == 0).any():
        return None
    positions = (mask.cumsum(1) - 1).clamp(min=0).long()
    return args, {**kwargs, "position_ids": positions[:, -inputs.shape[1] :]}


def _rolled(rows: Tensor, shift: Tensor) -> Tensor:
    """Return rows (rows, tokens, ...), each rotated by its own shift (rows,) along the second axis."""
    import torch

    length = rows.shape[1]
    index = (torch.arange(length, device=rows.device)[None, :] - shift.long()[:, None]) % length
    shape = [*index.shape, *([1] * (rows.dim() - 2))]
    return rows.gather(1, index.view(shape).expand_as(rows))


def text_tokens(tokenizer: PreTrainedTokenizerBase, text: str, count: int) -> list[int]:
    """Return `count` tokens of a text without special tokens, repeated or cut. Raises BadRecipe for no tokens."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise BadRecipe(f"method.text {text!r} has no tokens: write words")
    return [int(ids[position % len(ids)]) for position in range(count)]
