"""Compute the log-likelihood of each option of a probe under a base that is a causal or a masked language model.

A causal model scores the whole sentence with the option in place. A masked one scores the option's own tokens, each
masked together with those to its right (PLL-word-l2r: Kauf and Ivanova 2023, arXiv 2305.10588; after Salazar et al.
2020), because the rest of a word would give it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.load_base import load_config, load_tokenizer
from adapterhub_fin.engine.base.locks import computing, tokenizing
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.contamination.probes import BLANK, Probe
from adapterhub_fin.errors import BadText, NotFinite, Unsupported, WrongBase
from adapterhub_fin.plugin.progress_lines import progress
from adapterhub_fin.plugin.trusted_code import remote_code

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np, torch = Lazy("numpy"), Lazy("torch")

Kind = Literal["causal", "masked"]


@dataclass(frozen=True)
class LanguageModel:
    """Hold a base with its language-model head, and its tokenizer."""

    model: Any
    tokenizer: Any
    kind: Kind


@dataclass(frozen=True)
class _Row:
    """Hold one row to compute: its token ids, and the (position, token) pairs whose log-probabilities are summed."""

    probe: int
    option: int
    ids: Sequence[int]
    targets: Sequence[tuple[int, int]]  # the logits at a position predict the token


def kind_of(folder: Path) -> Kind:
    """Return what kind of language model a folder's configuration names. Raises Unsupported where it names none."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    config = load_config(folder)
    names = list(config.architectures or ())
    own = getattr(config, "auto_map", None) or {}
    kinds: tuple[tuple[Kind, Any, str], ...] = (
        ("causal", MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "AutoModelForCausalLM"),
        ("masked", MODEL_FOR_MASKED_LM_MAPPING_NAMES, "AutoModelForMaskedLM"),
    )
    for kind, mapping, automatic in kinds:
        if any(name in mapping.values() for name in names) or automatic in own:
            return kind
    raise Unsupported(
        f"the base at {folder} is {' and '.join(names) or 'of no named architecture'}, which has no language-model "
        "head to ask: give a causal or a masked language model"
    )


def load_language_model(folder: Path, device: Any = None) -> LanguageModel:
    """Load a folder's model with its language-model head, for evaluation.

    Raises Unsupported for one without such a head, and WrongBase where its files lack the head's weights.
    """
    import transformers

    kind = kind_of(folder)
    automatic: Any = {"causal": transformers.AutoModelForCausalLM, "masked": transformers.AutoModelForMaskedLM}[kind]
    with quiet_loading():
        model, info = automatic.from_pretrained(
            folder, output_loading_info=True, local_files_only=True, **remote_code()
        )
        if info["missing_keys"]:
            raise WrongBase(
                f"the files at {folder} lack {sorted(info['missing_keys'])[0]}, so that a load makes it up: give the "
                "folder of the whole language model"
            )
        model = model.eval()
        if device is not None:
            model = model.to(device)
        tokenizer = load_tokenizer(folder)
    if kind == "masked" and tokenizer.mask_token_id is None:
        raise WrongBase(f"the tokenizer at {folder} has no mask token, so that a masked model can't be asked: set it")
    return LanguageModel(model, tokenizer, kind)


def option_likelihoods(
    language_model: LanguageModel, probes: Sequence[Probe], *, batch_size: int = 32
) -> dict[int, np.ndarray]:
    """Return the log-likelihood of each option by the probe's number, (options,), in nats.

    Raises BadText for a probe that is too long for the base, and NotFinite where the base answers NaN.
    """
    with tokenizing():
        rows = [row for probe in probes for row in _rows(probe, language_model)]
    sums = {probe.number: np.zeros(len(probe.options)) for probe in probes}
    rows.sort(key=lambda row: (len(row.ids), row.probe, row.option))
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    with computing(language_model.model), torch.inference_mode(), progress("probes", len(rows)) as advance:
        for batch in batches:
            for row, value in zip(batch, _sums(language_model, batch), strict=True):
                sums[row.probe][row.option] += value
            advance(len(batch))
    for number, values in sums.items():
        if not np.isfinite(values).all():
            raise NotFinite(f"probe {number}: the base answers NaN or infinity: its weights are broken")
    return sums


def count_uneven(language_model: LanguageModel, probes: Sequence[Probe]) -> int:
    """Return how many probes have options of unequal numbers of tokens under a masked model; 0 under a causal one.

    A masked model sees how many tokens are missing, so that it finds an option by its length at any date.
    """
    if language_model.kind == "causal":
        return 0
    with tokenizing():
        lengths = [{len(language_model.tokenizer(text)["input_ids"]) for text in probe.filled()} for probe in probes]
    return sum(len(each) > 1 for each in lengths)


def _rows(probe: Probe, language_model: LanguageModel) -> Iterator[_Row]:
    """Yield the rows of a probe: one for each option, or, of a masked model, one for each of its tokens."""
    tokenizer = language_model.tokenizer
    encoded: list[list[int]] = [tokenizer(text)["input_ids"] for text in probe.filled()]
    if len({tuple(ids) for ids in encoded}) < len(encoded):
        raise BadText(f"probe {probe.number} has two options that are the same to the base's tokenizer: change one")
    first, last = common_ends(encoded)
    if language_model.kind == "causal" and not first:
        encoded, first = _with_start(encoded, tokenizer, probe), 1
    limit = _limit(language_model.model)
    for option, ids in enumerate(encoded):
        if limit is not None and len(ids) > limit:
            raise BadText(f"probe {probe.number} has {len(ids):,} tokens and the base reads {limit:,}: shorten it")
        if language_model.kind == "causal":
            targets = [(position - 1, ids[position]) for position in range(first, len(ids))]
            yield _Row(probe.number, option, ids, targets)
            continue
        stop = len(ids) - last
        for position in range(first, stop):
            masked = [*ids[:position], *[tokenizer.mask_token_id] * (stop - position), *ids[stop:]]
            yield _Row(probe.number, option, masked, [(position, ids[position])])


def common_ends(encoded: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return how many tokens all options share at the start and at the end; each has at least one between them."""
    shortest = min(map(len, encoded))
    first = _shared(encoded, shortest - 1)
    return first, _shared([list(reversed(ids)) for ids in encoded], shortest - 1 - first)


def _shared(encoded: Sequence[Sequence[int]], most: int) -> int:
    count = 0
    while count < most and len({ids[count] for ids in encoded}) == 1:
        count += 1
    return count


def _with_start(encoded: Sequence[Sequence[int]], tokenizer: Any, probe: Probe) -> list[list[int]]:
    """Return the options' tokens after a token that begins a text: nothing else would predict their first."""
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise BadText(f"probe {probe.number} begins with its blank, which nothing predicts: put a word before {BLANK}")
    return [[start, *ids] for ids in encoded]


def _limit(model: Any) -> int | None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _sums(language_model: LanguageModel, batch: Sequence[_Row]) -> list[float]:
    """Return the sum of the log-probabilities of each row's targets."""
    longest = max(len(row.ids) for row in batch)
    padding = language_model.tokenizer.pad_token_id
    device = next(language_model.model.parameters()).device
    ids = torch.tensor([[*row.ids, *[padding] * (longest - len(row.ids))] for row in batch], device=device)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in batch], device=device)
    logits = language_model.model(input_ids=ids, attention_mask=mask).logits
    sums = []
    for row, values in zip(batch, logits, strict=True):
        positions, tokens = (torch.tensor(each, device=device) for each in zip(*row.targets, strict=True))
        chosen = values[positions].float().log_softmax(dim=-1).gather(1, tokens[:, None])
        sums.append(float(chosen.double().sum()))
    return sums
