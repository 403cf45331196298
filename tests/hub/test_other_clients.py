"""Clients that people have already, each in a process of its own, against the server: hf, PEFT and Transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError

HF = Path(sys.executable).with_name("hf")
Hf = Callable[..., str]


def test_xet_is_installed_so_that_what_passes_here_passes_with_it() -> None:
    assert find_spec("hf_xet") is not None


@pytest.fixture
def home(home: Path, tmp_path: Path) -> Path:
    """A cache and a login of this test's own, for clients in other processes."""
    return tmp_path / "hf"


@pytest.fixture
def hf(hub: Any, home: Path, tmp_path: Path) -> Hf:
    """The command `hf` in a folder of this test's own, logged in by nothing but its own login."""

    def run(*arguments: str, fails: str | None = None) -> str:
        environment = {**hub.environment(home, None), "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_COLOR": "1"}
        done = subprocess.run([HF, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True)
        if fails is not None:
            assert done.returncode != 0 and fails in done.stderr + done.stdout, (done.stdout, done.stderr)
        else:
            assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def python(program: str, environment: Mapping[str, str], *arguments: str) -> Any:
    """What a program in another process prints last, as JSON."""
    path = os.pathsep.join(filter(None, sys.path))
    calm = {**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=calm, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def laid_out(files: Mapping[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for path, data in files.items():
        (folder / path).write_bytes(data)
    return folder


def test_the_hf_command_logs_in_uploads_tags_and_downloads(hub: Any, hf: Hf, adapter: Any, tmp_path: Path) -> None:
    hf("auth", "login", "--token", "hf_wrong", fails="nvalid")
    hf("auth", "login", "--token", hub.secrets["writer"])
    assert "writer" in hf("auth", "whoami")

    first, second = laid_out(adapter(1), tmp_path / "first"), laid_out(adapter(2, columns=16), tmp_path / "second")
    hf("upload", "acme/by-hf", str(first), ".")
    hf("upload", "acme/by-hf", str(second), ".", "--commit-message", "the second")
    assert [version.number for version in hub.registry.versions("acme/by-hf")] == [1, 2]

    hf("repos", "tag", "create", "acme/by-hf", "champion", "--revision", "v1")
    assert hub.registry.aliases("acme/by-hf") == {"champion": 1}
    listed = hf("repos", "tag", "list", "acme/by-hf")
    assert all(tag in listed for tag in ("v1", "v2", "champion"))
    for revision, folder in (("champion", first), ("v2", second), ("main", second)):
        hf("download", "acme/by-hf", "--revision", revision, "--local-dir", str(tmp_path / revision))
        for file in folder.iterdir():
            assert (tmp_path / revision / file.name).read_bytes() == file.read_bytes()
    hf("repos", "tag", "delete", "acme/by-hf", "champion", "--yes")
    assert hub.registry.aliases("acme/by-hf") == {}


def test_the_hf_command_is_told_why_not(hub: Any, hf: Hf, adapter: Any, tmp_path: Path) -> None:
    folder = laid_out(adapter(3), tmp_path / "folder")
    hf("auth", "login", "--token", hub.secrets["reader"])
    hf("upload", "acme/not-mine", str(folder), ".", fails="403")
    hf("download", "acme/none", fails="not found")
    assert hub.registry.versions("acme/not-mine") == []


CARD = """
import json
from huggingface_hub import ModelCard
print(json.dumps(ModelCard("---\\nlicense: mit\\n---\\n# Tone\\n").push_to_hub("acme/carded")))
"""


def test_a_card_is_pushed_by_its_own_method(hub: Any, tmp_path: Path) -> None:
    """`ModelCard.push_to_hub` has the card's head looked at without a token."""
    hub.api().create_repo("acme/carded")
    assert "/commit/" in python(CARD, hub.environment(tmp_path / "hf"))
    assert hub.api().model_info("acme/carded").card_data.license == "mit"


FOLDER = """
import json, logging, sys
from huggingface_hub import HfApi, logging as hub_logging
seen = []
class Seen(logging.Handler):
    def emit(self, record):
        seen.append(record.getMessage())
hub_logging.get_logger().addHandler(Seen())
HfApi().upload_folder(repo_id="acme/licensed", folder_path=sys.argv[1])
print(json.dumps(seen))
"""


def test_a_folder_is_uploaded_with_its_license_and_without_what_is_of_no_use(
    hub: Any, adapter: Any, tmp_path: Path
) -> None:
    files = {
        **adapter(7),
        "LICENSE": b"Apache License 2.0",
        "NOTICE": b"by the desk",
        "README.md": b"---\nlicense: apache-2.0\n---\n# Tone\n",
        "optimizer.pt": b"x",
        ".DS_Store": b"x",
    }
    folder = laid_out(files, tmp_path / "folder")
    hub.api().create_repo("acme/licensed")
    said = python(FOLDER, hub.environment(tmp_path / "hf"), str(folder))
    assert any("sent without" in line and "optimizer.pt" in line and ".DS_Store" in line for line in said), said
    (version,) = hub.registry.versions("acme/licensed")
    assert {file.path for file in version.manifest.files} == set(adapter(7)), "no part of the version's digest"
    listed = set(hub.api().list_repo_files("acme/licensed"))
    assert listed == {*adapter(7), "LICENSE", "NOTICE", "README.md", "ahf_manifest.json"}
    for revision in ("main", "v1"):
        got = hub.api().hf_hub_download("acme/licensed", "LICENSE", revision=revision, cache_dir=tmp_path / revision)
        assert Path(got).read_bytes() == files["LICENSE"]
    again = python(FOLDER, hub.environment(tmp_path / "hf"), str(folder))
    assert again and len(hub.registry.versions("acme/licensed")) == 1


@pytest.mark.skipif(which("git") is None, reason="git isn't installed")
@pytest.mark.parametrize("path", ["acme/by-git", "acme/by-git.git", "acme/none", "by-git", "datasets/acme/by-git"])
def test_git_is_told_that_there_is_none(hub: Any, tmp_path: Path, path: str) -> None:
    command = ["git", "-c", "credential.helper=", "clone", f"{hub.url}/{path}", str(tmp_path / "clone")]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "This server has no git" in done.stderr and f"HF_ENDPOINT={hub.url} hf download" in done.stderr
    assert "Username" not in done.stderr and "not found" not in done.stderr


def test_the_hf_command_is_told_how_repositories_are_listed(hub: Any, hf: Hf) -> None:
    hf("auth", "login", "--token", hub.secrets["writer"])
    hub.api().create_repo("listed/tone")
    hf("repos", "list", fails="hf models list --author NAMESPACE")
    with pytest.raises(HfHubHTTPError, match="hf models list --author NAMESPACE"):
        list(hub.api().list_user_repos(namespace="listed"))
    assert "listed/tone" in hf("models", "list", "--author", "listed", "--quiet")


PUSH = """
import json, sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
decoder, encoder = sys.argv[1:]
def logits(model, ids):
    with torch.inference_mode():
        return model.eval()(torch.tensor([ids])).logits.tolist()
def moved(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model
ids = list(range(5, 21))
causal = AutoModelForCausalLM.from_pretrained(decoder)
plan = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
notes = moved(get_peft_model(causal, plan))
notes.push_to_hub("acme/pushed-notes")
classifier = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
tone = moved(get_peft_model(classifier, LoraConfig(r=4, target_modules=["query"], task_type="SEQ_CLS")))
tone.push_to_hub("acme/pushed-tone", commit_message="from a notebook")
print(json.dumps([logits(notes, ids), logits(tone, ids)]))
"""
LOAD = """
import json, sys, torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import AutoModelForCausalLM
torch.manual_seed(90210)
decoder = sys.argv[1]
def logits(model):
    with torch.inference_mode():
        return model.eval()(torch.tensor([list(range(5, 21))])).logits.tolist()
causal = lambda: AutoModelForCausalLM.from_pretrained(decoder)
plain = PeftModel.from_pretrained(causal(), "acme/pushed-notes", revision="v1")
own = causal()
own.load_adapter("acme/pushed-notes")
tone = AutoPeftModelForSequenceClassification.from_pretrained("acme/pushed-tone", revision="v1", num_labels=3)
print(json.dumps([logits(plain), logits(own), logits(tone)]))
"""


def test_peft_pushes_and_other_processes_load(
    hub: Any, home: Path, tmp_path: Path, decoder: Path, encoder: Path
) -> None:
    notes, tone = python(PUSH, hub.environment(tmp_path / "pusher"), str(decoder), str(encoder))
    assert [v.number for name in ("notes", "tone") for v in hub.registry.versions(f"acme/pushed-{name}")] == [1, 1]
    plain, own, auto = python(LOAD, hub.environment(tmp_path / "loader", "reader"), str(decoder))
    assert plain == notes and own == notes and auto == tone
    stored = hub.registry.path("acme/pushed-notes@1") / "adapter_model.safetensors"
    (cached,) = (tmp_path / "loader").rglob("models--acme--pushed-notes/snapshots/*/adapter_model.safetensors")
    assert sha256(cached.read_bytes()).digest() == sha256(stored.read_bytes()).digest()
