"""What `ahf serve inference` is told reaches the pool and the server."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adapterhub_fin import cli
from adapterhub_fin.engine.pool import pool as pools
from adapterhub_fin.engine.pool.serving_settings import ServingSettings
from adapterhub_fin.inference_server import application as applications
from adapterhub_fin.inference_server.settings import InferenceSettings

NOT_GIVEN: dict[str, Any] = {"bytes": 2**30, "device": None, "download": False, "trust_remote_code": False}
GIVEN: dict[str, Any] = {"bytes": 2**27, "device": "cpu", "download": True, "trust_remote_code": True}
OPTIONS = [
    *("--bytes", "128MiB", "--device", "cpu", "--download", "--trust-remote-code", "--token-file", "tokens"),
    *("--max-batch", "5", "--max-wait", "7ms", "--max-queue", "11", "--workers", "2", "--writers", "3"),
    *("--max-streams", "4", "--timeout", "13s", "--max-body", "17KiB"),
]
SETTINGS = InferenceSettings(
    token_file=Path("tokens"),
    max_body=17 * 1024,
    timeout=13.0,
    serving=ServingSettings(max_batch=5, max_wait=0.007, max_queue=11, workers=2, writers=3, max_streams=4),
)


def stop_once_it_answers(capsys: pytest.CaptureFixture[str], health: list[str]) -> None:
    """Read the address that the command prints, ask it, and send SIGTERM to this process."""
    until, said = time.monotonic() + 60, ""
    while (address := re.search(r"serving at (\S+):", said)) is None and time.monotonic() < until:
        time.sleep(0.05)
        said += capsys.readouterr().err
    try:
        health.append(httpx2.get(f"{address and address[1]}/health").text)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("options", [[], OPTIONS], ids=["none", "all"])
@pytest.mark.parametrize("pins", [[], ["acme/tone@1", "acme/tone@3"]], ids=["none pinned", "two pinned"])
def test_every_option_arrives(
    options: list[str],
    pins: list[str],
    dated_tone: Any,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: dict[str, Any] = {}
    real_pool, real_application = pools.pool, applications.application

    def pool(base: str, **given: Any) -> Any:
        seen["base"], seen["pool"] = base, given
        return real_pool(base, **given)

    def application(pool: Any, models: Any, settings: InferenceSettings) -> Any:
        seen["settings"], seen["pinned"] = settings, {each.reference for each in pool.resident() if each.pinned}
        return real_application(pool, models, settings)

    monkeypatch.setattr(pools, "pool", pool)
    monkeypatch.setattr(applications, "application", application)
    monkeypatch.setenv("AHF_HOME", str(dated_tone.root))
    monkeypatch.chdir(tmp_path)
    Path("tokens").write_text("desk a-secret-of-32-characters-or-more\n")
    health: list[str] = []
    stopping = threading.Thread(target=stop_once_it_answers, args=(capsys, health))
    stopping.start()
    pinning = [word for pin in pins for word in ("--pin", pin)]
    with pytest.raises(SystemExit) as leave:
        cli.main(["serve", "inference", "--base", str(encoder), "--port", "0", *options, *pinning])
    stopping.join()
    assert leave.value.code == 0 and health == ["ok\n"]
    assert seen["base"] == str(encoder) and seen["pool"] == (GIVEN if options else NOT_GIVEN)
    assert seen["settings"] == (SETTINGS if options else InferenceSettings())
    assert seen["pinned"] == set(pins)
