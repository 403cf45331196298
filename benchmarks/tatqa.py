"""Retrieval on TAT-QA's questions and passages: the head contrastive on minilm + lora, beside the frozen base.

    python benchmarks/tatqa.py --path FOLDER [--seeds 0 1 2] [--reports 80] [--set training.epochs=2 ...]

A passage is a paragraph of a report, or a table written row by row. A question's right answers are the paragraphs that
TAT-QA names for it, and the table where the answer comes from it; in training, its negative is another passage of its
report. Whole reports are held out; a question is ranked against every passage of the held-out reports. Intervals are
those of a bootstrap over reports, drawn again within each seed and averaged over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.recipe.choices import BaseChoice

RESAMPLES = 4000
LENGTH = 64  # tokens of a text


@dataclass(frozen=True)
class Question:
    """One question with the numbers of its report and of its right passages."""

    text: str
    report: int
    passages: tuple[int, ...]


def read(folder: Path) -> tuple[list[Question], list[str], list[int]]:
    """Return the questions, the passages, and the report of each passage."""
    reports = json.loads((folder / "tatqa_dataset_dev.json").read_text(encoding="utf-8"))
    passages: list[str] = []
    owner: list[int] = []
    questions = []
    for number, report in enumerate(reports):
        paragraphs = {str(each["order"]): len(passages) + at for at, each in enumerate(report["paragraphs"])}
        passages += [each["text"] for each in report["paragraphs"]]
        table = len(passages)
        passages.append("\n".join(" | ".join(filter(None, row)) for row in report["table"]["table"]))
        owner += [number] * (len(passages) - len(owner))
        for each in report["questions"]:
            right = [paragraphs[order] for order in each["rel_paragraphs"] if order in paragraphs]
            right += [table] if "table" in each["answer_from"] else []
            if right:
                questions.append(Question(each["question"], number, tuple(sorted(right))))
    return questions, passages, owner


def ndcg(scores: np.ndarray, right: Sequence[int]) -> float:
    """NDCG@10 of one question: `scores` (passages,), and the indices of its right passages."""
    best = np.argsort(-scores, kind="stable")[:10]
    gains = np.isin(best, right) / np.log2(np.arange(2, len(best) + 2))
    return float(gains.sum() / (1 / np.log2(np.arange(2, min(len(right), 10) + 2))).sum())


def reciprocal(scores: np.ndarray, right: Sequence[int]) -> float:
    """1 / the rank of the first right passage."""
    return 1 / (1 + int((scores > scores[list(right)].max()).sum()))


def frozen(texts: list[str]) -> np.ndarray:
    """Return the frozen base's vectors, (texts, hidden): the mean of its last hidden states, as the head's."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = find_base(BaseChoice(id="minilm")).folder
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            batch = texts[start : start + 64]
            encoded = tokenizer(batch, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
            mask = encoded["attention_mask"].unsqueeze(-1)
            found.append(((model(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)


def measured(vectors: Any, questions: Sequence[Question], passages: Mapping[int, str]) -> np.ndarray:
    """NDCG@10 and reciprocal rank of each question, (questions, 2)."""
    numbers = list(passages)
    sides = [vectors([question.text for question in questions]), vectors(list(passages.values()))]
    asked, told = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    place = {number: index for index, number in enumerate(numbers)}
    rows = []
    for question, scores in zip(questions, asked @ told.T, strict=True):
        right = [place[number] for number in question.passages]
        rows.append((ndcg(scores, right), reciprocal(scores, right)))
    return np.array(rows)


def pairs(
    questions: Sequence[Question], parts: Mapping[int, str], passages: Sequence[str], owner: Sequence[int], seed: int
) -> list[dict[str, str]]:
    """Return a row for each question and right passage, with another passage of its report as the negative."""
    rng = np.random.default_rng(seed)
    rows = []
    for question in questions:
        of_report = [number for number, report in enumerate(owner) if report == question.report]
        wrong = [number for number in of_report if number not in question.passages]
        for number in question.passages if question.report in parts and wrong else ():
            texts = {"anchor": question.text, "positive": passages[number], "negative": passages[rng.choice(wrong)]}
            rows.append({**texts, "part": parts[question.report]})
    return [row for row in rows if len(set(row.values())) == len(row)]


def trained(folder: Path, rows: Sequence[Mapping[str, str]], sets: list[str]) -> ahf.Run:
    """One run on the questions of the reports that are not held out."""
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = {
        "name": "benchmark/tatqa",
        "base": "minilm",
        "method": {"name": "lora"},
        "head": {"name": "contrastive"},
        "corpus": {
            "name": "table",
            "path": str(folder / "pairs.jsonl"),
            "columns": ["anchor", "positive", "negative"],
            "split": "part",
            "splitter": {"by": "given"},
        },
        "training": {"max_length": LENGTH, "batch_size": 32, "epochs": 2},
    }
    return ahf.train(recipe, registry=ahf.Registry(folder / "registry"), overrides=sets)


def interval(values: Sequence[np.ndarray], reports: Sequence[np.ndarray]) -> str:
    """Mean over seeds with the bootstrap's 2.5 and 97.5 per cent, whole reports drawn together."""
    rng = np.random.default_rng(0)
    drawn = np.zeros(RESAMPLES)
    for value, report in zip(values, reports, strict=True):
        _, index = np.unique(report, return_inverse=True)
        sums, counts = np.bincount(index, value), np.bincount(index)
        for resample in range(RESAMPLES):
            chosen = rng.integers(0, len(counts), len(counts))
            drawn[resample] += sums[chosen].sum() / counts[chosen].sum() / len(values)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{np.mean([value.mean() for value in values]):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="the folder with tatqa_dataset_dev.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="sets", action="append", default=[], help="a change of the recipe")
    parser.add_argument("--reports", type=int, help="train on so many reports; on all that are not held out by default")
    arguments = parser.parse_args()
    questions, passages, owner = read(arguments.path)
    before, after, reports = [], [], []
    for seed in arguments.seeds:
        order = np.random.default_rng(seed).permutation(max(owner) + 1)
        fold = len(order) // 5
        parts = {int(report): "train" for report in order[2 * fold :][: arguments.reports]}
        parts |= {int(report): "validation" for report in order[fold : fold + fold // 2]}
        parts |= {int(report): "test" for report in order[:fold]}
        asked = [question for question in questions if parts.get(question.report) == "test"]
        held = {number: text for number, text in enumerate(passages) if parts.get(owner[number]) == "test"}
        before.append(measured(frozen, asked, held))
        with tempfile.TemporaryDirectory() as folder:
            sets = [*arguments.sets, f"training.seed={seed}"]
            run = trained(Path(folder), pairs(questions, parts, passages, owner, seed), sets)
            after.append(measured(run.adapter.embed, asked, held))
        reports.append(np.array([question.report for question in asked]))
        found = f"{before[-1].mean(0).round(3)} -> {after[-1].mean(0).round(3)}"
        print(f"seed {seed}: {len(asked)} questions, {len(held)} passages, {found} (nDCG@10, MRR)", flush=True)
    for column, name in enumerate(("nDCG@10", "MRR")):
        first, last = ([values[:, column] for values in side] for side in (before, after))
        gain = [b - a for a, b in zip(first, last, strict=True)]
        found = f"{interval(first, reports)} before, {interval(last, reports)} after, {interval(gain, reports)} more"
        print(f"{name}: {found}")


if __name__ == "__main__":
    main()
