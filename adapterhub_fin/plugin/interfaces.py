"""Define what a description's target must be able to do; subclass a protocol to inherit its defaults.

Heavy types are for the type checker alone: importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Generator, Tensor, nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase, TrainerCallback

    from adapterhub_fin.plugin.low_rank import LowRank
    from adapterhub_fin_registry import Incoming, RemoteVersion, Version


@dataclass(frozen=True)
class AttachContext:
    """Hold the facts of one attachment that the adapter's options don't hold: where the adapter goes."""

    adapter_name: str  # the runtime name, `ahf_<8 hex>`: in PEFT a user's string corrupts saves (peft 3584, 2252)
    modules_to_save: tuple[str, ...] = ()  # modules with no weights in the base: they train whole, and travel
    task: str | None = None  # PEFT's task type, such as SEQ_CLS
    targets: tuple[str, ...] | None = None  # what an ahf_targets hook advised
    base: str | None = None  # the base's recorded id, never a path
    # At hand when an adapter is new, for what starts from a text or from data; batches come in a fixed order.
    tokenizer: PreTrainedTokenizerBase | None = None
    batches: Callable[[], Iterator[dict[str, Tensor]]] | None = None
    loss: Callable[[Any, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class LoraFactors:
    """Hold what a stored adapter adds to the base's weights, and where in its file that stands."""

    changes: Mapping[str, LowRank]  # (out, in), by the module's name in the model
    tensors: frozenset[str]  # the names in the file that `changes` account for: any other would be lost


class MethodImplementation(Protocol):
    """Define one PEFT method, built from its options.

    The name of each parameter that it adds has the adapter name as one of its parts: that tells the base from it.
    """

    num_virtual_tokens: int = 0  # how many of the base's positions the method's prompt takes
    checkpointing: bool = True  # whether activations may be computed again in the backward pass
    needs_real_weights: bool = False  # whether attaching computes with the base's weights, not with their shapes alone
    reload_after_save: bool = False  # whether the stored form differs from the trained one, so that a run reads it back

    def __init__(self, options: Any) -> None: ...

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise BadRecipe where this method does not go with that base or that task."""

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        """Return the model with a new adapter on it; only the adapter and `context.modules_to_save` are trainable."""
        ...

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        """Return the model with an adapter of the stored structure; the values come later, through `tensors`."""
        ...

    def rebuild_needs_real_weights(self, folder: Path) -> bool:
        """Return whether `rebuild` of this folder computes with the base's weights."""
        return self.needs_real_weights

    def changes_base(self, folder: Path) -> str | None:
        """Return what makes this stored adapter change the base itself, for every adapter on it; None if nothing does.

        It is then alone on its model, and named in the error where another is loaded beside it.
        """
        return None

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return the live tensors of the adapter and its head, by the name they have in the file."""
        ...

    def write_config(self, model: nn.Module, adapter_name: str, folder: Path) -> None:
        """Write what `rebuild` needs, as JSON."""
        ...

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        """Make this adapter name the one that answers."""
        ...

    def fill(self, model: nn.Module, adapter_name: str, stored: Mapping[str, Tensor]) -> None:
        """Put stored values into the live tensors; names and shapes have been checked one to one."""
        import torch

        with torch.no_grad():
            for name, live in self.tensors(model, adapter_name).items():
                live.copy_(stored[name])

    def loading(self) -> Mapping[str, Any]:
        """Return how the base must be loaded: keywords of `from_pretrained`, such as dtype or quantization_config."""
        return {}

    def prepare_base(self, model: nn.Module) -> None:
        """Change how a base that was just loaded computes; called before it answers anything, or has an adapter."""
        return

    def callbacks(self, model: nn.Module, adapter_name: str, total_steps: int) -> Sequence[TrainerCallback]:
        """Return what must run during training; `total_steps` is the true number of optimizer steps."""
        return ()

    def penalty(self, model: nn.Module, adapter_name: str) -> Tensor | None:
        """Return what is added to the head's loss in every step, a scalar; None adds nothing."""
        return None

    def training_state(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return all that exact resumption needs beside the optimizer, by name; the adapter name is the same then."""
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def resume(self, model: nn.Module, adapter_name: str, state: Mapping[str, Tensor]) -> None:
        """Put a training state back into an adapter that the same options have attached to the same base."""
        import torch

        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(state[name])

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a stored PEFT configuration stands for, of those that it states.

        A method whose description names a `peft_type` is asked this of an import.
        """
        return {}

    def to_lora_factors(self, folder: Path) -> LoraFactors | None:
        """Return what a stored adapter adds to each weight, and which tensors that takes up; None if it can't.

        It must be all that the adapter does, but for the modules that travel whole; the base is not at hand. A tensor
        that neither accounts for is refused. With the trait `additive_low_rank`, this is what opens merging to a method
        whose folder is not PEFT's LoRA. Raises NotAnAdapter where the file is damaged.
        """
        return None

    def hidden_states(self, model: nn.Module, adapter_name: str, batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Return embeddings and each layer's output, (rows, tokens, hidden), position by position those of `batch`."""
        from adapterhub_fin.plugin.model_parts import backbone

        states: Sequence[Tensor] = backbone(model)(**batch, output_hidden_states=True).hidden_states
        return states


@dataclass(frozen=True)
class KnownAt:
    """Record when one input of training could have been known, and how that is known."""

    at: datetime
    kind: Literal["observed", "asserted", "bounded"]
    evidence: str


@dataclass(frozen=True)
class BoundedNow(KnownAt):
    """Bound what carries no date by the moment at which it had been read: make it after that, with `of`.

    Where the clock is a little behind what the registry holds, or behind the files that were read, the later moment is
    recorded; raises Refused where it is more than 24 hours behind this release.
    """

    @classmethod
    def of(cls, evidence: str) -> Self:
        """Return the bound of something that was read just now."""
        from adapterhub_fin_registry.io.clock import read_clock

        return cls(read_clock(), "bounded", evidence)


@dataclass(frozen=True)
class Rows:
    """Hold what a corpus loads: a table, and what is true of all of it.

    Columns: `text` or `messages`; `label` or `target`; optional `features`, `available_at` and `label_known_at`
    (UTC timestamps), `group`, and `split` where the source gives one (train, validation, test).
    """

    table: Dataset
    known: KnownAt | None = None  # for a table without `available_at`
    notes: Mapping[str, int] = field(default_factory=dict)  # what was dropped or mended, counted
    read: Mapping[str, str] = field(default_factory=dict)  # what was read in fact, such as the revision of a source
    fitted_before: datetime | None = None  # what rows hold, such as scaled numbers, was fitted to rows until then


class CorpusImplementation(Protocol):
    """Define one source of rows, built from its options."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        """Load all rows, in an order that does not change; raises BadCorpus naming file and row."""
        ...


class MergerImplementation(Protocol):
    """Define one merge algorithm, built from its options: a pure function of matrices, one module at a time."""

    version: int = 1  # of the algorithm: raised when the same input gives another answer, and recorded by every merge

    def __init__(self, options: Any) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        """Merge K changes (K, m, n) of one module by their K weights: the result (m, n), in their dtype.

        A module that an adapter lacks is a change of zeros. Weights come as they were given, of any sign; what is
        drawn comes from `generator`, seeded for this module. Where the description says what the algorithm commutes
        with, the matrices may be those in other orthonormal bases, and of another size. The engine does
        not ask where all changes or all weights are zero: then the module stays as the base has it.
        """
        ...

    def join(self, changes: Sequence[LowRank], weights: Sequence[float]) -> LowRank | None:
        """Return what `merge` would give, (m, n), in factors known without it, or None; called if no rank is given."""
        return None

    def rank(self, ranks: Sequence[int]) -> int | None:
        """Return the rank of the result where none is given, from those of the changes; None leaves it as it comes."""
        return None


@dataclass(frozen=True)
class Published:
    """Say where a version stands in a store; `is_new` is False where it stood there already.

    `at` names it there exactly. A dry run gives the place alone, and in `sends` what it would send, with sizes.
    """

    at: str
    number: int | None
    is_new: bool
    sends: Sequence[tuple[str, int]] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)  # what an event keeps of it beside


@dataclass(frozen=True)
class ThirdPartyAdapter:
    """Describe an adapter without a manifest, as its store does; `at` names it there for good."""

    at: str
    base: str | None
    tags: Sequence[str]
    changed: str


class StoreImplementation(Protocol):
    """Define a place where versions are kept, named by URIs of its scheme and built from its options.

    A version is numbered by its store and known by its digest. What a store gives is checked by whoever takes it in.
    """

    def __init__(self, options: Any) -> None: ...

    def publish(
        self, version: Version, uri: str, *, private: bool = False, create: bool = True, dry_run: bool = False
    ) -> Published:
        """Put a version there under the next free number, whole or not at all, or find it by its digest.

        The version was verified. Raises NotFound for a place that isn't there and may not be created, Refused for one
        that isn't the caller's, and Unreachable.
        """
        ...

    def fetch(self, uri: str, weights: Sequence[str]) -> AbstractContextManager[Incoming]:
        """Yield a version's files, its manifest's exact bytes and its number; the folder lasts as long as the context.

        A folder that others put there has no manifest: `weights` then names the files that may be taken as its
        weights, of which the first there is fetched. Raises NotFound, Refused, Corrupted and Unreachable.
        """
        ...

    def versions(self, uri: str) -> Sequence[RemoteVersion]:
        """Yield every version there, with its manifest's exact bytes: what lists and searches are made of."""
        ...

    def third_party(self, uri: str, words: str, limit: int) -> Sequence[ThirdPartyAdapter]:
        """List adapters that others published there without a manifest, whose names hold the words."""
        return ()
