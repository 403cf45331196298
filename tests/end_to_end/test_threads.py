"""Several threads answer as one does: on one base, with streams, while others load; each test here once went wrong."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.engine.adapter import Adapter
from adapterhub_fin_registry import Registry

FEW = ["Arlo: profit rose.", "Gant: profit fell, and a longer sentence follows.", "Nyx meets in May.", "No."]
TEXTS = [*FEW, *(f"{text} {text}" for text in FEW), *(f"Then: {text}" for text in FEW)]
THREADS = 8
ANSWERS = 10_000
WAIT = 120  # seconds until a deadlock is called one


@dataclass(frozen=True)
class Stock:
    """A registry with two writers and two classifiers, and the folders of their bases."""

    registry: Registry
    encoder: Path
    decoder: Path

    def writers(self) -> tuple[Adapter, Adapter]:
        """Load both onto one base."""
        first = ahf.load("t/writer-0", base=self.decoder, registry=self.registry)
        return first, ahf.load("t/writer-1", base=first.model, tokenizer=first.tokenizer, registry=self.registry)

    def classifiers(self) -> tuple[Adapter, Adapter]:
        """Load both onto one bare backbone, with one tokenizer."""
        backbone, tokenizer = AutoModel.from_pretrained(self.encoder), AutoTokenizer.from_pretrained(self.encoder)
        first, second = (
            ahf.load(f"t/tone-{number}", base=backbone, tokenizer=tokenizer, registry=self.registry)
            for number in range(2)
        )
        return first, second


@pytest.fixture(scope="module")
def stock(encoder: Path, decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    root = tmp_path_factory.mktemp("threads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        for number in range(2):
            writer = LlamaForCausalLM.from_pretrained(decoder)
            _save(writer, f"t/writer-{number}", "CAUSAL_LM", None, decoder, registry)
            tone = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
            _save(tone, f"t/tone-{number}", "SEQ_CLS", ["bad", "good", "none"], encoder, registry)
        yield Stock(registry, encoder, decoder)


def _save(model: Any, name: str, task: str, labels: Any, base: Path, registry: Registry) -> None:
    """Store an adapter of random weights, far from those of every other."""
    adapted: Any = get_peft_model(model, LoraConfig(r=4, task_type=task, target_modules="all-linear"))
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    ahf.save(adapted, name, base=base, labels=labels, tokenizer=AutoTokenizer.from_pretrained(base), registry=registry)


def _values(answers: Sequence[Any]) -> list[float]:
    """Every figure of some predictions or vectors."""
    if isinstance(answers, str):
        return [float(ord(letter)) for letter in answers]
    if hasattr(answers[0], "loss"):
        return [each.loss for each in answers]
    if hasattr(answers[0], "scores"):
        return [score for each in answers for score in each.scores.values()]
    return [float(value) for row in answers for value in row]


def _differ(found: Sequence[float], expected: Sequence[float]) -> bool:
    return len(found) != len(expected) or any(abs(a - b) > 1e-5 for a, b in zip(found, expected, strict=True))


def _in_threads(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, all at once; what hangs fails here rather than at the end of the day."""
    start = threading.Barrier(len(work))

    def begin(each: Callable[[], Any]) -> Any:
        start.wait(WAIT)
        return each()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result(WAIT) for future in [pool.submit(begin, each) for each in work]]


def test_ten_thousand_answers_of_eight_threads_are_those_of_one(stock: Stock) -> None:
    adapters = stock.writers()
    asks: list[tuple[int, Callable[[], Any]]] = []  # how many answers each gives
    for adapter, texts in itertools.product(adapters, (TEXTS, TEXTS[1:], TEXTS[:11])):
        asks.append((len(texts), lambda a=adapter, t=texts: a.predict(t)))  # type: ignore[misc]
        asks.append((len(texts), lambda a=adapter, t=texts: a.embed(t)))  # type: ignore[misc]
        asks.append((1, lambda a=adapter, t=texts: "".join(a.stream(t[0], max_new_tokens=3))))  # type: ignore[misc]
    alone = [_values(ask()) for _, ask in asks]
    assert _differ(alone[0], alone[9]), "two adapters that answer alike tell nothing apart"

    def work(seed: int) -> tuple[int, int]:
        drawn, given, wrong = random.Random(seed), 0, 0
        while given < ANSWERS // THREADS:
            place = drawn.randrange(len(asks))
            answers, ask = asks[place]
            given, wrong = given + answers, wrong + answers * _differ(_values(ask()), alone[place])
        return given, wrong

    counts = _in_threads([lambda seed=seed: work(seed) for seed in range(THREADS)])  # type: ignore[misc]
    assert sum(given for given, _ in counts) >= ANSWERS
    assert sum(wrong for _, wrong in counts) == 0
