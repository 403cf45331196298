"""Prepare a run from its recipe and refuse whatever can be refused, the cheap checks first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.base.chat_template import check_chat_template, with_chat_template
from adapterhub_fin.engine.base.check import describe_base
from adapterhub_fin.engine.base.load_base import (
    hidden_size,
    load_base,
    load_config,
    load_tokenizer,
    set_attention,
    try_out,
)
from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.positions import position_limit
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.data.corpus import SEEN, Corpora, check_targets, check_there, read_corpus
from adapterhub_fin.engine.data.curriculum import naming_stage, read_curriculum
from adapterhub_fin.engine.data.known import bounded_now
from adapterhub_fin.engine.data.splits import SPLITS, dates
from adapterhub_fin.engine.data.weights import with_draws
from adapterhub_fin.engine.evaluation.metrics import check_parts, metric_for
from adapterhub_fin.engine.inference.reference import with_references
from adapterhub_fin.engine.training.arguments import check_batch, check_training, part_size, total_steps
from adapterhub_fin.engine.training.checks import Check, read_checks
from adapterhub_fin.engine.training.distributed import own_device
from adapterhub_fin.engine.training.encoding import Examples, encoded_splits
from adapterhub_fin.engine.training.facts import Facts, row_facts, stage_facts
from adapterhub_fin.engine.training.over_length import drop_long_rows
from adapterhub_fin.engine.training.stages import Stages, planned_stage
from adapterhub_fin.engine.training.start import check_start_format, find_start, without_seen_rows
from adapterhub_fin.errors import AdapterHubError, BadRecipe
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Head, Method, Metric
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.progress_lines import announce
from adapterhub_fin.plugin.trusted_code import trusting_remote_code
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from adapterhub_fin.engine.base.experts import OutOfReach
    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import KnownAt, MethodImplementation, Rows
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.manifest import Base

log = logging.getLogger(__name__)
Prepared = TypeVar("Prepared", bound="PreparedRun")


@dataclass(frozen=True)
class PreparedRun:
    """Hold a run that has been checked as far as possible without reading a weight."""

    recipe: Recipe
    metric: Metric
    source: bases.BaseSource
    config: PretrainedConfig
    corpora: Corpora
    method: MethodImplementation
    head: HeadImplementation
    tokenizer: PreTrainedTokenizerBase  # as the head reads conversations with it
    examples: Examples
    context: AttachContext
    trained_parameters: int
    unreached: OutOfReach | None  # layers of the base that the method can't adapt
    weights: Sequence[float] | None  # how often each training example is drawn beside the others
    start: ResolvedVersion | None  # the version that the run continues from
    stages: Stages | None  # of a curriculum
    base_tokenizer: PreTrainedTokenizerBase  # as the base has it
    checks: Sequence[Check]  # the limits on forgetting

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(examples):,} {split}" for split, examples in self.examples.items())
        return f"{type(self).__name__}({self.recipe.method.name} on {self.source.repository}, examples: {rows})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        warnings = [("warning", warning) for warning in self.warnings]
        return html_table(f"{self.recipe.name or 'A run'} before training", [*self.facts(), *warnings])

    def facts(self) -> Facts:
        """Return what the run would read and do, by name: a command prints it, and a notebook shows it."""
        work = [("steps", f"{self.steps:,}"), ("trained parameters", f"{self.trained_parameters:,}")]
        work += [("forgetting", check.sentence) for check in self.checks]
        if self.stages is None:
            return row_facts(self.corpora, self.examples, self.recipe.training.max_length, work)
        last = self.stages.planned[-1].examples
        examples = {**self.examples, "train": self.examples["train"][last.start :]}
        rows = row_facts(self.corpora, examples, self.recipe.training.max_length, work)
        return [*stage_facts(self.stages.documents(self.corpora)), *rows]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what does not stop the run but would surprise whoever looks at its result."""
        reach = () if self.unreached is None else (self.unreached.sentence(self.recipe.method.name),)
        return (*self.corpora.warnings, *reach)

    @property
    def steps(self) -> int:
        """Count the optimizer steps, unless training stops early."""
        if self.stages is not None:
            return self.stages.steps
        return total_steps(self.recipe.training, len(self.examples["train"]))


@dataclass(frozen=True, repr=False)
class LoadedRun(PreparedRun):
    """Hold a prepared run with its base loaded, before the adapter is attached."""

    model: nn.Module
    base: Base  # the fingerprint, taken before the model was changed
    undated: KnownAt  # when a base without a date of its own counts as known


def prepare(
    recipe: Recipe, *, download: bool = False, rows: Rows | None = None, registry: Registry | None = None
) -> PreparedRun:
    """Return the checked run of a recipe; no weight is read.

    The corpus is read, unless `rows` holds it already. Raises BadRecipe, UnknownName, PluginError, BaseNotFound or
    BadCorpus, and PolicyViolation for a base whose own code the policy of `registry` forbids to run.
    """
    with trusting(recipe, registry):
        return _prepared(recipe, download, rows, registry)


def trusting(recipe: Recipe, registry: Registry | None) -> AbstractContextManager[None]:
    """Let the base's own code run where the recipe does, for a block.

    Raises PolicyViolation where the policy of `registry` forbids it.
    """
    if recipe.base.trust_remote_code:
        (registry or configured_registries().writable()).check_remote_code(recipe.name or "this recipe")
    return trusting_remote_code(bool(recipe.base.trust_remote_code))


def with_base(recipe: Recipe, download: bool, registry: Registry | None) -> tuple[Recipe, bases.BaseSource]:
    """Return the recipe with its base as a manifest records it, and that base; a stored one as the window allows.

    Raises what `find_base` raises.
    """
    choice = recipe.dated_base
    source = bases.find_base(choice, download=download, registry=registry)
    return recipe.model_copy(update={"base": bases.pinned(choice, source)}), source


def _prepared(recipe: Recipe, download: bool, rows: Rows | None, registry: Registry | None) -> PreparedRun:
    if recipe.schedule is not None:
        raise BadRecipe(
            "the recipe has a schedule, which gives a version for each of its windows: train them with `ahf train` "
            "(ahf.train_series), or leave the schedule out"
        )
    recipe = recipe.check()
    method: MethodImplementation = build_contribution(Method, recipe.method.name, recipe.method.options)
    head: HeadImplementation = build_contribution(Head, recipe.head.name, recipe.head.options)
    check_training(recipe.training, method, recipe.method.name)
    check_batch(recipe.training, head, recipe.head.name)
    metric = metric_for(recipe.head.name, recipe.training.metric or head.selects_on, head)
    recipe, source = with_base(recipe, download, registry)
    if rows is None:
        for corpus in recipe.corpora:
            check_there(corpus)
    for limit in recipe.training.limits:
        check_there(limit.corpus)
    announce("loading torch, the base and the corpus ...")
    config = load_config(source.folder)
    recipe = recipe.resolved(hidden_size(config))
    _check_length(recipe, method, config)
    head.check(config)
    method.check(config, head.task)
    start = find_start(recipe, registry)
    if recipe.curriculum is None:
        corpora = read_corpus(recipe.corpus, recipe.head.name, rows)
    else:
        corpora = read_curriculum(recipe.curriculum, recipe.head.name)
    if start is not None:
        corpora = without_seen_rows(corpora, start)
    recipe = recipe.with_splitters([each.splitter for each in (*corpora.stages, corpora)])
    with quiet_loading():
        base_tokenizer = load_tokenizer(source.folder)
    check_chat_template(base_tokenizer, head)
    check_start_format(start, head)
    tokenizer = with_chat_template(base_tokenizer, head)
    if recipe.training.over_length == "drop":
        stages = []
        for number, stage in enumerate(corpora.stages, 1):
            with naming_stage(number):
                stages.append(drop_long_rows(recipe, stage, tokenizer, recipe.corpora[number - 1].called))
        corpora = replace(drop_long_rows(recipe, corpora, tokenizer, recipe.corpus.called), stages=stages)
    head.fit_labels(with_draws(corpora.splits["train"], recipe.training.sampling))
    check_targets(head, corpora.splits, recipe.corpus.called)
    check_parts(recipe.head.name, head, corpora.splits, metric, recipe.corpus.called)
    if late := _late_base(source, corpora):
        log.warning("%s", late)
        corpora = replace(corpora, warnings=[*corpora.warnings, late])
    checks = read_checks(recipe, head, config, corpora, start)
    for warning in filter(None, (check.warning for check in checks)):
        log.warning("%s", warning)
        corpora = replace(corpora, warnings=[*corpora.warnings, warning])
    for number, stage in enumerate(corpora.stages, 1):
        with naming_stage(number):
            check_targets(head, {split: stage.splits[split] for split in SEEN}, recipe.corpora[number - 1].called)
    if recipe.training.attn_implementation is not None:
        with on_meta():
            set_attention(head.skeleton(config), recipe.training.attn_implementation)
    targets = extensions().targets(str(config.model_type), recipe.method.name)
    context = AttachContext(
        adapter_name=new_adapter_name(), task=head.task, targets=targets, base=source.repository, tokenizer=tokenizer
    )
    try:
        trained, unreached = try_out(method, head, config, context)
    except AdapterHubError:
        raise
    except Exception as error:  # PEFT or a third party's method may raise anything; the cause is chained
        raise BadRecipe(
            f"the method {recipe.method.name} can't be attached to a {config.model_type} base: {error}"
        ) from error
    if unreached is not None:
        log.warning("%s", unreached.sentence(recipe.method.name))
    examples, weights = encoded_splits(recipe, recipe.corpus, corpora, SPLITS, head, tokenizer)
    fields = (recipe, metric, source, config, corpora, method, head, tokenizer, examples, context, trained, unreached)
    more: dict[str, Any] = {"base_tokenizer": base_tokenizer, "checks": checks}
    prepared = PreparedRun(*fields, weights=weights, start=start, stages=None, **more)
    return prepared if recipe.curriculum is None else _staged(prepared)


def _late_base(source: bases.BaseSource, corpora: Corpora) -> str | None:
    """Return a warning where the rows are split by time, and the base itself knows of the test part's time."""
    if corpora.splitter.by not in ("time", "walk-forward"):  # a series says so of all its windows
        return None
    base_known, first = source.known, min(dates(corpora.splits["test"])[0])
    if base_known is not None and base_known.at < first:
        return None
    return (
        f"the base {bases.knowledge_text(base_known)}, and the test part begins at {format_instant(first)}: the split "
        "keeps later rows from the adapter, and not from its base"
    )


def _staged(prepared: PreparedRun) -> PreparedRun:
    """Return a prepared run of the last stage of a curriculum with the stages before it."""
    recipe, planned, train = prepared.recipe, [], list[dict[str, Any]]()
    assert recipe.curriculum is not None, "a run without stages stays as it is"
    for number, corpora in enumerate((*prepared.corpora.stages, prepared.corpora), 1):
        stage, weights, examples = recipe.curriculum[number - 1], prepared.weights, prepared.examples
        if is_earlier := number < len(recipe.curriculum):
            with naming_stage(number):
                examples, weights = encoded_splits(recipe, stage, corpora, SEEN, prepared.head, prepared.tokenizer)
        rows = range(len(train), len(train) + len(examples["train"]))
        validation = examples["validation"] if is_earlier else None
        planned.append(planned_stage(stage, recipe.training, rows, weights, validation))
        train += examples["train"]
    stages = Stages(tuple(planned))
    return replace(prepared, examples={**prepared.examples, "train": train}, weights=stages.weights, stages=stages)


def load_run(prepared: PreparedRun, adapter_name: str) -> LoadedRun:
    """Return the same run with its base loaded and fingerprinted.

    Raises BadRecipe where a head learning rate is set and the head has no weights.
    """
    from transformers import set_seed

    set_seed(prepared.recipe.training.seed)
    with quiet_loading(), trusting_remote_code(bool(prepared.recipe.base.trust_remote_code)):
        model, modules_to_save = load_base(prepared.source.folder, prepared.head, prepared.method)
        if (attention := prepared.recipe.training.attn_implementation) is not None:
            set_attention(model, attention)
    if prepared.recipe.training.head_learning_rate is not None and not modules_to_save:
        raise BadRecipe(
            f"training.head_learning_rate needs a head with weights, and {prepared.recipe.head.name} has none: drop it"
        )
    source = prepared.source
    base = source.named(
        describe_base(model, prepared.base_tokenizer, modules_to_save, source.repository, source.revision)
    )
    align_padding(model, prepared.tokenizer)  # after its configuration was fingerprinted
    if prepared.start is None:  # else the model before training is the start, on the base
        prepared = referred(prepared, model)
    context = replace(
        prepared.context,
        adapter_name=adapter_name,
        modules_to_save=tuple(modules_to_save),
        batches=lambda: _batches(prepared),
        loss=lambda outputs, labels: prepared.head.loss(outputs, labels).sum(),
    )
    undated = bounded_now()  # after the base was read
    fields = {name: getattr(prepared, name) for name in PreparedRun.__dataclass_fields__}
    return LoadedRun(**{**fields, "context": context}, model=model, base=base, undated=undated)


def referred(prepared: Prepared, model: nn.Module) -> Prepared:
    """Return the run, each example with the answers of the model before training where the loss compares with them.

    The model is the base, or for a run that starts from a version, that version on the base.
    """
    if not prepared.head.num_references:
        return prepared
    if not getattr(model, "is_quantized", False):
        model.to(own_device())  # where the Trainer moves it too
    training, collate = prepared.recipe.training, prepared.head.collator(prepared.tokenizer)
    size = 2 * part_size(training)

    def answered(examples: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        return with_references(prepared.head, model, collate, examples, batch_size=size, precision=training.precision)

    stages = prepared.stages
    if stages is not None:
        parts = [stage.validation for stage in stages.planned]
        stages = stages.with_validation([None if part is None else answered(part) for part in parts])
    examples = {split: answered(rows) for split, rows in prepared.examples.items()}
    return replace(prepared, examples=examples, stages=stages)


def _batches(prepared: PreparedRun) -> Iterator[dict[str, Any]]:
    """Yield training batches in the order of the rows, for a method that looks at data before training."""
    collate, examples = prepared.head.collator(prepared.tokenizer), prepared.examples["train"]
    for start in range(0, len(examples), prepared.recipe.training.batch_size):
        yield collate(list(examples[start : start + prepared.recipe.training.batch_size]))


def _check_length(recipe: Recipe, method: MethodImplementation, config: PretrainedConfig) -> None:
    limit = position_limit(config)
    if limit is not None and recipe.training.max_length + method.num_virtual_tokens > limit:
        prompt = (
            f" and the method {recipe.method.name} takes {method.num_virtual_tokens}"
            if method.num_virtual_tokens
            else ""
        )
        raise BadRecipe(
            f"training.max_length is {recipe.training.max_length}{prompt}, and the base has {limit} positions: lower it"
        )
