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
from adapterhub_fin.errors import BadRecipe, PluginError, Refused, WrongTensors
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.model_parts import bare, outside_backbone
from adapterhub_fin.plugin.trusted_code import is_remote_code_trusted, remote_code
from adapterhub_fin_registry.io.safetensors_header import read_header

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from adapterhub_fin.engine.base.experts import OutOfReach
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation
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
    """Load the base with its head; return it and its modules to save.

    These are the head's modules and those that the base's file lacks. Without a head plugin, the model is Transformers'
    class for PEFT's `task`, with `outputs` labels if that is given.
    """
    loading = {**method.loading(), "local_files_only": True, **remote_code()}
    if head is not None:
        spare_head(loading.get("quantization_config"), head, folder)
        model, missing = head.load_model(str(folder), **loading)
    else:
        model, missing = _model_for(task, folder, {**loading, **({"num_labels": outputs} if outputs else {})})
    method.prepare_base(model)
    modules_to_save = missing_modules(model, missing)
    if head is not None:  # even if the base's file has a classifier
        modules_to_save = outermost([*modules_to_save, *head.new_modules(model)])
    return model, modules_to_save


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


def set_attention(model: Any, implementation: str) -> None:
    """Make a Transformers model compute attention another way. Raises BadRecipe where it can't, with the reason."""
    try:
        model.set_attn_implementation(implementation)
    except (ValueError, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadRecipe(
            f"training.attn_implementation {implementation} does not go with this base on this machine ({reason}): "
            "choose another, or leave it out"
        ) from error


def spare_head(quantization: Any, head: HeadImplementation, folder: Path) -> None:
    """Exclude the head from quantization: it is trained, and the base's file may not contain its weights."""
    if quantization is not None and hasattr(quantization, "llm_int8_skip_modules"):
        with on_meta():
            quantization.llm_int8_skip_modules = outside_backbone(head.skeleton(load_config(folder)))


def missing_modules(model: nn.Module, missing: Sequence[str]) -> tuple[str, ...]:
    """Return the outermost modules with all their parameters missing: random at each load, so they must be saved.

    PEFT itself only saves `classifier` and `score`, and loses the pooler of a base that was saved without one.
    """
    absent = set(missing)
    modules = []
    for name, module in model.named_modules():
        inner = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
        if name and inner and absent.issuperset(inner):
            modules.append(name)
    return outermost(modules)


def outermost(modules: Sequence[str]) -> tuple[str, ...]:
    """Return sorted module names without those inside another of them."""
    names = sorted(set(modules))
    return tuple(name for name in names if not any(name.startswith(f"{outer}.") for outer in names))


def check_covered(random_modules: Sequence[str], modules_to_save: Sequence[str], whose: str) -> None:
    """Check that a version stores the weights of every module that its base lacks, which would be random otherwise.

    Raises WrongTensors with the first module that has no weights.
    """
    lost = [name for name in random_modules if not any(f"{name}.".startswith(f"{saved}.") for saved in modules_to_save)]
    if lost:
        raise WrongTensors(
            f"{whose} brings no weights for {lost[0]}, and its base has none either, so that every load would answer "
            "differently: save it again with that module in modules_to_save"
        )


def check_stored(head_modules: Sequence[str], folder: Path, method: str) -> None:
    """Check that a method stored a tensor of each head module. Raises PluginError if one has none."""
    names = [f".{name}" for name in read_header(folder / WEIGHTS)]
    if lost := [module for module in head_modules if not any(f".{module}." in name for name in names)]:
        raise PluginError(
            f"the method {method} stored no weights of the head's {lost[0]}: its `tensors` must hold them"
        )


def load_config(folder: Path) -> PretrainedConfig:
    """Return the base's configuration from its folder."""
    from transformers import AutoConfig

    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=is_remote_code_trusted()
        )
    except ValueError as error:
        _refuse_code(folder, error)
        raise
    return config


def hidden_size(config: PretrainedConfig) -> int | None:
    """Return the width of a base's hidden states; None where its configuration has no name for it."""
    width: int | None = getattr(config.get_text_config(), "hidden_size", None)
    return width


def _refuse_code(folder: Path, error: ValueError) -> None:
    """Raise Refused where Transformers asks for trust_remote_code: it would prompt, and run what the folder brings."""
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        raise Refused(
            f"the base at {folder} brings Python code of its own, which would run with your rights: read it, then "
            "allow it, with base.trust_remote_code=true in the recipe or --trust-remote-code (trust_remote_code=True) "
            "for a load"
        ) from error


def try_out(
    method: MethodImplementation, head: HeadImplementation, config: PretrainedConfig, context: AttachContext
) -> tuple[int, OutOfReach | None]:
    """Attach a method to a model without weights; return how many parameters it would train, and what it can't reach.

    So a target layer that doesn't exist is refused before any weight is read.
    """
    device = torch.device("cpu" if method.needs_real_weights else "meta")
    with building(), device, torch.random.fork_rng(devices=[]):
        skeleton = head.skeleton(config)
        modules_to_save = tuple(head.new_modules(skeleton))
        from adapterhub_fin.engine.base.experts import Reach

        reach = Reach(skeleton)
        adapted = method.attach(skeleton, dataclasses.replace(context, modules_to_save=modules_to_save))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    return trained, reach.out_of(adapted)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return a folder's tokenizer, which pads on the right with its padding token, or else with its end of text.

    If the folder has the base's configuration too, the padding token is one that the base embeds. Raises WrongBase if
    no token will do.
    """
    from transformers import AutoTokenizer

    rows = rows_of(load_config(folder)) if (folder / "config.json").is_file() else None
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=is_remote_code_trusted()
        )
    except ValueError as error:
        _refuse_code(folder, error)
        raise
    return padding(tokenizer, rows)


def tie(shell: nn.Module) -> None:
    """Tie a meta head's parameters to those of the backbone inside it, as the configuration says.

    Transformers' own `tie_weights` doesn't find them by name in a backbone whose layers an adapter has wrapped.
    """
    tied: Mapping[str, str] = getattr(shell, "all_tied_weights_keys", None) or {}
    for target, source in tied.items():
        (owner, name), (source_owner, source_name) = _owner(shell, target), _owner(shell, source)
        if getattr(owner, name).is_meta:
            setattr(owner, name, getattr(source_owner, source_name))


def _owner(model: nn.Module, parameter: str) -> tuple[nn.Module, str]:
    """Return the module with a parameter and the parameter's name in it; `parameter` is its path without adapters."""
    *path, name = parameter.split(".")
    module = model
    for part in path:
        module = bare(module.get_submodule(part))
    return module, name


def materialise(modules: Mapping[str, nn.Module], like: torch.Tensor) -> list[str]:
    """Allocate the parameters of a meta head's modules; return the names of those whose values a version must supply.

    Of `like`, a parameter of any shape, the dtype and the device are used.
    """
    empty_modules = []
    for path, module in modules.items():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                empty_modules.append(path)
                empty = torch.zeros(parameter.shape, dtype=like.dtype, device=like.device)
                setattr(module, name, nn.Parameter(empty, requires_grad=False))
    return empty_modules


def fingerprint_key(base: Base) -> str:
    """Return the key by which the folder of a base without an id is remembered on this machine."""
    probe = base.weight_probe.values if base.weight_probe else {}
    text = json.dumps([base.structure_digest, sorted(probe.items())], separators=(",", ":"))
    return "fingerprint:" + hashlib.sha256(text.encode()).hexdigest()
