"""Run PEFT's own test cases through the registry: `make peft-cases`.

The cases are read at run time from the sdist of the installed PEFT, which pip downloads; nothing of it is kept here.
Each case is saved and loaded twice, and imported and loaded twice (adapterhub_fin.testing.round_trip), and must answer
as plain PEFT does, bit for bit, or be refused with nothing stored. Results go to a JSON file and a table in the docs.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # PEFT asks the Hub for the base of a model that was built here

import peft
import torch
import transformers
from torch import nn

from adapterhub_fin.testing.round_trip import by_import, by_save, randomized
from adapterhub_fin.testing.tiny import tiny_tokenizer

TABLE = Path(__file__).parents[1] / "docs" / "reference" / "peft_cases.md"
WAYS = {"save": by_save, "import": by_import}


@dataclass(frozen=True)
class Case:
    """One of PEFT's test cases: where it is from, its configuration, and a base to put it on."""

    suite: str
    name: str
    config: type[Any]
    options: Mapping[str, Any]
    build: Callable[[], nn.Module]
    inputs: Mapping[str, Any]


def source(folder: Path) -> Path:
    """Download the sdist of the installed PEFT and return the folder of its tests."""
    version = peft.__version__
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", f"peft=={version}"]
    if not (folder / f"peft-{version}.tar.gz").is_file():
        subprocess.run([*pip, "-d", str(folder)], check=True)
    with tarfile.open(folder / f"peft-{version}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / f"peft-{version}" / "tests"


def namespace(tests: Path) -> dict[str, Any]:
    """Define the models and cases of PEFT's tests, without importing what the tests themselves need."""
    from peft.tuners import lora
    from peft.tuners.lora.config import BdLoraConfig
    from transformers.pytorch_utils import Conv1D

    names = {**vars(peft), "lora": lora, "BdLoraConfig": BdLoraConfig, "Conv1D": Conv1D, "nn": nn, "torch": torch}
    wanted: dict[str, Callable[[ast.stmt], bool]] = {
        "test_custom_models": lambda each: _names(each) == "TEST_CASES" or _is_model(each),
        "testing_utils": lambda each: _names(each) == "set_init_weights_false",
    }
    for suite in ("decoder", "feature_extraction", "seq_classifier", "encoder_decoder"):
        file = suite if suite == "seq_classifier" else f"{suite}_models"
        wanted[f"test_{file}"] = lambda each: _names(each) == "ALL_CONFIGS"
    for file, is_wanted in wanted.items():
        tree = ast.parse((tests / f"{file}.py").read_text(encoding="utf-8"))
        tree.body = [each for each in tree.body if is_wanted(each)]
        exec(compile(tree, file, "exec"), names)
        if "ALL_CONFIGS" in names:
            names[file] = names.pop("ALL_CONFIGS")
    return names


def _names(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return statement.name if isinstance(statement, ast.FunctionDef) else ""


def _is_model(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ClassDef) and not statement.name.startswith("Test")


SIZES: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.2}
T5: dict[str, Any] = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}


def bases() -> dict[str, Callable[[], nn.Module]]:
    """A tiny base for each suite, built from its configuration with the same weights each time."""
    t = transformers
    llama = {**SIZES, **HEADS, "num_key_value_heads": 2}
    return {
        "decoder": lambda: t.LlamaForCausalLM(t.LlamaConfig(**llama)),
        "decoder (GPT-2)": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)
        ),
        "encoder": lambda: t.BertModel(t.BertConfig(**SIZES, **HEADS)),
        "classifier": lambda: t.BertForSequenceClassification(t.BertConfig(**SIZES, **HEADS)),
        "classifier (Llama)": lambda: t.LlamaForSequenceClassification(t.LlamaConfig(**llama)),
        "sequence-to-sequence": lambda: t.T5ForConditionalGeneration(t.T5Config(**T5)),
        "sequence-to-sequence (BART)": lambda: t.BartForConditionalGeneration(
            t.BartConfig(vocab_size=96, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                         decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, init_std=0.2)
        ),
    }  # fmt: skip


ALL_CONFIGS = {"decoder": "test_decoder_models", "encoder": "test_feature_extraction_models",
               "classifier": "test_seq_classifier", "sequence-to-sequence": "test_encoder_decoder_models"}  # fmt: skip


def cases(tests: Path) -> Iterator[Case]:
    """Every case of the custom models, and every configuration of the suites on each of their bases."""
    names = namespace(tests)
    off = names["set_init_weights_false"]
    for title, model, config, options in names["TEST_CASES"]:
        build = lambda model=model: names["MockTransformerWrapper"].from_pretrained(model)  # noqa: E731
        yield Case("custom", title, config, off(config, options), build, {"X": torch.arange(90).view(9, 10)})
    for suite, build in bases().items():
        tokens, mask = torch.tensor([[1, 1, 1], [1, 2, 1]]), torch.tensor([[1, 1, 1], [1, 1, 1]])
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if suite.startswith("sequence"):
            inputs["decoder_input_ids"] = tokens
        for number, (config, options) in enumerate(names[ALL_CONFIGS[suite.partition(" (")[0]]]):
            yield Case(suite, f"{number} {config.__name__}", config, off(config, options), _seeded(build), inputs)


def _seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def seeded() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build().eval()

    return seeded


def run(case: Case, home: Path) -> dict[str, Any]:
    """Take one case both ways, in a registry of its own."""
    from adapterhub_fin_registry import Registry

    tokenizer = None if case.suite == "custom" else tiny_tokenizer("[CLS] $A [SEP]")
    record: dict[str, Any] = {"suite": case.suite, "name": case.name, "type": case.config.__name__}
    record["options"] = json.loads(json.dumps(case.options, default=str))
    for way, take in WAYS.items():
        try:
            model = randomized(case.build, case.config(**case.options))
        except Exception as error:
            return record | {"unfit": f"{type(error).__name__}: {error}"}  # PEFT's tests skip these
        with tempfile.TemporaryDirectory(dir=home) as place:
            outcome = take(model, case.build, case.inputs, Registry(Path(place)), tokenizer)
        record[way] = asdict(outcome) | {"right": outcome.right}
    return record


HEADER = """# PEFT's own test cases

Every test case of PEFT {version} was taken through the registry by `make peft-cases` (benchmarks/peft_cases.py): those
of its custom models, and all configurations of its decoder, encoder, classifier and sequence-to-sequence suites, on
tiny bases with random weights in the adapter. Each was saved with `ahf.save` and loaded twice on a fresh base, and
written with `save_pretrained`, imported and loaded twice; its answers were compared with those of plain PEFT.

| suite | cases | saved: equal, refused, wrong | imported: equal, refused, wrong |
|---|---|---|---|
"""
REFUSED = """
"Equal" is bit for bit, at both loads. "Refused" is one sentence before anything is stored. A case that PEFT itself
can't put on the base (such as a method for `Linear` on GPT-2's `Conv1D`) is left out.

## What is refused, and why

"""


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the results as a page of the docs: counts by suite, and every case that was not equal."""
    fit = [each for each in results if "unfit" not in each]
    page = HEADER.format(version=peft.__version__)
    for suite in dict.fromkeys(each["suite"] for each in fit):
        of_it = [each for each in fit if each["suite"] == suite]
        page += f"| {suite} | {len(of_it)} | {_counts(of_it, 'save')} | {_counts(of_it, 'import')} |\n"
    reasons: dict[str, list[str]] = {}
    for each, way in ((each, way) for way in WAYS for each in fit if each[way]["result"] != "equal"):
        reason = re.sub(r"/\S+/tmp\w+|(?<=\s)/tmp/\S+", "FOLDER", each[way]["reason"])
        reasons.setdefault(reason, []).append(f"{each['suite']}: {each['name']} ({way})")
    return page + REFUSED + "".join(f"- {reason}\n  - {'; '.join(named)}\n" for reason, named in reasons.items())


def _counts(results: Sequence[Mapping[str, Any]], way: str) -> str:
    equal = sum(each[way]["result"] == "equal" for each in results)
    right = sum(each[way]["right"] for each in results)
    return f"{equal}, {right - equal}, {len(results) - right}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", help="only suites whose names begin so")
    parser.add_argument("--only", help="only cases whose names hold this")
    parser.add_argument("--cache", type=Path, default=Path("build/peft-cases"), help="where the sdist is kept")
    parser.add_argument("--json", type=Path, default=Path("build/peft-cases/results.json"))
    told = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    told.cache.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["AHF_CACHE"] = f"{home}/cache"
        for case in cases(source(told.cache)):
            if case.suite.startswith(told.suite or "") and (told.only or "") in case.name:
                results.append(run(case, Path(home)))
    told.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if not told.suite and not told.only:
        TABLE.write_text(table(results), encoding="utf-8")
    wrong = [(each, way) for each in results for way in WAYS if way in each and not each[way]["right"]]
    for each, way in wrong:
        print(f"{each['suite']}: {each['name']} ({way}): {each[way]['result']}: {each[way]['reason']}")
    print(f"{len(results)} cases, {sum('unfit' in each for each in results)} unfit, {len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
