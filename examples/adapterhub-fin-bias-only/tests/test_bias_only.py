from adapterhub_fin.testing import MethodContract


class TestBiasOnly(MethodContract):
    name = "bias-only"
