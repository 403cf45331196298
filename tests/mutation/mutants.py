"""Plant slips in the code, one at a time, and see whether the nearest tests notice: `make mutants`.

The slips are data: `slips/*.toml`, whose form README.md describes. Each is planted in a git worktree of its own, never
in the tree that this file stands in, and the tests run there in a process that is forked once torch and the like are
imported. A slip is killed by a test that fails or does not end; one that all tests pass has survived.

    python tests/mutation/mutants.py                    # every slip whose code or tests changed since the last run
    python tests/mutation/mutants.py knowledge metrics  # of these modules alone
    python tests/mutation/mutants.py --check            # only that each old text stands in its file, exactly once
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

ROOT = Path(__file__).parents[2]
SLIPS = Path(__file__).parent / "slips"
RESULTS = ROOT / "build" / "mutants.json"
PACKAGES = (".", "plugins", "registry")
# What tests import anyhow: once in the worker, instead of once a slip. Nothing of this project may be among it.
HEAVY = (
    "torch",
    "transformers.trainer",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
    "peft",
    "datasets",
    "hypothesis",
    "pydantic",
    "click",
    "sklearn.metrics",
    "scipy.stats",
    "exchange_calendars",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "jsonschema",
    "pytest",
)
TIMEOUT = 300.0
PASSED, FAILED, NO_END = 0, (1, 2), -1  # pytest's exit codes, and ours


@dataclass(frozen=True)
class Slip:
    """One slip: in `file`, `old`, which stands there exactly once, becomes `new`."""

    module: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]  # files, or tests in them, as pytest takes them
    keyword: str = ""  # pytest's -k
    equivalent: str = ""  # why no test can notice it; for those that survive

    def key(self, root: Path) -> str:
        """Return a digest of the slip, its file and its tests: while it is the same, so is the outcome."""
        files = [self.file, *(test.partition("::")[0] for test in self.tests)]
        parts = [json.dumps(asdict(self)).encode(), *((root / file).read_bytes() for file in files)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a slip."""

    module: str
    name: str
    state: str  # killed, survived, or error
    by: str  # the test that failed, or the error
    seconds: float
    key: str = ""


def read_slips(modules: Sequence[str]) -> list[Slip]:
    """Return the slips of these modules, or of all; exits where one is incomplete, or two have one name."""
    found = []
    for path in sorted(SLIPS.glob("*.toml")):
        if modules and path.stem not in modules:
            continue
        document = tomllib.loads(path.read_text())
        shared = {key: document[key] for key in ("file", "tests", "keyword") if key in document}
        for table in document["slip"]:
            given = {**shared, **table}
            found.append(Slip(module=path.stem, **{**given, "tests": tuple(given["tests"])}))
    if unknown := set(modules) - {path.stem for path in SLIPS.glob("*.toml")}:
        sys.exit(f"there are no slips of {', '.join(sorted(unknown))}")
    names = [(slip.module, slip.name) for slip in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"two slips have one name: {twice}")
    return found


def stale(slips: Sequence[Slip], root: Path) -> list[str]:
    """Return a sentence for each slip whose code has changed, so that it can't be planted."""
    told = []
    for slip in slips:
        count = (root / slip.file).read_text().count(slip.old) if (root / slip.file).is_file() else 0
        if count != 1 or slip.old == slip.new:
            told.append(f"stale slip {slip.module}: {slip.name}: its old text stands {count} times in {slip.file}")
        told += [
            f"{slip.module}: {slip.name}: {test} is no test file"
            for test in slip.tests
            if not (root / test.partition("::")[0]).is_file()
        ]
    return told


@contextmanager
def worktree() -> Iterator[Path]:
    """Give a copy of the tree, with what is changed in tracked files and not committed."""
    changed = subprocess.run(["git", "stash", "create"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        add = ["git", "worktree", "add", "--quiet", "--detach", str(tree), changed.strip() or "HEAD"]
        subprocess.run(add, cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def environment(tree: Path) -> dict[str, str]:
    """Return an environment in which Python imports this tree."""
    path = os.pathsep.join(str((tree / each).resolve()) for each in PACKAGES)
    shared = os.environ.get("AHF_SHARED") or str(ROOT.parent / "shared")
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "AHF_SHARED": shared}
    return {**os.environ, **quiet, "PYTHONPATH": path}


class Worker:
    """A process in which the heavy libraries are imported, and which is forked for each slip."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.sound: dict[str, bool] = {}  # tests that were run without a slip, and whether they passed
        command = [sys.executable, __file__, "--worker", str(tree)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(tree), cwd=tree, text=True
        )

    def ask(self, slip: Slip) -> tuple[int, str, float]:
        """Return pytest's exit code (NO_END where it did not end in time), the test that failed, and the seconds."""
        planted = {"file": slip.file, "old": slip.old, "new": slip.new}
        return self._asked({"tests": slip.tests, "keyword": slip.keyword, "slip": planted})

    def passes_as_it_is(self, test: str) -> bool:
        """Return whether a test passes on the code without a slip; it is run once."""
        if test not in self.sound:
            self.sound[test] = self._asked({"tests": [test], "keyword": "", "slip": None})[0] == PASSED
        return self.sound[test]

    def _asked(self, question: Mapping[str, Any]) -> tuple[int, str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], answer["by"], answer["seconds"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(tree: Path, asked: IO[str], answers: IO[str]) -> None:
    """Answer a worker's questions, a line each, until there are no more."""
    for name in HEAVY:
        __import__(name)
    if ours := [name for name in sys.modules if name.startswith("adapterhub_fin")]:
        raise SystemExit(f"{ours[0]} was imported before a slip is planted")
    gc.freeze()  # or each child would look through all of it at its end
    clock = int(time.time())
    for line in asked:
        question = json.loads(line)
        slip, began = question["slip"], time.monotonic()
        clock += 2  # a time of its own for each state of a file: compiled code goes by its seconds
        if slip is not None:
            original = (tree / slip["file"]).read_text()
            _write(tree / slip["file"], original.replace(slip["old"], slip["new"]), clock)
        code, by = _forked(tree, question["tests"], question["keyword"])
        if slip is not None:
            _write(tree / slip["file"], original, clock + 1)
        answer = {"code": code, "by": by, "seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(answer), file=answers, flush=True)


def _write(path: Path, text: str, at: int) -> None:
    path.write_text(text)
    os.utime(path, (at, at))


def _forked(tree: Path, tests: Sequence[str], keyword: str) -> tuple[int, str]:
    """Run pytest in a process of its own group, which is ended as a whole where it takes too long."""
    log = tree / ".mutant.log"
    child = os.fork()
    if child == 0:
        os.setsid()
        with log.open("w") as out:
            for stream in (1, 2):
                os.dup2(out.fileno(), stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            import pytest
            from hypothesis import Phase, settings

            settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)
            settings.load_profile("mutants")  # a failure is enough: nobody reads the smallest example
            options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-W", "ignore"]
            code = int(pytest.main([*options, *(["-k", keyword] if keyword else []), *tests]))
            out.flush()
        sys.stdout.flush()
        os._exit(code)
    ends = time.monotonic() + TIMEOUT
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return NO_END, f"no end within {TIMEOUT:.0f} s"
        time.sleep(0.05)
    told = log.read_text(errors="replace").splitlines()
    by = [line for line in told if line.startswith(("FAILED ", "ERROR "))] or told[-1:]
    return os.waitstatus_to_exitcode(done[1]), by[0].partition(" - ")[0] if by else ""


def try_out(worker: Worker, slip: Slip, key: str) -> Outcome:
    """Plant a slip and run its tests; one that fails must pass without the slip, or it would kill anything."""
    code, by, seconds = worker.ask(slip)
    if code == PASSED:
        return Outcome(slip.module, slip.name, "survived", slip.equivalent, seconds, key)
    if code not in (*FAILED, NO_END, -signal.SIGSEGV):
        return Outcome(slip.module, slip.name, "error", f"pytest ended with {code}: {by}", seconds)
    if code in FAILED and not worker.passes_as_it_is(by.partition(" ")[2].partition("[")[0]):
        return Outcome(slip.module, slip.name, "error", f"fails as the code is: {by}", seconds)
    return Outcome(slip.module, slip.name, "killed", by, seconds, key)


def earlier() -> dict[str, Outcome]:
    """Return the outcomes of the last run, by key."""
    if not RESULTS.is_file():
        return {}
    return {each["key"]: Outcome(**each) for each in json.loads(RESULTS.read_text())["slips"] if each["key"]}


def run(slips: Sequence[Slip], workers: int) -> list[Outcome]:
    """Try every slip that has no outcome yet, module by module, and keep each outcome as it comes."""
    known = earlier()
    outcomes: dict[tuple[str, str], Outcome] = {}
    with worktree() as first:
        keys = {slip: slip.key(first) for slip in slips}
        for slip in slips:
            if keys[slip] in known:
                outcomes[slip.module, slip.name] = known[keys[slip]]
    left = [slip for slip in slips if keys[slip] not in known]
    groups: SimpleQueue[list[Slip] | None] = SimpleQueue()
    for module in dict.fromkeys(slip.module for slip in left):
        groups.put([slip for slip in left if slip.module == module])
    for _ in range(workers):
        groups.put(None)

    def work(_: int) -> None:
        with worktree() as tree:
            worker = Worker(tree)
            while (group := groups.get()) is not None:
                for slip in group:
                    outcome = try_out(worker, slip, keys[slip])
                    outcomes[slip.module, slip.name] = outcome
                    print(
                        f"{outcome.state:9}{outcome.seconds:6.1f} s  {slip.module}: {slip.name}  {outcome.by}",
                        flush=True,
                    )
                    save(known, outcomes.values())
            worker.close()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return [outcomes[slip.module, slip.name] for slip in slips]


def save(known: Mapping[str, Outcome], outcomes: Any) -> None:
    """Write what is known by now, so that the next run goes on from here."""
    together = {**known, **{each.key or f"{each.module}: {each.name}": each for each in list(outcomes)}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"slips": [asdict(each) for each in together.values()]}, indent=1) + "\n")


def report(outcomes: Sequence[Outcome]) -> int:
    """Print the score by module and every slip that was not killed; 1 where one survived without a reason."""
    print("\nmodule          slips  killed")
    for module in dict.fromkeys(each.module for each in outcomes):
        states = [each.state for each in outcomes if each.module == module]
        print(f"{module:15}{len(states):6}{states.count('killed'):8}")
    killed = sum(each.state == "killed" for each in outcomes)
    print(f"{'together':15}{len(outcomes):6}{killed:8}  {killed / max(len(outcomes), 1):.1%}\n")
    for each in outcomes:
        if each.state != "killed":
            print(f"{each.state} {each.module}: {each.name}: {each.by or 'no test noticed it'}")
    return int(any(each.state == "error" or (each.state == "survived" and not each.by) for each in outcomes))


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="files of slips/, without .toml; all of them by default")
    parser.add_argument("-j", type=int, default=1, help="slips at a time")
    parser.add_argument("--check", action="store_true", help="say which slips are stale, and run nothing")
    parser.add_argument("--again", action="store_true", help="try every slip, whatever the last run found")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a library prints is no answer
        serve(given.worker, sys.stdin, answers)
        return 0
    slips = read_slips(given.modules)
    if told := stale(slips, ROOT):
        print("\n".join(told))
        return 1
    if given.check:
        print(f"{len(slips)} slips, none of them stale")
        return 0
    if given.again:
        RESULTS.unlink(missing_ok=True)
    return report(run(slips, given.j))


if __name__ == "__main__":
    sys.exit(main())
