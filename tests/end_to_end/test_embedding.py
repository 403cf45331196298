"""Vectors of texts: every pooling of every layer, in a batch as alone, and never of a prompt's own places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.plugin.model_parts import backbone
from adapterhub_fin.testing import tiny_corpus

TEXTS = [
    "Arlo: profit rose.",
    "No.",
    "Brent meets in May, and a longer sentence follows that is cut.",
    "Gant: profit fell.",
]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "prefix-tuning": {"tokens": 5},
    "prompt-tuning": {"tokens": 5},
    "p-tuning": {"tokens": 5},
}
PLACES = [("encoder", "classify"), ("decoder", "classify"), ("decoder", "causal-lm")]
POOLINGS = {
    "mean": lambda states: states.mean(0),
    "max": lambda states: states.max(0),
    "first": lambda states: states[0],
    "last": lambda states: states[-1],
}
LAYERS = (0, 1, 2, -1, -3)


@pytest.fixture(scope="module", params=[(m, *place) for m in METHODS for place in PLACES], ids="-".join)
def adapter(
    request: pytest.FixtureRequest, encoder: Path, decoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Adapter]:
    method, kind, head = request.param
    base = encoder if kind == "encoder" else decoder
    root = tmp_path_factory.mktemp("embed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        run = ahf.train(
            name="acme/vectors",
            base={"path": str(base)},
            method={"name": method, **METHODS[method]},
            head=head,
            corpus={"name": tiny_corpus()},
            training={"epochs": 1, "batch_size": 8, "max_length": 40, "learning_rate": 1e-2},
            registry=registry,
        )
        yield ahf.load(run.reference, base=base, registry=registry)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_batch_gives_what_each_text_gives_alone(adapter: Adapter, pooling: str, layer: int) -> None:
    together = adapter.embed(TEXTS, pooling=pooling, layer=layer)
    alone = np.concatenate([adapter.embed([text], pooling=pooling, layer=layer) for text in TEXTS])
    assert together.shape == (4, 32) and together.dtype == np.float32
    assert np.abs(together - alone).max() <= 1e-5
    unit = adapter.embed(TEXTS, pooling=pooling, layer=layer, normalize=True)
    assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() <= 1e-5
    assert np.abs(unit * np.linalg.norm(together, axis=1, keepdims=True) - together).max() <= 1e-4


@pytest.mark.parametrize("layer", (0, 1, 2))
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_vector_is_that_of_the_text_s_own_places(adapter: Adapter, pooling: str, layer: int) -> None:
    found = adapter.embed(TEXTS, pooling=pooling, layer=layer)
    for text, vector in zip(TEXTS, found, strict=True):
        states = _by_hand(adapter, text)[layer]
        assert np.abs(POOLINGS[pooling](states) - vector).max() <= 1e-5, text


def _by_hand(adapter: Adapter, text: str) -> list[np.ndarray]:
    """Each layer's states of one text, (tokens, hidden), with the prompt put before it here."""
    ids = torch.tensor(adapter.tokenizer([text], truncation=True, max_length=40)["input_ids"])
    core, name = backbone(adapter.model), adapter.manifest.method.name
    own = adapter.method.tensors(adapter.model, adapter.adapter_name).get("prompt_embeddings")
    with adapter.answering():
        if name == "lora":
            states = core(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
        elif name == "prefix-tuning":
            peft: Any = adapter.model
            cache, seen = peft.get_prompt(1), torch.ones(1, 5 + ids.shape[1])
            states = core(
                input_ids=ids, attention_mask=seen, past_key_values=cache, output_hidden_states=True
            ).hidden_states
        else:
            assert own is not None
            words = torch.cat([own[None], core.get_input_embeddings()(ids)], 1)
            seen = torch.ones(words.shape[:2])
            states = core(inputs_embeds=words, attention_mask=seen, output_hidden_states=True).hidden_states
            states = [state[:, 5:] for state in states]
    return [state[0].numpy() for state in states]


def test_the_adapter_moves_the_vectors(adapter: Adapter) -> None:
    """Its last layer differs from that of the base alone: nothing was embedded past the adapter."""
    ids = torch.tensor(adapter.tokenizer([TEXTS[0]])["input_ids"])
    model: Any = adapter.model
    without = model.disable_adapter() if adapter.manifest.method.name == "lora" else nullcontext()
    with adapter.answering(), without:  # a prompt is not put before what the backbone itself is given
        bare = backbone(adapter.model)(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert np.abs(bare[0].mean(0).numpy() - adapter.embed(TEXTS[:1])[0]).max() > 1e-3


def test_a_layer_or_a_pooling_that_is_not_there_is_refused(adapter: Adapter) -> None:
    with pytest.raises(ahf.BadRecipe, match="there is no layer 3: the base has 2"):
        adapter.embed(TEXTS, layer=3)
    with pytest.raises(ahf.BadRecipe, match="pooling"):
        adapter.embed(TEXTS, pooling="median")
