"""A contract is worth what it catches: each method here breaks one promise, and the test of that promise fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from pydantic import BaseModel, ConfigDict
from torch import nn

from adapterhub_fin import Method, hookimpl, register
from adapterhub_fin.errors import PluginError
from adapterhub_fin.plugin import manager as discovery
from adapterhub_fin.plugin.interfaces import AttachContext, Rows
from adapterhub_fin.testing import CorpusContract, MethodContract
from adapterhub_fin.testing.bench import one_thread
from adapterhub_fin_plugins.methods.lora import Lora


class Thaws(Lora):
    """Trains the base too."""

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        return super().attach(model, context).requires_grad_(True)


class Nameless(Lora):
    """Adds a parameter whose name holds no adapter_name."""

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        adapted = super().attach(model, context)
        adapted.register_parameter("scale", nn.Parameter(torch.ones(1)))
        return adapted


class Unseeded(Lora):
    """Draws its first values from the clock."""

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        adapted = super().attach(model, context)
        clock = torch.Generator()
        clock.seed()
        for name, parameter in adapted.named_parameters():
            if "lora_A" in name and not parameter.is_meta:
                parameter.data.copy_(torch.randn(parameter.shape, generator=clock) / 10)
        return adapted


class Forgets(Lora):
    """Stores its own update and not the head that learnt beside it."""

    def tensors(self, model: nn.Module, adapter_name: str) -> Any:
        return {name: tensor for name, tensor in super().tensors(model, adapter_name).items() if "lora_" in name}


class Sticks(Lora):
    """Leaves whichever adapter came last in charge."""

    def activate(self, model: nn.Module, adapter_name: str) -> None: ...


class Idles(Lora):
    """Freezes its own update: only the head learns."""

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        adapted = super().attach(model, context)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.requires_grad_(False)
        return adapted


class SilentOptions(BaseModel):
    """One option that says nothing of itself, among others that are let through."""

    model_config = ConfigDict(extra="allow")
    rank: int = 4
    alpha: float = 8
    dropout: float = 0
    targets: tuple[str, ...] | None = None


class Saboteurs:
    """Every broken method, by the name of its class."""

    @hookimpl
    def ahf_methods(self) -> list[Method]:
        broken = (Thaws, Nameless, Unseeded, Forgets, Sticks, Idles)
        lora = "adapterhub_fin_plugins.methods.options:LoraOptions"
        return [_described(each.__name__, lora) for each in broken] + [
            _described("Silent", f"{__name__}:SilentOptions")
        ]


def _described(name: str, options: str) -> Method:
    return Method(name=f"broken-{name.lower()}", summary="None", target=f"{__name__}:{name}", options=options)


@pytest.fixture(scope="module", autouse=True)
def _saboteurs() -> Iterator[None]:
    before = list(discovery._registered)
    register(Saboteurs())
    with one_thread():
        yield
    discovery._registered[:], discovery._current = before, None


PROMISES = [
    ("thaws", "test_only_the_adapter_and_the_head_learn", "must be frozen"),
    ("thaws", "test_training_leaves_every_weight_of_the_base_bit_identical", "of the base were changed"),
    ("nameless", "test_every_added_parameter_has_the_adapter_name_in_its_name", "must be named as in"),
    ("unseeded", "test_one_seed_gives_one_adapter", "gave other bytes"),
    ("sticks", "test_two_versions_share_a_bare_base", "gives other logits"),
    ("sticks", "test_two_versions_share_a_model_with_a_head", "gives other logits"),
    ("idles", "test_training_changes_the_adapter", "has changed"),
]


@pytest.mark.parametrize(("broken", "promise", "said"), PROMISES)
def test_a_broken_promise_is_caught(broken: str, promise: str, said: str, tmp_path: Path) -> None:
    contract = _contract(broken)
    trained = contract.trained_in(tmp_path)
    with pytest.raises(AssertionError, match=said):
        getattr(contract, promise)(trained)


def test_a_method_that_forgets_the_head_can_store_nothing(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="broken-forgets stored no weights of the head's classifier"):
        assert _contract("forgets").trained_in(tmp_path).run


def test_options_and_summary_that_explain_nothing_are_caught(tmp_path: Path) -> None:
    contract = _contract("silent")
    with pytest.raises(AssertionError, match="rank"):
        contract.test_every_option_is_described()
    with pytest.raises(AssertionError, match="summary"):
        contract.test_summary_is_one_sentence()
    with pytest.raises(pytest.fail.Exception):  # an unknown option was let through
        contract.test_unknown_option_is_refused_with_the_near_names(tmp_path)


@pytest.mark.parametrize(
    ("column", "cells", "promise"),
    [
        ("available_at", [datetime(2020, 1, 2, 9)], "test_dates_are_instants_in_utc"),  # in which time zone?
        (
            "available_at",
            [datetime(2020, 1, 2, 9, tzinfo=timezone(timedelta(hours=2)))],
            "test_dates_are_instants_in_utc",
        ),
        ("available_at", [datetime(2999, 1, 2, 9, tzinfo=UTC)], "test_dates_are_instants_in_utc"),
        ("available_at", ["2020-01-02"], "test_dates_are_instants_in_utc"),
        ("sentence", ["Profit rose."], "test_has_the_columns"),
        ("text", [" "], "test_has_the_columns"),
    ],
)
def test_rows_that_break_a_promise_are_caught(column: str, cells: list[Any], promise: str) -> None:
    rows = Rows(Dataset.from_dict({column: cells}))
    with pytest.raises(AssertionError):
        getattr(CorpusContract(), promise)(rows)


def _contract(broken: str) -> MethodContract:
    contract: MethodContract = type("Contract", (MethodContract,), {"name": f"broken-{broken}"})()
    return contract
