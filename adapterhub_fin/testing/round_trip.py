"""Take a PEFT model through the registry and compare its outputs with those of plain PEFT, bit for bit.

There are two ways: `ahf.save` of the model, and `save_pretrained` followed by `ahf import`. Each version is loaded
twice, each time onto a fresh base and with another seed, because the first load of an import records the fingerprint
that the second is checked against.
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
from adapterhub_fin.plugin.adapter_files import CONFIG

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
    """Hold the result of one way; `stored` says whether a version was added to the registry."""

    result: Result
    reason: str = ""
    stored: bool = False

    @property
    def right(self) -> bool:
        """Return whether every load gave PEFT's outputs, or the model was refused with nothing stored."""
        return self.result == "equal" or (self.result == "refused" and not self.stored)


def randomized(build: Build, config: PeftConfig, seed: int = 0) -> nn.Module:
    """Return a base with a new adapter, with noise of scale 0.05 added to each trainable tensor."""
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
    with tempfile.TemporaryDirectory() as folder:  # PEFT's own save may differ from the model too
        again = answers(_reloaded(model, build, folder), inputs)
    off = _difference(_loaded(name, 1, build, registry, tokenizer, inputs), again)
    return outcome if off else Outcome("equal", "to PEFT's own reload, which differs from the model", True)


def by_import(
    model: Any, build: Build, inputs: Inputs, registry: Registry, tokenizer: PreTrainedTokenizerBase | None = None
) -> Outcome:
    """Save the model with PEFT, import the folder, load it twice, and compare with what PEFT loads from it."""
    from adapterhub_fin.publishing import import_folder

    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        expected = answers(_reloaded(model, build, path), inputs)
        name = f"acme/import-{len(registry.names())}"
        add = lambda: import_folder(folder, name, registry=registry)  # noqa: E731 (it is called once, below)
        return _outcome(registry, name, add, expected, build, inputs, tokenizer)


def _reloaded(model: Any, build: Build, folder: str) -> nn.Module:
    """Save a model with PEFT and load it with PEFT onto a fresh base."""
    from peft import PeftModel

    model.save_pretrained(folder)
    _remove_base_name(Path(folder) / CONFIG)
    torch.manual_seed(12)
    reloaded: nn.Module = PeftModel.from_pretrained(build(), folder)
    return reloaded


def answers(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """Return a model's logits (rows, ...) and last hidden states (rows, tokens, hidden), whichever it has."""
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
            outputs = _loaded(name, number, build, registry, tokenizer, inputs)
            if off := _difference(outputs, expected):
                return Outcome("differs", f"{step}: {off}", True)
    except AdapterHubError as error:
        return Outcome("refused", f"{step}: {type(error).__name__}: {error}", name in registry.names())
    except Exception as error:  # a crash is a result too, and the next case must still run
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
    """Return a version's outputs on a fresh base, with a seed of its own: random values that were not stored differ."""
    from adapterhub_fin.engine.inference.load import attach, load

    base = build()
    torch.manual_seed(1000 + number)
    if number == 1:
        adapter = load(name, base=base, tokenizer=tokenizer, registry=registry)
    else:
        adapter = attach(base, name, tokenizer=tokenizer, registry=registry)
    return answers(adapter.model, inputs)


def _difference(outputs: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    """Return a message on how outputs differ from those expected, or an empty string if they are bit-identical."""
    if [tensor.shape for tensor in outputs] != [tensor.shape for tensor in expected]:
        return f"shapes {[tuple(t.shape) for t in outputs]} for {[tuple(t.shape) for t in expected]}"
    if all(map(torch.equal, outputs, expected)):
        return ""
    largest = max(float((a.double() - b.double()).abs().max()) for a, b in zip(outputs, expected, strict=True))
    return f"answers differ by {largest:.3g}"


def _remove_base_name(path: Path) -> None:
    """Remove the base's name from a configuration: a base that was built has none, and no Hub may be queried."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    path.write_text(json.dumps(config), encoding="utf-8")


def on_one_model(
    one: Any, other: Any, build: Build, inputs: Inputs, registry: Registry, tokenizer: Any = None
) -> Outcome:
    """Save two models on one base, load both onto one model, and compare the outputs of each with those alone."""
    from adapterhub_fin.engine.inference.load import load
    from adapterhub_fin.engine.training.save import save

    base = build()
    loaded: list[tuple[Any, tuple[Tensor, ...]]] = []
    try:
        for number, model in enumerate((one, other)):
            save(model, f"acme/shared-{number}", registry=registry)
        for number in range(2):
            try:
                adapter = load(f"acme/shared-{number}", base=base, tokenizer=tokenizer, registry=registry)
            except AdapterHubError as error:
                if number == 0:
                    raise
                reason = f"next to another adapter: {type(error).__name__}: {error}"
                return _same(loaded, inputs) or Outcome("refused", reason)
            loaded.append((adapter, _answered(adapter, inputs)))
    except AdapterHubError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:  # a crash is a result too
        return Outcome("crashed", f"{type(error).__name__}: {error}", True)
    alone = load("acme/shared-1", base=build(), tokenizer=tokenizer, registry=registry)
    loaded[1] = (loaded[1][0], _answered(alone, inputs))
    return _same(loaded, inputs) or Outcome("equal", stored=True)


def _answered(adapter: Any, inputs: Inputs) -> tuple[Tensor, ...]:
    with adapter.answering():
        return answers(adapter.model, inputs)


def _same(loaded: list[tuple[Any, tuple[Tensor, ...]]], inputs: Inputs) -> Outcome | None:
    """Return the first outcome whose outputs changed, running the adapters in both orders, or None."""
    for number, (adapter, expected) in [*enumerate(loaded), *reversed(list(enumerate(loaded)))]:
        if off := _difference(_answered(adapter, inputs), expected):
            return Outcome("differs", f"adapter {number} next to another adapter: {off}", True)
    return None
