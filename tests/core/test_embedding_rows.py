"""A fingerprint sees every row of an embedding, and a vocabulary that grew leaves what was recorded in place (G 9)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from adapterhub_fin import WrongBase
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.check import check_base, describe_base
from adapterhub_fin.engine.base.rounding import TELLING
from adapterhub_fin.engine.base.row_sums import BLOCKS, first_moved, row_sums
from adapterhub_fin_registry.model.manifest import RowSums

TYPES = (torch.float32, torch.bfloat16, torch.float16)


def sums(table: Tensor) -> RowSums:
    return RowSums(**row_sums("embed_tokens.weight", table))


def drawn(rows: int, width: int, seed: int = 0) -> Tensor:
    return 0.02 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@given(
    st.integers(1, 3000), st.integers(1, 48), *(st.sampled_from(TYPES) for _ in range(2)), st.integers(0, 99), st.data()
)
@settings(max_examples=60, deadline=None)
def test_a_row_that_was_drawn_anew_is_seen_and_rounding_is_not(
    rows: int, width: int, first: Any, second: Any, seed: int, data: st.DataObject
) -> None:
    table = drawn(rows, width, seed)
    for between in (first, torch.float32):  # also a reading that was widened before it was narrowed
        here = sums(table.to(first).to(between).to(first))
        assert first_moved(here, sums(table.to(second))) is None
        if rows > 4 * TELLING:  # of fewer numbers nobody can tell that they were widened
            assert first_moved(sums(table.to(first).float()), sums(table.to(second))) is None
    row = data.draw(st.integers(0, rows - 1))
    other = table.clone()
    other[row] = drawn(1, width, seed + 1)[0] * 40  # far off, so that no type's rounding hides it
    moved = first_moved(sums(other.to(first)), sums(table.to(second)))
    if width > 1:
        assert moved is not None and moved[0] <= row < moved[1] and moved[1] - moved[0] <= -(-rows // BLOCKS)


@pytest.mark.parametrize(("rows", "dtype"), [(300, torch.float32), (32_000, torch.bfloat16), (32_000, torch.float16)])
def test_in_one_type_any_change_of_a_row_is_seen(rows: int, dtype: torch.dtype) -> None:
    table = drawn(rows, 64).to(dtype)
    stored = sums(table)
    for row in range(0, rows, rows // 25):
        other = table.clone()
        other[row] = drawn(1, 64, row + 1)[0].to(dtype)
        assert first_moved(sums(other), stored) is not None
    assert first_moved(sums(table[:-1]), stored) == (0, rows)
    assert len(stored.model_dump_json()) < 30_000


def test_two_elements_of_each_row_are_read() -> None:
    """Whichever element of a row stayed what it was, nearly every row that was drawn anew is seen by another."""
    table = drawn(64, 7)
    seen = [0] * 64
    for row in range(64):
        for column in range(7):
            other = table.clone()
            other[row, column] += 1.0
            seen[row] += first_moved(sums(other), sums(table)) is not None
    assert set(seen) <= {1, 2} and seen.count(2) > 40


def model_of(encoder: Path, decoder: Path, kind: str) -> Any:
    if kind == "encoder":
        return AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3), AutoTokenizer.from_pretrained(
            encoder
        )
    return AutoModelForCausalLM.from_pretrained(decoder), AutoTokenizer.from_pretrained(decoder)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_base_with_rows_drawn_anew_is_refused_by_name(encoder: Path, decoder: Path, kind: str) -> None:
    model, tokenizer = model_of(encoder, decoder, kind)
    base = describe_base(model, tokenizer, ("classifier",), "acme/tiny", None)
    tables = fingerprint.embeddings(model)
    assert len(tables) == (1 if kind == "encoder" else 2)  # the output's of the decoder is a table of its own
    for name in tables:
        other = copy.deepcopy(model)
        with torch.no_grad():
            fingerprint.embeddings(other)[name][137].normal_(std=0.2)
        with pytest.raises(
            WrongBase, match=rf"{name} has other values in row 137, as after its vocabulary was resized"
        ):
            check_base(other, tokenizer, base, ("classifier",), "the model given")
        with torch.no_grad():
            fingerprint.embeddings(other)[name][137] = torch.nan
        with pytest.raises(WrongBase):
            check_base(other, tokenizer, base, ("classifier",), "the model given")
    check_base(model, tokenizer, base, ("classifier",), "the model given")
    if kind == "decoder":  # the bare base has no output, and one that travels is no part of the base
        check_base(AutoModel.from_pretrained(decoder), tokenizer, base, (), "the bare base")
        with torch.no_grad():
            model.lm_head.weight[137].normal_()
        check_base(model, tokenizer, base, ("lm_head",), "the model given")


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_what_was_recorded_stays_where_it_is_when_the_vocabulary_grows(encoder: Path, decoder: Path, kind: str) -> None:
    model, tokenizer = model_of(encoder, decoder, kind)
    base = describe_base(model, tokenizer, ("classifier",), "acme/tiny", None)
    size = base.vocabulary_size or 0
    grown = copy.deepcopy(model)
    grown.resize_token_embeddings(size + 7)
    with pytest.raises(WrongBase, match=f"vocabulary of {size + 7}"):
        check_base(grown, tokenizer, base, ("classifier",), "the grown model")
    check_base(grown, tokenizer, base, ("classifier",), "the grown model", grown=True)
    assert (
        describe_base(grown, tokenizer, ("classifier",), "acme/tiny", None, rows=size).weight_probe == base.weight_probe
    )
    shrunk = copy.deepcopy(model)
    shrunk.resize_token_embeddings(size - 1)
    with pytest.raises(WrongBase, match=f"vocabulary of {size - 1}"):
        check_base(shrunk, tokenizer, base, ("classifier",), "the shrunk model", grown=True)
    with torch.no_grad():
        fingerprint.embeddings(grown)[next(iter(fingerprint.embeddings(grown)))][3].zero_()
    with pytest.raises(WrongBase, match="embed.*weight (has other values in row 3|differs)"):
        check_base(grown, tokenizer, base, ("classifier",), "the grown model", grown=True)
