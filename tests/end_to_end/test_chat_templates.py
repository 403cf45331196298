"""A format of conversations that a recipe chooses: the same tokens in training, in answers and in other tools."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.generating import _batch, writing
from adapterhub_fin.plugin.chat_templates import NAMED
from adapterhub_fin.plugin.examples import IGNORED
from adapterhub_fin.recipe.decoding import Decoding
from adapterhub_fin.testing import tiny_decoder

OWN = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TALK = [
    {"role": "system", "content": "You are an analyst."},
    {"role": "user", "content": "Did profit rise?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "By how much?"},
    {"role": "assistant", "content": "A tenth."},
]
PLAIN_ASKED = "### user\nDid profit rise?\n\n### assistant\n"
TALKS = [[{**turn, "content": turn["content"].replace("profit", f"profit {i}")} for turn in TALK] for i in range(12)]
WRITTEN = {  # of TALK, with a tokenizer whose marks are <s> and </s>: ChatML's, Llama 2's and Alpaca's own descriptions
    "chatml": (
        "<|im_start|>system\nYou are an analyst.<|im_end|>\n<|im_start|>user\nDid profit rise?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nBy how much?<|im_end|>\n"
        "<|im_start|>assistant\nA tenth.<|im_end|>\n"
    ),
    "llama-2": (
        "<s>[INST] <<SYS>>\nYou are an analyst.\n<</SYS>>\n\nDid profit rise? [/INST] Yes. </s>"
        "<s>[INST] By how much? [/INST] A tenth. </s>"
    ),
    "alpaca": (
        "<s>You are an analyst.\n\n### Instruction:\nDid profit rise?\n\n### Response:\nYes.</s>\n\n"
        "### Instruction:\nBy how much?\n\n### Response:\nA tenth.</s>\n\n"
    ),
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny Llama with room for a whole conversation, a token a letter."""
    folder = tiny_decoder(tmp_path_factory.mktemp("talker"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1024}))
    return folder


def recipe(base: Path, name: str = "acme/talk", **keys: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "base": {"id": "acme/decoder", "path": str(base)},
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": "instructions", "data": [{"messages": talk} for talk in TALKS]},
        "training": {"epochs": 1, "max_length": 400},
    }
    return {**plain, "head": {"name": "causal-lm", **keys.pop("head", {})}, **keys}


@pytest.mark.parametrize("name", NAMED)
def test_the_named_formats_are_those_that_are_published(name: str, decoder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(decoder)
    marks = {"<s>": tokenizer.bos_token or "", "</s>": tokenizer.eos_token or ""}
    expected = WRITTEN[name]
    for mark, own in marks.items():
        expected = expected.replace(mark, own)
    assert tokenizer.apply_chat_template(TALK, tokenize=False, chat_template=NAMED[name]) == expected


def test_alpaca_begins_with_its_own_sentences_and_llama_2_refuses_two_questions(decoder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(decoder)
    said = tokenizer.apply_chat_template(TALK[1:2], tokenize=False, chat_template=NAMED["alpaca"])
    assert "Below is an instruction that describes a task. Write a response" in said
    twice = recipe(decoder, corpus={"name": "instructions", "data": [{"messages": [*t[:2], *t[1:]]} for t in TALKS]})
    with pytest.raises(ahf.BadCorpus, match="must alternate"):
        ahf.preview({**twice, "head": {"name": "causal-lm", "chat_template": "llama-2"}})


@pytest.mark.parametrize("given", [*NAMED, OWN, "plain"])
def test_answers_are_asked_for_as_training_showed_them(given: str, decoder: Path) -> None:
    run = ahf.train(recipe(decoder, head={"chat_template": given}))
    text = NAMED.get(given, given)
    assert run.version.manifest.head is not None
    assert run.version.manifest.head.options["chat_template"] == text, (
        "recorded as text, whatever its name comes to mean"
    )
    example = ahf.preview(recipe(decoder, head={"chat_template": given})).examples["train"][0]
    tokenizer: Any = AutoTokenizer.from_pretrained(decoder)
    ids, labels = example["input_ids"], example["labels"]
    talk = next(t for t in TALKS if f"{t[1]['content']}" in tokenizer.decode(ids))
    if given != "plain":
        written = tokenizer.apply_chat_template(talk, tokenize=False, chat_template=text)
        assert ids == tokenizer(written, add_special_tokens=False)["input_ids"]
    learnt = tokenizer.decode([label for label in labels if label != IGNORED])
    assert "Yes." in learnt and "A tenth." in learnt
    assert not any(word in learnt for word in ("analyst", "profit", "much", "user", "INST", "Instruction"))
    loaded = ahf.load(run.reference, base=decoder)
    reader, _ = writing(loaded)
    [asked] = _batch(loaded, reader, [talk[:4]], Decoding())["input_ids"].tolist()
    last = max(
        index
        for index, label in enumerate(labels)
        if label == IGNORED and index + 1 < len(ids) and labels[index + 1] != IGNORED
    )
    assert asked == ids[: last + 1], "what is asked is what stood before the last answer"
    assert loaded.generate([talk[:4]], max_new_tokens=3) == run.adapter.generate([talk[:4]], max_new_tokens=3)
    assert loaded.predict([{"messages": talk}]) == run.adapter.predict([{"messages": talk}])
    assert AutoTokenizer.from_pretrained(decoder).chat_template is None


def test_without_the_option_nothing_changes(decoder: Path) -> None:
    run = ahf.train(recipe(decoder))
    assert run.version.manifest.head is not None and run.version.manifest.head.options == {}
    plain = ahf.train(recipe(decoder, "acme/plain", head={"chat_template": "plain"}))
    assert plain.metrics == run.metrics


def test_it_is_the_version_s_own_and_not_the_base_s(decoder: Path) -> None:
    """Adapters that share a model and its tokenizer each write in their own form."""
    plain, chatml = ahf.train(recipe(decoder)), ahf.train(recipe(decoder, "acme/ml", head={"chat_template": "chatml"}))
    assert chatml.version.manifest.base.chat_template_digest == plain.version.manifest.base.chat_template_digest
    model, tokenizer = AutoModelForCausalLM.from_pretrained(decoder), AutoTokenizer.from_pretrained(decoder)
    one, other = (ahf.load(run.reference, base=model, tokenizer=tokenizer) for run in (chatml, plain))
    asked = [adapter.head.prompt(TALK[1:2], adapter.tokenizer) for adapter in (one, other)]  # type: ignore[union-attr]
    assert asked == [f"<|im_start|>user\n{TALK[1]['content']}<|im_end|>\n<|im_start|>assistant\n", PLAIN_ASKED]
    assert tokenizer.chat_template is None


def templated(decoder: Path, folder: Path, template: str) -> Path:
    shutil.copytree(decoder, folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def test_a_base_with_a_template_keeps_it_unless_it_is_replaced(decoder: Path, tmp_path: Path) -> None:
    base = templated(decoder, tmp_path / "base", OWN)
    with pytest.raises(
        ahf.BadRecipe, match="the base has a chat template of its own, .*head.replace_chat_template=true"
    ):
        ahf.preview(recipe(base, head={"chat_template": "chatml"}))
    assert ahf.preview(recipe(base, head={"chat_template": OWN})).steps, "the same one is no conflict"
    chosen = {"chat_template": "chatml", "replace_chat_template": True}
    run = ahf.train(recipe(base, head=chosen))
    assert "<|im_start|>" in run.adapter.head.prompt(TALK[1:2], run.adapter.tokenizer)
    other = templated(decoder, tmp_path / "other", OWN.replace("<assistant>", "<assistant>"))
    assert ahf.load(run.reference, base=other).tokenizer.chat_template == NAMED["chatml"], (
        "the base's no longer matters"
    )
    kept = ahf.train(recipe(base, "acme/kept"))
    with pytest.raises(ahf.WrongBase, match="another chat template"):
        ahf.load(kept.reference, base=templated(decoder, tmp_path / "third", "x" + OWN))
    assert ahf.load(run.reference, base=tmp_path / "third").generate([TALK[1:2]], max_new_tokens=2)


def test_preferences_continue_in_the_form_of_their_start(decoder: Path) -> None:
    ahf.train(recipe(decoder, "acme/sft", head={"chat_template": "chatml"}))
    pairs = [{"prompt": talk[1:2], "chosen": f"Yes, {i}.", "rejected": "No."} for i, talk in enumerate(TALKS)]
    document = recipe(
        decoder,
        "acme/dpo",
        start="acme/sft@1",
        corpus={"data": pairs, "columns": ["prompt", "chosen", "rejected"]},
    )
    with pytest.raises(
        ahf.BadRecipe, match="start acme/sft@1 writes conversations by chatml, and the recipe by the base"
    ):
        ahf.preview({**document, "head": {"name": "preference"}})
    run = ahf.train({**document, "head": {"name": "preference", "chat_template": "chatml"}})
    ids = ahf.preview({**document, "head": {"name": "preference", "chat_template": "chatml"}}).examples["train"][0]
    assert "<|im_start|>assistant\n" in run.adapter.tokenizer.decode(ids["input_ids"][0])
    assert ahf.evaluate(run.reference, document["corpus"], base=decoder, resamples=5).metrics == pytest.approx(
        run.metrics, abs=1e-4
    )


def test_adapters_of_two_forms_do_not_merge(decoder: Path) -> None:
    for name, form in (("acme/a", "chatml"), ("acme/b", "alpaca"), ("acme/c", "chatml")):
        ahf.train(recipe(decoder, name, head={"chat_template": form}))
    with pytest.raises(ahf.BadMerge, match="by other chat templates"):
        ahf.merge(["acme/a@1", "acme/b@1"], into="acme/ab")
    merged = ahf.merge(["acme/a@1", "acme/c@1"], into="acme/ac")
    assert ahf.load(merged.version.reference, base=decoder).tokenizer.chat_template == NAMED["chatml"]


def test_exports_carry_it(decoder: Path, tmp_path: Path) -> None:
    ahf.train(recipe(decoder, head={"chat_template": "chatml"}))
    ahf.export("acme/talk@1", tmp_path / "whole", layout="merged", base=decoder)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert tokenizer.apply_chat_template(TALK, tokenize=False) == WRITTEN["chatml"]
    for layout, engine in (("peft", "sglang"), ("vllm", "vllm")):
        done = ahf.export("acme/talk@1", tmp_path / layout, layout=layout, engine=engine)
        file = tmp_path / layout / "chat_template.jinja"
        assert file.read_text() == NAMED["chatml"]
        assert done.launch is not None and done.launch.command[-2:] == ("--chat-template", str(file))
    ahf.train(recipe(decoder, "acme/plain"))
    done = ahf.export("acme/plain@1", tmp_path / "plain", layout="vllm", engine="vllm")
    assert done.launch is not None and "--chat-template" not in done.launch.command


BAD = {
    "chatmll": "there is no format 'chatmll': choose plain, chatml, llama-2, alpaca, or",
    "{{ messages": "the template is no Jinja",
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}": "what the assistant says",
    "{% for m in messages %}{% if m.role != 'user' %}{{ m.content }}{% endif %}{% endfor %}": "what the user says",
    "{% for m in messages if m.role != 'system' %}{{ m.role + m.content }}{% endfor %}": "what the system says",
    OWN + "{{ add_generation_prompt }}": "otherwise than it asks for the answer",
    "{{ raise_exception('none of it') }}": "takes no conversation of a user and an assistant",
    "{{ messages[0]['name'] + 'x' }}": "fails on a conversation",
}


def test_misuse_is_one_sentence_without_torch() -> None:
    lines = [
        "import sys, json, adapterhub_fin as ahf",
        "for template in json.loads(sys.stdin.read()):",
        "    head = {'name': 'causal-lm', 'chat_template': template}",
        "    try: ahf.Recipe.read({'corpus': 'headlines', 'head': head}).check()",
        "    except ahf.BadRecipe as error: print(json.dumps(str(error)))",
        "print('torch' in sys.modules or 'transformers' in sys.modules)",
    ]
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        input=json.dumps(list(BAD)),
        capture_output=True,
        text=True,
        check=True,
    )
    *told, heavy = ran.stdout.splitlines()
    assert heavy == "False" and len(told) == len(BAD)
    for line, message in zip(told, BAD.values(), strict=True):
        assert message in line and "head causal-lm: chat_template: " in line and "\n" not in json.loads(line)


def test_one_option_needs_the_other() -> None:
    with pytest.raises(ahf.BadRecipe, match="give one"):
        ahf.Recipe.read({"corpus": "headlines", "head": {"name": "causal-lm", "replace_chat_template": True}}).check()
