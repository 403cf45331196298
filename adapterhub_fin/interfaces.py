"""What a description's target must be able to do; subclass a protocol to inherit its defaults.

Heavy types are for the type checker alone: importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, TrainerCallback


@dataclass(frozen=True)
class Site:
    """Where an adapter goes: the facts of one attachment that its options don't hold."""

    slot: str  # the runtime name, `ahf_<8 hex>`: in PEFT a user's string corrupts saves (peft 3584, 2252)
    head_modules: tuple[str, ...] = ()  # modules with no weights in the base: they train whole, and travel
    task: str | None = None  # PEFT's task type, such as SEQ_CLS
    targets: tuple[str, ...] | None = None  # what an ahf_targets hook advised
    base: str | None = None  # the base's recorded id, never a path


class MethodImplementation(Protocol):
    """One PEFT method, built from its options.

    Every parameter it adds holds the slot as a part of its name: that is how the base is told from what was added.
    """

    def __init__(self, options: Any) -> None: ...

    def attach(self, model: nn.Module, site: Site) -> nn.Module:
        """The model with a new adapter on it; only the adapter and `site.head_modules` are trainable."""
        ...

    def rebuild(self, model: nn.Module, site: Site, folder: Path) -> nn.Module:
        """The model with an adapter of the stored structure; the values come later, through `tensors`."""
        ...

    def tensors(self, model: nn.Module, slot: str) -> Mapping[str, Tensor]:
        """The live tensors of the adapter and its head, by the name they have in the file."""
        ...

    def write_config(self, model: nn.Module, slot: str, folder: Path) -> None:
        """Write what `rebuild` needs, as JSON."""
        ...

    def activate(self, model: nn.Module, slot: str) -> None:
        """Make this slot the one that answers."""
        ...

    def fill(self, model: nn.Module, slot: str, stored: Mapping[str, Tensor]) -> None:
        """Put stored values into the live tensors; names and shapes have been checked one to one."""
        import torch

        with torch.no_grad():
            for name, live in self.tensors(model, slot).items():
                live.copy_(stored[name])

    def loading(self) -> Mapping[str, Any]:
        """How the base must be loaded: keywords of `from_pretrained`, such as dtype or quantization_config."""
        return {}

    def callbacks(self, model: nn.Module, slot: str, total_steps: int) -> Sequence[TrainerCallback]:
        """What must run during training; `total_steps` is the true number of optimizer steps."""
        return ()


@dataclass(frozen=True)
class Prediction:
    """A classification of one text; `scores` are probabilities by label and sum to one."""

    label: str
    score: float
    scores: Mapping[str, float]


class HeadImplementation(Protocol):
    """One task, built from its options."""

    task: str | None  # PEFT's task type
    selects_on: str  # the validation metric that early stopping and the best checkpoint use
    labels: Sequence[str] | None  # in the order of the outputs; None where a task has no labels

    def __init__(self, options: Any) -> None: ...

    def learn(self, rows: Dataset) -> None:
        """Take from the training rows what the options left open, such as the labels."""
        ...

    def restore(self, labels: Sequence[str] | None) -> None:
        """Take from a stored version what `learn` took from the rows."""
        ...

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        """The base with this head on it, and the names of the parameters that the base's file does not hold."""
        ...

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        """The same model without values: built under `torch.device("meta")`."""
        ...

    def target(self, row: Mapping[str, Any]) -> Any:
        """What the model is asked to answer for a row: the `labels` of its batch."""
        ...

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""
        ...

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """What metrics compare with `target`: one answer a row."""
        ...

    def predictions(self, logits: Tensor) -> Sequence[Any]:
        """Typed answers, one a row."""
        ...


@dataclass(frozen=True)
class Known:
    """When one input of training could have been known, and how that is known."""

    at: datetime
    kind: Literal["observed", "asserted", "bounded"]
    evidence: str


@dataclass(frozen=True)
class Rows:
    """What a corpus loads: a table, and what is true of all of it.

    Columns: `text` or `messages`; `label` or `target`; optional `features`, `available_at` and `label_known_at`
    (UTC timestamps), `group`, and `split` where the source gives one (train, validation, test).
    """

    table: Dataset
    known: Known | None = None  # for a table without `available_at`
    notes: Mapping[str, int] = field(default_factory=dict)  # what was dropped or mended, counted


class CorpusImplementation(Protocol):
    """One source of rows, built from its options."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        """All rows, in an order that does not change; raises BadCorpus naming file and row."""
        ...
