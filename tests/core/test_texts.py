"""A text at every door: what is none is refused with its place, and what is one is answered as when alone. G 14, 30"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.plugin import Head
from adapterhub_fin.plugin.texts import check_arguments, check_messages, check_texts, lines, problem

GOOD = ["Profit rose.", "Orders fell.", "Margins were flat."]
UNSEEN = [" ", "\t\n", "\u00a0", "\u2028", "\u200b", "\ufeff", "\x00", "\u00ad\u200d", "\u3000 \x07"]
WRONG: list[tuple[Any, str]] = [
    (None, "None, a missing value"),
    (float("nan"), "nan, a missing value"),
    (pd.NA, "a missing value"),
    (pd.NaT, "a missing value"),
    (b"Profit rose.", "bytes and not text"),
    (5, "type int"),
    (["Profit rose."], "type list"),
    ("", "is empty"),
    *((each, "is blank") for each in UNSEEN),
    ("Profit \ud800 rose", "half of a surrogate pair (U+D800) at character 8"),
    ("Profit ros\udce9", "byte 0xe9"),
]
SURROGATES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)


@pytest.fixture
def writes(written: Run) -> Any:
    """An adapter that writes, on the tiny decoder."""
    return written.adapter


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=lambda each: ascii(each)[:24])
def test_every_call_names_the_text_that_is_none(trained: Run, writes: Any, wrong: Any, said: str) -> None:
    adapter = trained.adapter
    for call in (adapter.predict, adapter.embed, adapter.logits):
        for given_texts in ([*GOOD, wrong], [wrong]):  # in a batch it was answered from padding, alone it crashed
            with pytest.raises(ahf.BadText, match=f"{call.__name__}: text {len(given_texts) - 1} ") as told:
                call(given_texts)
            assert said in str(told.value)
    if isinstance(wrong, list):
        return
    with pytest.raises(ahf.BadText, match="generate: prompt 1 "):
        writes.generate([GOOD[0], wrong], max_new_tokens=1)
    with pytest.raises(ahf.BadText, match="stream: the prompt "):
        writes.stream(wrong, max_new_tokens=1)
    with pytest.raises(ahf.BadText, match="prompt 0, turn 1: its content "):
        said_before = {"role": "system", "content": "Write."}
        writes.generate([[said_before, {"role": "user", "content": wrong}]], max_new_tokens=1)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: "Profit rose.", "list of texts"),
        (lambda: b"Profit rose.", "list of texts"),
        (lambda: {"Profit rose.": 1}, "a mapping"),
        (lambda: {"Profit rose.", "Orders fell."}, "a set"),
        (lambda: pd.DataFrame({"body": GOOD}), "row 0 has no text or messages"),
        (lambda: None, "not NoneType"),
        (lambda: 5, "not int"),
        (lambda: np.array("Profit rose."), "not ndarray"),
        (lambda: np.array([GOOD]), "text 0 is of the type ndarray"),
    ],
)
def test_what_holds_no_texts_in_an_order_is_refused(trained: Run, made: Callable[[], Any], said: str) -> None:
    for call in (trained.adapter.predict, trained.adapter.embed, trained.adapter.logits):
        with pytest.raises(ahf.BadText, match=said):
            call(made())


@pytest.mark.parametrize(
    "made",
    [
        tuple,
        iter,
        lambda texts: (text for text in texts),
        lambda texts: map(str, texts),
        np.array,
        lambda texts: np.array(texts, dtype=object),
        pd.Series,
        lambda texts: pd.Series(texts, index=[7, 3, 7]),
        lambda texts: pd.Series(texts, index=[2, 1, 0], dtype="string"),
        lambda texts: dict.fromkeys(texts),
        lambda texts: dict.fromkeys(texts).keys(),
        lambda texts: [f"\ufeff{text}" for text in texts],
        lambda texts: list(map(np.str_, texts)),
    ],
)
def test_whatever_gives_texts_is_answered_in_its_order(trained: Run, made: Callable[[Any], Any]) -> None:
    adapter = trained.adapter
    if isinstance(made(GOOD), dict):
        with pytest.raises(ahf.BadText, match="a mapping"):
            adapter.predict(made(GOOD))
        return
    if isinstance(made(GOOD), type({}.keys())):
        with pytest.raises(ahf.BadText, match="a set"):
            adapter.predict(made(GOOD))
        return
    assert adapter.predict(made(GOOD)) == adapter.predict(GOOD)
    assert torch.equal(adapter.logits(made(GOOD)), adapter.logits(GOOD))
    assert np.array_equal(adapter.embed(made(GOOD)), adapter.embed(GOOD))


def test_prompts_may_come_from_a_generator_and_conversations_in_tuples(writes: Any) -> None:
    greedy = {"max_new_tokens": 3}
    assert writes.generate((each for each in GOOD), **greedy) == writes.generate(GOOD, **greedy)
    talk = [{"role": "user", "content": "Profit?"}]
    assert writes.generate([tuple(talk)], **greedy) == writes.generate([talk], **greedy)
    with pytest.raises(ahf.BadText, match="list of conversations"):
        writes.generate(talk, **greedy)
    for turns, said in (
        ([], "without a turn"),
        (["Hi"], "turn 0 is of the type str"),
        ([{"role": "user"}], "no content"),
    ):
        with pytest.raises(ahf.BadText, match=said):
            writes.generate([turns], **greedy)


def test_a_text_without_a_token_is_not_answered_from_padding(writes: Any) -> None:
    blind = writes.tokenizer

    class Blind:
        """A tokenizer that knows no letter, as some do of another script."""

        def __getattr__(self, name: str) -> Any:
            return getattr(blind, name)

        def __call__(self, texts: list[str], **options: Any) -> dict[str, Any]:
            return {"input_ids": [[] if "株" in text else [5] for text in texts]}

    from dataclasses import replace

    with pytest.raises(ahf.BadText, match="row 1 gives no token"):
        replace(writes, tokenizer=Blind()).logits(["Profit rose.", "株"])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=4))
def test_a_text_is_taken_as_it_is_or_refused(texts: list[str]) -> None:
    wrong = [place for place, text in enumerate(texts) if problem(text)]
    assert all(problem(text) is None for text in texts if any(letter.isalnum() for letter in text))
    assert all(problem(text) for text in texts if not text.strip())
    if wrong:
        with pytest.raises(ahf.BadText, match=f"call: text {wrong[0]} "):
            check_texts(texts, "call")
    else:
        assert check_texts(iter(texts), "call") == [text.removeprefix("\ufeff") for text in texts]


@given(st.text(max_size=5), SURROGATES, st.text(max_size=5))
def test_half_a_surrogate_pair_is_found_wherever_it_stands(before: str, half: str, after: str) -> None:
    assert f"at character {len(before) + 1}" in str(problem(before + half + after))
    with pytest.raises(ahf.BadText, match="turn 0: its content holds"):
        check_messages([{"role": "user", "content": before + half + after}], "it")


@settings(max_examples=200)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufeff"), max_size=8)
    ),
    st.booleans(),
)
def test_a_file_gives_its_lines_without_mark_and_blank_lines(texts: list[str], mark: bool) -> None:
    data = [f"{text}\r\n".encode() for text in texts]
    if mark and data:
        data[0] = b"\xef\xbb\xbf" + data[0]
    kept = [text for text in texts if text.strip()]
    if any(problem(text) for text in kept):
        with pytest.raises(ahf.BadText, match="it, line "):
            lines(data, "it")
    else:
        assert lines(data, "it") == kept


@pytest.mark.parametrize("data", ["Café".encode("latin-1"), "Café".encode("utf-16"), b"Caf\xed\xa0\x80"])
def test_a_line_that_is_not_utf_8_is_named(data: bytes) -> None:
    with pytest.raises(ahf.BadText, match="it, line [23] is not UTF-8 at byte"):
        lines([b"fine\n", *([] if data[:2] == b"\xff\xfe" else [b"\n"]), data], "it")


def test_an_argument_is_text_or_the_name_of_a_file(tmp_path: Path) -> None:
    assert check_arguments(["predict", "Café", "株"]) == ["predict", "Café", "株"]
    assert check_arguments(["Caf\udcc3\udca9"]) == ["Café"]  # as a locale of ASCII alone has it
    for wrong, said in (("Caf\udce9", "byte 0xe9"), ("\ud800", "U+D800")):
        with pytest.raises(ahf.BadText, match="argument 2 of the command line holds .*at character") as told:
            check_arguments(["predict", wrong])
        assert said in str(told.value)
    named = str(tmp_path / "rows\udcff.txt")
    Path(named).write_text("Profit rose.\n")
    assert check_arguments([named]) == [named]


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".jsonl", lambda path, text: path.write_text(json.dumps({"text": "Up."}) + "\n" + json.dumps({"text": text}))),
        (".json", lambda path, text: path.write_text(json.dumps([{"text": "Up."}, {"text": text}]))),
    ],
)
@pytest.mark.parametrize("text", ["Up \ud800", "\u200b", "", None, 5, " \n"], ids=ascii)
def test_a_table_names_the_row_whose_text_is_none(
    tmp_path: Path, suffix: str, write: Callable[[Path, Any], object], text: Any
) -> None:
    from adapterhub_fin.engine.data.corpus import read_rows
    from adapterhub_fin.recipe.choices import CorpusChoice

    path = tmp_path / f"rows{suffix}"
    write(path, text)
    with pytest.raises(ahf.BadCorpus, match=r"rows\.jsonl?, (line|item) 2"):
        read_rows(CorpusChoice.read({"name": "table", "path": str(path)}), "causal-lm")


@pytest.mark.parametrize("content", ["Up \udfff", "\ufeff", "\u200b"], ids=ascii)
def test_a_conversation_names_the_turn_whose_content_is_none(tmp_path: Path, content: str) -> None:
    from adapterhub_fin.engine.data.corpus import read_rows
    from adapterhub_fin.recipe.choices import CorpusChoice

    path = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": content}]
    path.write_text(json.dumps({"messages": turns}))
    with pytest.raises(ahf.BadCorpus, match=r"rows\.jsonl, line 1: turn 2 \(assistant\)"):
        read_rows(CorpusChoice.read({"name": "instructions", "path": str(path)}), "causal-lm")


def reader(*inputs: str) -> Head:
    return Head(name="reads", summary="It reads.", target="a:B", inputs=inputs, consumes=())


def test_a_corpus_of_a_plugin_names_the_row_whose_text_is_none() -> None:
    from datasets import Dataset

    from adapterhub_fin.engine.data.corpus import _check
    from adapterhub_fin.recipe.choices import CorpusChoice

    plugged = CorpusChoice(name="plugged")
    for texts, said in ((["Up.", "\u200b"], "row 1: text is blank"), (["Up.", " "], "row 1: text is blank")):
        with pytest.raises(ahf.BadCorpus, match=said):
            _check(Dataset.from_dict({"text": texts}), ("text",), (), (), plugged)
    turns = [[{"role": "user", "content": "Why?"}], [{"role": "user", "content": "  "}]]
    with pytest.raises(
        ahf.BadCorpus, match=r"row 1: messages can't be read \(the conversation, turn 0: its content is"
    ):
        _check(Dataset.from_dict({"messages": turns}), ("text", "messages"), (), (), plugged)
