"""`ahf merge RECIPE`: a merge as one document is the merge that the flags make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.bench import Bench


def ahf_merge(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(["merge", *arguments])
    return int(leave.value.code or 0)


@pytest.fixture
def two(tmp_path: Path, home: Path) -> Bench:
    """Two versions, contract/one@1 and contract/two@1, in this test's registry."""
    bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"})
    for seed, name in enumerate(("one", "two")):
        ahf.train({**bench.recipe(name, seed=seed, epochs=1), "base": {"id": "acme/tiny", "path": str(bench.base())}})
    return bench


def document(**keys: Any) -> dict[str, Any]:
    return {
        "references": ["contract/one@1", "contract/two"],
        "weights": [0.7, 0.3],
        "weights_for": {"layer.0.*": [1, 0]},
        "using": {"name": "ties", "density": 0.3},
        "rank": 3,
        "seed": 2,
        "tags": ["mixed"],
        **keys,
    }


def test_a_document_merges_as_the_flags_do(two: Bench, tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(yaml.safe_dump(document(into="acme/a")))
    assert ahf_merge(str(path)) == 0
    flags = "--weights 0.7,0.3 --weights-for layer.0.*=1,0 --using ties --set density=0.3 --rank 3 --seed 2 --tag mixed"
    assert ahf_merge("contract/one@1", "contract/two", *flags.split(), "--into", "acme/b") == 0
    registry = ahf.Registry()
    one, other = registry.resolve("acme/a").manifest, registry.resolve("acme/b").manifest
    assert one.files == other.files and one.tags == other.tags == ("mixed",)
    assert ahf_merge(str(path), "--set", "using.density=0.9", "--set", "rank=0.9", "--into", "acme/c") == 0
    third = registry.resolve("acme/c").manifest
    assert third.files != one.files and third.method.options != one.method.options
    again = ahf.merge(**ahf.MergeRecipe.read(path, ["into=acme/d"]).arguments())
    assert again.version is not None and again.version.manifest.files == one.files


def test_a_document_checks_the_merge_on_a_corpus(two: Bench, tmp_path: Path) -> None:
    path = tmp_path / "merge.yml"
    check = {"name": tiny_corpus(), "splitter": {"by": "stratified"}}
    path.write_text(yaml.safe_dump(document(into="acme/a", check=check, base=str(two.base()), split="validation")))
    assert ahf_merge(str(path)) == 0
    registry = ahf.Registry()
    events = registry.events(registry.resolve("acme/a"))
    assert any(event["split"] == "validation" for event in events if "split" in event)


@pytest.mark.parametrize(
    ("keys", "arguments", "sentence"),
    [
        ({"using": {"name": "ties", "denstiy": 0.3}}, (), "there is no option 'denstiy'; did you mean density"),
        ({"using": "tise"}, (), "no merger is named 'tise'"),
        ({"weigths": [1, 0]}, (), "there is no option 'weigths'; did you mean weights"),
        ({"references": []}, (), "references: Tuple should have at least 1 item"),
        ({"weights": [float("nan"), 1]}, (), "weights.0: Input should be a finite number"),
        ({"check": {"name": "headlines", "rwos": 3}}, (), "there is no option 'rwos'"),
        ({}, ("--rank", "3"), "--rank is a key of the recipe"),
        ({}, ("acme/other",), "alone"),
        ({}, (), "the key into"),
    ],
)
def test_misuse_is_one_sentence(
    keys: dict[str, Any], arguments: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(yaml.safe_dump(document(**({"into": "acme/ab"} if keys else {}), **keys)))
    assert ahf_merge(str(path), *arguments) in (1, 2)
    assert sentence in " ".join(capsys.readouterr().err.split())
