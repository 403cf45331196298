from adapterhub_fin.testing import MergerContract


class TestGeometricMedian(MergerContract):
    name = "geometric-median"
    symmetric = True
