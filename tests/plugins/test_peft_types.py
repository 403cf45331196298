"""Every type that PEFT knows is trained, stored and loaded by `peft:TYPE` on a tiny base, or refused with reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftType

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.testing.bench import TEXTS, Bench
from adapterhub_fin_plugins.hooks import PEFT_TYPES

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "methods.md"
# What a base of 32 dimensions needs, where PEFT's defaults are for larger ones.
SMALL: dict[str, dict[str, Any]] = {
    "adaption-prompt": {"adapter_len": 4, "adapter_layers": 2},
    "c3a": {"block_size": 8},
    "cpt": {"cpt_token_ids": [5, 6, 7], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 1, 1]},
    "fourierft": {"n_frequency": 64},
    "miss": {"r": 8},
    "psoft": {"r": 8},
    "road": {"group_size": 8},
    "shira": {"r": 4},
    "trainable-tokens": {"token_indices": [5, 6]},
    "vblora": {"vector_length": 8, "num_vectors": 16},
    "waveft": {"n_frequency": 64},
}
DECODER_ONLY = {"adaption-prompt", "cpt", "shadow", "trainable-tokens"}
REFUSED = {"adalora", "multitask-prompt-tuning", "poly", "xlora"}


def bench(name: str, folder: Path) -> Bench:
    decoder = name in DECODER_ONLY
    method = {"name": f"peft:{name}", **SMALL.get(name, {})}
    return Bench(folder, "decoder" if decoder else "encoder", method, {"name": "causal-lm" if decoder else "classify"})


def test_the_names_are_those_of_peft() -> None:
    assert sorted(PEFT_TYPES) == sorted(kind.value.lower().replace("_", "-") for kind in PeftType)
    assert len(PEFT_TYPES) == 45


@pytest.mark.parametrize("name", sorted(set(PEFT_TYPES) - REFUSED))
def test_it_is_trained_stored_and_loaded(name: str, tmp_path: Path) -> None:
    from adapterhub_fin.engine.inference.load import load

    at = bench(name, tmp_path)
    run = at.train("walk", epochs=1, learning_rate=1e-3)
    torch.manual_seed(90210)  # what was drawn and not stored comes out otherwise
    loaded = load(run.reference, base=at.base(), registry=at.registry)
    assert loaded.logits(TEXTS).equal(run.adapter.logits(TEXTS))
    assert run.trained_parameters > 0


@pytest.mark.parametrize("name", ["prompt-tuning", "p-tuning", "prefix-tuning", "cartridge"])
def test_a_prompt_s_batches_answer_as_single_rows_do(name: str, tmp_path: Path) -> None:
    at = Bench(tmp_path, "decoder", {"name": f"peft:{name}"}, {"name": "classify"})
    adapter = at.train("batches", epochs=1).adapter
    together, vectors = adapter.logits(TEXTS), adapter.embed(TEXTS)
    for place, text in enumerate(TEXTS):
        assert torch.allclose(adapter.logits([text])[0], together[place], atol=1e-5)
        assert abs(adapter.embed([text])[0] - vectors[place]).max() < 1e-5


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_before_the_base_is_read(name: str, tmp_path: Path) -> None:
    at = bench(name, tmp_path)
    (at.base() / "model.safetensors").unlink()
    with pytest.raises(BadRecipe, match="can't be trained from a recipe: .*: (use|train)"):
        at.train("walk")


@pytest.mark.parametrize("name", ["trainable-tokens", "adaption-prompt"])
def test_a_type_that_stores_no_head_is_refused_one(name: str, tmp_path: Path) -> None:
    at = Bench(tmp_path, "decoder", {"name": f"peft:{name}", **SMALL[name]}, {"name": "classify"})
    with pytest.raises(BadRecipe, match=r"can't store the head's modules \(score\)"):
        at.train("walk")


def test_an_option_that_peft_does_not_have_is_named() -> None:
    from adapterhub_fin.engine.base.build_plugin import build_plugin
    from adapterhub_fin.errors import UnknownName
    from adapterhub_fin.plugin.descriptions import Method

    with pytest.raises(UnknownName, match="did you mean target_modules"):
        build_plugin(Method, "peft:loha", {"target_modlues": ["query"]})


def test_the_documentation_says_of_each_type_what_becomes_of_it() -> None:
    rows = re.findall(r"^\| `peft:([a-z0-9-]+)` \| (encoder|decoder|refused)\b", DOCS.read_text(encoding="utf-8"), re.M)
    expected = {
        name: "refused" if name in REFUSED else "decoder" if name in DECODER_ONLY else "encoder" for name in PEFT_TYPES
    }
    assert dict(rows) == expected
