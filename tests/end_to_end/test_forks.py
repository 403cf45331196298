"""A model that was loaded before a fork answers in the children as in the parent, or says in one sentence why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


@pytest.fixture(scope="module")
def told(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the parent and its children answered, with two threads of OpenMP."""
    root = tmp_path_factory.mktemp("forks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        for number in range(2):
            plain = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
            adapted: Any = get_peft_model(plain, LoraConfig(r=4, task_type="SEQ_CLS", target_modules="all-linear"))
            torch.manual_seed(number)
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    torch.nn.init.normal_(parameter, std=0.3)
            labels, tokenizer = ["bad", "good", "none"], AutoTokenizer.from_pretrained(encoder)
            ahf.save(adapted, f"t/tone-{number}", base=encoder, labels=labels, tokenizer=tokenizer, registry=registry)
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
        command = [sys.executable, str(Path(__file__).with_name("forking.py")), str(encoder), str(root / "home")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _alike(found: Any, expected: Sequence[float]) -> bool:
    numbers = isinstance(found[0], float)  # and no error
    return numbers and torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["grandchild", "while this one answers", "after"])
def test_the_child_answers_as_its_parent(told: dict[str, Any], case: str) -> None:
    assert _alike(told[case], told["parent"])


def test_every_worker_answers(told: dict[str, Any]) -> None:
    assert len(told["children"]) == len(told["children of threads"]) == 2
    assert all(_alike(each, told["parent"]) for each in told["children"])
    assert all(_alike(each, told["sibling"]) for each in told["children of threads"])
    assert not _alike(told["parent"], told["sibling"])


def test_a_child_loads_for_itself(told: dict[str, Any]) -> None:
    assert _alike(told["loads in a child"], told["sibling"])


def test_a_model_that_another_thread_was_changing_is_refused_and_no_other(told: dict[str, Any]) -> None:
    kind, text = told["while another answers"]
    assert kind == "Refused" and "another thread of its parent was answering with this model" in text
    assert _alike(told["while another answers, on another model"], told["parent"])


@pytest.mark.parametrize(("case", "what"), [("loads", "loading a model"), ("reads texts", "reading texts")])
def test_a_process_that_another_thread_was_changing_answers_nothing(told: dict[str, Any], case: str, what: str) -> None:
    kind, text = told[f"while another {case}"]
    assert kind == "Refused" and f"another thread of its parent was {what}" in text
