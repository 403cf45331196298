"""What docs/how-to/operate_a_server.md promises whoever runs a server: its unit, its container's steps, its backups."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd

from adapterhub_fin_registry import Registry

OPERATIONS = Path(__file__).parents[2] / "examples" / "operations"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd, sh and rsync are Linux's here")


@pytest.fixture
def ahf(tmp_path: Path) -> Path:
    """The command as one file, as an installation has it."""
    path = tmp_path / "ahf"
    command = f'exec {shlex.quote(sys.executable)} -m adapterhub_fin.cli "$@"'
    path.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(os.pathsep.join(filter(None, sys.path)))} {command}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def unit(ahf: Path, tmp_path: Path) -> Path:
    """The unit with the paths of this test in the place of an installation's."""
    text = (OPERATIONS / "ahf-serve.service").read_text().replace("/opt/ahf/bin/ahf", str(ahf))
    path = tmp_path / "ahf-serve.service"
    path.write_text(text.replace("/var/lib/ahf", str(tmp_path / "lib")))
    return path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd isn't installed")
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("User=ahf", "User=root").replace("Group=ahf", "Group=root"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_what_the_unit_starts_serves_and_stops_as_it_says(ahf: Path, unit: Path, tmp_path: Path) -> None:
    lines = [line.partition("=") for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"]
    [command] = [shlex.split(value) for key, _, value in lines if key == "ExecStart"]
    variables = dict(value.split("=", 1) for key, _, value in lines if key == "Environment")
    state = command[command.index("--state") + 1]
    environment = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
    Path(variables["HOME"]).mkdir()
    made = [str(ahf), "serve", "token", "add", "desk", "--state", state]
    secret = subprocess.run(made, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    process = subprocess.Popen([*command, "--port", "0"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("serving at https://hub.example:")
        [url] = _listening(process.pid)
        assert httpx2.get(f"{url}/health").text == "ok\n"
        headers = {"Authorization": f"Bearer {secret}"}
        assert httpx2.get(f"{url}/api/whoami-v2", headers=headers).json()["name"] == "desk"
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    finally:
        process.kill()
        process.communicate()
    [clean] = [int(value) for key, _, value in lines if key == "SuccessExitStatus"]
    assert code in (clean, -signal.SIGTERM), "systemd takes either for an end that was wanted"


def _listening(pid: int) -> list[str]:
    import psutil

    ports = [each.laddr.port for each in psutil.Process(pid).net_connections() if each.status == "LISTEN"]
    return [f"http://127.0.0.1:{port}" for port in ports]


def test_the_container_starts_what_there_is() -> None:
    """No image is built here; docs/how-to/operate_a_server.md says how its steps were run."""
    lines = (OPERATIONS / "Containerfile").read_text().splitlines()
    said = {word: line.partition(" ")[2] for line in lines if (word := line.partition(" ")[0]).isupper()}
    import json

    from click.testing import CliRunner

    from adapterhub_fin.cli.serve import command

    arguments = json.loads(said["CMD"])
    assert arguments[0] == "serve"
    assert CliRunner().invoke(command, [*arguments[1:], "--help"]).exit_code == 0
    assert CliRunner().invoke(command, [*arguments[1:], "--no-such-option", "--help"]).exit_code == 2


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync isn't installed")
@pytest.mark.parametrize("how", ["backup.sh", "a plain copy"])
def test_a_copy_that_is_made_under_writes_is_restored_whole(
    serving: Any, adapter: Any, ahf: Path, tmp_path: Path, how: str
) -> None:
    hub = serving()
    api, target = hub.api(), tmp_path / "copy"
    stop, failures, pushed = threading.Event(), [], []
    for number in range(3):
        api.create_repo(f"acme/tone-{number}")
        api.create_branch(f"acme/tone-{number}", branch="dev")

    def push(name: str, number: int) -> None:
        card = f"---\nlicense: mit\n---\n{number}\n".encode()
        operations = [CommitOperationAdd(*each) for each in {**adapter(number), "README.md": card}.items()]
        done = api.create_commit(name, operations, commit_message="pushed")
        note = CommitOperationAdd("notes.txt", str(number).encode())
        api.create_commit(name, [note], commit_message="a draft", revision="dev")
        if number % 4 == 3:
            api.create_tag(name, tag=f"good-{number}", revision=done.oid)

    def pushing() -> None:
        for number in range(10_000):
            try:
                push(f"acme/tone-{number % 3}", number)
            except Exception as error:
                if "read-only for now" not in str(error):
                    failures.append(error)
                    return
            pushed.append(number)
            if stop.is_set():
                return

    writer = threading.Thread(target=pushing)
    writer.start()
    while len(pushed) < 4:
        time.sleep(0.02)
        assert not failures
    if how == "backup.sh":
        environment = {**os.environ, "AHF_HOME": str(hub.registry.root), "AHF": str(ahf), "SETTLE": "0.5"}
        command = ["sh", str(OPERATIONS / "backup.sh"), str(hub.state), str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert not (hub.state / "read-only").exists() and not (target / "state" / "read-only").exists()
    else:
        target.mkdir()
        for source, name in ((hub.state, "state"), (hub.registry.root, "registry")):
            subprocess.run(["rsync", "-a", "--exclude=/tmp", f"{source}/", str(target / name)], check=False)
    stop.set()
    writer.join(60)
    assert not failures

    copied = Registry(target / "registry")
    versions = [version for name in copied.names() for version in copied.versions(name)]
    assert len(versions) >= 4
    copied.doctor(repair=True)
    assert [finding for finding in copied.doctor() if not finding.repairable] == []
    for version in versions:
        copied.verify(version.reference)
        assert (copied.path(version.reference) / "adapter_model.safetensors").is_file()
    restored = _served_again(serving, copied, target / "state", hub)
    reader = {"Authorization": f"Bearer {hub.secrets['reader']}"}
    for name in copied.names():
        assert restored.api().model_info(name).sha
        for ref in (*restored.api().list_repo_refs(name).tags, *restored.api().list_repo_refs(name).branches):
            for file in restored.api().list_repo_tree(name, revision=ref.target_commit):
                url = f"{restored.url}/{name}/resolve/{ref.target_commit}/{file.path}"
                assert httpx2.get(url, headers=reader).status_code == 200, (ref, file.path)
    before = max(version.number for version in copied.versions("acme/tone-0"))
    operations = [CommitOperationAdd(path, data) for path, data in adapter(99).items()]
    restored.api().create_commit("acme/tone-0", operations, commit_message="after")
    assert max(version.number for version in copied.versions("acme/tone-0")) == before + 1


def _served_again(serving: Callable[..., Any], registry: Registry, state: Path, hub: Any) -> Any:
    """A server of a restored registry with the state that was restored with it, tokens and all."""
    from dataclasses import replace

    return replace(serving(None, registry, state), secrets=hub.secrets)
