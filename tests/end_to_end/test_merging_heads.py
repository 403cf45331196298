"""Heads whose last layer is none of Transformers' own are put in order, and into one unit, by what they say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_registry import Version

TEXTS = ["Arlo: profit rose.", "Brent: profit fell.", "Corvo: meets in May."]
LABELS, TURNED = ["negative", "neutral", "positive"], ["positive", "negative", "neutral"]
WEIGHTS = "adapter_model.safetensors"


def trained(encoder: Path, **head: Any) -> Version:
    return ahf.train(
        name="acme/one",
        base={"id": "acme/tiny", "path": str(encoder)},
        method={"name": "lora", "rank": 2, "targets": ["query"]},
        head=head,
        corpus={"name": tiny_corpus(), "splitter": {"by": "random"}},
        training={"epochs": 1, "batch_size": 16, "max_length": 32},
    ).version


def other(version: Version, tensors: dict[str, Tensor], folder: Path, **head: Any) -> Version:
    """A version like another, but for some tensors and some of its head."""
    assert version.manifest.head is not None
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((version.files / "adapter_config.json").read_bytes())
    save_file(load_file(version.files / WEIGHTS) | tensors, folder / WEIGHTS, {"format": "pt"})
    update = {"files": (), "tensors": (), "head": version.manifest.head.model_copy(update=head)}
    return ahf.Registry().add(folder, version.manifest.model_copy(update=update), name="acme/other")


def last_layer(version: Version, layer: str) -> dict[str, Tensor]:
    held = load_file(version.files / WEIGHTS)
    return {name: held[name] for end in ("weight", "bias") for name in [f"base_model.model.{layer}.{end}"]}


def test_labels_of_a_head_that_reads_the_mean(encoder: Path, tmp_path: Path) -> None:
    one = trained(encoder, name="classify", labels=LABELS, pooling="mean")
    order = [LABELS.index(label) for label in TURNED]
    turned = {name: value[order].contiguous() for name, value in last_layer(one, "classifier.0").items()}
    other(one, turned, tmp_path / "other", labels=tuple(TURNED))
    made = ahf.merge(["acme/one", "acme/other"], into="acme/both").version
    assert made is not None and made.manifest.head is not None and list(made.manifest.head.labels or ()) == LABELS
    found, wanted = (ahf.load(each.reference, base=encoder).logits(TEXTS) for each in (made, one))
    assert torch.allclose(found, wanted, atol=1e-5) and (wanted - wanted[:, order]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ({"network": "mlp"}, "classifier.2"),
        ({"pooling": "mean"}, "classifier.0"),
        ({"network": "mlp", "hidden": 7, "pooling": "mean"}, "classifier.0.2"),
    ],
)
def test_figures_of_other_units(options: dict[str, Any], layer: str, encoder: Path, tmp_path: Path) -> None:
    one = trained(encoder, name="regress", **options)
    assert one.manifest.head is not None
    units = one.manifest.head.options
    scaled = {name: value * units["scale"] / 5 for name, value in last_layer(one, layer).items()}
    scaled[f"base_model.model.{layer}.bias"] += (units["centre"] - 3) / 5
    other(one, scaled, tmp_path / "other", options={**units, "centre": 3.0, "scale": 5.0})
    made = ahf.merge(["acme/one", "acme/other"], weights=[0.25, 0.75], into="acme/both").version
    assert made is not None and made.manifest.head is not None
    assert made.manifest.head.options["scale"] == pytest.approx(0.25 * units["scale"] + 0.75 * 5)
    found, wanted = (
        [each.value for each in ahf.load(version.reference, base=encoder).predict(TEXTS)] for version in (made, one)
    )
    assert found == pytest.approx(wanted, rel=1e-4) and len(set(wanted)) == 3
