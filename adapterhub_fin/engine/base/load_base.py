"""Load bases with their heads, and their tokenizers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.locks import building, on_meta
from adapterhub_fin.engine.base.padding import padding, rows_of
from adapterhub_fin.errors import PluginError, WrongTensors
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.backbone import bare, outside_backbone
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from adapterhub_fin.engine.base.experts import OutOfReach
    from adapterhub_fin.plugin.interfaces import AttachContext, HeadImplementation, MethodImplementation
    from adapterhub_fin_registry.model.manifest import Base
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")


def load_base(
    folder: Path,
    head: HeadImplementation | None,
    method: MethodImplementation,
    task: str | None = None,
    outputs: int | None = None,
) -> tuple[Any, Sequence[str]]:
    """Load the base with its head; return it and the modules whose weights must travel.

    These are the head's, and what the base's file lacks. Without a head of ours, the model is Transformers' own for
    PEFT's `task`, with as many `outputs` as the version stores.
    """
    loading = {**method.loading(), "local_files_only": True}
    if head is not None:
        spare_head(loading.get("quantization_config"), head, folder)
        model, missing = head.load_model(str(folder), **loading)
    else:
        model, missing = _model_for(task, folder, {**loading, **({"num_labels": outputs} if outputs else {})})
    travelling = missing_modules(model, missing)
    if head is not None and head.task == "SEQ_CLS":  # also where the base brings a classifier of its own
        travelling = outermost([*travelling, *outside_backbone(model)])
    return model, travelling


def _model_for(task: str | None, folder: Path, loading: Mapping[str, Any]) -> tuple[Any, Sequence[str]]:
    import transformers

    kinds = {
        "SEQ_2_SEQ_LM": "ForSeq2SeqLM",
        "TOKEN_CLS": "ForTokenClassification",
        "QUESTION_ANS": "ForQuestionAnswering",
    }
    if task not in kinds:
        return transformers.AutoModel.from_pretrained(folder, **loading), ()
    build = getattr(transformers, f"AutoModel{kinds[task]}")
    model, info = build.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True, **loading)
    return model, sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})


def spare_head(quantization: Any, head: HeadImplementation, folder: Path) -> None:
    """Leave the head out of quantization: it is trained, and its weights may not be in the base's file at all."""
    if quantization is not None and hasattr(quantization, "llm_int8_skip_modules"):
        with on_meta():
            quantization.llm_int8_skip_modules = outside_backbone(head.skeleton(load_config(folder)))


def missing_modules(model: nn.Module, missing: Sequence[str]) -> tuple[str, ...]:
    """The largest modules all of whose parameters are missing: they are drawn at random, so they must travel.

    PEFT's own list knows `classifier` and `score` alone, and loses a pooler that the base was saved without.
    """
    absent = set(missing)
    found = []
    for name, module in model.named_modules():
        inner = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
        if name and inner and absent.issuperset(inner):
            found.append(name)
    return outermost(found)


def outermost(modules: Sequence[str]) -> tuple[str, ...]:
    """Module names without those that lie within another of them, sorted."""
    names = sorted(set(modules))
    return tuple(name for name in names if not any(name.startswith(f"{outer}.") for outer in names))


def check_covered(drawn: Sequence[str], travelling: Sequence[str], whose: str) -> None:
    """Every module that was drawn at random gets its weights from the version; else WrongTensors names the first."""
    lost = [name for name in drawn if not any(f"{name}.".startswith(f"{module}.") for module in travelling)]
    if lost:
        raise WrongTensors(
            f"{whose} brings no weights for {lost[0]}, which its base has none for either, so that every load would "
            "answer differently: save it again with that module in modules_to_save"
        )


def check_stored(head_modules: Sequence[str], folder: Path, method: str) -> None:
    """Every module of a head has a tensor in the file; else PluginError, since every load would answer at random."""
    names = [f".{name}" for name in read_header(folder / WEIGHTS)]
    if lost := [module for module in head_modules if not any(f".{module}." in name for name in names)]:
        raise PluginError(
            f"the method {method} stored no weights of the head's {lost[0]}: its `tensors` must hold them"
        )


def load_config(folder: Path) -> PretrainedConfig:
    """The base's configuration, read from its folder."""
    from transformers import AutoConfig

    config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


def try_out(
    method: MethodImplementation, head: HeadImplementation, config: PretrainedConfig, site: AttachContext
) -> tuple[int, OutOfReach | None]:
    """Attach to a model without values, or with any; how many parameters would be trained, and what is out of reach.

    So a layer that does not exist is refused before any weight is read.
    """
    device = torch.device("cpu" if method.needs_real_weights else "meta")
    with building(), device, torch.random.fork_rng(devices=[]):
        skeleton = head.skeleton(config)
        drawn = tuple(outside_backbone(skeleton)) if head.task == "SEQ_CLS" else ()
        from adapterhub_fin.engine.base.experts import Reach

        reach = Reach(skeleton)
        adapted = method.attach(skeleton, dataclasses.replace(site, modules_to_save=drawn))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    return trained, reach.out_of(adapted)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a folder, padding on the right; without a padding token it pads with its end of text.

    The token that pads is one that the base embeds, where the folder has its configuration too.
    """
    from transformers import AutoTokenizer

    rows = rows_of(load_config(folder)) if (folder / "config.json").is_file() else None
    return padding(AutoTokenizer.from_pretrained(folder, local_files_only=True), rows)


def tie(shell: nn.Module) -> None:
    """Give a meta shell around a backbone the backbone's own parameters where its configuration ties them to it.

    The backbone may carry adapters, whose wrapped layers Transformers would not find by their names.
    """
    tied: Mapping[str, str] = getattr(shell, "all_tied_weights_keys", None) or {}
    for target, source in tied.items():
        (owner, name), (giver, given) = _owner(shell, target), _owner(shell, source)
        if getattr(owner, name).is_meta:
            setattr(owner, name, getattr(giver, given))


def _owner(model: nn.Module, parameter: str) -> tuple[nn.Module, str]:
    """Return the module that holds a parameter, by the name that it has without adapters, and what it calls it."""
    *path, name = parameter.split(".")
    module = model
    for part in path:
        module = bare(module.get_submodule(part))
    return module, name


def materialise(shell: nn.Module, like: torch.Tensor) -> list[str]:
    """Give memory to the parameters of a meta shell that have none; the modules whose values a version must bring."""
    empty_modules = []
    for path, module in shell.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                empty_modules.append(path)
                empty = torch.zeros(parameter.shape, dtype=like.dtype, device=like.device)
                setattr(module, name, nn.Parameter(empty, requires_grad=False))
    return empty_modules


def fingerprint_key(base: Base) -> str:
    """What a base without an id is remembered by on this machine."""
    probe = base.weight_probe.values if base.weight_probe else {}
    text = json.dumps([base.structure_digest, sorted(probe.items())], separators=(",", ":"))
    return "fingerprint:" + hashlib.sha256(text.encode()).hexdigest()
