"""Where LoRA's A and B start, as PEFT knows it: some starts look at training batches, some take the base apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]

LOOKS_AT_DATA = ("eva", "corda", "lora-ga")


def prepare(
    init: str, model: nn.Module, config: Any, batches: Sequence[Batch], loss: Callable[..., Tensor] | None
) -> None:
    """What a start needs on the bare model: the inputs' covariance (CorDA) or the weights' gradients (LoRA-GA)."""
    config.init_lora_weights = init.replace("-", "_")
    if init == "eva":
        from peft import EvaConfig

        config.eva_config = EvaConfig()
    elif init == "corda":
        from peft.tuners.lora.config import CordaConfig
        from peft.tuners.lora.corda import preprocess_corda

        config.corda_config = CordaConfig(verbose=False)
        try:
            preprocess_corda(model, config, run_model=lambda: _forward(model, _singly(batches)))
        except IndexError as error:  # its covariance is of tokens: of one vector it makes a number
            raise _one_vector(init) from error
    elif init == "lora-ga":
        from peft.tuners.lora.config import LoraGAConfig
        from peft.tuners.lora.loraga import preprocess_loraga

        assert loss is not None, "batches come with the head's loss"
        config.lora_ga_config = LoraGAConfig()
        preprocess_loraga(model, config, train_step=lambda: _backward(model, batches, loss))
        model.zero_grad()


def finish(init: str, model: Any, adapter_name: str, batches: Sequence[Batch]) -> None:
    """What a start needs on the adapted model: EVA's decomposition of each layer's inputs (arXiv 2410.07170)."""
    if init == "eva":
        from peft import initialize_lora_eva_weights

        inputs = [{name: value for name, value in batch.items() if name != "labels"} for batch in batches]
        with redirect_stdout(StringIO()):  # it tells of its progress there, which is the caller's
            try:
                initialize_lora_eva_weights(model, inputs, adapter_name=adapter_name, show_progress_bar=False)
            except ValueError as error:
                raise _one_vector(init) from error


def _one_vector(init: str) -> BadRecipe:
    return BadRecipe(
        f"the init {init} can't read a layer that sees one vector a text, such as a pooler: name the others in "
        "method.targets"
    )


def _forward(model: nn.Module, batches: Iterable[Batch]) -> None:
    import torch

    with torch.no_grad():
        for batch in batches:
            model(**{name: value for name, value in batch.items() if name != "labels"})


def _backward(model: nn.Module, batches: Sequence[Batch], loss: Callable[..., Tensor]) -> None:
    import torch

    with torch.enable_grad():
        for batch in batches:
            outputs = model(**{name: value for name, value in batch.items() if name != "labels"})
            loss(outputs, batch["labels"]).backward()  # type: ignore[no-untyped-call]


def _singly(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Rows one at a time without their padding, as CorDA's covariance takes them."""
    for batch in batches:
        for row, mask in enumerate(batch["attention_mask"]):
            yield {name: batch[name][row : row + 1, : int(mask.sum())] for name in ("input_ids", "attention_mask")}
