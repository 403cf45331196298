"""Initialize LoRA's A and B as PEFT does; some initializations use training batches, some change the base."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import BadRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]

USES_DATA = ("eva", "corda", "lora-ga")


def prepare(
    init: str, model: nn.Module, config: Any, batches: Sequence[Batch], loss: Callable[..., Tensor] | None
) -> None:
    """Prepare an initialization on the bare model: input covariance for CorDA, weight gradients for LoRA-GA.

    Raises BadRecipe for a layer that sees one vector for each text, which CorDA can't use.
    """
    config.init_lora_weights = init.replace("-", "_")
    if init == "eva":
        from peft import EvaConfig

        config.eva_config = EvaConfig()
    elif init == "corda":
        from peft.tuners.lora.config import CordaConfig
        from peft.tuners.lora.corda import preprocess_corda

        config.corda_config = CordaConfig(verbose=False)
        try:
            preprocess_corda(model, config, run_model=lambda: _forward(model, _unpadded_rows(batches)))
        except IndexError as error:  # its covariance is over tokens; for a single vector it becomes a number
            raise _one_vector(init) from error
    elif init == "lora-ga":
        from peft.tuners.lora.config import LoraGAConfig
        from peft.tuners.lora.loraga import preprocess_loraga

        assert loss is not None, "batches come with the head's loss"
        config.lora_ga_config = LoraGAConfig()
        preprocess_loraga(model, config, train_step=lambda: _backward(model, batches, loss))
        model.zero_grad()


def finish(init: str, model: Any, adapter_name: str, batches: Sequence[Batch]) -> None:
    """Finish an initialization on the adapted model: EVA decomposes each layer's inputs (arXiv 2410.07170).

    Raises BadRecipe for a layer that sees one vector for each text, which EVA can't use.
    """
    if init == "eva":
        from peft import initialize_lora_eva_weights

        inputs = [{name: value for name, value in batch.items() if name != "labels"} for batch in batches]
        with redirect_stdout(StringIO()):  # it prints its progress to the caller's standard output
            try:
                initialize_lora_eva_weights(model, inputs, adapter_name=adapter_name, show_progress_bar=False)
            except ValueError as error:
                raise _one_vector(init) from error


def _one_vector(init: str) -> BadRecipe:
    return BadRecipe(
        f"the init {init} can't use a layer that sees one vector for each text, such as a pooler: list the others in "
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


def _unpadded_rows(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield the rows one at a time without their padding, as CorDA's covariance needs them."""
    for batch in batches:
        for row, mask in enumerate(batch["attention_mask"]):
            yield {name: batch[name][row : row + 1, : int(mask.sum())] for name in ("input_ids", "attention_mask")}
