"""Run the contract of third-party mergers on the shipped ones."""

from __future__ import annotations

from typing import ClassVar

from adapterhub_fin.testing import MergerContract


class TestLinear(MergerContract):
    name = "linear"
    symmetric = True


class TestCat(MergerContract):
    name = "cat"
    symmetric = True


class TestSvd(MergerContract):
    name = "svd"
    symmetric = True


class TestSlerp(MergerContract):
    name = "slerp"
    symmetric = True


class TestKarcher(MergerContract):
    name = "karcher"
    symmetric = True


class TestModelStock(MergerContract):
    name = "model-stock"
    symmetric = True


class TestTsv(MergerContract):
    name = "tsv"
    symmetric = True


class TestTsvOfHalfTheRank(MergerContract):
    name = "tsv"
    options: ClassVar = {"keep": 0.5}
    symmetric = True
    returns_one = False


class TestIso(MergerContract):
    name = "iso"
    symmetric = True
    returns_one = False


class TestTies(MergerContract):
    name = "ties"
    symmetric = True
    returns_one = False


class TestTiesAsInMergekit(MergerContract):
    name = "ties"
    options: ClassVar = {"density": 1.0, "convention": "mergekit", "elect": "frequency"}
    symmetric = True


class TestDareLinear(MergerContract):
    name = "dare-linear"
    returns_one = False


class TestDareLinearAsInMergekit(MergerContract):
    name = "dare-linear"
    options: ClassVar = {"rescale": "l1"}
    returns_one = False


class TestDareTies(MergerContract):
    name = "dare-ties"
    returns_one = False


class TestMagnitude(MergerContract):
    name = "magnitude"
    symmetric = True
    returns_one = False


class TestDella(MergerContract):
    name = "della"
    returns_one = False


class TestBreadcrumbs(MergerContract):
    name = "breadcrumbs"
    symmetric = True
    returns_one = False


class TestSce(MergerContract):
    name = "sce"
    symmetric = True


class TestKnotsTies(MergerContract):
    name = "knots-ties"
    symmetric = True
    returns_one = False


class TestKnotsTiesOfEverything(MergerContract):
    name = "knots-ties"
    options: ClassVar = {"density": 1.0}
    symmetric = True


class TestKnotsDare(MergerContract):
    name = "knots-dare"
    returns_one = False


class TestKnotsDareWithoutAVote(MergerContract):
    name = "knots-dare"
    options: ClassVar = {"density": 1.0, "vote": False}
    symmetric = True
