"""Prepare a base from its recipe, and refuse whatever can be refused: first what needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.fingerprint import tokenizer_digest
from adapterhub_fin.engine.base.load_base import load_config
from adapterhub_fin.engine.base.train_tokenizer import train_tokenizer, wrapped
from adapterhub_fin.engine.data.corpus import check_there
from adapterhub_fin.engine.pretraining.architecture import is_encoder
from adapterhub_fin.engine.pretraining.cut import Cut, read_cut
from adapterhub_fin.engine.pretraining.packing import Blocks
from adapterhub_fin.engine.pretraining.shard_cut import known_of_tokenizer, read_shards
from adapterhub_fin.engine.pretraining.tokenizer import encode_documents, load_tokenizer
from adapterhub_fin.engine.training.arguments import steps_of_an_epoch, total_steps
from adapterhub_fin.errors import BadRecipe, LookAhead
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.progress_lines import announce
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.data.dated_rows import DatedRows
    from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe
    from adapterhub_fin.recipe.recipe import Training
    from adapterhub_fin_registry import Registry, Version

LN2 = math.log(2)


@dataclass(frozen=True)
class Part:
    """Hold the documents of one part: their blocks, and their size in bytes of UTF-8."""

    blocks: Blocks
    documents: int
    bytes: int

    def bits_per_byte(self, loss: float) -> float:
        """Return what a mean loss in nats a token is in bits a byte of text, which no tokenizer changes."""
        return loss * self.blocks.predicted / (LN2 * self.bytes)


@dataclass(frozen=True)
class PreparedBase:
    """Hold a base that has been checked as far as possible without a weight."""

    recipe: PretrainRecipe
    cut: Cut
    parent: Version | None  # the stored base that it goes on from
    tokenizer: PreTrainedTokenizerBase
    known: Mapping[str, KnownAt]  # by input: `base`, `corpus:NAME`, `tokenizer:NAME`
    parts: Mapping[str, Part]
    encoder: bool

    def __repr__(self) -> str:
        tokens = ", ".join(f"{part.blocks.tokens:,} {split}" for split, part in self.parts.items())
        return f"PreparedBase({self.recipe.name}, until {self.recipe.until}, tokens: {tokens})"

    @property
    def folder(self) -> Path | None:
        """Return the folder of the base that it goes on from."""
        return None if self.parent is None else self.parent.files

    @property
    def training(self) -> Training:
        """Return the options of the trainer; `tokens` are a number of steps on these blocks."""
        options = self.recipe.training
        if options.tokens is None:
            return options.for_trainer()
        blocks, once = self.parts["train"].blocks, options.for_trainer(1)
        passes, rest = divmod(options.tokens, blocks.tokens)
        an_epoch = steps_of_an_epoch(once, len(blocks))
        begun = math.ceil(rest * len(blocks) / (blocks.tokens * options.batch_size))  # the last step may be smaller
        return options.for_trainer(passes * an_epoch + min(begun, an_epoch))

    @property
    def steps(self) -> int:
        """Count the optimizer steps, unless training stops early."""
        return total_steps(self.training, len(self.parts["train"].blocks))

    def tokens(self, steps: int) -> int:
        """Return how many tokens so many steps train on, without padding; in a begun epoch, blocks hold their mean."""
        blocks = self.parts["train"].blocks
        passes, begun = divmod(steps, steps_of_an_epoch(self.training, len(blocks)))
        return passes * blocks.tokens + round(begun * self.recipe.training.batch_size * blocks.tokens / len(blocks))

    def facts(self) -> list[tuple[str, Any]]:
        """Return what the run would read and do, by name."""
        training, blocks = self.recipe.training, self.parts["train"].blocks
        filled = blocks.tokens / (len(blocks) * training.block)
        return [
            *((f"rows of {split}", f"{count:,}") for split, count in self.cut.counts.items()),
            *((f"tokens of {split}", f"{part.blocks.tokens:,}") for split, part in self.parts.items()),
            ("vocabulary", f"{len(self.tokenizer):,}"),
            ("blocks", f"{len(blocks):,} of {training.block} tokens, {filled:.0%} filled"),
            ("steps", f"{self.steps:,}"),
            ("tokens trained on", f"{self.tokens(self.steps):,}"),
            ("knowledge end", format_instant(max(each.at for each in self.known.values()))),
        ]

    def document(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        parts = self.parts
        return {
            "rows": dict(self.cut.counts),
            "tokens": {split: part.blocks.tokens for split, part in parts.items()},
            "blocks": {split: len(part.blocks) for split, part in parts.items()},
            "vocabulary": len(self.tokenizer),
            "steps": self.steps,
            "knowledge_end": format_instant(max(each.at for each in self.known.values())),
        }


def prepare_base(
    recipe: PretrainRecipe, registry: Registry | None = None, rows: DatedRows | None = None
) -> PreparedBase:
    """Return the checked run of a recipe; no weight is read.

    `rows` are those of `read_dated`, where they were read before. Raises BadRecipe, UnknownName, BadCorpus, NotFound
    for a version that isn't there, and LookAhead for one that knows of what comes after `until`; all without torch.
    """
    recipe = recipe.check()
    if recipe.corpus is not None and rows is None:
        check_there(recipe.corpus)
    parent = None if recipe.base.version is None else find_earlier(recipe, recipe.base.version, "base", registry)
    reference = recipe.base.tokenizer.version
    borrowed = None if reference is None else find_earlier(recipe, reference, "base.tokenizer", registry)
    announce("reading the corpus ...")
    if recipe.shards is not None:
        return _prepare_shards(recipe, parent)
    cut = read_cut(recipe, None if parent is None else end_of(parent), rows)
    assert recipe.corpus is not None, "the cut was read from it"
    known = dict(cut.inputs)
    shape = recipe.new_shape
    if parent is not None:
        known["base"] = known_of(parent)
        tokenizer = load_tokenizer(parent.files)
    elif borrowed is not None:
        known[f"tokenizer:{borrowed.name}"] = known_of(borrowed)
        tokenizer = _of_new_model(load_tokenizer(borrowed.files), recipe)
    else:
        assert shape is not None and shape.new is not None and shape.tokenizer.train is not None, "a recipe says which"
        known[f"tokenizer:{recipe.corpus.name}"] = cut.trained_until
        trained = train_tokenizer(cut.texts("train"), shape.tokenizer.train, shape.new)
        tokenizer = _of_new_model(wrapped(trained, shape.new), recipe)
    encoder = is_encoding(recipe, parent)
    _check_special(tokenizer, encoder, f"base.tokenizer.version {reference}")
    parts = {split: _part(recipe, cut.texts(split), tokenizer, encoder) for split in cut.splits}
    return PreparedBase(recipe, cut, parent, tokenizer, known, parts, encoder)


def _prepare_shards(recipe: PretrainRecipe, parent: Version | None) -> PreparedBase:
    """Return the run of a recipe on token shards. Raises BadRecipe for a base of another tokenizer."""
    cut = read_shards(recipe, None if parent is None else end_of(parent))
    tokenizer = load_tokenizer(cut.shards.tokenizer if parent is None else parent.files)
    known = {"corpus:shards": cut.known}
    if parent is None:
        known["tokenizer:shards"] = known_of_tokenizer(cut.shards)
        tokenizer = _of_new_model(tokenizer, recipe)
    else:
        known["base"] = known_of(parent)
        if tokenizer_digest(tokenizer) != cut.shards.record["recipe"]["tokenizer"]["digest"]:
            raise BadRecipe(
                f"shards {recipe.shards} are of another tokenizer than {recipe.base.version}: tokenize with the base's "
                "own, whose folder `ahf path` gives"
            )
    encoder = is_encoding(recipe, parent)
    _check_special(tokenizer, encoder, f"the tokenizer of shards {recipe.shards}")
    parts = {}
    for split, documents in cut.documents.items():
        blocks = _blocks(recipe, documents, tokenizer)
        parts[split] = Part(blocks, len(documents), int(documents.sizes.sum()))
    return PreparedBase(recipe, cut, parent, tokenizer, known, parts, encoder)


def _of_new_model(tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe) -> PreTrainedTokenizerBase:
    """Return the tokenizer with the length of a new model's texts, whatever that of another model was."""
    assert recipe.new_shape is not None, "a stored base has a tokenizer"
    tokenizer.model_max_length = recipe.new_shape.positions or recipe.training.block
    return tokenizer


def is_encoding(recipe: PretrainRecipe, parent: Version | None) -> bool:
    """Return whether the model fills in masked tokens: by its shape, or by the base that it goes on from.

    Its tokenizer doesn't tell: many that write on have a token for masking too.
    """
    if recipe.new_shape is not None:
        return recipe.new_shape.new == "modernbert"
    assert parent is not None, "a recipe without a shape goes on from a base"
    return is_encoder(load_config(parent.files))


def _part(recipe: PretrainRecipe, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, encoder: bool) -> Part:
    documents: Sequence[np.ndarray] = encode_documents(texts, tokenizer, encoder=encoder)
    blocks = _blocks(recipe, documents, tokenizer)
    return Part(blocks, len(texts), sum(len(text.encode()) for text in texts))


def _blocks(recipe: PretrainRecipe, documents: Sequence[np.ndarray], tokenizer: PreTrainedTokenizerBase) -> Blocks:
    """Return the blocks of documents of token ids, (tokens,) each."""
    training, pad = recipe.training, tokenizer.pad_token_id or 0
    return Blocks(documents, training.block, packing=training.packing, pad=pad)


def _check_special(tokenizer: Any, encoder: bool, described: str) -> None:
    """Raise BadRecipe where a borrowed tokenizer lacks a token that the new model's kind needs."""
    lacking = "mask_token" if encoder else "eos_token"
    if getattr(tokenizer, f"{lacking}_id") is None:
        raise BadRecipe(
            f"{described} has no {lacking}, which this kind of model needs: take that of "
            "a base of the same kind, or train one"
        )


def find_earlier(recipe: PretrainRecipe, reference: str, key: str, registry: Registry | None) -> Version:
    """Return a stored base that knows nothing of what comes after the cut. Raises LookAhead for one that does."""
    from adapterhub_fin.engine.base.stored_base import find_stored

    located = find_stored(reference, None, registry)
    version = located.version
    if (end := end_of(version)) >= recipe.cutoff:
        raise LookAhead(
            f"{key} {reference} knows until {format_instant(end)}, and this base may know until the end of "
            f"{recipe.until}: name an earlier version, or a later day"
        )
    located.registry.path(version)  # verifies its files
    return version


def end_of(version: Version) -> datetime:
    """Return the knowledge end of a version."""
    return parse_instant(version.manifest.knowledge.end)


def known_of(version: Version) -> KnownAt:
    """Return the knowledge end of a stored base, as an input of what goes on from it."""
    from adapterhub_fin.engine.base.stored_base import known_of_version

    return known_of_version(version)
