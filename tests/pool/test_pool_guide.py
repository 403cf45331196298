"""The guide to pools: its code runs as it is written, but for the base."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapterhub_fin as ahf

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "pool.md"


def test_the_guides_code_runs(encoder: Path, save_adapter: Callable[..., Any], home: Path, capsys: Any) -> None:
    registry = ahf.Registry(home)
    for year in (2012, 2013, 2014):
        save_adapter("acme/risk", encoder, registry, until=f"{year}-01-01", labels=2)
        save_adapter("acme/tone", encoder, registry, until=f"{year}-01-01")
    registry.set_alias("acme/tone", "champion", 2)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    here = [block for block in blocks if "map_batches" not in block]  # which tests/pool/test_ray_example.py runs
    assert len(here) == 3
    names: dict[str, Any] = {"texts": ["Orders rose."] * 2, "dates": ["2012-06-01", "2014-06-01"]}
    for block in here:
        exec(compile(block.replace('"minilm"', repr(str(encoder))), str(GUIDE), "exec"), names)
    first, second = names["answers"]
    assert (first.reference, second.reference) == ("acme/tone@1", "acme/tone@3")
    assert capsys.readouterr().out.count("shares the base") == 4
