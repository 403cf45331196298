"""Define how a base is trained: its length, its blocks of tokens, and the options that make it faster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from adapterhub_fin.plugin.options import Options
from adapterhub_fin.recipe.recipe import Optimizer, Training

# For these Transformers keeps documents apart in a batch of one row alone.
FLASH = ("flash_attention_2", "flash_attention_3")
PretrainOptimizer = Literal[Optimizer, "muon"]


class PretrainTraining(Options):
    """Set the length, the speed and the precision of pretraining; each optimisation can be switched alone."""

    epochs: float | None = Field(None, gt=0, le=1000, description="Passes over the training text; by default 1.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps, in place of `epochs`.")
    tokens: int | None = Field(
        None, ge=1, description="Tokens to train on, in place of `epochs`: rounded up to whole steps."
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1, description="Peak rate: 3e-3 suits a width of 100, 3e-4 one of 1,000; muon takes the same."
    )
    batch_size: int = Field(16, ge=1, le=65536, description="Blocks of one optimizer step, over all processes.")
    accumulate: int = Field(1, ge=1, description="Gradient accumulation: parts that a step's blocks are split into.")
    block: int = Field(128, ge=8, le=1_048_576, description="Tokens of a block.")
    packing: bool = Field(
        True,
        description="Fill blocks with document after document, without attention from one to another; else each "
        "document has blocks of its own, padded.",
    )
    masked: float = Field(0.3, gt=0, lt=1, description="Share of the tokens that a modernbert has to fill in.")
    optimizer: PretrainOptimizer = Field(
        "adamw_torch_fused",
        description="Optimizer, by the name that Transformers gives it, or muon: Muon for the matrices of the layers, "
        "AdamW for the rest.",
    )
    weight_decay: float = Field(0.1, ge=0, lt=1, description="The optimizer's weight decay, which is decoupled.")
    warmup: float = Field(
        0.06, ge=0, description="Share of the steps (below 1) or number of steps in which the learning rate rises."
    )
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "cosine", description="How the learning rate falls after the warmup."
    )
    clip: float = Field(1.0, gt=0, description="Gradient clipping: the largest norm.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Of the computation; weights are fp32.")
    recompute: bool = Field(
        False, description="Gradient checkpointing: a third more time for a fraction of the activations' memory."
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] = Field(
        "sdpa", description="How attention is computed; the values are the same. flex_attention needs a GPU."
    )
    compile: bool = Field(False, description="Compile the model with torch.compile.")
    validation: float = Field(
        0.05, gt=0, lt=1, description="Share of the rows, the latest before the end of `until`, that measure the loss."
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop after so many evaluations without a lower validation loss, and keep the best weights; by "
        "default it trains to the end and keeps the last.",
    )
    eval_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations, each with a checkpoint; by default one after each epoch."
    )
    checkpoint_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints, in addition to those of the evaluations."
    )
    report_to: tuple[str, ...] = Field(
        (), description="Experiment trackers that the run reports to: tensorboard, mlflow, wandb, or another."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of initialisation, order and masks.")

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _goes_together(self) -> PretrainTraining:
        lengths = [key for key in ("epochs", "max_steps", "tokens") if getattr(self, key) is not None]
        if len(lengths) > 1:
            raise ValueError(f"{' and '.join(lengths)} all say how long to train: give one of them")
        if self.packing and self.attn_implementation in FLASH:
            raise ValueError(
                f"attn_implementation {self.attn_implementation} lets packed documents see each other: use sdpa or "
                "flex_attention, or packing: false"
            )
        if self.warmup >= 1 and not self.warmup.is_integer():
            raise ValueError(
                f"warmup {self.warmup:g} is neither a share of the steps nor a number of them: write 0.06 or 100"
            )
        return self

    def for_trainer(self, steps: int | None = None) -> Training:
        """Return the options as those of the trainer that adapters have too; `steps` is what `tokens` come to."""
        steps = self.max_steps if steps is None else steps
        fields = set(Training.model_fields).intersection(type(self).model_fields) - {"optimizer", "patience"}
        shared = {name: getattr(self, name) for name in fields}
        shared |= {"epochs": None if steps else (self.epochs or 1.0), "max_steps": steps, "max_length": self.block}
        shared["optimizer"] = "adamw_torch" if self.optimizer == "muon" else self.optimizer
        return Training(**shared, patience=self.patience or 1)
