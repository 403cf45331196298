"""A disk that is full: one clear error wherever an adapter is written, and nothing half done."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine import training


@contextmanager
def full(room: int = 5_000) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: a configuration goes in, and tensors don't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
    recipe = {
        "name": "acme/tone",
        "base": {"path": str(encoder)},
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": "headlines", "rows": 120},
        "training": {"epochs": 1, "max_length": 32},
    }
    write: Callable[..., None] = training.write_adapter

    def write_to_a_full_disk(*given: object) -> None:
        with full():
            write(*given)

    with monkeypatch.context() as patched:
        patched.setattr(training, "write_adapter", write_to_a_full_disk)
        with pytest.raises(ahf.WriteFailed, match="can't be written .*make room there"):
            ahf.train(recipe)
    assert ahf.Registry().names() == []
    assert ahf.train(recipe, resume=True).version.number == 1


def test_a_checkpoint_that_can_t_be_written_ends_the_training(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterhub_fin.engine import trainer

    write: Callable[..., None] = trainer.write_adapter

    def write_to_a_full_disk(*given: object) -> None:
        with full():
            write(*given)

    monkeypatch.setattr(trainer, "write_adapter", write_to_a_full_disk)
    with pytest.raises(ahf.TrainingFailed, match="can't be written .*make room there.*it had no checkpoint yet"):
        ahf.train(
            name="acme/tone",
            base=encoder,
            method={"rank": 2},
            corpus={"name": "headlines", "rows": 120},
            training={"epochs": 1, "max_length": 32},
        )
    assert ahf.Registry().names() == []
