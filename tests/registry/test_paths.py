"""Paths inside a version: what one system allows and another doesn't is refused on all of them."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterhub_fin_registry.model.file_rules import clash, refusal, size_limit

ALLOWED = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.model",
    "chat_template.jinja",
    "merges.txt",
    "notes/README.md",
    "sub/dir/x.json",
    "1_Pooling/config.json",
    "größe.json",
    "a b.txt",
    "console.txt",
    "com10.json",
]
REFUSED = [
    "",
    ".",
    "..",
    "/etc/x.json",
    "../x.json",
    "a/../x.json",
    "./x.json",
    "a//x.json",
    "a/",
    "a/./x.json",
    "..\\x.json",
    "a\\x.json",
    "\\\\host\\share\\x.json",
    "c:x.json",
    "C:/x.json",
    "x.json:stream.json",
    "con.json",
    "CON.json",
    "nul.tar.json",
    "aux/x.json",
    "com1.json",
    "LPT9.txt",
    "con .json",
    "a/prn.md",
    "x.json.",
    "x.json ",
    " x.json",
    "a /x.json",
    "a./x.json",
    ".x.json",
    ".git/x.json",
    ".json",
    "x\0.json",
    "x\n.json",
    "x\x7f.json",
    "x\u202e.json",
    "x\ud800.json",
    "x<.json",
    "x>.json",
    'x".json',
    "x|.json",
    "x?.json",
    "x*.json",
    "gro\u0308sse.json",
    "model.bin",
    "model.pkl",
    "model.pt",
    "x.safetensors.exe",
    "x.JSON",
    "x",
    "x.py",
    "x.tar.gz",
    "x.model",
    "sub/x.html",
    "README.md",
    "readme.MD",
    "ahf_manifest.json",
    "ahf_signatures/x.json",
    "a" * 400 + ".json",
]


@pytest.mark.parametrize("path", ALLOWED)
def test_allowed(path: str) -> None:
    assert refusal(path) is None
    assert size_limit(path) > 0


@pytest.mark.parametrize("path", REFUSED, ids=ascii)
def test_refused(path: str) -> None:
    assert refusal(path)


@given(st.text(st.sampled_from('abC.:/\\ ~"*1é\u0308\0con'), max_size=20).map(lambda text: text + ".json"))
def test_an_allowed_path_is_relative_and_stays_below_on_both_systems(path: str) -> None:
    if refusal(path) is None:
        windows = PureWindowsPath(path)
        assert not windows.drive and not windows.root and not PurePosixPath(path).is_absolute()
        assert windows.parts == PurePosixPath(path).parts
        assert ".." not in windows.parts


@pytest.mark.parametrize(
    ("paths", "two"),
    [
        (["a.json", "b.json"], None),
        (["a/x.json", "b/x.json", "a/y.json"], None),
        (["a.json", "A.json"], ("A.json", "a.json")),
        (["straße.json", "STRASSE.json"], ("STRASSE.json", "straße.json")),
        (["\u00e9.json", "e\u0301.json"], ("e\u0301.json", "\u00e9.json")),
        (["x.json", "X.json/y.json"], ("x.json", "X.json/y.json")),
        (["x.json", "x.json"], ("x.json", "x.json")),
    ],
)
def test_paths_that_are_one_file_somewhere_clash(paths: list[str], two: tuple[str, str] | None) -> None:
    assert clash(paths) == two
