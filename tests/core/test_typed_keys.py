"""The keywords of `train` are typed: mypy reads this file, and fails where an ignore below is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import adapterhub_fin as ahf
from adapterhub_fin.recipe.keys import RecipeKeys, TrainingKeys
from adapterhub_fin.recipe.recipe import Training

if TYPE_CHECKING:

    def right() -> None:
        ahf.train(name="acme/tone", base="minilm", method={"name": "lora"}, corpus="headlines", tags=["quick"])
        ahf.preview(head="regress", corpus=[{"text": "Sales rose.", "target": 1.0}], training={"epochs": 3})
        ahf.train(curriculum=["headlines", {"data": [{"text": "Sales rose.", "label": "up"}], "epochs": 2}])
        ahf.plan("recipes/tone.yaml", overrides=["training.epochs=3"], device="24GB")
        keys: TrainingKeys = {"optimizer": "adamw_bnb_8bit", "warmup": 100}
        ahf.train_series(training=keys, schedule={"windows": "yearly", "start": "2019-01-01"})

    def wrong() -> None:
        ahf.train(nmae="acme/tone")  # type: ignore[call-arg]
        ahf.train(name=3)  # type: ignore[arg-type]
        ahf.train(curriculum=3)  # type: ignore[arg-type]
        ahf.preview(tags="quick", method=8)  # type: ignore[arg-type]
        ahf.plan(trainign={"epochs": 3})  # type: ignore[call-arg]
        ahf.train_series(licence="MIT")  # type: ignore[call-arg]
        keys: TrainingKeys = {"optimizer": "adam"}  # type: ignore[typeddict-item]
        ahf.train(training=keys)


def test_every_key_has_its_type() -> None:
    assert list(RecipeKeys.__annotations__) == list(ahf.Recipe.model_fields)
    assert list(TrainingKeys.__annotations__) == list(Training.model_fields)
