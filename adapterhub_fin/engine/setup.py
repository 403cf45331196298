"""Put a run together from its recipe; everything that can be refused is refused here, the cheap things first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from transformers import set_seed

from adapterhub_fin import bases
from adapterhub_fin.descriptions import Head, Method, Metric
from adapterhub_fin.engine import plugs
from adapterhub_fin.engine.base_check import describe_base
from adapterhub_fin.engine.corpus import Corpora, check_targets, read_corpus
from adapterhub_fin.engine.measure import metric_for
from adapterhub_fin.engine.quiet import quiet_loading
from adapterhub_fin.engine.slots import new_slot
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.extensions import extensions
from adapterhub_fin.interfaces import Site
from adapterhub_fin.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from adapterhub_fin.interfaces import HeadImplementation, MethodImplementation
    from adapterhub_fin_registry.manifest import Base


@dataclass(frozen=True)
class Setup:
    """A run with everything in place, before the adapter is attached."""

    recipe: Recipe
    metric: Metric
    source: bases.BaseSource
    corpora: Corpora
    method: MethodImplementation
    head: HeadImplementation
    tokenizer: PreTrainedTokenizerBase
    model: nn.Module
    base: Base  # the pin, read before the model was touched
    site: Site
    now: datetime  # bounds whatever carries no date


def set_up(recipe: Recipe, *, download: bool = False) -> Setup:
    """The run that a recipe describes; no weight is read before all that needs none has been checked.

    Raises BadRecipe, UnknownName, PluginError, BaseNotFound, BadCorpus or WrongBase.
    """
    recipe.check()
    method: MethodImplementation = plugs.build(Method, recipe.method.name, recipe.method.options)
    head: HeadImplementation = plugs.build(Head, recipe.head.name, recipe.head.options)
    metric = metric_for(recipe.head.name, recipe.training.metric or head.selects_on)
    source = bases.find_base(recipe.base, download=download)
    config = plugs.load_config(source.folder)
    _check_length(recipe, config)
    corpora = read_corpus(recipe.corpus, recipe.head.name)
    head.learn(corpora.parts["train"])
    check_targets(head, corpora, recipe.corpus.name)
    targets = extensions().targets(str(config.model_type), recipe.method.name)
    site = Site(slot=new_slot(), task=head.task, targets=targets, base=source.repository)
    plugs.try_out(method, head, config, site)
    set_seed(recipe.training.seed)
    with quiet_loading():
        model, travelling = plugs.load_base(source.folder, head, method)
        tokenizer = plugs.load_tokenizer(source.folder)
    plugs.align_padding(model, tokenizer)
    base = describe_base(model, tokenizer, travelling, source.repository, source.revision)
    site = replace(site, head_modules=tuple(travelling))
    now = datetime.now(UTC)  # after the base was read: it bounds what carries no date
    return Setup(recipe, metric, source, corpora, method, head, tokenizer, model, base, site, now)


def _check_length(recipe: Recipe, config: PretrainedConfig) -> None:
    limit = getattr(config, "max_position_embeddings", math.inf)
    if recipe.training.max_length > limit:
        raise BadRecipe(
            f"training.max_length is {recipe.training.max_length} and the base has {limit} positions: lower it"
        )
