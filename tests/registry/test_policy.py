"""The client's policy: every rule at add and at load, and a registry's own file that can only tighten it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.errors import BadConfiguration, BadKey, Refused
from adapterhub_fin_registry.trust.client_config import Configuration
from adapterhub_fin_registry.trust.keys import PrivateKey
from adapterhub_fin_registry.trust.signatures import Signature

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]
MakeKey = Callable[..., Path]
Configure = Callable[[str], Path]

CORPUS = {"name": "headlines"}
# What a rule refuses, what it allows, and what the refusal says.
RULES = {
    'allowed_licenses = ["MIT", "apache-*"]': [
        ({"license": "GPL-3.0"}, {"license": "Apache-2.0"}, "states 'GPL-3.0' as its license"),
        ({}, {"license": "mit"}, "states nothing as its license"),
        (
            {"license": "MIT", "corpus": {**CORPUS, "license": "CC-BY-NC-SA-3.0"}},
            {"license": "MIT", "corpus": {**CORPUS, "license": "MIT"}},
            "states 'CC-BY-NC-SA-3.0' as its corpus' license",
        ),
        (
            {"license": "MIT", "corpus": CORPUS},
            {"license": "MIT", "corpus": {**CORPUS, "license": "Apache-2.0"}},
            "states nothing as its corpus' license",
        ),
    ],
    "allowed_licenses = []": [({"license": "MIT"}, None, "states 'MIT'")],
    'allowed_bases = ["acme/*", "other/base"]': [
        ({"base": {"repository": "else/base", "fingerprint": "declared"}}, {}, "states 'else/base' as its base"),
        (
            {"base": {"repository": "ACME/base", "fingerprint": "declared"}},
            {"base": {"repository": "other/base", "fingerprint": "declared"}},
            "states 'ACME/base' as its base",
        ),
        ({"base": {"fingerprint": "unknown"}}, {}, "states nothing as its base"),
    ],
    "forbid_remote_code = true": [
        (
            {"recipe": {"base": {"id": "acme/base", "trust_remote_code": True}}},
            {"recipe": {"base": {"id": "acme/base"}}},
            "runs its base's own code",
        ),
    ],
    "max_size = 20": [({}, None, "not 20 at most")],
    "require_signature = true": [({}, None, "can't be checked for a trusted signature")],
}
CASES = [(rule, *case) for rule, cases in RULES.items() for case in cases]


def trusting(**keys: Path) -> str:
    """The table of keys that trusts the public halves of these."""
    inside = ", ".join(f"{name} = '{path.with_suffix('.pub')}'" for name, path in keys.items())
    return f"keys = {{{inside}}}\n"


def inline(name: str, path: Path) -> str:
    """The same of one key, with its PEM."""
    return f"keys.{name} = '''{path.with_suffix('.pub').read_text()}'''\n"


def made(registry: Registry, key: Path) -> bytes:
    """A signature over acme/tone that isn't stored."""
    return Signature.make(registry.resolve("acme/tone").manifest, PrivateKey.read(key)).data


@pytest.mark.parametrize(("rule", "refused", "allowed", "said"), CASES)
@pytest.mark.parametrize("where", ["client", "registry"])
def test_every_rule_holds_at_add_and_at_load(
    registry: Registry,
    make_folder: MakeFolder,
    make_manifest: MakeManifest,
    configure: Configure,
    where: str,
    rule: str,
    refused: dict[str, object],
    allowed: dict[str, object] | None,
    said: str,
) -> None:
    before = registry.add(make_folder(1), make_manifest(**refused), name="acme/before")
    assert registry.path("acme/before") == before.files and registry.violations("acme/before") == []
    if where == "client":
        source = configure(f"[policy]\n{rule}\n")
    else:
        source = registry.root / "policy.toml"
        source.write_text(rule)
    name = rule.partition(" ")[0]
    for attempt in (
        lambda: registry.add(make_folder(2), make_manifest(**refused), name="acme/new"),
        lambda: registry.path("acme/before"),
    ):
        with pytest.raises(Refused) as raised:
            attempt()
        message = str(raised.value)
        assert said in message and f"against {name} in {source}: " in message and "\n" not in message
    assert registry.names() == ["acme/before"] and list((registry.root / "tmp").iterdir()) == []
    assert [said in violation for violation in registry.violations("acme/before")] == [True]
    # What may not be used can still be looked at.
    assert registry.resolve("acme/before") == before and registry.verify("acme/before") == before
    if allowed is not None:
        registry.add(make_folder(3), make_manifest(**allowed), name="acme/new")
        assert registry.path("acme/new").is_dir()


def test_a_signature_by_a_trusted_key_is_required(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, make_key: MakeKey
) -> None:
    desk, risk, stranger = make_key("desk"), make_key("risk", "ed25519"), make_key("stranger")
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    configure(f"[policy]\nrequire_signature = true\n{inline('risk', risk)}keys.desk = '{desk.with_suffix('.pub')}'\n")
    with pytest.raises(Refused, match="signed by none of desk, risk, since it isn't signed at all, against"):
        registry.path("acme/tone")
    registry.sign("acme/tone", PrivateKey.read(stranger))
    with pytest.raises(Refused, match="signed by none of desk, risk, against"):
        registry.path("acme/tone")
    for key in (desk, risk):
        signature = made(registry, key)
        version = registry.add(make_folder(1), make_manifest(), name=f"acme/{key.stem}", signatures=[signature])
        assert registry.path(version.reference).is_dir()
    for brought in ([], [made(registry, stranger)]):
        with pytest.raises(Refused, match="signed by none of desk, risk"):
            registry.add(make_folder(1), make_manifest(), name="acme/other", signatures=brought)
    registry.sign("acme/tone", PrivateKey.read(risk))
    assert registry.path("acme/tone").is_dir()


def test_what_is_made_here_is_signed_by_the_configured_key(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, make_key: MakeKey
) -> None:
    key = make_key("desk")
    configure(f"sign_with = '{key}'\n[policy]\nrequire_signature = true\n{trusting(desk=key)}")
    for _ in range(2):
        version = registry.add(make_folder(1), make_manifest(), name="acme/tone")
    assert version.number == 1 and len(registry.signatures("acme/tone")) == 1
    assert registry.path("acme/tone").is_dir()
    with pytest.raises(Refused, match="isn't signed at all"):  # what comes from elsewhere isn't vouched for
        registry.add(make_folder(2), make_manifest(), name="acme/tone", signatures=[])
    key.chmod(0o644)
    with pytest.raises(BadKey, match="chmod 600"):
        registry.add(make_folder(3), make_manifest(), name="acme/tone")
    assert [version.number for version in registry.versions("acme/tone")] == [1]


def test_an_add_reads_the_configuration_once(
    registry: Registry,
    make_folder: MakeFolder,
    make_manifest: MakeManifest,
    configure: Configure,
    make_key: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(f"sign_with = '{make_key('desk')}'")
    real, read = Configuration.read, []

    def once() -> Configuration:
        read.append(configuration := real())
        configure("[policy]\nrequire_signature = true")  # from here on it is another
        return configuration

    monkeypatch.setattr(Configuration, "read", once)
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    assert len(read) == 1 and len(registry.signatures("acme/tone")) == 1


def test_a_registrys_file_tightens_and_never_loosens(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, make_key: MakeKey
) -> None:
    desk, theirs = make_key("desk"), make_key("theirs")
    registry.add(make_folder(1), make_manifest(license="MIT"), name="acme/tone")
    client = configure(
        "[policy]\nrequire_signature = true\nallowed_licenses = ['Apache-2.0']\nmax_size = 10\n"
        f"allowed_bases = ['none/*']\n{trusting(desk=desk)}"
    )
    registry.sign("acme/tone", PrivateKey.read(theirs))
    own = registry.root / "policy.toml"
    own.write_text(
        "require_signature = false\nallowed_licenses = ['*']\nallowed_bases = ['*']\nmax_size = 1_000_000_000\n"
        + inline("desk", theirs)
    )
    broken = registry.violations("acme/tone")
    assert len(broken) == 4 and all(f"in {client}" in violation for violation in broken)
    # One of the client's keys and one of the registry's must have signed: neither stands for the other.
    configure(f"[policy]\nrequire_signature = true\n{trusting(desk=desk)}")
    own.write_text(f"require_signature = true\n{inline('theirs', theirs)}")
    (violation,) = registry.violations("acme/tone")
    assert f"require_signature in {client}" in violation
    registry.sign("acme/tone", PrivateKey.read(desk))
    assert registry.path("acme/tone").is_dir()
    # A registry that names no keys means the client's.
    own.write_text("require_signature = true")
    assert registry.path("acme/tone").is_dir()
    configure("")
    with pytest.raises(Refused, match="name the keys you trust"):
        registry.path("acme/tone")


def _link(path: Path) -> None:
    (path.parent / "elsewhere.toml").write_text("")
    path.symlink_to(path.parent / "elsewhere.toml")


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "unknown key": lambda path: path.write_text("require_signatures = true"),
    "not TOML": lambda path: path.write_text("require_signature: true"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "deep": lambda path: path.write_text("max_size = " + "[" * 50_000),
    "giant": lambda path: path.write_bytes(b"#" * (2**20 + 1)),
    "text for a flag": lambda path: path.write_text("require_signature = 'true'"),
    "a number for a flag": lambda path: path.write_text("require_signature = 1"),
    "a flag for a number": lambda path: path.write_text("max_size = true"),
    "a negative size": lambda path: path.write_text("max_size = -1"),
    "a text for a list": lambda path: path.write_text("allowed_bases = '*'"),
    "numbers in a list": lambda path: path.write_text("allowed_licenses = [1]"),
    "a list of keys": lambda path: path.write_text("keys = ['desk.pub']"),
    "a key that is a path": lambda path: path.write_text("keys = {desk = '/etc/passwd'}"),
    "a folder": lambda path: path.mkdir(),
    "a link": _link,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_registrys_policy_that_cannot_be_used_allows_nothing(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, bad: str
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    BAD_FILES[bad](registry.root / "policy.toml")
    for attempt in (
        lambda: registry.path("acme/tone"),
        lambda: registry.violations("acme/tone"),
        lambda: registry.add(make_folder(2), make_manifest(), name="acme/tone"),
    ):
        with pytest.raises(BadConfiguration, match="policy.toml") as raised:
            attempt()
        assert "\n" not in str(raised.value)
    assert registry.resolve("acme/tone").number == 1


@pytest.mark.parametrize(
    "text",
    ["policies = {}", "[policy]\nmax_sise = 3", "policy = 3", "sign_with = 3", "sign_with = ''", "[policy", "\x00"],
)
def test_a_configuration_that_cannot_be_used_allows_nothing(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, text: str
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    source = configure(text)
    for attempt in (
        lambda: registry.path("acme/tone"),
        lambda: registry.add(make_folder(2), make_manifest(), name="acme/tone"),
    ):
        with pytest.raises(BadConfiguration, match=str(source)):
            attempt()


def test_the_example_in_the_docs_is_read(configure: Configure) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "sign_and_trust.md").read_text(encoding="utf-8")
    source = configure(page.partition("```toml\n")[2].partition("```")[0])
    read = Configuration.read()
    assert read.policy.require_signature and [name for name, _ in read.policy.keys] == ["desk", "risk"]
    assert read.policy.max_size == 200_000_000 and read.sign_with == source.parent / "desk.pem"
    assert [(entry.name, entry.read_only) for entry in read.registries] == [("personal", False), ("team", True)]
    assert read.registries[0].path == Path.home() / "adapters"


def test_rules_that_are_missing_are_not_taken_for_none(
    registry: Registry,
    make_folder: MakeFolder,
    make_manifest: MakeManifest,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    monkeypatch.setenv("AHF_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(BadConfiguration, match="isn't there"):
        registry.path("acme/tone")
    (tmp_path / "own.toml").write_text("[policy]\nmax_size = 1")
    monkeypatch.setenv("AHF_CONFIG", str(tmp_path / "own.toml"))
    with pytest.raises(Refused, match="max_size in .*own.toml"):
        registry.path("acme/tone")
    monkeypatch.delenv("AHF_CONFIG")
    source = configure("")
    assert registry.path("acme/tone").is_dir()
    source.unlink()
    source.symlink_to(tmp_path / "none.toml")
    with pytest.raises(BadConfiguration, match="isn't there"):
        registry.path("acme/tone")
    source.unlink()
    source.symlink_to(tmp_path / "own.toml")  # as those do who keep their configuration elsewhere
    with pytest.raises(Refused, match="max_size"):
        registry.path("acme/tone")


def test_a_key_that_cannot_be_used_allows_nothing(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, make_key: MakeKey
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    registry.sign("acme/tone", PrivateKey.read(make_key()))
    for key, said in (
        ("none.pub", "can't be read"),
        (make_key().read_text(), "private key"),
        ("-----BEGIN PUBLIC KEY-----", "isn't a public key"),
    ):
        configure(f"[policy]\nrequire_signature = true\nkeys = {{desk = '''{key}'''}}")
        with pytest.raises(BadConfiguration, match=f"the key desk in .*{said}") as raised:
            registry.path("acme/tone")
        assert "\n" not in str(raised.value)


def test_a_relative_key_counts_from_the_configuration(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, make_key: MakeKey
) -> None:
    key = make_key()
    source = configure("sign_with = 'keys/a.pem'\n[policy]\nrequire_signature = true\nkeys = {desk = 'keys/a.pub'}")
    (source.parent / "keys").mkdir()
    for path in (key, key.with_suffix(".pub")):
        path.rename(source.parent / "keys" / f"a{path.suffix}")
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    assert registry.path("acme/tone").is_dir()


def test_without_cryptography_a_required_signature_is_refused(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, configure: Configure, make_key: MakeKey
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    key = make_key()
    registry.sign("acme/tone", PrivateKey.read(key))
    configure(f"[policy]\nrequire_signature = true\n{trusting(desk=key)}")
    script = """
import sys
sys.modules["cryptography"] = None
from adapterhub_fin_registry import Refused, Registry
try:
    Registry(sys.argv[1]).path("acme/tone")
except Refused as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, registry.root], capture_output=True, text=True, check=True)
    assert "pip install 'adapterhub-fin[signing]'" in done.stdout
