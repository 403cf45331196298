"""Several threads answer as one does: on one base, with streams, while others load; each test here once went wrong."""

from __future__ import annotations

import gc
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM, PreTrainedModel

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.plugin.model_parts import backbone
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_registry import Registry

FEW = ["Arlo: profit rose.", "Gant: profit fell, and a longer sentence follows.", "Nyx meets in May.", "No."]
TEXTS = [*FEW, *(f"{text} {text}" for text in FEW), *(f"Then: {text}" for text in FEW)]
THREADS = 8
ANSWERS = 10_000
WAIT = 300  # seconds until a deadlock is called one


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


def _busy(adapter: Adapter, until: threading.Event) -> int:
    """Answer over and over, and count the answers that differ from the first one's."""
    expected, wrong, given = _values(adapter.embed(FEW)), 0, 0
    while not until.is_set() or given < 3:
        given, wrong = given + 1, wrong + _differ(_values(adapter.embed(FEW)), expected)
    return wrong


def _while_busy(adapters: Sequence[Adapter], work: Callable[[], Any]) -> list[int]:
    """Do something while threads answer; what each of them counted."""
    done, begun = threading.Event(), threading.Barrier(len(adapters) + 1)

    def answer(adapter: Adapter) -> int:
        begun.wait(WAIT)
        return _busy(adapter, done)

    with ThreadPoolExecutor(len(adapters)) as pool:
        counts = [pool.submit(answer, adapter) for adapter in adapters]
        try:
            begun.wait(WAIT)
            work()
        finally:
            done.set()
        return [count.result(WAIT) for count in counts]


def test_classifiers_on_one_backbone_and_tokenizer_cut_texts_at_their_own_length(stock: Stock) -> None:
    """A fast tokenizer keeps the length to cut to as its own state."""
    first, second = stock.classifiers()
    short = replace(second, max_length=6)
    alone = [_values(adapter.predict(TEXTS)) for adapter in (first, short)]

    def work(adapter: Adapter, expected: list[float]) -> int:
        return sum(_differ(_values(adapter.predict(TEXTS)), expected) for _ in range(25))

    asks = [partial(work, *each) for each in zip((first, short), alone, strict=True)] * 2
    assert _in_threads(asks) == [0, 0, 0, 0]


def test_the_reader_of_a_stream_asks_another_adapter_meanwhile(stock: Stock) -> None:
    first, second = stock.writers()
    whole, expected = first.generate([FEW[1]], max_new_tokens=24), _values(second.predict(FEW))
    pieces = []
    for piece in first.stream(FEW[1], max_new_tokens=24):
        pieces.append(piece)
        assert not _differ(_values(second.predict(FEW)), expected)
        nested = "".join(second.stream(FEW[0], max_new_tokens=3))
        assert nested == second.generate([FEW[0]], max_new_tokens=3)[0]
    assert "".join(pieces) == whole[0]


@pytest.mark.parametrize("leave", ["close", "forget", "forget in a cycle", "raise"])
def test_a_stream_that_nobody_reads_any_more_frees_the_model(stock: Stock, leave: str) -> None:
    first, second = stock.writers()
    expected, steps = _values(second.predict(FEW)), []
    hook = first.model.register_forward_pre_hook(lambda *_: steps.append(1))
    try:
        pieces: Any = first.stream(FEW[0], max_new_tokens=100)
        next(pieces)
        if leave == "close":
            pieces.close()
        elif leave == "raise":
            with pytest.raises(ZeroDivisionError):
                pieces.throw(ZeroDivisionError)
        elif leave == "forget in a cycle":
            cycle: list[Any] = [pieces]
            cycle.append(cycle)
            del cycle
        del pieces
        gc.collect()
        assert not _differ(_values(second.predict(FEW)), expected)
    finally:
        hook.remove()
    assert len(steps) < 100


def test_a_stream_begun_and_left_while_another_thread_has_the_model_waits_for_nobody(stock: Stock) -> None:
    first, second = stock.writers()
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with second.answering():
            held.set()
            free.wait(WAIT)

    def leave() -> None:
        held.wait(WAIT)
        pieces: Any = first.stream(FEW[0], max_new_tokens=20)
        threading.Timer(0.2, free.set).start()
        next(pieces)  # waits for the model, and for nothing else
        pieces.close()

    _in_threads([hold, leave])
    never: Any = first.stream(FEW[0], max_new_tokens=20)  # nothing begins before the first piece is asked for
    del never
    assert first.generate([FEW[0]], max_new_tokens=2)


def test_what_would_wait_for_itself_is_refused(stock: Stock) -> None:
    first, second = stock.writers()
    short: dict[str, Any] = {"training": {"max_length": 32}}
    with first.answering():
        with pytest.raises(ahf.Refused, match=r"leave answering\(\)"):
            next(iter(second.stream(FEW[0], max_new_tokens=2)))
        with pytest.raises(ahf.Refused, match=r"leave answering\(\)"):
            stock.writers()
        with pytest.raises(ahf.Refused, match=r"leave answering\(\)"):
            ahf.train(name="t/never", base={"path": str(stock.encoder)}, corpus={"name": tiny_corpus()}, **short)
        assert second.generate([FEW[0]], max_new_tokens=2)  # the thread's own answers need not wait
    assert stock.writers()


def test_what_draws_draws_from_its_own_seed(stock: Stock) -> None:
    """torch's generator is the process's; the models here are two, so that no model's lock keeps them apart."""
    first, other = stock.writers()[0], stock.writers()[1]
    how: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0}
    alone = [adapter.generate(FEW, seed=seed, **how) for seed, adapter in enumerate((first, other))]
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def draw(adapter: Adapter, seed: int) -> int:
        whole = sum(adapter.generate(FEW, seed=seed, **how) != alone[seed] for _ in range(5))
        pieces = ("".join(adapter.stream(FEW[0], seed=seed, **how)) for _ in range(5))
        return whole + sum(each != adapter.generate(FEW[:1], seed=seed, **how)[0] for each in pieces)

    assert _in_threads([partial(draw, first, 0), partial(draw, other, 1), partial(draw, first, 0)]) == [0, 0, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_onto_a_shared_base_leaves_those_who_answer_alone(stock: Stock) -> None:
    first, second = stock.writers()
    loaded: list[Adapter] = []

    def load() -> None:
        for number in (0, 1, 0):
            name = f"t/writer-{number}"
            loaded.append(ahf.load(name, base=first.model, tokenizer=first.tokenizer, registry=stock.registry))

    assert _while_busy([first, second], load) == [0, 0]
    for adapter, like in zip(loaded, (first, second, first), strict=True):
        assert not _differ(_values(adapter.predict(FEW)), _values(like.predict(FEW)))


def test_nothing_computes_while_transformers_changes_the_process_for_a_load(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base in bfloat16 is built under that default, which is the whole process's."""
    half = tmp_path / "half"
    LlamaForCausalLM.from_pretrained(stock.decoder).to(torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(stock.decoder).save_pretrained(half)
    _save(LlamaForCausalLM.from_pretrained(half), "t/half", "CAUSAL_LM", None, half, stock.registry)
    first, seen = stock.writers()[0], set[Any]()
    watched = backbone(first.model)
    watched.register_forward_pre_hook(lambda *_: seen.add((torch.get_default_dtype(), PreTrainedModel.tie_weights)))
    first.predict(FEW)
    plain, built = set(seen), LlamaForCausalLM.post_init

    def build_slowly(self: Any) -> None:
        time.sleep(0.05)
        built(self)

    monkeypatch.setattr(LlamaForCausalLM, "post_init", build_slowly)

    def load() -> None:
        for _ in range(3):
            ahf.load("t/half", base=half, registry=stock.registry)

    assert _while_busy([first, first], load) == [0, 0]
    assert seen == plain


def test_versions_with_bases_of_their_own_are_loaded_at_once(stock: Stock) -> None:
    """Transformers changes the process for each load, and must find it as it was for the next."""
    from transformers.utils import logging

    untyped: Any = logging
    before = (untyped.get_verbosity(), untyped.is_progress_bar_enabled(), PreTrainedModel.tie_weights)
    names = ["t/writer-0", "t/tone-0", "t/writer-1", "t/tone-1"] * 2
    bases = [stock.decoder, stock.encoder] * 4
    asks = [
        partial(ahf.load, name, base=base, registry=stock.registry) for name, base in zip(names, bases, strict=True)
    ]
    alone = [ask() for ask in asks[:4]] * 2
    torch.manual_seed(5)
    seed = torch.get_rng_state()
    for adapter, like in zip(_in_threads(asks), alone, strict=True):
        assert not _differ(_values(adapter.predict(FEW)), _values(like.predict(FEW)))
    assert torch.equal(torch.get_rng_state(), seed)
    assert (untyped.get_verbosity(), untyped.is_progress_bar_enabled(), PreTrainedModel.tie_weights) == before
    assert torch.get_default_dtype() == torch.float32


def test_each_module_keeps_its_mode(stock: Stock) -> None:
    """A part that the caller froze in evaluation mode, within a model in training, is still frozen after an answer."""
    first, _ = stock.classifiers()
    first.model.train()
    frozen = backbone(first.model).encoder
    frozen.eval()
    modes = [module.training for module in first.model.modules()]
    expected = _values(first.predict(FEW))
    assert [module.training for module in first.model.modules()] == modes
    first.model.eval()
    assert not _differ(_values(first.predict(FEW)), expected)


def test_a_run_is_the_same_while_others_load_and_draw(stock: Stock) -> None:
    """Dropout draws from the generator that samples are drawn from, and a load leaves it as it was."""
    recipe: dict[str, Any] = {
        "base": {"path": str(stock.encoder)},
        "method": {"name": "lora", "rank": 2, "dropout": 0.3},
        "corpus": {"name": tiny_corpus()},
        "training": {"epochs": 2, "batch_size": 4, "max_length": 32},
    }
    first, _ = stock.writers()
    how: dict[str, Any] = {"max_new_tokens": 3, "temperature": 1.0}
    drawn = first.generate(FEW, **how)
    done = threading.Event()

    def train(name: str) -> str:
        run = ahf.train({**recipe, "name": name}, registry=stock.registry)
        return next(file.sha256 for file in run.version.manifest.files if file.path.endswith(".safetensors"))

    def train_and_say_so() -> str:
        try:
            return train("t/beside")
        finally:
            done.set()

    def draw() -> int:
        wrong = 0
        while not done.is_set():
            wrong += first.generate(FEW, **how) != drawn
        return wrong

    def load() -> None:
        while not done.is_set():
            ahf.load("t/tone-0", base=stock.encoder, registry=stock.registry)
            time.sleep(0.05)

    alone = train("t/alone")
    assert _in_threads([train_and_say_so, draw, load]) == [alone, 0, None]


def test_two_runs_at_once_are_those_of_one_after_the_other(stock: Stock) -> None:
    recipe: dict[str, Any] = {
        "base": {"path": str(stock.encoder)},
        "method": {"name": "lora", "rank": 2, "dropout": 0.3},
        "corpus": {"name": tiny_corpus()},
        "training": {"epochs": 1, "batch_size": 8, "max_length": 32},
    }

    def train(name: str) -> list[float]:
        return _values(ahf.train({**recipe, "name": name}, registry=stock.registry).adapter.predict(FEW))

    one, other = _in_threads([partial(train, "t/one"), partial(train, "t/other")])
    assert one == other
