"""Extend the trainer of adapters to whole models on blocks of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from adapterhub_fin.engine.peft.adapter_io import write_tensors
from adapterhub_fin.engine.pretraining.document_masks import document_masks
from adapterhub_fin.engine.pretraining.examples import NO_BLOCK
from adapterhub_fin.engine.pretraining.muon import MuonWithAdamW
from adapterhub_fin.engine.training.trainer import STATE, AdapterTrainer


class BlockOrder(Sampler[int]):
    """Yield `epoch * blocks + block` for the blocks in an order that depends on the seed and the epoch alone.

    Then NO_BLOCK until there are a multiple of `shared`: what several processes share they would else fill up with
    blocks that the epoch has had, and train on those twice.
    """

    def __init__(self, blocks: int, seed: int, shared: int = 1) -> None:
        self.blocks, self.seed, self.epoch = blocks, seed, 0
        self.filling = -blocks % shared

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.blocks + self.filling

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.blocks, generator=generator)
        yield from (self.epoch * self.blocks + int(block) for block in order)
        yield from [NO_BLOCK] * self.filling


class InOrder(Sampler[int]):
    """Yield the blocks in their order."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def __len__(self) -> int:
        return self.blocks

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.blocks))


class BlockTrainer(AdapterTrainer):
    """Train all weights of a model on blocks; checkpoints hold them once, with what exact resumption needs."""

    order: BlockOrder  # type: ignore[assignment]

    def __init__(self, *, encoder: bool, muon: bool, keep_last: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bare: Any = self.adapted  # without the wrappers of compiling and of several processes
        self.encoder = encoder
        self.muon = muon
        self.keep_last = keep_last

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return a batch on this device, with what keeps documents apart.

        A causal model finds them by their positions, but only without a cache for generation.
        """
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if not self.encoder:
            return {**prepared, "use_cache": False}
        weight = self.bare.get_input_embeddings().weight
        tokens: Tensor = prepared["input_ids"]
        like = weight.new_empty(1).expand(*tokens.shape, 1)  # no memory: its dtype and its device are read alone
        return {**prepared, "attention_mask": document_masks(self.bare.config, prepared["position_ids"], like)}

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the optimizer over all parameters."""
        if self.muon and self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self.bare))
            rate, decay = self.args.learning_rate, self.args.weight_decay
            self.optimizer = MuonWithAdamW.of(self.bare, decayed, lr=rate, weight_decay=decay)
        return super().create_optimizer(model)

    def _get_train_sampler(self, train_dataset: Any = None) -> BlockOrder:  # type: ignore[override]
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        shared = self.args.per_device_train_batch_size * self.args.world_size
        self.order = BlockOrder(len(rows), self.args.seed, shared if self.args.world_size > 1 else 1)
        return self.order

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Return the number of labels of one optimizer step; 1 for none, as of a block that holds a last token alone.

        Such a step's loss is 0, and not 0 / 0.
        """
        return super()._get_num_items_in_batch(batch_samples, device).clamp(min=1)

    def _get_eval_sampler(self, eval_dataset: Any) -> InOrder:  # type: ignore[override]
        return InOrder(len(eval_dataset))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(str(output_dir or self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = self.method.training_state(self.adapted, self.adapter_name)
        if broken := sorted(name for name, value in state.items() if not torch.isfinite(value).all()):
            raise FloatingPointError(f"{broken[0]} holds NaN or infinite values: lower training.learning_rate")
        write_tensors(state, folder / STATE)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Return whether to keep these weights: the last ones, or with `patience` those of the lowest loss."""
        if not self.keep_last:
            return super()._determine_best_metric(metrics, trial)
        self.state.best_metric = metrics[f"eval_{self.args.metric_for_best_model}"]
        self.state.best_global_step = self.state.global_step
        return True

    def _example_indices(self, tokens: Tensor) -> list[int]:
        examples: Any = self.train_dataset
        start = self.order.epoch * len(examples)
        rows = {tuple(row.tolist()) for row in tokens.cpu()}
        return [index for index in range(len(examples)) if tuple(examples[start + index]["input_ids"]) in rows]
