"""Tell what is no PEFT adapter apart, and say what to do with it."""

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
AS_PEFT = "give a folder as PeftModel.save_pretrained writes it"


def read_config(folder: Path, called: Path) -> dict[str, Any]:
    """The folder's adapter_config.json; NotAnAdapter says what the folder is instead, and what to do.

    `called` is how messages name the folder.
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
        config = json.loads(data.decode("utf-8-sig"))  # some editors of Windows put a mark before the first byte
        json.dumps(config, ensure_ascii=False).encode()  # half a surrogate pair is no text, and can't be stored
    except (ValueError, RecursionError) as error:
        raise NotAnAdapter(f"{called / CONFIG} is not JSON ({error}): get the folder again") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str) or not config["peft_type"]:
        raise NotAnAdapter(f"{called / CONFIG} has no peft_type, so it is no PEFT adapter{_of_others(config, folder)}")
    if not _is_shallow(config, DEPTH):
        raise NotAnAdapter(f"{called / CONFIG} is nested deeper than any configuration is: get the folder again")
    return config


def check_weights(folder: Path, called: Path, *, allow_pickle: bool = False) -> None:
    """Raise NotAnAdapter where the folder holds no weights of an adapter that may be read."""
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
            f"{called / PICKLE} is a pickle, which can run code when it is read: let its tensors alone be read with "
            "--allow-pickle (allow_pickle=True), or save it again with PeftModel.save_pretrained, which writes "
            "safetensors"
        )
    names = sorted(path.name for path in folder.iterdir())
    if shards := [name for name in names if name.startswith("adapter_model-") or name.endswith(".index.json")]:
        raise NotAnAdapter(
            f"{called} holds an adapter in shards ({shards[0]}), which PEFT does not read either: put its tensors into "
            f"one {WEIGHTS}"
        )
    if others := [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth", ".gguf"))]:
        raise NotAnAdapter(f"{called} holds no {WEIGHTS}, but {', '.join(others[:5])}: {AS_PEFT}")
    raise NotAnAdapter(f"{called} holds a configuration and no weights: add the {WEIGHTS} that belongs to it")


def _is_file(path: Path, called: Path, limit: int | None = None) -> bool:
    """Whether a file is there; NotAnAdapter where what is there is no plain file, or larger than a version's may be."""
    if not path.is_file():
        if os.path.lexists(path):
            raise NotAnAdapter(f"{called} isn't a plain file: put the file itself in its place")
        return False
    limit = limit or size_limit(path.name)
    if path.stat().st_size > limit:
        raise NotAnAdapter(f"{called} has more than the {limit} bytes that an adapter's may have: get the folder again")
    return True


def _is_shallow(value: Any, levels: int) -> bool:
    """Whether a JSON value nests at most so deep: what reads it later calls itself for every level."""
    if not isinstance(value, dict | list):
        return True
    return levels > 0 and all(
        _is_shallow(each, levels - 1) for each in (value.values() if isinstance(value, dict) else value)
    )


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
    raise NotAnAdapter(f"{called} is a file: give the folder that it lies in, with its {CONFIG} beside it")


def _without_config(folder: Path) -> str:
    """What a folder without a configuration is, as the end of a sentence that begins with its name."""
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
        return f"is a whole model in shards ({shards[0]}), and no adapter: import what was trained on top of it"
    if models := [name for name in names if name in MODELS]:
        return f"is a whole model ({models[0]}), and no adapter: import what was trained on top of it"
    if below := sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob(f"*/{CONFIG}")):
        return f"holds no {CONFIG}, but {', '.join(below[:5])} in it does: give that folder"
    if {WEIGHTS, PICKLE} & set(names):
        return f"holds weights and no {CONFIG}, without which nobody can tell what they are: {AS_PEFT}"
    if states := [name for name in names if name in STATES]:
        return f"is the state of a training run ({states[0]}), and no adapter: {AS_PEFT}"
    return f"holds no {CONFIG} (it holds {', '.join(names[:5])}): {AS_PEFT}"


def _of_others(config: Any, folder: Path) -> str:
    """Whose configuration this may be, and what to do, as the end of a sentence."""
    found: Mapping[str, Any] = config if isinstance(config, dict) else {}
    if "fine_tune_type" in found or "lora_parameters" in found or (folder / "adapters.safetensors").exists():
        return " (it looks like one of mlx-lm: convert it to PEFT first)"
    if isinstance(found.get("config"), dict) and ("model_name" in found or "hidden_size" in found):
        return " (it looks like one of the library adapters: train or convert it with PEFT)"
    if "model_type" in found or "architectures" in found:
        return " (it looks like a whole model's: import what was trained on top of it)"
    return f": {AS_PEFT}"
