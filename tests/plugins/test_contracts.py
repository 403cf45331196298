"""The shipped plugins inherit the contracts that a stranger's do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from adapterhub_fin.testing import CorpusContract, HeadContract, MethodContract


class TestLora(MethodContract):
    name = "lora"


class TestLoraOnADecoder(MethodContract):
    name = "lora"
    options: ClassVar = {"rank": 2, "targets": ["q_proj", "v_proj"]}
    base = "decoder"


class TestClassify(HeadContract):
    name = "classify"


class TestHeadlines(CorpusContract):
    name = "headlines"
    options: ClassVar = {"rows": 240}


class TestPhraseBank(CorpusContract):
    name = "phrasebank"

    def options_for(self, folder: Path) -> dict[str, Any]:
        told = [("rose", "positive"), ("fell", "negative"), ("was flat", "neutral")]
        lines = [f"Sales of firm {i} {told[i % 3][0]} .@{told[i % 3][1]}" for i in range(90)]
        (folder / "Sentences_50Agree.txt").write_text("\n".join(lines), encoding="latin-1")
        return {"path": str(folder)}
