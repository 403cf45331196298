"""Set up a registry and tiny bases in one folder, where a contract trains, stores and loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from adapterhub_fin.plugin.descriptions import Head, Method
from adapterhub_fin.testing.description import DescriptionContract
from adapterhub_fin.testing.tiny import tiny_corpus, tiny_decoder, tiny_encoder
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.training.run import Run
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin_registry import Version

Kind = Literal["encoder", "decoder"]
TEXTS = ("Arlo: profit rose.", "Gant: profit fell, and a longer sentence follows.", "Nyx meets in May.", "No.")
TRAINING = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "max_length": 48}


@dataclass(frozen=True)
class Bench:
    """Hold one base, one method and one head, with their own registry."""

    folder: Path
    kind: Kind
    method: Mapping[str, Any]  # as in a recipe: the name and the options
    head: Mapping[str, Any]
    corpus: Mapping[str, Any] | None = None

    @cached_property
    def registry(self) -> Registry:
        """Return the bench's own registry."""
        return Registry(self.folder / "registry")

    def base(self, seed: int = 0) -> Path:
        """Return the folder of the tiny base with the weights of a seed."""
        folder = self.folder / f"{self.kind}-{seed}"
        make = tiny_encoder if self.kind == "encoder" else tiny_decoder
        return folder if folder.exists() else make(folder, seed)

    def recipe(self, name: str, **training: Any) -> dict[str, Any]:
        """Return the recipe of a run of a few steps."""
        return {
            "name": f"contract/{name}",
            "base": {"path": self.base()},
            "method": dict(self.method),
            "head": dict(self.head),
            "corpus": dict(self.corpus or {"name": tiny_corpus()}),
            "training": {**TRAINING, **training},
        }

    def train(self, name: str, **training: Any) -> Run:
        """Train the recipe `name` and return its run."""
        from adapterhub_fin.engine.training.train import train

        return train(self.recipe(name, **training), registry=self.registry)

    def build(self, version: Version | None = None) -> tuple[MethodImplementation, HeadImplementation]:
        """Return the method and the head; with a version, the head has that version's labels and options."""
        from adapterhub_fin.engine.base.build_plugin import build_plugin

        name, options = _split(self.head)
        stored = version.manifest.head if version is not None else None
        method: MethodImplementation = build_plugin(Method, *_split(self.method))
        head: HeadImplementation = build_plugin(Head, name, stored.options if stored is not None else options)
        if stored is not None:
            head.set_labels(stored.labels)
        return method, head

    def model(
        self, version: Version, *, bare: bool = False
    ) -> tuple[nn.Module, PreTrainedTokenizerBase, tuple[str, ...]]:
        """Return the base as the method loads it, its tokenizer, and modules_to_save; `bare` is without a head."""
        from adapterhub_fin.engine.base.load_base import load_base, load_tokenizer
        from adapterhub_fin.engine.base.padding import align_padding
        from adapterhub_fin.engine.base.quiet import quiet_loading

        method, head = self.build(version)
        with quiet_loading():
            model, modules_to_save = load_base(self.base(), None if bare else head, method)
            tokenizer = load_tokenizer(self.base())
        align_padding(model, tokenizer)
        return model, tokenizer, tuple(modules_to_save)

    def alone(self, reference: str) -> Tensor:
        """Return the logits of a version on its own base, (texts, outputs), for TEXTS."""
        from adapterhub_fin.engine.inference.load import load

        return load(reference, base=self.base(), registry=self.registry).logits(TEXTS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, which is twenty times as fast for tensors this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class AtTheBench(DescriptionContract):
    """Provide the base of the contracts that train and predict."""

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        with one_thread():
            yield


def _split(choice: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return choice["name"], {key: value for key, value in choice.items() if key != "name"}
