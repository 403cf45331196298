"""Build the model of a base, train it on blocks, measure it, and write it as Transformers does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin.engine.base.load_base import fingerprint_key, load_config, set_attention
from adapterhub_fin.engine.base.locks import building
from adapterhub_fin.engine.base.positions import position_limit
from adapterhub_fin.engine.base.provenance import libraries
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.pretraining.architecture import build_model, class_for, new_config
from adapterhub_fin.engine.pretraining.block_heads import BlockHead, mean_loss
from adapterhub_fin.engine.pretraining.document_masks import keeps_apart
from adapterhub_fin.engine.pretraining.examples import CausalExamples, MaskedExamples, collate
from adapterhub_fin.engine.pretraining.tokenizer import special_ids
from adapterhub_fin.engine.pretraining.whole_model import WholeModel
from adapterhub_fin.engine.training.arguments import arguments, check_training
from adapterhub_fin.engine.training.distributed import is_first, world_size
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.descriptions import Metric
from adapterhub_fin.plugin.interfaces import AttachContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from adapterhub_fin.engine.pretraining.block_trainer import BlockTrainer
    from adapterhub_fin.engine.pretraining.prepare import PreparedBase
    from adapterhub_fin.engine.training.run_folder import RunFolder

LOSS = Metric(
    name="loss",
    summary="Mean loss of a token, in nats.",
    target="adapterhub_fin.engine.pretraining.block_heads:mean_loss",
    greater_is_better=False,
)
Examples = CausalExamples | MaskedExamples


@dataclass(frozen=True)
class LoadedBase:
    """Hold a prepared base with its model, all of it trainable."""

    prepared: PreparedBase
    model: PreTrainedModel
    adapter_name: str  # of the run's folder
    parameters: int
    use_cache: bool | None  # as the configuration had it

    def examples(self, split: str) -> Examples:
        """Return the examples of a part."""
        prepared, tokenizer = self.prepared, self.prepared.tokenizer
        blocks = prepared.parts[split].blocks
        if not prepared.encoder:
            return CausalExamples(blocks)
        training, special = prepared.recipe.training, tuple(tokenizer.all_special_ids)
        mask: Any = tokenizer.mask_token_id
        return MaskedExamples(blocks, training.masked, mask, special, len(tokenizer), training.seed)


def load(prepared: PreparedBase, adapter_name: str) -> LoadedBase:
    """Return a prepared base with its model: new, or that of the stored base that it goes on from.

    Raises BadRecipe for options that this machine or this model can't honour.
    """
    from transformers import set_seed

    recipe, training = prepared.recipe, prepared.recipe.training
    check_training(prepared.training, WholeModel(), "pretraining")
    _check_device(training.attn_implementation)
    set_seed(training.seed)
    with quiet_loading(), building():
        if prepared.folder is None:
            assert recipe.new_shape is not None, "a recipe without a version has a shape"
            ids = special_ids(prepared.tokenizer, prepared.encoder)
            config = new_config(recipe.new_shape, training.block, len(prepared.tokenizer), ids)
            model = build_model(config)
        else:
            config = load_config(prepared.folder)
            _check_positions(config, training.block, str(recipe.base.version))
            model = load_model(prepared.folder, config, str(recipe.base.version), prepared.encoder)
            _check_vocabulary(model, prepared.tokenizer, str(recipe.base.version))
    set_attention(model, training.attn_implementation)
    set_seed(training.seed)
    WholeModel().attach(model, AttachContext(adapter_name))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return LoadedBase(prepared, model, adapter_name, parameters, getattr(model.config, "use_cache", None))


def _check_device(attention: str) -> None:
    import torch

    if attention == "flex_attention" and not torch.cuda.is_available():
        raise BadRecipe(
            "training.attn_implementation flex_attention has no backward pass on a CPU: use sdpa, or train on a GPU"
        )


def _check_positions(config: Any, block: int, base: str) -> None:
    limit = position_limit(config)
    if limit is not None and block > limit:
        raise BadRecipe(f"training.block is {block}, and {base} has {limit} positions: lower it")


def load_model(folder: Path, config: Any, base: str, encoder: bool) -> PreTrainedModel:
    """Return the model of a stored base, in float32.

    Raises BadRecipe where it lacks the weights that predict tokens, and where a block's documents would see each other.
    """
    model, info = class_for(config).from_pretrained(
        folder, local_files_only=True, dtype="float32", output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise BadRecipe(
            f"{base} has no weights of {missing[0]}, with which a {config.model_type} predicts tokens: go on from a "
            "base that was stored with them"
        )
    if not (config.model_type == "modernbert" if encoder else keeps_apart(model)):
        raise BadRecipe(
            f"{base} is a {config.model_type}, in which the documents of a block would see each other: go on from a "
            "llama, a modernbert, or a model like a llama"
        )
    loaded: PreTrainedModel = model
    return loaded


def _check_vocabulary(model: Any, tokenizer: Any, base: str) -> None:
    rows, last = len(model.get_input_embeddings().weight), max(tokenizer.get_vocab().values())
    if last >= rows:
        raise BadRecipe(
            f"the tokenizer of {base} has the id {last}, and its model embeds {rows} tokens: store it with the "
            "tokenizer that it was trained with"
        )


def bind_base(loaded: LoadedBase, run_folder: RunFolder) -> None:
    """Record what a run reads in its folder, or compare with what is recorded there.

    Raises BadRecipe where the rows, the tokenizer or the base before is another than before.
    """
    if not is_first():
        return
    from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer

    prepared = loaded.prepared
    before = {} if prepared.parent is None else {"base": fingerprint_key(prepared.parent.manifest.base)}
    inputs = {
        "corpus": prepared.cut.record["digest"],
        "tokenizer": describe_tokenizer(prepared.tokenizer)["tokenizer_digest"],
        **before,
        "number of processes": world_size(),
        "set of libraries": libraries(),
    }
    run_folder.bind(inputs)


def new_trainer(loaded: LoadedBase, folder: Path, title: str) -> BlockTrainer:
    """Return the trainer of a base; its checkpoints go to `folder`."""
    from transformers import EarlyStoppingCallback

    from adapterhub_fin.engine.pretraining.block_trainer import BlockTrainer
    from adapterhub_fin.engine.training.progress_bar import ProgressBar

    recipe, training = loaded.prepared.recipe, loaded.prepared.recipe.training
    train: Any = loaded.examples("train")
    stopping = [] if training.patience is None else [EarlyStoppingCallback(training.patience)]
    return BlockTrainer(
        encoder=loaded.prepared.encoder,
        muon=training.optimizer == "muon",
        keep_last=training.patience is None,
        method=WholeModel(),
        head=BlockHead(),
        adapter_name=loaded.adapter_name,
        checkpoint_steps=training.checkpoint_steps,
        model=loaded.model,
        args=arguments(loaded.prepared.training, len(train), LOSS, folder, str(recipe.name)),
        train_dataset=train,
        eval_dataset=loaded.examples("validation"),
        data_collator=collate,
        compute_metrics=mean_loss,
        callbacks=[*stopping, ProgressBar(LOSS.name, title)],
    )


def measure(loaded: LoadedBase, trainer: BlockTrainer, split: Literal["validation", "test"]) -> dict[str, float]:
    """Return the mean loss on a part, in nats a token, and for a model that writes on the bits a byte of text."""
    examples: Any = loaded.examples(split)
    predicted = trainer.predict(examples, metric_key_prefix=split).metrics or {}
    loss = float(predicted[f"{split}_loss"])
    if loaded.prepared.encoder:  # a share of the tokens, given the others: no measure of all bytes
        return {"loss": loss}
    return {"loss": loss, "bits_per_byte": loaded.prepared.parts[split].bits_per_byte(loss)}


def write_folder(loaded: LoadedBase, folder: Path) -> None:
    """Write the model and its tokenizer as `save_pretrained` does, for any program that reads Transformers' form."""
    model: Any = loaded.model
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None and loaded.use_cache is not None:
            config.use_cache = loaded.use_cache  # which the Trainer switches off
    with quiet_loading():
        model.save_pretrained(folder)
        loaded.prepared.tokenizer.save_pretrained(folder)
