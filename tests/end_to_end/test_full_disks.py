"""A disk that is full: one clear error wherever an adapter is written, and nothing half done."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.training import train as training
from adapterhub_fin.engine.training import trainer

ROOM = 5_000  # bytes of a file: a configuration goes in, and tensors don't


@contextmanager
def full() -> Iterator[None]:
    """No file of this process may grow beyond a few thousand bytes, as on a disk that is all but full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_up(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let the disk be full whenever a module writes an adapter."""
    write: Callable[..., None] = module.write_adapter

    def write_to_a_full_disk(*given: object) -> None:
        with full():
            write(*given)

    monkeypatch.setattr(module, "write_adapter", write_to_a_full_disk)


def tone(encoder: Path) -> dict[str, Any]:
    """A recipe of a few seconds."""
    return {
        "name": "acme/tone",
        "base": {"path": str(encoder)},
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": "headlines", "rows": 120},
        "training": {"epochs": 1, "max_length": 32},
    }


def test_a_model_is_not_saved_by_half(encoder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    theirs = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, target_modules=["query", "value"]))
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    with full(), pytest.raises(ahf.WriteFailed, match="adapter_model.safetensors can't be written .*make room there"):
        ahf.save(theirs, "acme/mine", base=encoder, tokenizer=tokenizer, labels=["down", "up"])
    assert ahf.Registry().names() == []
    assert ahf.save(theirs, "acme/mine", base=encoder, tokenizer=tokenizer, labels=["down", "up"]).number == 1


def test_a_trained_adapter_outlives_a_disk_that_fills_up_as_it_is_stored(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last checkpoint is there, and --resume stores the version once there is room."""
    with monkeypatch.context() as patched:
        fill_up(patched, training)
        with pytest.raises(ahf.WriteFailed, match="can't be written .*make room there"):
            ahf.train(tone(encoder))
    assert ahf.Registry().names() == []
    assert ahf.train(tone(encoder), resume=True).version.number == 1


def test_a_checkpoint_that_can_t_be_written_ends_the_training(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_up(monkeypatch, trainer)
    with pytest.raises(ahf.TrainingFailed, match="can't be written .*make room there.*it had no checkpoint yet"):
        ahf.train(tone(encoder))
    assert ahf.Registry().names() == []
