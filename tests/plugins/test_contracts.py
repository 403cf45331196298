"""The shipped plugins inherit the contracts that a stranger's do."""

from __future__ import annotations

from typing import ClassVar

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
