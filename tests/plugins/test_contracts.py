"""Run the contracts of third-party plugins on the shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from adapterhub_fin.engine.merging.changes import changes_of
from adapterhub_fin.errors import BadMerge
from adapterhub_fin.testing import CorpusContract, HeadContract, MethodContract
from adapterhub_fin.testing.method import Trained


class TestLora(MethodContract):
    name = "lora"


class TestLoraOnADecoder(MethodContract):
    name = "lora"
    options: ClassVar = {"rank": 2, "targets": ["q_proj", "v_proj"]}
    base = "decoder"


class TestDora(MethodContract):
    name = "lora"
    options: ClassVar = {"rank": 4, "dora": True, "rslora": True}

    def test_what_its_factors_add_to_the_base_is_all_that_it_does(self, trained: Trained) -> None:
        with pytest.raises(BadMerge, match="it sets use_dora"):
            changes_of(trained.run.version)


class TestPissa(MethodContract):
    name = "lora"
    options: ClassVar = {"rank": 4, "init": "pissa"}

    def test_training_leaves_every_weight_of_the_base_bit_identical(self, trained: Any) -> None:
        """PiSSA takes the base apart in training; what is stored stands on the base as everyone has it."""
        super().test_training_leaves_every_weight_of_the_base_bit_identical(trained)


class TestQLora(MethodContract):
    name = "qlora"
    options: ClassVar = {"rank": 4}


class TestQLoraInEightBits(MethodContract):
    name = "qlora"
    options: ClassVar = {"rank": 4, "bits": 8}


class TestQLoraOnADecoder(MethodContract):
    name = "qlora"
    options: ClassVar = {"rank": 4}
    base = "decoder"


class TestAdaLora(MethodContract):
    name = "adalora"
    options: ClassVar = {"initial_rank": 4, "target_rank": 2}


class TestAdaLoraOnADecoder(MethodContract):
    name = "adalora"
    options: ClassVar = {"initial_rank": 4, "target_rank": 2}
    base = "decoder"


class TestPrefixTuning(MethodContract):
    name = "prefix-tuning"
    options: ClassVar = {"tokens": 6}


class TestPrefixTuningThroughAProjection(MethodContract):
    name = "prefix-tuning"
    options: ClassVar = {"tokens": 6, "projection": True}


class TestPrefixTuningOnADecoder(MethodContract):
    name = "prefix-tuning"
    options: ClassVar = {"tokens": 6}
    base = "decoder"


class TestPromptTuning(MethodContract):
    name = "prompt-tuning"
    options: ClassVar = {"tokens": 6}


class TestPromptTuningOnADecoder(MethodContract):
    name = "prompt-tuning"
    options: ClassVar = {"tokens": 6}
    base = "decoder"


class TestPTuning(MethodContract):
    name = "p-tuning"
    options: ClassVar = {"tokens": 6}


class TestClassify(HeadContract):
    name = "classify"


class TestClassifyWithBalancedFocalLoss(HeadContract):
    name = "classify"
    options: ClassVar = {"weights": "balanced", "focal": 2.0}


class TestClassifyByTheMean(HeadContract):
    name = "classify"
    options: ClassVar = {"pooling": "mean"}


class TestRegress(HeadContract):
    name = "regress"


class TestRegressThroughANetwork(HeadContract):
    name = "regress"
    options: ClassVar = {"network": "mlp", "loss": "huber"}


class TestRegressThroughANetworkOnTheMean(HeadContract):
    name = "regress"
    options: ClassVar = {"network": "mlp", "pooling": "mean"}


class TestCausalLM(HeadContract):
    name = "causal-lm"
    bases = ("decoder",)


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
