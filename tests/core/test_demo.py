"""The demo's own commands, on its own base, with fewer rows and a part of an epoch."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import adapterhub_fin as ahf

ROOT = Path(__file__).parents[2]
LESS = ("--set", "corpus.rows=240", "--set", "training.epochs=0.2")


def test_the_demo(run_ahf: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script = (ROOT / "examples" / "demo.sh").read_text(encoding="utf-8").splitlines()
    verbs = [shlex.split(line)[1:] for line in script if line.startswith("ahf ")]
    assert [words[0] for words in verbs] == ["train", "alias", "list", "predict"]
    shown = []
    for words in verbs:
        code, out, err = run_ahf(*words, *(LESS if words[0] == "train" else ()))
        assert code == 0, err
        shown.append(out)
    manifest = ahf.Registry().resolve("demo/tone@champion").manifest
    assert (
        manifest.base.repository == "sentence-transformers/all-MiniLM-L6-v2" and manifest.base.fingerprint == "verified"
    )
    assert manifest.corpus is not None and sum(manifest.corpus.rows.values()) == 240
    assert "accuracy" in shown[0] and "champion" in shown[2]
    unseen = (ROOT / "examples" / "unseen.txt").read_text(encoding="utf-8").splitlines()
    assert all(text in shown[3] for text in unseen if text.strip())
    assert {"negative", "neutral", "positive"} >= {line.split()[0] for line in shown[3].splitlines()[1:]}
