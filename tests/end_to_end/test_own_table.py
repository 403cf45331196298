"""From a file of one's own to a version: what it was trained on is recorded, where the file lay is not."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import adapterhub_fin as ahf


def test_a_table_is_trained_on_walking_forward(tmp_path: Path, encoder: Path) -> None:
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(60)]
    lines = [f"Firm {i} {['rose', 'fell'][i % 2]}.,{['good', 'bad'][i % 2]},{day}" for i, day in enumerate(days)]
    (tmp_path / "news.csv").write_text("\n".join(["text,tone,seen", *lines]), encoding="utf-8")
    run = ahf.train(
        name="acme/own",
        base={"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2019-01-01", "evidence": "made for this test"},
        method={"name": "lora", "rank": 2},
        corpus={
            "name": "table",
            "path": str(tmp_path / "news.csv"),
            "label": "tone",
            "available_at": "seen",
            "timezone": "UTC",
            "license": "CC0-1.0",
            "splitter": {"by": "walk-forward", "folds": 3, "fold": 2, "validation": 0.2, "embargo": "2d"},
        },
        training={"epochs": 1, "max_length": 32},
    )
    manifest = run.version.manifest
    assert manifest.corpus is not None and "path" not in manifest.corpus.options
    assert manifest.corpus.options["label"] == "tone" and manifest.corpus.options["license"] == "CC0-1.0"
    assert manifest.corpus.rows == {"train": 22, "validation": 4, "test": 15}, (
        "two days at each border are under embargo"
    )
    known = {each.input: each.at for each in manifest.knowledge.inputs}
    assert known["corpus:table"] == "2020-01-28T23:59:59.999999Z", (
        "more than two days before the first row of the test part"
    )
