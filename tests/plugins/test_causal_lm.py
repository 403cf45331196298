"""Documents become blocks that hold one document each; of conversations, the answers alone are learnt."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.descriptions import Corpus, Head
from adapterhub_fin.plugin.examples import IGNORED
from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin.testing.bench import Bench

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TALK = [
    {"role": "user", "content": "Did profit rise?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "By how much?"},
    {"role": "assistant", "content": "A tenth."},
]


@pytest.fixture
def tokenizer(decoder: Path) -> Any:
    return padding(AutoTokenizer.from_pretrained(decoder))


def head(**options: Any) -> Any:
    return build_plugin(Head, "causal-lm", options)


def encoded(tokenizer: Any, size: int, *texts: str, **options: Any) -> list[dict[str, Any]]:
    return head(**options).encode(Dataset.from_dict({"text": list(texts)}), tokenizer, size)


def test_a_block_holds_one_document_and_no_token_goes_unpredicted(tokenizer: Any) -> None:
    texts = ["abcdefghij" * 3, "klmnop"]
    examples = encoded(tokenizer, 12, *texts, smallest=2)
    assert all(len(example["input_ids"]) <= 12 for example in examples)
    whole = [
        [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for text in texts
    ]
    predicted = [token for example in examples for token in example["labels"] if token != IGNORED]
    assert predicted == [token for ids in whole for token in ids[1:]]
    told = [tokenizer.decode(example["input_ids"], skip_special_tokens=True) for example in examples]
    assert not any(set("abcdefghij") & set(text) and set("klmnop") & set(text) for text in told)


def test_without_packing_a_document_is_one_example(tokenizer: Any) -> None:
    assert [len(e["input_ids"]) for e in encoded(tokenizer, 12, "a" * 40, "b" * 3, packing=False)] == [12, 5]


def test_a_last_block_too_short_to_learn_from_is_dropped_but_never_the_only_one(tokenizer: Any) -> None:
    assert len(encoded(tokenizer, 12, "a" * 12, smallest=8)) == 1
    assert len(encoded(tokenizer, 12, "a", smallest=8)) == 1
    two = encoded(tokenizer, 12, "ab" * 8, smallest=2)
    last = len(two[-1]["input_ids"])
    assert [len(encoded(tokenizer, 12, "ab" * 8, smallest=size)) - len(two) for size in (last, last + 1)] == [0, -1]


def test_a_document_of_one_token_is_named(tokenizer: Any) -> None:
    plain = copy.deepcopy(tokenizer)
    plain.bos_token = plain.eos_token = None
    assert [len(each["input_ids"]) for each in encoded(plain, 12, "ab")] == [2]
    with pytest.raises(BadCorpus, match="row 1: the document is one token"):
        encoded(plain, 12, "ab", "a")


def test_an_empty_document_is_named(tokenizer: Any) -> None:
    with pytest.raises(BadCorpus, match="row 1: the document is empty"):
        encoded(tokenizer, 12, "abc", "")


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_the_answers_alone_are_learnt(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template
    rows = Dataset.from_dict({"messages": [TALK]})
    (example,) = head().encode(rows, tokenizer, 400)
    learnt = [token for token in example["labels"] if token != IGNORED]
    end = "</assistant>" if template else ""
    said = tokenizer.decode(learnt, skip_special_tokens=True)
    assert said == f"Yes.{end}A tenth.{end}"
    assert (tokenizer.eos_token_id in learnt) == (template is None), "the plain template ends each answer"
    whole = tokenizer.decode(example["input_ids"], skip_special_tokens=True)
    assert "Did profit rise?" in whole and "By how much?" in whole


def test_generation_is_asked_as_training_showed_it(tokenizer: Any) -> None:
    (example,) = head().encode(Dataset.from_dict({"messages": [TALK[:2]]}), tokenizer, 400)
    first = next(place for place, label in enumerate(example["labels"]) if label != IGNORED)
    asked = tokenizer(head().prompt(TALK[:1], tokenizer))["input_ids"]
    assert asked == example["input_ids"][:first]


def test_an_answer_beyond_the_length_is_named(tokenizer: Any) -> None:
    rows = Dataset.from_dict({"messages": [TALK], "origin": ["talks.jsonl:7"]})
    with pytest.raises(BadCorpus, match=r"row 0 \(talks.jsonl:7\): no answer of the assistant lies within"):
        head().encode(rows, tokenizer, 10)


def test_a_template_that_rewrites_what_was_said_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(BadCorpus, match="chat template changes what was said before"):
        head().encode(Dataset.from_dict({"messages": [TALK]}), tokenizer, 400)


def test_a_loss_over_padding_is_that_of_single_rows(decoder: Path, tokenizer: Any) -> None:
    lm, reader = AutoModelForCausalLM.from_pretrained(decoder).eval(), head()
    examples = encoded(tokenizer, 40, "Profit rose.", "Sales of the group fell in the quarter.", packing=False)
    batch = reader.collator(tokenizer)([dict(example) for example in examples])
    labels = batch.pop("labels")
    with torch.inference_mode():
        outputs = lm(**batch)
        means = reader.answers(outputs.logits, {**batch, "labels": labels})
        for example, (mean, tokens) in zip(examples, means.tolist(), strict=True):
            ids = torch.tensor([example["input_ids"]])
            alone = float(lm(input_ids=ids, labels=ids).loss)
            assert mean == pytest.approx(alone, rel=1e-5) and tokens == ids.shape[1] - 1
        weights = means[:, 1] / means[:, 1].sum()
        assert float(reader.loss(outputs, labels)) == pytest.approx(float((means[:, 0] * weights).sum()), rel=1e-5)
    likelihood = reader.predictions(means)[0]
    assert likelihood.perplexity == pytest.approx(math.exp(likelihood.loss))


class Sums(CorpusImplementation):
    """Questions in letters, answers in digits: what is learnt of one tells nothing of the other."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        asked = ["abc", "bca", "cab", "acb", "bac", "cba"] * 8
        talks = [
            [{"role": "user", "content": letters + "xyz"[place % 3]}, {"role": "assistant", "content": "1212"}]
            for place, letters in enumerate(asked)
        ]
        return Rows(Dataset.from_dict({"messages": talks}))


def test_instruction_tuning_lowers_the_loss_of_the_answers_alone(tmp_path: Path) -> None:
    ahf.register(Corpus(name="sums", summary="Letters and digits.", target=f"{__name__}:Sums"))
    method = {"name": "lora", "rank": 4}
    bench = Bench(tmp_path, "decoder", method, {"name": "causal-lm"}, {"name": "sums"})
    run = bench.train("talks", epochs=8, patience=9, learning_rate=3e-3, max_length=64)
    examples = ahf.preview(bench.recipe("talks", max_length=64)).examples["test"]

    def losses() -> tuple[float, float]:
        """Of the answers, and of everything else."""
        totals = torch.zeros(2, 2)
        for example in examples:
            ids, labels = (torch.tensor([example[name]]) for name in ("input_ids", "labels"))
            with torch.inference_mode():
                logits = run.adapter.model.eval()(input_ids=ids).logits[0, :-1]
            said = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            for kind, mask in enumerate((labels[0, 1:] != IGNORED, labels[0, 1:] == IGNORED)):
                totals[kind] += torch.stack([said[mask].sum(), mask.sum()])
        return tuple((totals[:, 0] / totals[:, 1]).tolist())  # type: ignore[return-value]

    answers, questions = losses()
    with run.adapter.model.disable_adapter():
        answers_before, questions_before = losses()
    assert answers < 0.5 * answers_before, "the answers were not learnt"
    assert questions > 0.9 * questions_before, "the questions were learnt, and no loss asked for that"
