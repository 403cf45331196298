"""Going on from a base that others made: what can't be trained further rightly is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers.processors import TemplateProcessing

import adapterhub_fin as ahf
from adapterhub_fin.engine.pretraining.document_masks import keeps_apart
from adapterhub_fin.engine.pretraining.fitting import bind_base, load
from adapterhub_fin.engine.training.run_folder import RunFolder
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.testing.killed import train_and_be_killed
from adapterhub_fin.testing.tiny_base import DECODER, base_recipe, stored_weights

SHAPE: dict[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
STILL = {"max_steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a tokenizer with a token for masking, as many models that write on have one."""
    planned = ahf.preview_pretrain(base_recipe(), registry=ahf.Registry(tmp_path_factory.mktemp("tokenizer")))
    assert planned.tokenizer.add_special_tokens({"mask_token": "[MASK]"}) == 1
    return planned.tokenizer


def given(folder: Path, model: Any, tokenizer: Any, name: str) -> str:
    """Store a model as a base whose date is stated; return its reference."""
    model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    ahf.add_base(folder / name, f"given/{name}", knowledge_end="2010-01-01", evidence="a test")
    return f"given/{name}@1"


def going_on(base: str, **training: Any) -> ahf.Pretrained:
    return ahf.pretrain(base_recipe(base=base, until="2010-02-28", training={**STILL, **training}))


def test_a_model_that_writes_on_does_so_whatever_its_tokenizer_has(tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    made = going_on(given(tmp_path, model, tokenizer, "llama"))
    assert set(made.metrics) == {"loss", "bits_per_byte"}
    known = {entry.input: entry.kind for entry in made.version.manifest.knowledge.inputs}
    assert known == {"base": "asserted", "corpus:table": "observed"}
    assert transformers.AutoConfig.from_pretrained(made.folder).architectures == ["LlamaForCausalLM"]


@pytest.mark.parametrize(
    ("name", "config", "model", "message"),
    [
        ("headless", "Llama", "LlamaModel", "has no weights of lm_head.weight, with which a llama predicts tokens"),
        ("bert", "Bert", "BertForMaskedLM", "is a bert, in which the documents of a block would see each other"),
    ],
)
def test_what_predicts_no_tokens_or_mixes_documents_is_refused(
    name: str, config: str, model: str, message: str, tokenizer: Any, tmp_path: Path
) -> None:
    kind = getattr(transformers, f"{config}Config")
    built = getattr(transformers, model)(kind(**SHAPE, tie_word_embeddings=name != "headless"))
    with pytest.raises(BadRecipe, match=message):
        going_on(given(tmp_path, built, tokenizer, name))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SHAPE, "vocab_size": 300}))
    with pytest.raises(BadRecipe, match="has the id 300, and its model embeds 300 tokens"):
        going_on(given(tmp_path, model, tokenizer, "short"))


def test_models_are_tried_for_whether_a_document_sees_the_one_before() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    mamba = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    bloom = transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=300, hidden_size=16, n_layer=1, n_head=2))
    assert not keeps_apart(mamba) and not keeps_apart(bloom)
    for kind in ("Llama", "Qwen2"):
        config = getattr(transformers, f"{kind}Config")(**SHAPE, num_key_value_heads=1)
        assert keeps_apart(getattr(transformers, f"{kind}ForCausalLM")(config).train())


def test_a_tokenizer_that_is_taken_over_reads_as_many_tokens_as_the_new_model(tmp_path: Path) -> None:
    ahf.pretrain(base_recipe(training={"max_steps": 1}))
    shape = {**DECODER, "positions": 96, "tokenizer": {"version": "acme/fin@1"}}
    planned = ahf.preview_pretrain(base_recipe(base=shape, until="2010-07-31"))
    assert planned.tokenizer.model_max_length == 96


def test_without_a_token_that_begins_texts_the_one_that_ends_them_stands_there(tokenizer: Any, tmp_path: Path) -> None:
    bare = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", eos_token="</s>"
    )
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    reference = given(tmp_path, model, bare, "bare")
    planned = ahf.preview_pretrain(base_recipe(base=reference, until="2010-02-28"))
    documents = planned.parts["train"].blocks.documents
    end = bare.convert_tokens_to_ids("</s>")
    assert all(document[0] == document[-1] == end and end not in document[1:-1] for document in documents)


def test_a_block_that_predicts_nothing_leaves_the_losses_finite(home: Path) -> None:
    sizes = [len(d) for d in ahf.preview_pretrain(base_recipe(until="2010-01-06")).parts["train"].blocks.documents]
    alone = {"packing": False, "block": sizes[0] - 1, "batch_size": 1, "max_steps": None}
    made = ahf.pretrain(base_recipe(until="2010-01-06", training=alone))  # a document's last token has its own block
    steps = made.history["training"]["loss"]
    assert 0.0 in steps and all(torch.isfinite(torch.tensor(steps))) and made.losses[0] == made.losses[0]


def test_a_run_does_not_go_on_under_other_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registry = ahf.Registry(tmp_path / "registry")
    plan = base_recipe(training={"max_steps": 3, "checkpoint_steps": 1})
    train_and_be_killed(plan, registry.root, 2)
    from adapterhub_fin.engine.pretraining import fitting

    now = fitting.libraries()
    assert "torch 2." in now and "transformers" in now
    monkeypatch.setattr(fitting, "libraries", lambda: now.replace("torch 2.", "torch 1."))
    with pytest.raises(BadRecipe, match=r"had another set of libraries .*torch 2\..* than there is now .*torch 1\."):
        ahf.pretrain(plan, registry=registry, resume=True)
    monkeypatch.undo()
    assert stored_weights(ahf.pretrain(plan, registry=registry, resume=True).folder)


def test_a_run_is_bound_to_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    prepared = ahf.preview_pretrain(base_recipe(), registry=ahf.Registry(tmp_path / "registry"))
    folder = RunFolder(tmp_path, "ahf_00000000", None)
    bind_base(load(prepared, folder.adapter_name), folder)
    bind_base(load(prepared, folder.adapter_name), folder)
    assert prepared.tokenizer.add_tokens(["another"]) == 1
    with pytest.raises(BadRecipe, match="had another tokenizer"):
        bind_base(load(prepared, folder.adapter_name), folder)
