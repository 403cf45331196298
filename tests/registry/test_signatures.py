"""Signatures: model-signing's form, complete, over this very version; whatever else a file holds is refused."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.errors import BadKey, BadSignature, Corrupted, WriteFailed
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.trust.keys import PrivateKey, PublicKey
from adapterhub_fin_registry.trust.signatures import LIMIT, Signature, signers

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]
MakeKey = Callable[..., Path]


@pytest.fixture
def stored(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest) -> Version:
    return registry.add(make_folder(1, {"sub/notes.md": b"# notes"}), make_manifest(), name="acme/tone")


@pytest.fixture(scope="session")
def session_key(make_key: MakeKey) -> PrivateKey:
    return PrivateKey.read(make_key())


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_signature_names_its_signer_and_changes_nothing_of_the_version(
    registry: Registry, stored: Version, make_key: MakeKey, kind: str
) -> None:
    assert registry.signatures("acme/tone") == []
    key, other = make_key("desk", kind), make_key("other", kind)
    before = {path: path.read_bytes() for path in stored.folder.rglob("*") if path.is_file()}
    signature = registry.sign("acme/tone", PrivateKey.read(key))
    assert {path: path.read_bytes() for path in before} == before
    assert registry.resolve(stored.digest).number == 1
    path = stored.folder / "signatures" / f"{hashlib.sha256(signature.data).hexdigest()}.json"
    assert path.read_bytes() == signature.data
    public = PublicKey.read(key.with_suffix(".pub"))
    assert signers(registry.signatures("acme/tone"), [public, PublicKey.read(other.with_suffix(".pub"))]) == [public]
    assert registry.verify("acme/tone").digest == stored.digest


def test_signing_again_changes_nothing_and_several_may_sign(
    registry: Registry, stored: Version, make_key: MakeKey
) -> None:
    desk, risk = make_key("desk"), make_key("risk", "ed25519")
    for _ in range(2):
        registry.sign("acme/tone", PrivateKey.read(desk))
        registry.sign("acme/tone", PrivateKey.read(risk))
    assert len(registry.signatures("acme/tone")) == 2


def test_only_what_is_whole_is_signed(registry: Registry, stored: Version, make_key: MakeKey) -> None:
    (stored.files / "sub/notes.md").write_bytes(b"# other")
    with pytest.raises(Corrupted, match="notes.md"):
        registry.sign("acme/tone", PrivateKey.read(make_key()))
    assert registry.signatures("acme/tone") == []


def test_signatures_travel(
    registry: Registry, stored: Version, make_key: MakeKey, make_folder: MakeFolder, tmp_path: Path
) -> None:
    data = registry.sign("acme/tone", PrivateKey.read(make_key())).data
    elsewhere = Registry(tmp_path / "elsewhere")
    pulled = elsewhere.add(stored.files, stored.manifest, name="team/sentiment", signatures=[data])
    assert pulled.digest == stored.digest
    assert [signature.data for signature in elsewhere.signatures("team/sentiment")] == [data]
    # Neither a second signature nor a repeated one makes a version of its own.
    more = registry.sign("acme/tone", PrivateKey.read(make_key("risk"))).data
    assert elsewhere.add(stored.files, stored.manifest, name="team/sentiment", signatures=[data, more]).number == 1
    assert {signature.data for signature in elsewhere.signatures("team/sentiment")} == {data, more}
    assert elsewhere.add_signature(stored.digest, more).data == more
    other = registry.add(make_folder(2), stored.manifest.model_copy(update={"files": (), "tensors": ()}), name="acme/b")
    with pytest.raises(BadSignature, match="another version"):
        registry.add_signature(other.reference, data)
    with pytest.raises(BadSignature, match="another version"):
        elsewhere.add(other.files, other.manifest, name="team/b", signatures=[data])
    assert elsewhere.names() == ["team/sentiment"]


def test_the_statement_is_complete(registry: Registry, stored: Version, make_key: MakeKey) -> None:
    bundle = json.loads(registry.sign("acme/tone", PrivateKey.read(make_key())).data)
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    resources = statement["predicate"]["resources"]
    files = {file.path: file.sha256 for file in stored.manifest.files}
    named = {"ahf_manifest.json": stored.digest.removeprefix("sha256:"), **files}
    assert {resource["name"]: resource["digest"] for resource in resources} == named
    assert {resource["algorithm"] for resource in resources} == {"sha256"}
    root = hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
    assert statement["subject"] == [{"name": stored.digest, "digest": {"sha256": root}}]


def as_on_a_hub(version: Version, folder: Path) -> Path:
    shutil.copytree(version.files, folder)
    (folder / "ahf_manifest.json").write_bytes(version.manifest_bytes)
    (folder / "README.md").write_text("# a card, which nobody signed")
    shutil.copytree(version.folder / "signatures", folder / "ahf_signatures")
    return folder


def test_the_real_model_signing_agrees_both_ways(
    registry: Registry, stored: Version, make_key: MakeKey, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing", reason="model-signing, with pyOpenSSL, isn't installed", exc_type=ImportError)

    def model_signing(verb: str, *options: str | Path) -> int:
        command = [sys.executable, "-m", "model_signing", verb, "key", folder, *options]
        return subprocess.run(command, capture_output=True).returncode

    key = make_key()
    public = key.with_suffix(".pub")
    signature = registry.sign("acme/tone", PrivateKey.read(key))
    folder = as_on_a_hub(stored, tmp_path / "hub")
    ours = folder / "ahf_signatures" / signature.file_name
    assert model_signing("verify", "--signature", ours, "--public_key", public) == 0
    assert model_signing("verify", "--signature", ours, "--public_key", make_key().with_suffix(".pub")) != 0
    theirs = tmp_path / "theirs.sig"
    ignored = ("--ignore-paths", folder / "README.md", "--ignore-paths", folder / "ahf_signatures")
    assert model_signing("sign", *ignored, "--private_key", key, "--signature", theirs) == 0
    assert registry.add_signature("acme/tone", theirs.read_bytes()).by(PublicKey.read(public))
    (folder / "adapter_config.json").write_bytes(b"{}")
    assert model_signing("verify", "--signature", ours, "--public_key", public) != 0


def _payload(bundle: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(canonical(statement)).decode()


def _resource(bundle: dict[str, Any], **values: Any) -> None:
    """Change the first resource, and let the subject agree with it."""

    def change(statement: dict[str, Any]) -> None:
        resources = statement["predicate"]["resources"]
        resources[0].update(values)
        digests = b"".join(bytes.fromhex(str(resource["digest"])) for resource in resources)
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()

    _payload(bundle, change)


MUTATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "media type": lambda b: b.update(mediaType="application/json"),
    "no envelope": lambda b: b.pop("dsseEnvelope"),
    "envelope of another type": lambda b: b.update(dsseEnvelope="{}"),
    "payload type": lambda b: b["dsseEnvelope"].update(payloadType="application/json"),
    "payload not base64": lambda b: b["dsseEnvelope"].update(payload="%%%"),
    "payload not JSON": lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(b"{").decode()),
    "payload a list": lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(b"[]").decode()),
    "payload twice": lambda b: b["dsseEnvelope"].update(
        payload=base64.b64encode(b'{"_type":"a","_type":"b"}').decode()
    ),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda b: b["dsseEnvelope"]["signatures"].append({"sig": "", "keyid": ""}),
    "signature a number": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=3),
    "no key": lambda b: b["verificationMaterial"]["publicKey"].pop("hint"),
    "a path as key": lambda b: b["verificationMaterial"]["publicKey"].update(hint="../../etc/passwd"),
    "a certificate": lambda b: b.update(verificationMaterial={"x509CertificateChain": {}}),
    "statement type": lambda b: _payload(b, lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
    "predicate type": lambda b: _payload(b, lambda s: s.update(predicateType="https://model_signing/Digests/v0.1")),
    "no subject": lambda b: _payload(b, lambda s: s.update(subject=[])),
    "another subject": lambda b: _payload(b, lambda s: s["subject"][0]["digest"].update(sha256="0" * 64)),
    "no resources": lambda b: _payload(b, lambda s: s["predicate"].update(resources=[])),
    "a resource too few": lambda b: _payload(b, lambda s: s["predicate"]["resources"].pop()),
    "a resource twice": lambda b: _payload(
        b, lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0])
    ),
    "a resource outside": lambda b: _resource(b, name="../../escape.json"),
    "a file's other bytes": lambda b: _resource(b, digest="0" * 64),
    "another algorithm": lambda b: _resource(b, algorithm="blake2"),
    "a digest in capitals": lambda b: _payload(
        b, lambda s: s["predicate"]["resources"][0].update(digest=s["predicate"]["resources"][0]["digest"].upper())
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_signature_in_any_other_form_is_refused(
    registry: Registry, stored: Version, make_key: MakeKey, mutation: str
) -> None:
    bundle = json.loads(Signature.make(stored.manifest, PrivateKey.read(make_key())).data)
    MUTATIONS[mutation](bundle)
    with pytest.raises(BadSignature) as raised:
        registry.add_signature("acme/tone", canonical(bundle))
    assert "\n" not in str(raised.value)
    assert not (stored.folder / "signatures").exists()


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_anywhere_in_it_is_told_by_one_error(
    stored: Version, session_key: PrivateKey, data: st.DataObject
) -> None:
    bundle = json.loads(Signature.make(stored.manifest, session_key).data)
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    inside = data.draw(st.booleans())
    _put_anywhere(statement if inside else bundle, data)
    if inside:
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    try:
        Signature.parse(json.dumps(bundle).encode(), stored.manifest)
    except BadSignature as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _put_anywhere(value: Any, data: st.DataObject) -> None:
    """Replace something drawn, however deep, with any JSON."""
    while True:
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        if isinstance(value[key], (dict, list)) and value[key] and data.draw(st.booleans()):
            value = value[key]
            continue
        value[key] = data.draw(JSON)
        return


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[" * 100_000, b"\xff\xfe", b'{"a":1,"a":2}', b" " * (LIMIT + 1)],
    ids=["empty", "cut", "null", "deep", "not UTF-8", "a key twice", "giant"],
)
def test_bytes_that_hold_no_signature_are_refused(registry: Registry, stored: Version, data: bytes) -> None:
    with pytest.raises(BadSignature):
        registry.add_signature("acme/tone", data)


def test_a_good_one_with_a_key_twice_or_blown_up_is_refused(
    registry: Registry, stored: Version, session_key: PrivateKey
) -> None:
    good = Signature.make(stored.manifest, session_key).data
    assert registry.add_signature("acme/tone", good + b" ")  # white space is JSON's own
    for bad, said in (
        (good.replace(b'"mediaType"', b'"mediaType":"text/plain","mediaType"'), "twice"),
        (good + b" " * LIMIT, "more than"),
    ):
        with pytest.raises(BadSignature, match=said):
            registry.add_signature("acme/tone", bad)
        path = stored.folder / "signatures" / f"{hashlib.sha256(bad).hexdigest()}.json"
        path.write_bytes(bad)
        with pytest.raises(Corrupted, match=said):
            registry.verify("acme/tone")
        path.unlink()


def test_a_signature_that_claims_a_key_is_not_by_it(registry: Registry, stored: Version, make_key: MakeKey) -> None:
    trusted, forger = make_key("desk"), make_key("forger")
    public = PublicKey.read(trusted.with_suffix(".pub"))
    bundle = json.loads(Signature.make(stored.manifest, PrivateKey.read(forger)).data)
    bundle["verificationMaterial"]["publicKey"]["hint"] = public.fingerprint
    forged = registry.add_signature("acme/tone", canonical(bundle))
    assert forged.claims == public.fingerprint and not forged.by(public)
    # One bit of a good one: neither the bytes that were signed nor the signature may change.
    bundle = json.loads(Signature.make(stored.manifest, PrivateKey.read(trusted)).data)
    value = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    value[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(value).decode()
    assert not registry.add_signature("acme/tone", canonical(bundle)).by(public)
    _payload(
        bundle := json.loads(Signature.make(stored.manifest, PrivateKey.read(trusted)).data), lambda s: s.pop("x", 0)
    )
    assert Signature.parse(canonical(bundle), stored.manifest).by(public)  # the same bytes again
    _payload(bundle, lambda s: s.update(x=1))
    assert not Signature.parse(canonical(bundle), stored.manifest).by(public)


def test_what_else_lies_in_signatures_is_told_by_verify_and_blocks_nothing(
    registry: Registry, stored: Version, make_key: MakeKey, tmp_path: Path
) -> None:
    signature = registry.sign("acme/tone", PrivateKey.read(make_key()))
    folder = stored.folder / "signatures"
    (folder / "notes.txt").write_text("no part of the registry")
    assert registry.verify("acme/tone").number == 1
    outside = tmp_path / "outside.json"
    outside.write_bytes(signature.data)
    link = folder / f"{'0' * 64}.json"
    link.symlink_to(outside)
    for problem in (
        lambda: None,
        lambda: (link.unlink(), link.mkdir()),
        lambda: (link.rmdir(), os.mkfifo(link)),
        lambda: (link.unlink(), link.write_bytes(b"{}")),
        lambda: link.write_bytes(b" " * (LIMIT + 1)),
        lambda: link.write_bytes(signature.data),  # whole, under another name
    ):
        problem()
        assert registry.signatures("acme/tone") == [signature]
        with pytest.raises(Corrupted, match="0000.json"):
            registry.verify("acme/tone")
    link.unlink()
    assert registry.verify("acme/tone").number == 1


def test_a_signature_is_durable_before_it_is_answered(
    registry: Registry, stored: Version, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("asks /proc which file a descriptor is")
    done: list[str] = []

    class Watched(Disk):
        def publish(self, built: Path, target: Path) -> bool:
            done.append("published")
            return super().publish(built, target)

    monkeypatch.setattr(os, "fsync", lambda fd: done.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    folder, key = stored.folder / "signatures", PrivateKey.read(make_key())
    for again in (False, True):
        done.clear()
        signature = Registry(registry.root, disk=Watched()).sign("acme/tone", key)
        at = done.index("published")
        assert any(name.endswith(signature.file_name) for name in done[:at])
        assert str(folder) in done[at:]
        assert again or str(stored.folder) in done[:at]
        assert list((registry.root / "tmp").iterdir()) == []


class _FullAt(Disk):
    """A disk whose Nth call finds no room."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in vars(Disk) or name.startswith("_"):
            return value

        def counted(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                raise OSError(errno.ENOSPC, "no room")
            return value(*arguments)

        return counted


def test_a_full_disk_leaves_a_signature_or_none(registry: Registry, stored: Version, make_key: MakeKey) -> None:
    key = PrivateKey.read(make_key())
    whole = _FullAt(0)
    Registry(registry.root, disk=whole).sign("acme/tone", key)
    assert whole.calls > 5
    for at in range(1, whole.calls + 1):
        shutil.rmtree(stored.folder / "signatures", ignore_errors=True)
        with pytest.raises(WriteFailed, match="no room"):
            Registry(registry.root, disk=_FullAt(at)).sign("acme/tone", key)
        assert registry.verify("acme/tone").number == 1 and len(registry.signatures("acme/tone")) in (0, 1)
        assert registry.sign("acme/tone", key) in registry.signatures("acme/tone")


def test_a_link_in_the_place_of_the_folder_is_followed_by_nobody(
    registry: Registry, stored: Version, make_key: MakeKey, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (stored.folder / "signatures").symlink_to(tmp_path / "outside")
    signature = Signature.make(stored.manifest, PrivateKey.read(make_key()))
    for attempt in (
        lambda: registry.add_signature("acme/tone", signature.data),
        lambda: registry.signatures("acme/tone"),
        lambda: registry.verify("acme/tone"),
    ):
        with pytest.raises(Corrupted, match="is a link"):
            attempt()
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_private_key_is_its_owners_alone(make_key: MakeKey, tmp_path: Path) -> None:
    key = make_key()
    for mode in (0o644, 0o640, 0o604, 0o660):
        key.chmod(mode)
        with pytest.raises(BadKey, match="chmod 600"):
            PrivateKey.read(key)
    key.chmod(0o400)
    link = tmp_path / "secret.pem"
    link.symlink_to(key)  # as a cluster mounts its secrets
    assert PrivateKey.read(link).public.fingerprint == PrivateKey.read(key).public.fingerprint


def test_an_encrypted_key_asks_for_its_passphrase(make_key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key("locked", "p256", "between us")
    for silent in (None, lambda: ""):
        with pytest.raises(BadKey, match="put its passphrase into AHF_KEY_PASSPHRASE"):
            PrivateKey.read(key, silent)
    with pytest.raises(BadKey, match="isn't opened by that passphrase"):
        PrivateKey.read(key, lambda: "a guess")
    assert PrivateKey.read(key, lambda: "between us").public
    monkeypatch.setenv("AHF_KEY_PASSPHRASE", "between us")
    assert PrivateKey.read(key).public.fingerprint == PublicKey.read(key.with_suffix(".pub")).fingerprint


def test_what_is_no_key_is_told_apart(make_key: MakeKey, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = make_key()
    with pytest.raises(BadKey, match="private key: give the public"):
        PublicKey.read(key)
    with pytest.raises(BadKey, match="isn't a private key"):
        key.with_suffix(".pub").chmod(0o600)
        PrivateKey.read(key.with_suffix(".pub"))
    bad = tmp_path / "bad.pem"
    for data, said in ((b"", "isn't a"), (b"-----BEGIN", "isn't a"), (b"x" * 70_000, "larger than any key")):
        bad.write_bytes(data)
        bad.chmod(0o600)
        for kind in (PublicKey, PrivateKey):
            with pytest.raises(BadKey, match=said):
                kind.read(bad)
    with pytest.raises(BadKey, match="can't be read"):
        PublicKey.read(tmp_path / "none.pub")
    with pytest.raises(BadKey, match="isn't a plain file"):
        PrivateKey.read(tmp_path)
    curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = curve.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(BadKey, match="another kind"):
        PublicKey.parse(pem, "curve")


def test_cryptography_is_imported_by_signing_alone(registry: Registry, stored: Version, make_key: MakeKey) -> None:
    registry.sign("acme/tone", PrivateKey.read(make_key()))
    script = (
        "import sys; from adapterhub_fin_registry import Registry, RegistryChain; r = Registry(sys.argv[1]); "
        "r.verify('acme/tone'); r.path('acme/tone'); r.signatures('acme/tone'); RegistryChain.configured().rows(); "
        "assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(registry.root)], check=True)
