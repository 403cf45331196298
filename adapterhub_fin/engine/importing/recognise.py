"""Recognise folders and files that are not PEFT adapters, and say what to do with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.adapter_files import CONFIG, PICKLE, WEIGHTS
from adapterhub_fin_registry.io.safetensors_header import is_lfs_pointer, lfs_pointer, read_header
from adapterhub_fin_registry.model.file_rules import size_limit

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".zst")
STATES = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin", "rng_state.pth", "trainer_state.json")
MODELS = ("model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "consolidated.safetensors")
DEPTH = 32  # levels of a configuration; PEFT's have four
AS_BASE = "take it in as a base (ahf.add_base, `ahf import`), or import what was trained on top of it"
AS_PEFT = "give a folder as PeftModel.save_pretrained writes it"


def read_config(folder: Path, called: Path) -> dict[str, Any]:
    """Read a folder's adapter_config.json; `called` is the folder's name in messages.

    Raises NotAnAdapter, which says what a folder of something else is and what to do.
    """
    _check_folder(folder, called)
    path = folder / CONFIG
    if not _is_file(path, called / CONFIG):
        raise NotAnAdapter(f"{called} {_without_config(folder)}")
    with path.open("rb") as file:
        data = file.read(size_limit(CONFIG))
    if is_lfs_pointer(data):
        raise lfs_pointer(str(called / CONFIG))
    try:
        config = json.loads(data.decode("utf-8-sig"))  # some editors on Windows write a byte order mark
        json.dumps(config, ensure_ascii=False).encode()  # fails for a lone surrogate, which can't be stored
    except (ValueError, RecursionError) as error:
        raise NotAnAdapter(f"{called / CONFIG} is not JSON ({error}): get the folder again") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str) or not config["peft_type"]:
        raise NotAnAdapter(f"{called / CONFIG} has no peft_type, so it is no PEFT adapter{_guess(config, folder)}")
    if not _is_shallow(config, DEPTH):
        raise NotAnAdapter(f"{called / CONFIG} is nested deeper than any configuration is: get the folder again")
    return config


def check_weights(folder: Path, called: Path, *, allow_pickle: bool = False) -> None:
    """Check that a folder has readable adapter weights. Raises NotAnAdapter if not, or for a pickle unless allowed."""
    if _is_file(folder / WEIGHTS, called / WEIGHTS):
        read_header((folder / WEIGHTS).resolve(), str(called / WEIGHTS))  # the Hub's cache links its files
        return
    if _is_file(folder / PICKLE, called / PICKLE, size_limit(WEIGHTS)):
        with (folder / PICKLE).open("rb") as file:
            if is_lfs_pointer(file.read(64)):
                raise lfs_pointer(str(called / PICKLE))
        if allow_pickle:
            return
        raise NotAnAdapter(
            f"{called / PICKLE} is a pickle, which can run code when it is read: use --allow-pickle "
            "(allow_pickle=True), which reads only its tensors, or save it again with PeftModel.save_pretrained, which "
            "writes safetensors"
        )
    names = sorted(path.name for path in folder.iterdir())
    if shards := [name for name in names if name.startswith("adapter_model-") or name.endswith(".index.json")]:
        raise NotAnAdapter(
            f"{called} holds an adapter in shards ({shards[0]}), which PEFT does not read either: put its tensors into "
            f"one {WEIGHTS}"
        )
    if other_weights := [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth", ".gguf"))]:
        raise NotAnAdapter(f"{called} holds no {WEIGHTS}, but {', '.join(other_weights[:5])}: {AS_PEFT}")
    raise NotAnAdapter(f"{called} holds a configuration and no weights: add the {WEIGHTS} that belongs to it")


def _is_file(path: Path, called: Path, limit: int | None = None) -> bool:
    """Return whether a file exists. Raises NotAnAdapter if it is not a plain file, or larger than is allowed."""
    if not path.is_file():
        if os.path.lexists(path):
            raise NotAnAdapter(f"{called} isn't a plain file: put the file itself in its place")
        return False
    limit = limit or size_limit(path.name)
    if path.stat().st_size > limit:
        raise NotAnAdapter(f"{called} has more than the {limit} bytes that an adapter's may have: get the folder again")
    return True


def _is_shallow(value: Any, levels: int) -> bool:
    """Return whether a JSON value has at most so many levels; later readers recurse once per level."""
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in items)


def _check_folder(folder: Path, called: Path) -> None:
    if folder.is_dir():
        return
    if not folder.exists():
        raise NotAnAdapter(f"there is no folder {called}: {AS_PEFT}")
    with folder.open("rb") as file:
        start = file.read(4)
    if start == b"GGUF" or called.suffix == ".gguf":
        raise NotAnAdapter(f"{called} is a GGUF file, of llama.cpp: import the PEFT folder that it was made from")
    if called.suffix.lower() in ARCHIVES:
        raise NotAnAdapter(f"{called} is an archive: unpack it, and import the folder")
    raise NotAnAdapter(f"{called} is a file: give the folder that contains it and its {CONFIG}")


def _without_config(folder: Path) -> str:
    """Return what a folder without a configuration is, as the end of a sentence that begins with its name."""
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        return f"is empty: {AS_PEFT}"
    ending = {name: name.rpartition(".")[2] for name in names}
    if gguf := [name for name in names if ending[name] == "gguf"]:
        return f"holds a GGUF file ({gguf[0]}), of llama.cpp: import the PEFT folder that it was made from"
    if {"adapters.safetensors", "adapters.npz"} & set(names):
        return "is a folder of mlx-lm: convert it to PEFT first"
    if {"pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"} & set(names):
        return "is a LoRA of diffusers, without PEFT's configuration: save it again with PeftModel.save_pretrained"
    if shards := [name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))]:
        return f"is a whole model in shards ({shards[0]}), and no adapter: {AS_BASE}"
    if models := [name for name in names if name in MODELS]:
        return f"is a whole model ({models[0]}), and no adapter: {AS_BASE}"
    if below := sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob(f"*/{CONFIG}")):
        return f"holds no {CONFIG}, but {', '.join(below[:5])} in it does: give that folder"
    if {WEIGHTS, PICKLE} & set(names):
        return f"holds weights and no {CONFIG}, without which nobody can tell what they are: {AS_PEFT}"
    if states := [name for name in names if name in STATES]:
        return f"is the state of a training run ({states[0]}), and no adapter: {AS_PEFT}"
    return f"holds no {CONFIG} (it holds {', '.join(names[:5])}): {AS_PEFT}"


def _guess(config: Any, folder: Path) -> str:
    """Return which library may have written a configuration, and what to do, as the end of a sentence."""
    keys: Mapping[str, Any] = config if isinstance(config, dict) else {}
    if "fine_tune_type" in keys or "lora_parameters" in keys or (folder / "adapters.safetensors").exists():
        return " (it looks like one of mlx-lm: convert it to PEFT first)"
    if isinstance(keys.get("config"), dict) and ("model_name" in keys or "hidden_size" in keys):
        return " (it looks like one of the library adapters: train or convert it with PEFT)"
    if "model_type" in keys or "architectures" in keys:
        return f" (it looks like a whole model's: {AS_BASE})"
    return f": {AS_PEFT}"
