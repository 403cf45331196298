"""Every exact merger against its paper's formula, written here on whole matrices in float64 with numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin import Merger
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.merging.combine import Combined, combine, space_for
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.manager import extensions

Matrices = Sequence[np.ndarray]
Weights = Sequence[float]
SEED = 11


def added(changes: Matrices, weights: Weights) -> np.ndarray:
    return sum((w * change for w, change in zip(weights, changes, strict=True)), np.zeros_like(changes[0]))


def thin_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Without what rounding leaves of zeros."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    rank = int((values > 1e-12 * values.max(initial=0)).sum())
    return u[:, :rank], values[:rank], v[:rank]


def cut(matrix: np.ndarray, rank: int) -> np.ndarray:
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * values[:rank]) @ v[:rank]


def slerp(changes: Matrices, weights: Weights) -> np.ndarray:
    (one, other), t = changes, weights[1] / sum(weights)
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if not all(lengths):
        return (1 - t) * one + t * other
    angle = np.arccos(np.clip((one * other).sum() / lengths[0] / lengths[1], -1, 1))
    way = np.sin((1 - t) * angle) * one / lengths[0] + np.sin(t * angle) * other / lengths[1]
    return ((1 - t) * lengths[0] + t * lengths[1]) * way / np.sin(angle)


def karcher(changes: Matrices, weights: Weights) -> np.ndarray:
    """By many short steps along the sum of the logarithms, where the code takes long ones."""
    shares = np.array(weights) / sum(weights)
    length = sum(w * np.linalg.norm(change) for w, change in zip(shares, changes, strict=True))
    points = [(w, change / np.linalg.norm(change)) for w, change in zip(shares, changes, strict=True) if change.any()]
    whole, mean = sum(w for w, _ in points), points[0][1]
    for _ in range(120):
        step = np.zeros_like(mean)
        for w, point in points:
            across = point - (point * mean).sum() * mean
            size = np.linalg.norm(across)
            if size:
                step += w / whole * np.arctan2(size, (point * mean).sum()) * across / size
        mean = mean + step / 2
        mean = mean / np.linalg.norm(mean)
    return length * mean


def model_stock(changes: Matrices, weights: Weights) -> np.ndarray:
    stock = [(w, change) for w, change in zip(weights, changes, strict=True) if change.any()]
    mean = sum(w * change for w, change in stock) / sum(w for w, _ in stock)
    count = len(stock)
    pairs = [
        (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)
        for i, (_, one) in enumerate(stock)
        for _, other in stock[i + 1 :]
    ]
    cosine = max(np.mean(pairs), 0) if pairs else 1
    return count * cosine / (1 + (count - 1) * cosine) * mean


def tsv(changes: Matrices, weights: Weights) -> np.ndarray:
    parts = [thin_svd(change) for change in changes]
    left = np.concatenate([u for u, _, _ in parts], 1)
    right = np.concatenate([v for _, _, v in parts], 0).T
    values = np.concatenate([w * s for w, (_, s, _) in zip(weights, parts, strict=True)])
    (p, _, q), (x, _, y) = thin_svd(left), thin_svd(right)
    return (p @ q) @ np.diag(values) @ (x @ y).T


def iso(changes: Matrices, weights: Weights) -> np.ndarray:
    u, values, v = thin_svd(added(changes, weights))
    return values.mean() * u @ v


def in_knots(merge: Callable[[Matrices, Weights], np.ndarray]) -> Callable[[Matrices, Weights], np.ndarray]:
    """U merge(S V_1, .., S V_K) of [D_1 .. D_K] = U S [V_1 .. V_K]."""

    def merged(changes: Matrices, weights: Weights) -> np.ndarray:
        u, _, _ = thin_svd(np.concatenate(changes, 1))
        return u @ merge([u.T @ change for change in changes], weights)  # U' D_k is S V_k, and of zeros it is zero

    return merged


def ties(changes: Matrices, weights: Weights, density: float = 0.2) -> np.ndarray:
    trimmed = []
    for change in changes:
        kept = np.argsort(-np.abs(change), axis=None, kind="stable")[: max(1, round(density * change.size))]
        mask = np.zeros(change.size, dtype=bool)
        mask[kept] = True
        trimmed.append(change * mask.reshape(change.shape))
    return voted(trimmed, weights)


def voted(changes: Matrices, weights: Weights) -> np.ndarray:
    elected = np.sign(sum(changes))
    agree = [(np.sign(change) == elected) & (change != 0) for change in changes]
    count = np.maximum(sum(each.astype(int) for each in agree), 1)
    return sum(w * change * yes for w, change, yes in zip(weights, changes, agree, strict=True)) / count


def dare_ties(changes: Matrices, weights: Weights, density: float = 0.8) -> np.ndarray:
    generator = torch.Generator().manual_seed(SEED)
    draws = [torch.rand(change.shape, generator=generator) < density for change in changes]
    return voted([change * draw.numpy() / density for change, draw in zip(changes, draws, strict=True)], weights)


FORMULAS: dict[str, Callable[[Matrices, Weights], np.ndarray]] = {
    "linear": added,
    "cat": added,
    "svd": added,  # where all its rank is asked for
    "slerp": slerp,
    "karcher": karcher,
    "model-stock": model_stock,
    "tsv": tsv,
    "iso": iso,
    "knots-ties": in_knots(ties),
    "knots-dare": in_knots(dare_ties),
}
POSITIVE = ("slerp", "karcher", "model-stock")  # these refuse negative weights


@dataclass(frozen=True)
class Case:
    """Changes of one module in float64, and weights."""

    changes: list[LowRank]
    weights: list[float]

    def merged(self, name: str, rank: int | float | None = 1.0) -> Combined:
        merger = extensions().get(Merger, name)
        return combine(
            self.changes,
            self.weights,
            merger,
            build_plugin(Merger, name, {}),
            space=space_for(merger),
            rank=rank,
            seed=SEED,
        )

    def in_dtype(self, dtype: torch.dtype) -> Case:
        return Case([change.to(dtype) for change in self.changes], self.weights)

    def dense(self) -> list[np.ndarray]:
        return [change.to(torch.float64).dense().numpy() for change in self.changes]


def error(found: LowRank, wanted: np.ndarray) -> float:
    difference = found.to(torch.float64).dense().numpy() - wanted
    return float(np.linalg.norm(difference) / (np.linalg.norm(wanted) or 1))


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    """Adapters of mixed ranks and scalings, some without the module; what they share makes their directions agree."""
    least, most = extensions().get(Merger, name).adapters
    count = draw(st.integers(least, most or 4))
    ranks = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count).filter(any))
    scales = draw(st.lists(st.sampled_from([0.25, 0.7, 1.0, 2.0, 4.0]), min_size=count, max_size=count))
    weight = st.floats(0.1, 2.0)
    weight = weight if name in POSITIVE else weight | st.floats(-2.0, -0.1)
    weights = draw(st.lists(weight, min_size=count, max_size=count))
    m, n = draw(st.tuples(st.integers(4, 48), st.integers(4, 48)))  # some with less room than the ranks take
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    left, right = rng.standard_normal((m, 1)), rng.standard_normal((1, n))

    lopsided = draw(st.lists(st.sampled_from([1e-4, 1.0, 1e4]), min_size=count, max_size=count))

    def change(rank: int, scale: float, by: float) -> LowRank:
        b = np.concatenate([left, rng.standard_normal((m, rank))], 1)[:, : rank + 1 if rank else 0]
        a = np.concatenate([right, rng.standard_normal((rank, n))], 0)[: rank + 1 if rank else 0]
        return LowRank(torch.from_numpy(b * by), torch.from_numpy(a / by), scale)

    return Case([change(*each) for each in zip(ranks, scales, lopsided, strict=True)], weights)


@pytest.mark.parametrize("name", FORMULAS)
def test_exact_in_factor_space(name: str) -> None:
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(cases(name))
    def check(case: Case) -> None:
        found = case.merged(name)
        assert error(found.change, FORMULAS[name](case.dense(), case.weights)) < 1e-12
        assert found.energy > 1 - 1e-12
        # The same in the dtype that adapters are stored in: read as it is, computed in float64, and stored so again.
        single = case.in_dtype(torch.float32)
        stored = single.merged(name).change.to(torch.float32)
        assert error(stored, FORMULAS[name](single.dense(), single.weights)) < 1e-5

    check()


@pytest.mark.parametrize(("name", "module"), [("linear", "c_attn"), *((name, "c_proj") for name in FORMULAS)])
def test_exact_on_trained_adapters(name: str, module: str, shared: Path) -> None:
    """Three that others trained on GPT-2, of ranks 8, 8 and 16; c_proj is one that the third lacks."""
    changes = [_trained(folder, f"transformer.h.3.attn.{module}") for folder in sorted(_folders(shared))]
    shape = next(change.shape for change in changes if change is not None)
    known = [change if change is not None else LowRank.zero(shape, torch.float32) for change in changes]
    case = Case(known[: extensions().get(Merger, name).adapters[1]], [0.5, 0.3, 0.2])
    case = Case(case.changes, case.weights[: len(case.changes)])
    found = case.merged(name)
    assert error(found.change, FORMULAS[name](case.dense(), case.weights)) < 1e-12
    assert error(found.change.to(torch.float32), FORMULAS[name](case.dense(), case.weights)) < 1e-5


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(cases("svd"), st.integers(1, 12), st.floats(0.3, 1.0))
def test_a_smaller_rank_is_the_nearest(case: Case, rank: int, share: float) -> None:
    whole = added(case.dense(), case.weights)
    values = np.linalg.svd(whole, compute_uv=False)
    if not values.any():
        return
    found = case.merged("svd", rank)
    assert error(found.change, cut(whole, rank)) < 1e-10 and found.rank <= rank
    assert found.energy == pytest.approx((values[:rank] ** 2).sum() / (values**2).sum())
    held = case.merged("linear", share)
    assert held.energy >= share - 1e-12
    assert held.rank <= 1 or (values[: held.rank - 1] ** 2).sum() < share * (values**2).sum(), "one fewer would do"


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(cases("cat"))
def test_the_ranks_that_come_unasked(case: Case) -> None:
    ranks = [change.rank for change in case.changes]
    assert case.merged("cat", None).rank == sum(ranks)
    assert case.merged("svd", None).rank <= max(ranks)
    assert case.merged("linear", None).rank == np.linalg.matrix_rank(added(case.dense(), case.weights))


def _folders(shared: Path) -> list[Path]:
    names = ("abrhaley__gpt2-tigrinya-lora", "deepbiolab__gpt2-cls-lora", "trl__kto-anthropic-hh")
    return [shared / "data" / "adapters" / name for name in names]


def _trained(folder: Path, module: str) -> LowRank | None:
    import json

    from safetensors import safe_open

    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        b, a = (f"base_model.model.{module}.lora_{side}.weight" for side in "BA")
        if b not in file.keys():  # noqa: SIM118 - it is no mapping
            return None
        return LowRank(file.get_tensor(b), file.get_tensor(a), config["lora_alpha"] / config["r"])


@pytest.mark.parametrize(("keep", "rank", "kept"), [(0.07, 100, 7), (0.55, 20, 11), (0.14, 50, 7), (0.01, 30, 1)])
def test_tsv_rounds_a_share_up_and_no_further(keep: float, rank: int, kept: int) -> None:
    built = build_plugin(Merger, "tsv", {"keep": keep})
    values = torch.arange(rank, 0, -1, dtype=torch.float64)
    merged = built.merge(torch.diag(values)[None], torch.ones(1, dtype=torch.float64), torch.Generator())
    assert torch.linalg.matrix_rank(merged) == kept
