"""Take a PEFT model through the registry and compare its answers with those of plain PEFT, bit for bit.

Two ways: `ahf.save` of the model, and `save_pretrained` followed by `ahf import`. Each version is loaded twice, onto a
fresh base each time and under other seeds, since the first load of an import records what the second is held to.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from adapterhub_fin.errors import AdapterHubError

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry import Registry

Result = Literal["equal", "refused", "differs", "crashed"]
Build = Callable[[], nn.Module]
Inputs = Mapping[str, Tensor]
LOADS = 2


@dataclass(frozen=True)
class Outcome:
    """What became of a model on one way; `stored` says whether a version was added to the registry."""

    result: Result
    reason: str = ""
    stored: bool = False

    @property
    def right(self) -> bool:
        """Whether every load answered as PEFT does, or the model was refused with nothing stored."""
        return self.result == "equal" or (self.result == "refused" and not self.stored)


def randomized(build: Build, config: PeftConfig, seed: int = 0) -> nn.Module:
    """Return a base with a new adapter on it, each of whose trainable tensors was moved by a little noise."""
    from peft import get_peft_model

    torch.manual_seed(seed)
    model: nn.Module = get_peft_model(build(), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_((0.05 * noise).to(parameter))
    return model.eval()


def by_save(
    model: Any, build: Build, inputs: Inputs, registry: Registry, tokenizer: PreTrainedTokenizerBase | None = None
) -> Outcome:
    """Save the model, load it twice, and compare with the model itself."""
    from adapterhub_fin.engine.training.save import save

    expected = answers(model, inputs)
    name = f"acme/save-{len(registry.names())}"
    add = lambda: save(model, name, registry=registry)  # noqa: E731 (it is called once, below)
    outcome = _outcome(registry, name, add, expected, build, inputs, tokenizer)
    if outcome.result != "differs":
        return outcome
    with tempfile.TemporaryDirectory() as place:  # PEFT's own save may differ from the model too
        again = answers(_reloaded(model, build, place), inputs)
    off = _difference(_loaded(name, 1, build, registry, tokenizer, inputs), again)
    return outcome if off else Outcome("equal", "to PEFT's own reload, which differs from the model", True)


def by_import(
    model: Any, build: Build, inputs: Inputs, registry: Registry, tokenizer: PreTrainedTokenizerBase | None = None
) -> Outcome:
    """Save the model with PEFT, import the folder, load it twice, and compare with what PEFT loads from it."""
    from adapterhub_fin.publishing import import_folder

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        expected = answers(_reloaded(model, build, place), inputs)
        name = f"acme/import-{len(registry.names())}"
        add = lambda: import_folder(folder, name, registry=registry)  # noqa: E731 (it is called once, below)
        return _outcome(registry, name, add, expected, build, inputs, tokenizer)


def _reloaded(model: Any, build: Build, place: str) -> nn.Module:
    """Save a model with PEFT and load it with PEFT onto a fresh base."""
    from peft import PeftModel

    model.save_pretrained(place)
    _name_no_base(Path(place) / "adapter_config.json")
    torch.manual_seed(12)
    reloaded: nn.Module = PeftModel.from_pretrained(build(), place)
    return reloaded


def answers(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """What a model answers, its first output and its last hidden states, whichever it has."""
    model.eval()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output: Any = model(**inputs)
    if isinstance(output, Tensor):
        return (output.clone(),)
    fields = ("logits", "start_logits", "end_logits", "last_hidden_state")
    return tuple(output[field].clone() for field in fields if field in output)


def _outcome(
    registry: Registry,
    name: str,
    add: Callable[[], object],
    expected: tuple[Tensor, ...],
    build: Build,
    inputs: Inputs,
    tokenizer: PreTrainedTokenizerBase | None,
) -> Outcome:
    step = "storing"
    try:
        add()
        for number in range(1, LOADS + 1):
            step = f"load {number}"
            found = _loaded(name, number, build, registry, tokenizer, inputs)
            if off := _difference(found, expected):
                return Outcome("differs", f"{step}: {off}", True)
    except AdapterHubError as error:
        return Outcome("refused", f"{step}: {type(error).__name__}: {error}", name in registry.names())
    except Exception as error:  # a crash is a finding, and the next case must still be tried
        return Outcome("crashed", f"{step}: {type(error).__name__}: {error}", name in registry.names())
    return Outcome("equal", stored=True)


def _loaded(
    name: str,
    number: int,
    build: Build,
    registry: Registry,
    tokenizer: PreTrainedTokenizerBase | None,
    inputs: Inputs,
) -> tuple[Tensor, ...]:
    """The answers of a version on a fresh base; what was drawn and not stored comes out otherwise each time."""
    from adapterhub_fin.engine.inference.load import attach, load

    base = build()
    torch.manual_seed(1000 + number)
    if number == 1:
        adapter = load(name, base=base, tokenizer=tokenizer, registry=registry)
    else:
        adapter = attach(base, name, tokenizer=tokenizer, registry=registry)
    return answers(adapter.model, inputs)


def _difference(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    """How far answers are from those expected; empty where they are the same, bit for bit."""
    if [each.shape for each in found] != [each.shape for each in expected]:
        return f"shapes {[tuple(each.shape) for each in found]} for {[tuple(each.shape) for each in expected]}"
    if all(map(torch.equal, found, expected)):
        return ""
    off = max(float((a.double() - b.double()).abs().max()) for a, b in zip(found, expected, strict=True))
    return f"answers differ by {off:.3g}"


def _name_no_base(path: Path) -> None:
    """Take the base's name out of a configuration: one that was built has none, and no Hub may be asked for it."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    path.write_text(json.dumps(config), encoding="utf-8")


def beside(one: Any, other: Any, build: Build, inputs: Inputs, registry: Registry, tokenizer: Any = None) -> Outcome:
    """Save two models on one base, load both onto one model, and compare each's answers with those it gave alone."""
    from adapterhub_fin.engine.inference.load import load
    from adapterhub_fin.engine.training.save import save

    base = build()
    loaded: list[tuple[Any, tuple[Tensor, ...]]] = []
    try:
        for number, model in enumerate((one, other)):
            save(model, f"acme/beside-{number}", registry=registry)
        for number in range(2):
            try:
                adapter = load(f"acme/beside-{number}", base=base, tokenizer=tokenizer, registry=registry)
            except AdapterHubError as error:
                if number == 0:
                    raise
                reason = f"beside another: {type(error).__name__}: {error}"
                return _same(loaded, inputs) or Outcome("refused", reason)
            loaded.append((adapter, _answered(adapter, inputs)))
    except AdapterHubError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:  # a crash is a finding
        return Outcome("crashed", f"{type(error).__name__}: {error}", True)
    alone = load("acme/beside-1", base=build(), tokenizer=tokenizer, registry=registry)
    loaded[1] = (loaded[1][0], _answered(alone, inputs))
    return _same(loaded, inputs) or Outcome("equal", stored=True)


def _answered(adapter: Any, inputs: Inputs) -> tuple[Tensor, ...]:
    with adapter.answering():
        return answers(adapter.model, inputs)


def _same(loaded: list[tuple[Any, tuple[Tensor, ...]]], inputs: Inputs) -> Outcome | None:
    """The first adapter whose answers moved, in both orders of asking."""
    for number, (adapter, expected) in [*enumerate(loaded), *reversed(list(enumerate(loaded)))]:
        if off := _difference(_answered(adapter, inputs), expected):
            return Outcome("differs", f"adapter {number} beside another: {off}", True)
    return None
