"""FinLoRA's configurations and tasks and FinGPT's instructions, as the recipes of docs/reference/other_tools.md."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import adapterhub_fin as ahf
from adapterhub_fin.recipe.recipe import Training

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "other_tools.md").read_text(encoding="utf-8")
EIGHT, FOUR, FINGPT = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
ROWS = 40
TONES = ("negative", "neutral", "positive")
# Made up, in the form of each task's files: one JSON object a line, with context and target.
TASKS = {
    "sentiment": lambda i: (
        f"Instruction: What is the sentiment of this news? Choose one of {', '.join(TONES)}.\n"
        f"Input: Firm {i} reports sales {('below', 'at', 'above')[i % 3]} plan.\nAnswer: ",
        TONES[i % 3],
    ),
    "headline": lambda i: (
        f"Does the headline say that the price rose? Gold {('falls', 'rises')[i % 2]} to {i}.",
        ("No", "Yes")[i % 2],
    ),
    "ner": lambda i: (f"Sentence: Firm {i} is led by Ann Bo. What is the entity type of 'Firm {i}'?", "organization"),
    "finer": lambda i: (
        "What is the appropriate XBRL US GAAP tag for each number, as a list?\n"
        f"1. What is {i} in: The loan of ${i} million is due in {2030 + i % 5}?\n",
        "DebtInstrumentFaceAmount, DebtInstrumentMaturityDate",
    ),
    "xbrl_extract": lambda i: (
        f'<us-gaap:Revenues contextRef="c{i}" unitRef="usd">{i}00</us-gaap:Revenues>\nWhat are the revenues?',
        f"${i}00",
    ),
}
# (task, the recipe of the page, what FinLoRA's own file changes in it)
RUNS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "sentiment_8bits_r8_dora": ("sentiment", EIGHT, []),
    "headline_8bits_r8_dora": ("headline", EIGHT, []),
    "ner_8bits_r8_dora": ("ner", EIGHT, []),
    "finer_8bits_r8": ("finer", EIGHT, ["method.dora=false", "training.batch_size=8", "training.accumulate=8"]),
    "xbrl_extract_4bits_r4": ("xbrl_extract", FOUR, []),
    "sentiment_16bits_rslora": ("sentiment", EIGHT, ["method.name=lora", "method.rslora=true", "method.dora=false"]),
}
HERE = ["training.max_steps=2", "training.eval_steps=2", "training.max_length=400"]  # steps and lengths of a tiny base


@pytest.fixture(scope="module")
def long(decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama with room for these prompts: its positions have no weights."""
    folder = tmp_path_factory.mktemp("long") / "base"
    shutil.copytree(decoder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    return folder


def written(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trained(recipe: dict[str, Any], changes: list[str], rows: Path, decoder: Path) -> Any:
    document = {**recipe, "base": {"path": str(decoder)}, "corpus": {**recipe["corpus"], "path": str(rows)}}
    if "method.name=lora" in changes:
        document["method"] = {key: value for key, value in recipe["method"].items() if key != "bits"}
    return ahf.train(document, overrides=[*changes, *HERE])


@pytest.mark.parametrize("name", RUNS)
def test_a_configuration_of_finlora_trains(name: str, long: Path, tmp_path: Path) -> None:
    task, recipe, changes = RUNS[name]
    contexts = [TASKS[task](i) for i in range(ROWS)]
    rows = written(tmp_path, [{"context": context, "target": target} for context, target in contexts])
    run = trained(recipe, changes, rows, long)
    manifest = run.version.manifest
    assert run.steps == 2 and manifest.corpus.rows["train"] >= 30
    quantization = manifest.base.quantization
    bits = None if quantization is None else 8 if quantization["load_in_8bit"] else 4
    assert bits == {"8": 8, "4": 4}.get(name.partition("bits")[0][-1:] if "16bits" not in name else "")
    assert ahf.load(run.reference, base=long).generate([contexts[0][0]], max_new_tokens=2)


def test_fingpts_instructions_train_without_the_rows_that_are_too_long(long: Path, tmp_path: Path) -> None:
    ask = "What is the sentiment of this news? Please choose an answer from {negative/neutral/positive}."
    rows = [
        {"instruction": ask, "input": f"Firm {i} rose. " * (40 if i % 10 == 0 else 1), "output": TONES[i % 3]}
        for i in range(ROWS)
    ]
    run = trained(FINGPT, ["training.batch_size=8"], written(tmp_path, rows), long)
    assert run.steps == 2
    assert sum(count for reason, count in run.notes.items() if "max_length" in reason) == 4


def test_the_page_names_every_key_of_training_that_another_tool_has() -> None:
    own = {
        "head_learning_rate",
        "cycles",
        "tolerance",
        "metric",
        "baseline",
        "min_steps",
        "forgetting",
    }  # cycles: lr_scheduler_kwargs
    said = set(re.findall(r"`(?:training\.)?(\w+)(?:: drop)?`", PAGE))
    assert set(Training.model_fields) - own <= said
