"""A tokenizer that reads texts otherwise is another one, also with the same vocabulary (G 10)."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import adapterhub_fin as ahf
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base import tokenizer_probe
from adapterhub_fin.engine.base.load_base import padding
from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer, other_tokenizer
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.tiny import FIRMS, TONES
from adapterhub_fin_registry.model.manifest import Base

Json = dict[str, Any]
Edit = Callable[[Json], object]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.fixture(scope="session")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE with merges, marks around a text, and a chat template."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(
        [f"{firm}: {words} and sales rose." for firm in FIRMS for words, _ in TONES.values()], trainer
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", mask_token="<mask>"
    )
    fast.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("merging")
    fast.save_pretrained(folder)
    return folder


def read(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def described(folder: Path) -> Base:
    return Base(**describe_tokenizer(read(folder)), fingerprint="verified")


def edited(folder: Path, place: Path, edit: Edit) -> Path:
    """The same tokenizer with its tokenizer.json changed."""
    shutil.copytree(folder, place)
    content = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))
    edit(content)
    (place / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return place


def merges(change: Callable[[list[Any]], list[Any]]) -> Edit:
    return lambda content: content["model"].__setitem__("merges", change(content["model"]["merges"]))


def no_marks(content: Json) -> None:
    content["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def one_mark_less(content: Json) -> None:
    content["post_processor"]["single"] = content["post_processor"]["single"][1:]


def marks_swapped(content: Json) -> None:
    content["post_processor"]["single"].reverse()


def normalizer(*kinds: Json) -> Edit:
    return lambda content: content.__setitem__("normalizer", {"type": "Sequence", "normalizers": list(kinds)})


def split_digits(content: Json) -> None:
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, content["pre_tokenizer"]]}


def prefix_space(content: Json) -> None:
    content["pre_tokenizer"]["add_prefix_space"] = True


def greedy_mask(content: Json) -> None:
    next(each for each in content["added_tokens"] if each["content"] == "<mask>")["lstrip"] = True


REFUSED: dict[str, Edit] = {
    "no merges": merges(lambda held: []),
    "the first merge gone": merges(lambda held: held[1:]),
    "the last merge gone": merges(lambda held: held[:-1]),
    "the last two merges gone": merges(lambda held: held[:-2]),
    "half of the merges gone": merges(lambda held: held[::2]),
    **{f"merge {k} gone": merges(lambda held, k=k: [*held[:k], *held[k + 1 :]]) for k in range(5, 75, 10)},  # type: ignore[misc]
    "no marks": no_marks,
    "no first mark": one_mark_less,
    "the marks swapped": marks_swapped,
    "lower case": normalizer({"type": "Lowercase"}),
    "no accents": normalizer({"type": "NFD"}, {"type": "StripAccents"}),
    "compatibility forms": normalizer({"type": "NFKC"}),
    "blanks cut": normalizer({"type": "Strip", "strip_left": True, "strip_right": True}),
    "digits alone": split_digits,
    "a space before": prefix_space,
    "a mask that takes the space before it": greedy_mask,
}


def test_added_tokens_are_looked_at_beside_a_vocabulary_too_large_to_read(
    merging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_probe, "WORDS", 1)
    other = read(edited(merging, tmp_path / "edited", greedy_mask))
    said = other_tokenizer(other, described(merging))
    assert said is not None and "<mask>" in said


@pytest.mark.parametrize("kind", REFUSED)
def test_the_same_vocabulary_that_reads_otherwise_is_refused(kind: str, merging: Path, tmp_path: Path) -> None:
    other = read(edited(merging, tmp_path / "edited", REFUSED[kind]))
    base = described(merging)
    assert other.get_vocab() == read(merging).get_vocab()
    said = other_tokenizer(other, base)
    if kind == "digits alone":  # a byte-level vocabulary of this size has no token of two digits
        assert said is None
        return
    assert said is not None and ("reads" in said or "splits words" in said)


def test_options_of_the_class_that_change_what_is_read_are_refused(merging: Path, encoder: Path) -> None:
    minilm = bases.find_base(BaseChoice(id="minilm")).folder
    assert other_tokenizer(AutoTokenizer.from_pretrained(minilm, do_lower_case=False), described(minilm))
    assert other_tokenizer(AutoTokenizer.from_pretrained(minilm, strip_accents=False), described(minilm))
    assert other_tokenizer(AutoTokenizer.from_pretrained(minilm), described(minilm)) is None


def test_a_chat_template_counts_where_conversations_are_read(merging: Path) -> None:
    base, tokenizer = described(merging), read(merging)
    for template in (TEMPLATE + "\n", None, {"default": TEMPLATE}):
        tokenizer.chat_template = template
        assert other_tokenizer(tokenizer, base) is None
        assert "chat template" in str(other_tokenizer(tokenizer, base, conversations=True))
    tokenizer.chat_template = TEMPLATE
    assert other_tokenizer(tokenizer, base, conversations=True) is None


@pytest.mark.parametrize("which", ["merging", "encoder", "stories260K"])
def test_what_makes_no_other_tokens_is_no_difference(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    known = which in ("merging", "encoder")
    folder = request.getfixturevalue(which) if known else request.getfixturevalue("shared") / "models" / which
    base, tokenizer = described(folder), read(folder)

    def same(other: Any) -> None:
        assert other_tokenizer(other, base, conversations=True) is None

    same(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    same(read(tmp_path))
    same(AutoTokenizer.from_pretrained(tmp_path, use_fast=False))
    same(PreTrainedTokenizerFast.from_pretrained(tmp_path))
    same(padding(read(folder)))
    other = copy.deepcopy(tokenizer)
    other.padding_side, other.truncation_side, other.model_max_length = "left", "left", 7
    other(
        ["one two three four five six seven eight"], truncation=True, max_length=3, padding="max_length"
    ) if other.pad_token else None
    other.backend_tokenizer.enable_truncation(4)
    other.backend_tokenizer.enable_padding(length=40)
    same(other)
    other.pad_token = other.eos_token or other.unk_token
    same(other)
    loaded = Base.model_validate_json(base.model_dump_json())
    assert other_tokenizer(tokenizer, loaded, conversations=True) is None


def test_a_manifest_that_tells_less_is_checked_as_it_was(merging: Path, tmp_path: Path) -> None:
    older = described(merging).model_copy(update={"tokenizer_probe": None, "chat_template_digest": None})
    lower = read(edited(merging, tmp_path / "edited", REFUSED["lower case"]))
    assert other_tokenizer(lower, older, conversations=True) is None
    lower.add_tokens(["EBITDA"])
    assert "vocabulary" in str(other_tokenizer(lower, older))
    assert other_tokenizer(lower, Base(fingerprint="declared"), conversations=True) is None


@pytest.mark.parametrize("head", ["classify", "causal-lm"])
def test_a_version_is_not_loaded_with_an_edited_tokenizer(
    head: str, encoder: Path, decoder: Path, tmp_path: Path
) -> None:
    base = encoder if head == "classify" else decoder
    ahf.train(
        name="acme/tone",
        base={"path": str(base)},
        head=head,
        method={"name": "lora", "rank": 2},
        corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        training={"epochs": 1, "batch_size": 48, "max_length": 32},
    )
    lower = edited(base, tmp_path / "lower", normalizer({"type": "Lowercase"}))
    with pytest.raises(ahf.WrongBase, match=r"the tokenizer of the base at .* reads .*: load the one it was trained"):
        ahf.load("acme/tone", base=lower)
    spoken = read(base)
    spoken.chat_template = TEMPLATE
    if head == "classify":
        ahf.load("acme/tone", base=base, tokenizer=spoken)
    else:
        with pytest.raises(ahf.WrongBase, match="has another chat template than that of"):
            ahf.load("acme/tone", base=base, tokenizer=spoken)
    ahf.load("acme/tone", base=base)
