"""Choose which of a text's hidden states a head on a sequence classifier reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

PAST: Final = "past_key_values"


def read_mean(model: PreTrainedModel, missing: Sequence[str] = ()) -> list[str]:
    """Let a model's head read the mean of a text's last states; what it misses, by the names from now on.

    Its class goes on reading the state of one token, the first or the last, and every token's is the mean then. The
    last layer gets another name, so that no plain model, which would read that one token, takes its weights.
    """
    from torch import nn

    from adapterhub_fin.plugin import backbone, outside_backbone

    model.__class__ = _reading_mean(type(model), PAST in signature(backbone(model).forward).parameters)
    name = outside_backbone(model)[-1]
    setattr(model, name, nn.Sequential(getattr(model, name)))
    return [key.replace(f"{name}.", f"{name}.0.", 1) if key.startswith(f"{name}.") else key for key in missing]


def renamed(outputs: Collection[str]) -> frozenset[str]:
    """Return the parameters of a last layer, by the names that `read_mean` gives them."""
    return frozenset(f"{top}.0.{rest}" for top, _, rest in (name.partition(".") for name in outputs))


def _reading_mean(plain: type[PreTrainedModel], takes_past: bool) -> type[PreTrainedModel]:
    from adapterhub_fin.plugin import backbone

    @wraps(plain.forward)  # whose signature PEFT and the Trainer ask for
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        # While this model computes, and no longer: others may share its backbone and read one token of it.
        hook = backbone(self).register_forward_hook(_mean_everywhere, with_kwargs=True)
        try:
            return plain.forward(self, *args, **kwargs)
        finally:
            hook.remove()

    own = signature(plain.forward)
    if takes_past and PAST not in own.parameters:
        # PEFT's prefix passes by a model that doesn't name what a prefix is given as, and reads one token itself. Those
        # of Transformers hand on what they don't name to a backbone that does.
        parameters = [*own.parameters.values(), Parameter(PAST, Parameter.KEYWORD_ONLY, default=None)]
        own = own.replace(parameters=sorted(parameters, key=lambda parameter: parameter.kind))
        forward.__signature__ = own  # type: ignore[attr-defined]
    return type(f"MeanOf{plain.__name__}", (plain,), {"forward": forward})


def _mean_everywhere(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
    states: Tensor = output.last_hidden_state  # (rows, tokens, hidden)
    mask = kwargs["attention_mask"]
    if mask is None:
        mean = states.float().mean(1, keepdim=True)
    else:
        counted = mask[:, -states.shape[1] :, None].float()  # a prefix has a mask and no states
        mean = (states.float() * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
    output.last_hidden_state = mean.to(states.dtype).expand_as(states)
    pooler: Any = getattr(module, "pooler", None)
    if pooler is not None:
        output.pooler_output = pooler(output.last_hidden_state)
    return output
