"""Repair PEFT folders that are old or oddly saved, so that PEFT can load them; each repair is reported and recorded.

Otherwise a folder is stored as it came. No repair changes a weight: they only correct names and settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapterhub_fin.engine.base.tensor_file import TensorFile
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS

# A checkpoint of the whole PEFT model's state has the adapter's name in its keys. PEFT's own files never do, and its
# loader ignores such keys without a warning.
RUNTIME = re.compile(r"\.(lora_[A-Za-z_]+)\.default(?=\.|$)")
KEPT_COPY, ORIGINAL = ".modules_to_save.default.", ".original_module."


def repair(folder: Path) -> list[str]:
    """Repair a copy of a folder in place; return one sentence per repair.

    Raises NotAnAdapter for a folder that can't be repaired.
    """
    return [*repair_config(folder / CONFIG), *repair_names(folder / WEIGHTS)]


def repair_config(path: Path) -> list[str]:
    """Correct the spelling of types in adapter_config.json, and add settings that PEFT requires to load it.

    Returns one sentence per repair. Raises NotAnAdapter for an AdaLoRA schedule that can't be read.
    """
    data = path.read_bytes()
    config: dict[str, Any] = json.loads(data.decode("utf-8-sig"))
    done = []
    if data.startswith(b"\xef\xbb\xbf"):
        done.append(f"{CONFIG}: removed the byte order mark, which is not JSON")
    for key in ("peft_type", "task_type"):
        old = config.get(key)
        if isinstance(old, str) and (new := old.rpartition(".")[2].upper()) != old:
            config[key] = new
            done.append(f"{CONFIG}: {key} was {old!r} and is {new!r}")
    if config.get("peft_type") == "ADALORA" and not config.get("total_step"):
        # PEFT requires it even to load, and checks it against the schedule of the finished training.
        config["total_step"] = _steps(config, "tinit") + _steps(config, "tfinal") + 1
        done.append(f"{CONFIG}: total_step was not set and is {config['total_step']}, after the schedule's ends")
    if done:
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return done


def _steps(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise NotAnAdapter(f"{CONFIG}: {key} is {value!r} and must be a number of steps: get the folder again")
    return value


def repair_names(path: Path) -> list[str]:
    """Remove the adapter's name from tensor names, and the base's own copies of `modules_to_save` from the file.

    Returns one sentence per repair. Raises NotAnAdapter if two tensors would have the same name.
    """
    file = TensorFile(path)
    dropped = [name for name in file.tensors if ORIGINAL in name]
    names = {name: _stored_name(name) for name in file.tensors if name not in dropped}
    renamed = [name for name, new in names.items() if name != new]
    if not renamed:
        return []
    if len(set(names.values())) != len(names):
        raise NotAnAdapter(
            f"{path.name} holds a tensor under its name and under that with the runtime name 'default': keep one"
        )
    part = path.with_suffix(".part")
    file.rewrite(names, part)
    part.replace(path)
    return _sentences(renamed, dropped, names)


def _sentences(renamed: Sequence[str], dropped: Sequence[str], names: Mapping[str, str]) -> list[str]:
    first = renamed[0]
    done = [f"{WEIGHTS}: took the runtime name out of {len(renamed)} tensors' names ({first} is {names[first]})"]
    if dropped:
        done.append(f"{WEIGHTS}: left out {len(dropped)} tensors of the base ({dropped[0]})")
    return done


def _stored_name(name: str) -> str:
    return RUNTIME.sub(r".\1", name).replace(KEPT_COPY, ".")
