"""Write a stored version as a plain folder: for PEFT, for a serving engine, or folded into its base."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.stored_base import check_is_adapter, find_recorded
from adapterhub_fin.engine.base.tensor_file import TensorFile
from adapterhub_fin.errors import Corrupted, Refused, UnknownName, Unsupported, WriteFailed
from adapterhub_fin.exporting import lora
from adapterhub_fin.exporting.checking import findings, read_stored, version_findings
from adapterhub_fin.exporting.finding import Finding, StoredAdapter
from adapterhub_fin.exporting.launching import TEMPLATE, Launch, launch
from adapterhub_fin.exporting.onnx_graph.options import OnnxOptions
from adapterhub_fin.exporting.vllm import RANKS
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS
from adapterhub_fin.plugin.chat_templates import template_text
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.io.safe_read import hash_file

if TYPE_CHECKING:
    from adapterhub_fin.engine.folding.into_base import Folded
    from adapterhub_fin.engine.folding.loss import Into
    from adapterhub_fin_registry import Version

WHOLE = ("merged", "onnx")  # layouts that hold the base too
LAYOUTS = ("peft", "vllm", "merged", "onnx")
# What vLLM reads besides the adapter: a tokenizer of its own (transformers_utils/tokenizer.py, get_lora_tokenizer).
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja"),
)


@dataclass(frozen=True)
class Exported:
    """Describe a written folder: what was left out, what depends on the server, and how an engine serves it."""

    version: Version
    folder: Path
    left_out: Sequence[str] = ()
    notes: Sequence[Finding] = ()
    folded: Folded | None = None  # for the layout merged
    graph: Mapping[str, Any] | None = None  # for the layout onnx: its manifest
    launch: Launch | None = None


def export(
    reference: str,
    folder: str | Path,
    *,
    layout: str = "peft",
    without_head: bool = False,
    base: str | Path | None = None,
    into: Into | None = None,
    download: bool = False,
    engine: str | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> Exported:
    """Write a version's verified files to a new folder, which exists complete or not at all.

    `peft` copies every file. `vllm` writes what vLLM's LoRA loader reads: the configuration, the LoRA factors and a
    tokenizer. `without_head` leaves out modules_to_save. `merged` writes the whole model, with the version folded into
    its base: `base` and `download` are as for `load`, and `into` chooses, for a version trained on a quantized base,
    the dequantised weights (the default) or the original ones. `onnx` writes the folded model as an ONNX graph with a
    tokenizer and a manifest, once it answers as torch does on rows; `options` are those of `OnnxOptions`, such as
    precision, table, corpus and max_change. `engine` (vllm, sglang, lorax or tgi) adds how to serve
    the folder with it. Raises UnknownName for a layout or an engine, Refused for arguments that don't go together or a
    folder that exists, Unsupported for what the engine would not load or a graph that answers otherwise, BadRecipe for
    wrong options, and whatever `load` raises for the base.

    Example:
        >>> done = ahf.export("acme/notes@1", "exported/notes", layout="vllm", engine="vllm")
        >>> done.left_out, done.launch.engine
        ([], 'vllm')
        >>> ahf.export("acme/tone@1", "desk/tone", layout="onnx", precision="int8").graph["measured"]["largest_change"]
        0.0367
    """
    if layout not in LAYOUTS:
        raise UnknownName("layout", layout, LAYOUTS)
    if without_head and layout != "vllm":
        raise Refused("a PEFT folder without its head predicts at random: without_head is for the layout vllm alone")
    if layout not in WHOLE and (base is not None or download):
        raise Refused(f"base and download are for the layouts merged and onnx: a folder for {layout} holds no base")
    if layout != "merged" and into is not None:
        raise Refused("into is for the layout merged, whose weights it chooses: leave it out")
    if layout in WHOLE and engine is not None:
        raise Refused(f"a folder for {layout} is a whole model, which an engine loads like any other: leave engine out")
    if layout != "onnx" and options:
        raise Refused(f"{min(options)} is no option of the layout {layout}: leave it out, or write it as onnx")
    graph_options = checked(OnnxOptions, options, "export")
    registry = registry or configured_registries().answering(reference)
    version = registry.resolve(reference)
    check_is_adapter(version)
    source, target = registry.path(version), Path(folder).absolute()
    with _built_apart(target) as built:
        if layout == "peft":
            _copy(version, source, built)
            done = Exported(version, target)
        elif layout == "merged":
            from adapterhub_fin.engine.inference.find import base_source, find_version

            base_source(find_version(version, registry, None, True, None), base, download)
            from adapterhub_fin.engine.folding.into_base import fold_into_base  # torch, once the base is there

            exact = f"{version.name}@{version.number}"
            folded = fold_into_base(exact, built, base=base, into=into, download=download, registry=registry)
            done = Exported(version, target, folded=folded)
        elif layout == "onnx":
            _check_folds(version, source)
            from adapterhub_fin.exporting.onnx_graph.write import write_onnx

            write_chat_template(version, built)  # which the manifest lists
            graph = write_onnx(version, registry, built, graph_options, base, download)
            return Exported(version, target, graph=graph)
        else:
            done = Exported(version, target, *_for_vllm(version, source, built, without_head))
        write_chat_template(version, built)
        return done if engine is None else replace(done, launch=_launch(engine, done, built, registry))


def _check_folds(version: Version, source: Path) -> None:
    """Raise Unsupported where no graph can be made of a version."""
    for finding in version_findings(version, source, "onnx"):
        if finding.level != "unsure":
            raise Unsupported(f"{version.reference} can't be written as a graph: {finding.says}; {finding.do}")


@contextmanager
def _built_apart(target: Path) -> Iterator[Path]:
    """Yield a folder next to the target, which becomes the target once it is complete.

    Raises Refused where the target exists, and WriteFailed where no folder can be made there.
    """
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise Refused(f"{target} exists already: name a new folder, or an empty one")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        apart = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise WriteFailed(f"{target} can't be written ({error.strerror}): choose another folder") from error
    with apart as temporary:
        built = Path(temporary) / "built"
        built.mkdir()
        yield built
        if target.exists():
            target.rmdir()  # fails for a folder that was filled meanwhile
        built.rename(target)


def _copy(version: Version, source: Path, built: Path) -> None:
    for file in version.manifest.files:
        (built / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file.path, built / file.path)
        if hash_file(built / file.path) != (file.size, file.sha256):
            raise Corrupted(
                f"the copy of {file.path} of {version.reference} differs from the stored file: export it again"
            )


def write_chat_template(version: Version, built: Path) -> None:
    """Write the template by which the version was trained on conversations, where it has one of its own.

    Transformers reads it beside a tokenizer, and the engines take it as `--chat-template`.
    """
    head = version.manifest.head
    template = template_text(head.options.get("chat_template")) if head else None
    if template:
        (built / TEMPLATE).write_text(template, encoding="utf-8")


def _launch(engine: str, done: Exported, built: Path, registry: Registry) -> Launch:
    """Return how an engine serves the folder that was written."""
    stored = read_stored(done.version, built)
    if stored is None:
        raise Unsupported(f"{engine} can't serve {done.version.reference}: it has no {CONFIG}; load it with ahf.load")
    tensors = {name: shape for name, shape in stored.tensors.items() if name not in done.left_out}
    base = done.version.manifest.base.repository or _stored_base(done.version, registry)
    return launch(
        engine,
        done.version.reference,
        done.folder,
        base,
        replace(stored, tensors=tensors),
        (built / TEMPLATE).is_file(),
    )


def _stored_base(version: Version, registry: Registry) -> str | None:
    """Return the folder of the stored base that a version was trained on; None where it has none here."""
    recorded = version.manifest.base.version
    located = None if recorded is None else find_recorded(recorded, registry, download=False)
    return None if located is None else str(located.registry.path(located.version))


def _for_vllm(version: Version, source: Path, built: Path, without_head: bool) -> tuple[list[str], list[Finding]]:
    """Write what vLLM reads; return the names of the tensors left out, and what the server must be set to."""
    stored = read_stored(version, source)
    left_out = _head_tensors(version, stored) if stored and without_head else []
    if stored and left_out:
        tensors = {name: shape for name, shape in stored.tensors.items() if name not in left_out}
        stored = replace(stored, config={**stored.config, "modules_to_save": None}, tensors=tensors)
    for finding in findings(stored, "vllm", RANKS[-1]):  # the rank limit is set when the server starts
        if finding.level != "unsure":
            raise Unsupported(f"vLLM can't serve {version.reference}: {finding.says}; {finding.do}")
    assert stored is not None  # else it was refused above
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, built / name)
    if left_out:
        text = json.dumps(stored.config, indent=2, sort_keys=True, ensure_ascii=False)
        (built / CONFIG).write_text(text + "\n", encoding="utf-8")
        TensorFile(source / WEIGHTS).rewrite({name: name for name in stored.tensors}, built / WEIGHTS)
    else:
        shutil.copyfile(source / CONFIG, built / CONFIG)
        shutil.copyfile(source / WEIGHTS, built / WEIGHTS)
    return left_out, findings(stored, "vllm")


def _head_tensors(version: Version, stored: StoredAdapter) -> list[str]:
    """Return the tensors of modules_to_save: the head's, and those that the configuration names."""
    head = version.manifest.head
    configured = stored.config.get("modules_to_save")
    modules = {*(head.modules_to_save if head else ()), *(configured if isinstance(configured, list) else ())}
    tensors = [name for name in lora.others(stored) if _is_of(lora.module_of(name), modules)]
    return sorted(tensors)


def _is_of(module: str, modules: Collection[str]) -> bool:
    """Return whether a module is one of these or inside one, by its whole path or the end of it, as in PEFT."""
    parts = module.split(".")
    paths = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return any(path == name or path.endswith(f".{name}") for path in paths for name in modules)
