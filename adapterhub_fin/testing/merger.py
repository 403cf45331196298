"""Test that a merger is pure, seeded, and commutes with rotations as it declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import pytest

from adapterhub_fin.plugin.descriptions import Merger
from adapterhub_fin.testing.bench import one_thread
from adapterhub_fin.testing.description import DescriptionContract

if TYPE_CHECKING:
    from torch import Generator, Tensor, dtype

    from adapterhub_fin.plugin.interfaces import MergerImplementation
    from adapterhub_fin.plugin.low_rank import LowRank

SHAPE = (13, 11)
RANKS = (2, 1, 3)  # of the merged changes, without the one direction that they share
WEIGHTS = (0.5, 0.3, 0.2)
SEED = 7
CLOSE = 1e-9  # relative, in float64; an iterative merger may stop before the last digit


class MergerContract(DescriptionContract):
    """Test a merger: inherit this and name the merger.

    `symmetric` declares that the order of the adapters does not matter, which is then checked. `returns_one` declares
    that a single adapter of weight 1 comes back unchanged; set it to False if the algorithm trims, drops or flattens.
    """

    kind = Merger
    symmetric: ClassVar[bool] = False
    returns_one: ClassVar[bool] = True

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        with one_thread():
            yield

    def test_leaves_its_input_alone(self) -> None:
        changes, weights = self._dense(), self._weights()
        before = changes.clone(), weights.clone()
        self._merge(changes, weights)
        assert changes.equal(before[0]), "the changes were written to: a merger is a pure function"
        assert weights.equal(before[1]), "the weights were written to: a merger is a pure function"

    def test_draws_from_the_generator_alone(self) -> None:
        import torch

        once = self._merge(self._dense(), self._weights())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            again = self._merge(self._dense(), self._weights())
            state = torch.random.get_rng_state()
            torch.manual_seed(1)
            assert torch.random.get_rng_state().equal(state), "it used torch's global generator instead of its own"
        assert once.equal(again), "one seed gave two results: draw only from `generator`"

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_answers_in_the_shape_and_dtype_of_the_changes(self, dtype: str) -> None:
        import torch

        kind = getattr(torch, dtype)
        for rows, columns in (SHAPE, SHAPE[::-1], (1, 5)):
            changes = torch.randn(self._count(), rows, columns, dtype=kind, generator=_generator())
            merged = self._merge(changes, self._weights().to(kind))
            assert merged.shape == (rows, columns), f"changes of {(rows, columns)} gave {tuple(merged.shape)}"
            assert merged.dtype == kind, f"changes in {kind} gave {merged.dtype}"
            assert merged.isfinite().all(), "it returned values that are not finite"

    def test_nothing_merges_to_nothing(self) -> None:
        merged = self._merge(self._dense() * 0, self._weights())
        assert not merged.any(), "changes of zeros must merge to zeros"

    def test_an_adapter_may_lack_the_module(self) -> None:
        changes = self._dense()
        changes[-1] = 0
        merged = self._merge(changes, self._weights())
        assert merged.isfinite().all(), (
            "a change of zeros, of an adapter without the module, gave values that are not finite"
        )

    def test_one_adapter_comes_back_where_it_says_so(self) -> None:
        if self._merger.adapters[0] > 1:
            pytest.skip(f"{self.name} does not merge one adapter")
        changes = self._dense()[:1]
        comes_back = _distance(self._merge(changes, changes.new_ones(1)), changes[0]) < CLOSE
        assert comes_back == self.returns_one, (
            f"one adapter of weight 1 {'came back unchanged' if comes_back else 'came back changed'}: "
            f"set returns_one = {comes_back}, if that is what the algorithm does"
        )

    def test_order_does_not_matter(self) -> None:
        if not self.symmetric:
            pytest.skip(f"{self.name} does not declare itself symmetric")
        changes, weights = self._dense(), self._weights()
        reversed_order = self._merge(changes.flip(0), weights.flip(0))
        assert _distance(reversed_order, self._merge(changes, weights)) < CLOSE, (
            "the adapters' order mattered: is it symmetric?"
        )

    def test_commutes_as_it_says(self) -> None:
        import torch

        if (commutes := self._merger.commutes) == "none":
            pytest.skip(f"{self.name} is elementwise")
        changes, weights = self._dense(), self._weights()
        # Rotate into larger spaces: the reverse of what the engine does when it merges small cores.
        left, right = (
            torch.linalg.qr(torch.randn(size + 4, size, dtype=torch.float64, generator=_generator(size)))[0]
            for size in SHAPE
        )
        if commutes == "left":
            right = torch.eye(SHAPE[1], dtype=torch.float64)
        expected = left @ self._merge(changes, weights) @ right.T
        result = self._merge(left @ changes @ right.T, weights)
        assert _distance(result, expected) < CLOSE, (
            f"it declares that it commutes with rotations ({commutes}), but merging rotated changes differs from "
            "rotating the merged change"
        )

    def test_the_engine_merges_factors_as_it_merges_matrices(self) -> None:
        from adapterhub_fin.engine.merging.combine import combine, space_for

        merger, weights = self._merger, self._weights()
        kind = self._kind()
        result = combine(
            self._changes(), weights.tolist(), merger, self._build(), space=space_for(merger), rank=1.0, seed=SEED
        )
        expected = self._merge(self._dense(kind), weights.to(kind))
        close = CLOSE if kind.itemsize == 8 else 1e-5
        assert _distance(result.change.dense(), expected) < close, (
            "merging the factors differs from merging the matrices"
        )
        assert result.energy > 1 - close

    def test_states_the_version_of_its_algorithm(self) -> None:
        version = self._build().version
        assert isinstance(version, int) and version >= 1, f"version must be an integer from 1, not {version!r}"

    @property
    def _merger(self) -> Merger:
        description = self.description
        assert isinstance(description, Merger)
        return description

    def _build(self) -> MergerImplementation:
        from adapterhub_fin.engine.base.build_plugin import build_plugin

        built: MergerImplementation = build_plugin(Merger, self.name, self.options)
        return built

    def _count(self) -> int:
        least, most = self._merger.adapters
        return max(least, min(len(RANKS), most or len(RANKS)))

    def _changes(self) -> list[LowRank]:
        """Return seeded random changes (13, 11) of several ranks, with a common part in all of them."""
        import torch

        from adapterhub_fin.plugin.low_rank import LowRank

        generator, count = _generator(), self._count()
        ranks = (RANKS * count)[:count]

        def drawn(*size: int) -> Tensor:
            return torch.randn(size, dtype=torch.float64, generator=generator)

        left, right = 2 * drawn(SHAPE[0], 1), drawn(1, SHAPE[1])
        return [
            LowRank(torch.cat([left, drawn(SHAPE[0], r)], 1), torch.cat([right, drawn(r, SHAPE[1])], 0), 0.5)
            for r in ranks
        ]

    def _kind(self) -> dtype:
        """Return the dtype that the engine computes in: float64, or float32 if it needs full matrices."""
        import torch

        return torch.float32 if self._merger.commutes == "none" else torch.float64

    def _dense(self, kind: dtype | None = None) -> Tensor:
        import torch

        return torch.stack([(change.to(kind) if kind else change).dense() for change in self._changes()])

    def _weights(self) -> Tensor:
        import torch

        count = self._count()
        return torch.tensor((WEIGHTS * count)[:count], dtype=torch.float64)

    def _merge(self, changes: Tensor, weights: Tensor) -> Tensor:
        return self._build().merge(changes, weights, _generator(SEED))


def _generator(seed: int = 0) -> Generator:
    import torch

    return torch.Generator().manual_seed(seed)


def _distance(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).norm()) / (float(expected.norm()) or 1.0)
