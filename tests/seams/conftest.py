"""Make a virtual environment with this project and a third party's packages installed from wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A fresh interpreter whose own packages came from wheels; the heavy libraries are those of the running one."""

    folder: Path
    variables: Mapping[str, str]

    def run(self, program: str, *arguments: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment and say what it printed where it did not end as expected."""
        ran = subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=self.folder,
            env=dict(self.variables),
            capture_output=True,
            text=True,
        )
        assert (ran.returncode == 0) == ok, f"{program} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
        return ran

    def pytest(self, folder: Path) -> str:
        """What pytest prints of a package's own tests, which pass."""
        return self.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, folder).stdout

    def install(self, wheel: Path) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)

    def uninstall(self, distribution: str) -> None:
        self.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", distribution)


def build_wheel(source: Path, into: Path) -> Path:
    """The wheel of a source folder, built without a network into an empty one."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, source]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(into.glob("*.whl"))


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds the wheel of a source folder, once."""
    built: dict[Path, Path] = {}

    def build(source: Path) -> Path:
        if source not in built:
            built[source] = build_wheel(source, tmp_path_factory.mktemp("wheel"))
        return built[source]

    return build


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel_of: Callable[[Path], Path]) -> Environment:
    """This project installed from its wheel into a new environment; both examples beside it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    found = Environment(folder, _variables(folder))
    found.install(wheel_of(PROJECT))
    for example in ("adapterhub-fin-bias-only", "adapterhub-fin-broken"):
        found.install(wheel_of(PROJECT / "examples" / example))
    # Only now, so that pip has installed the wheel even where the running interpreter holds this project too.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    heavy = folder / "lib" / version / "site-packages" / "heavy.pth"
    heavy.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return found


def _variables(folder: Path) -> dict[str, str]:
    foreign = ("PYTHON", "PYTEST_", "COV_", "AHF_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
        "AHF_HOME": str(folder / "home"),
        "AHF_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",  # the bases are tiny: threads would wait for one another
        "COLUMNS": "200",
    }


@pytest.fixture
def example_tests(tmp_path: Path) -> Path:
    """A copy of the example's tests alone: what they import is what was installed."""
    example = PROJECT / "examples" / "adapterhub-fin-bias-only"
    shutil.copytree(example / "tests", tmp_path / "tests")
    shutil.copy(example / "pyproject.toml", tmp_path)
    return tmp_path
