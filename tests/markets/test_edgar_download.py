"""Filings through edgartools, from a server that replays answers: nothing here reaches the SEC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin.errors import PluginError
from adapterhub_fin.plugin import corpus_options, load_corpus

SCRIPT = Path(__file__).with_name("edgar_replayed.py")


def replayed(cache: Path, companies: str = "1", forms: str = "8-K") -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), str(cache), companies, forms]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_submissions_are_downloaded_once_and_dated_by_their_own_headers(tmp_path: Path) -> None:
    first = replayed(tmp_path)
    assert first["rows"] == [
        ["Sales rose by 0000000001-24-000001.", "0000000001", "2024-03-11T20:05:00+00:00"],
        ["Sales rose by 0000000001-24-000002.", "0000000001", "2024-03-12T10:00:00+00:00"],
    ], "neither the amendment nor the filing of 2019; 16:05 in New York, and the morning after 19:06"
    assert len(first["downloads"]) == 2
    again = replayed(tmp_path)
    assert again["rows"] == first["rows"] and again["downloads"] == []


def test_a_page_of_the_sec_that_is_no_submission_is_refused_and_not_kept(tmp_path: Path) -> None:
    answer = replayed(tmp_path, forms="10-Q")
    assert "no submission for 0000000001-24-000009" in answer["error"] and "Request Rate" in answer["error"]
    assert not [*tmp_path.rglob("0000000001-24-000009.txt")]


def test_a_company_that_is_not_there_and_forms_that_it_never_filed(tmp_path: Path) -> None:
    assert "9999999's filings can't be had" in replayed(tmp_path, "9999999")["error"]
    assert "1 has no 10-K in that time" in replayed(tmp_path, forms="10-K")["error"]


def test_without_edgartools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgar", None)
    options = corpus_options({"name": "edgar", "companies": ["AAPL"], "identity": "Jo Doe jo@acme.com"})
    with pytest.raises(PluginError, match=r"pip install 'adapterhub-fin\[edgar\]'"):
        load_corpus(*options)
