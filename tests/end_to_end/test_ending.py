"""A text ends where the tokenizer, the base or the training of an adapter ends one: in batches and in streams."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import pre_tokenizers
from transformers import AutoModel, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.testing import tiny_decoder

MARK = "<|im_end|>"
NEWLINE = "\u010a"  # as a byte-level tokenizer spells it
SIZE = 264  # of the vocabulary and of the hidden state
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTUAL = CHATML.replace("<|im_start|>", "~").replace("<|im_end|>", " @%")
PHI = CHATML + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"


def _base(folder: Path, chain: str, *, special: bool = True, template: str | None = None, **generation: Any) -> Path:
    """Save a base that writes after each letter the next one of a chain, in which `>` stands for the mark's token."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_decoder(folder))
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": [MARK]})
    else:
        tokenizer.add_tokens([MARK])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    tokens = [tokenizer.convert_tokens_to_ids({">": MARK, "$": "[SEP]"}.get(letter, letter)) for letter in chain]
    shape: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    marks = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=SIZE, hidden_size=SIZE, max_position_embeddings=128, **shape, **marks)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        model.model.embed_tokens.weight.copy_(torch.eye(SIZE))
        for token, following in pairwise(tokens):
            model.lm_head.weight[following, token] = 1
            model.lm_head.weight[tokenizer.convert_tokens_to_ids("x"), token] = 0.8  # what comes next to it
    model.save_pretrained(folder)
    if generation:
        path = folder / "generation_config.json"
        written = {key: value for key, value in json.loads(path.read_text()).items() if key != "_from_model_config"}
        path.write_text(json.dumps(written | generation))
    return folder


def _writer(base: Path, registry: ahf.Registry) -> Adapter:
    adapted: Any = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(r=1, task_type="CAUSAL_LM"))
    version = ahf.save(adapted, "t/w", base=base, tokenizer=AutoTokenizer.from_pretrained(base), registry=registry)
    return ahf.load(version.reference, base=base, registry=registry)


def _written(adapter: Adapter, **how: Any) -> str:
    """What is written after "a", alone, in a batch with other prompts, and piece by piece: the same."""
    how = {"max_new_tokens": 12, **how}
    alone = adapter.generate(["a"], **how)[0]
    assert adapter.generate(["c", "zzz a", "xa"], **how)[1] == alone
    pieces = list(adapter.stream("a", **how))
    assert "".join(pieces) == alone and all(pieces)
    return alone


WORD = 4 + sorted(pre_tokenizers.ByteLevel.alphabet()).index("d")
END = SIZE - 4  # the id of the mark: behind the 260 tokens of the tiny tokenizer
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "the tokenizer's end of text": ("abc$de", {}, "bc"),
    "a list in the generation config": ("abc>de", {"eos_token_id": [3, END]}, "bc"),
    "a number in the generation config": ("abc>de", {"eos_token_id": END}, "bc"),
    "both stop": ("abc$>de", {"eos_token_id": END}, "bc"),
    "a word in the generation config": ("abcde", {"eos_token_id": [3, WORD]}, "bc"),
    "a mark that is no special token": ("abc>de", {"special": False, "eos_token_id": [3, END]}, "bc"),
    "what a template closes an answer with": ("abc>de", {"template": CHATML}, "bc"),
    "that, where it is no special token": ("abc>de", {"special": False, "template": CHATML}, "bc"),
    "the first of two that a template closes with": ("abc>de", {"template": PHI}, "bc"),
    "a mark of several tokens": ("abc@%de", {"template": TEXTUAL}, "bc"),
    "the beginning of such a mark, and no more": ("abc@d@ef", {"template": TEXTUAL}, "bc@d@d@d@d@d"),
    "nothing": ("abca", {}, "bcabcabcabca"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_text_ends_at(case: str, tmp_path: Path) -> None:
    chain, how, expected = CASES[case]
    adapter = _writer(_base(tmp_path / "base", chain, **how), ahf.Registry(tmp_path / "home"))
    assert _written(adapter) == expected


def test_an_end_of_text_that_is_its_class_s_default_is_a_word_of_this_tokenizer(tmp_path: Path) -> None:
    """Transformers derives a generation config from config.json, whose class has 2 where nothing was said."""
    base = _base(tmp_path / "base", "abcde")
    path = base / "generation_config.json"
    derived = {**json.loads(path.read_text()), "_from_model_config": True, "eos_token_id": WORD}
    path.write_text(json.dumps(derived))
    assert "d" in _written(_writer(base, ahf.Registry(tmp_path / "home")))


def test_a_conversation_ends_with_its_turn(tmp_path: Path) -> None:
    adapter = _writer(_base(tmp_path / "base", f"{NEWLINE}abc>de", template=CHATML), ahf.Registry(tmp_path / "home"))
    talk = [{"role": "user", "content": "Well?"}]
    assert adapter.generate([talk, [*talk, *talk]], max_new_tokens=9) == ["abc", "abc"]
    assert "".join(adapter.stream(talk, max_new_tokens=9)) == "abc"


def test_nothing_is_computed_after_a_mark_of_several_tokens(tmp_path: Path) -> None:
    adapter = _writer(_base(tmp_path / "base", "abc@%de", template=TEXTUAL), ahf.Registry(tmp_path / "home"))
    steps: list[int] = []
    model: Any = adapter.model
    model.get_base_model().register_forward_hook(lambda *_: steps.append(1))
    assert adapter.generate(["a"], max_new_tokens=40) == ["bc"]
    assert len(steps) == len("bc@%")


def test_prompts_of_several_adapters_in_one_batch_end_at_their_marks(tmp_path: Path) -> None:
    """A mark of several tokens: each adapter's, with others written on meanwhile, and with one that is alone."""
    base, registry = _base(tmp_path / "base", "abc@%de", template=TEXTUAL), ahf.Registry(tmp_path / "home")
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    following = {"t/other": ("c", "@", "x"), "t/late": ("@", "%", "f")}  # letter, what follows it in the base, and here
    names = ["t/w", *following]
    _writer(base, registry)
    for name, (letter, former, new) in following.items():
        plan = LoraConfig(r=2, lora_alpha=2, task_type="CAUSAL_LM", target_modules=["lm_head"])
        adapted: Any = get_peft_model(LlamaForCausalLM.from_pretrained(base), plan)
        at, off, on = (tokenizer.convert_tokens_to_ids(each) for each in (letter, former, new))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.zero_()
            layer = adapted.base_model.model.lm_head
            layer.lora_A["default"].weight[0, at] = 1
            layer.lora_B["default"].weight[on, 0], layer.lora_B["default"].weight[off, 0] = 2, -2
        ahf.save(adapted, name, base=base, tokenizer=tokenizer, registry=registry)
    pool, prompts = ahf.pool(base, registry=registry), ["a", "b", "zzz a", "e"]
    rows = [(prompt, name) for prompt in prompts for name in names]
    made = pool.generate(rows, max_new_tokens=7)
    alone = {name: ahf.load(name, base=base, registry=registry) for name in names}
    assert [each.value for each in made if each] == [alone[n].generate([p], max_new_tokens=7)[0] for p, n in rows]
    [plain, other, late] = [each for each in made[:3] if each]
    assert (plain.value, plain.ended, plain.new_tokens) == ("bc", True, 4)  # the mark counts: it was written
    assert other.value.startswith("bcx") and not other.ended and other.new_tokens == 7
    assert late.value.startswith("bc@f") and not late.ended
    assert len({plain.value, other.value, late.value}) == 3


def test_other_fields_of_the_base_hold_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    registry = ahf.Registry(tmp_path / "home")
    several = {"num_return_sequences": 2, "return_dict_in_generate": True, "num_beams": 2, "do_sample": True}
    base = _base(tmp_path / "several", "abc$", eos_token_id=3, **several)
    adapter = _writer(base, registry)
    assert adapter.generate(["a", "b"], max_new_tokens=8) == ["bc", "c"]
    with pytest.raises(ahf.BadRecipe, match="2 beams"):
        next(iter(adapter.stream("a", max_new_tokens=8)))
    held = _writer(_base(tmp_path / "held", "abca", repetition_penalty=1.7), registry)
    assert _written(held).startswith("bcx")
    assert _written(held, repetition_penalty=1.0).startswith("bcabc")
    assert _written(_writer(_base(tmp_path / "suppressed", "abca", suppress_tokens=[WORD - 1]), registry)).startswith(
        "bx"
    )
    how = {"temperature": 9.0, "seed": 3}
    narrow = _writer(_base(tmp_path / "narrow", "abca", top_k=1), registry)
    wide = _writer(_base(tmp_path / "wide", "abca"), registry)
    assert _written(narrow, **how) == _written(wide, **how, top_k=1)
    assert wide.generate(["a"], max_new_tokens=12, **how) != narrow.generate(["a"], max_new_tokens=12, **how)


def test_a_head_around_a_bare_backbone_writes_as_its_base_does(decoder: Path, tmp_path: Path) -> None:
    """The backbone has no generation config of its own; its head is tied to the embeddings."""
    registry, base = ahf.Registry(tmp_path / "home"), tmp_path / "base"
    torch.manual_seed(0)
    tied = LlamaForCausalLM(LlamaConfig.from_pretrained(decoder, tie_word_embeddings=True))
    tied.generation_config.eos_token_id, tied.generation_config.repetition_penalty = [3, WORD], 1.3
    tied.save_pretrained(base)
    AutoTokenizer.from_pretrained(decoder).save_pretrained(base)
    whole = _writer(base, registry)
    tokenizer = AutoTokenizer.from_pretrained(base)
    shared = ahf.load("t/w", base=AutoModel.from_pretrained(base), tokenizer=tokenizer, registry=registry)
    prompts = ["a", "Arlo: profit", "xyz"]
    expected = [whole.generate([prompt], max_new_tokens=12)[0] for prompt in prompts]
    assert shared.generate(prompts, max_new_tokens=12) == expected
    assert ["".join(shared.stream(prompt, max_new_tokens=12)) for prompt in prompts] == expected
    assert whole.generate(prompts, max_new_tokens=12, repetition_penalty=1.0) != expected
    model: Any = shared.model
    assert model.generation_config.eos_token_id == [3, WORD]
