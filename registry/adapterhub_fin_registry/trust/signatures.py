"""Build and parse signatures over a version, in the form of model-signing 1.x, without any cryptography.

A signature is a Sigstore bundle, version 0.3, whose DSSE envelope holds an in-toto statement. The statement names every
file of the version as it lies on a Hub, the manifest's bytes (`ahf_manifest.json`) among them. The manifest alone would
be enough, since it fixes the digest of every file. The files are named too, so that `model_signing verify key` can
check a downloaded or exported folder without this package. The two must agree, so that every reader sees the same
version.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.errors import BadSignature, Corrupted
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.safe_read import NotRegularError, open_regular

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.trust.keys import PrivateKey, PublicKey

LIMIT: Final = 4 * 2**20  # bytes
MANIFEST: Final = "ahf_manifest.json"
# What may lie next to the files on a Hub or in a download. It isn't signed, and none of it can be a version's file.
BESIDE: Final = ("README.md", "ahf_signatures", ".cache", ".git", ".gitattributes", ".github", ".gitignore")
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_FILE: Final = re.compile(r"[0-9a-f]{64}\.json")
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Signature:
    """Represent a signature over one version's manifest; only a key can show who made it.

    `sha256` is the digest of its bytes and names its file; `claims` is the fingerprint of the key that it claims as its
    maker.
    """

    sha256: str
    claims: str
    data: bytes = field(repr=False)
    _value: bytes = field(repr=False)
    _message: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, manifest: Manifest) -> Signature:
        """Parse the signature in some bytes.

        Raises BadSignature if the bytes aren't a signature over this manifest.
        """
        if len(data) > LIMIT:
            raise BadSignature(f"the signature has more than {LIMIT} bytes, which none needs: get it again")
        bundle = _object(data, "it")
        try:
            claims, payload, value = _opened(bundle)
            resources = _resources(_object(payload, "its payload"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BadSignature):
                raise
            raise _malformed("a part is missing, or of another type") from error
        signed = _signed_files(manifest)
        if resources.get(MANIFEST) != signed[MANIFEST]:
            raise BadSignature(f"the signature is over another version than {manifest.digest}: sign this one")
        if resources != signed:
            name = min(name for name in signed.keys() | resources.keys() if signed.get(name) != resources.get(name))
            raise BadSignature(
                f"the signature and the manifest disagree on {name[:100]!r}: trust neither, and sign the version again"
            )
        return cls(hashlib.sha256(data).hexdigest(), claims, data, value, _pae(payload))

    @classmethod
    def make(cls, manifest: Manifest, key: PrivateKey) -> Signature:
        """Sign a manifest with a key and return the signature."""
        payload = canonical(_statement(manifest))
        bundle = {
            "mediaType": _BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": key.public.fingerprint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": _PAYLOAD,
                "signatures": [{"sig": base64.b64encode(key.sign(_pae(payload))).decode(), "keyid": ""}],
            },
        }
        return cls.parse(canonical(bundle), manifest)

    @property
    def file_name(self) -> str:
        """Return the name of its file, the same in every place."""
        return f"{self.sha256}.json"

    def by(self, key: PublicKey) -> bool:
        """Return whether this key made the signature, by verifying it."""
        return self.claims == key.fingerprint and key.verifies(self._value, self._message)


def signature_folder(version: Version) -> Path:
    """Return the folder of a version's signatures.

    Raises Corrupted if it is a link.
    """
    folder = version.folder / "signatures"
    if folder.is_symlink():
        raise Corrupted(f"{folder} is a link: replace it by the folder itself")
    return folder


def read_signatures(version: Version) -> tuple[list[Signature], list[str]]:
    """Return the valid signatures of a version, sorted by file name, and what is wrong with each invalid one.

    Raises Corrupted if the folder can't be listed, or is a link.
    """
    folder, good, bad = signature_folder(version), [], []
    try:
        names = sorted(entry.name for entry in folder.iterdir() if _FILE.fullmatch(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise Corrupted(f"{folder} can't be listed ({error.strerror}): fix its permissions") from error
    for name in names:
        try:
            signature = Signature.parse(_read(folder / name), version.manifest)
        except (BadSignature, OSError) as error:
            bad.append(f"{folder / name} isn't a signature over {version.reference} ({error}): remove it")
            continue
        if signature.file_name == name:
            good.append(signature)
        else:
            bad.append(f"{folder / name} isn't named by its own sha256: remove it, or get it again")
    return good, bad


def signers(signatures: Iterable[Signature], keys: Iterable[PublicKey]) -> list[PublicKey]:
    """Return those of the keys that made one of the signatures."""
    signature_list = list(signatures)
    return [key for key in keys if any(signature.by(key) for signature in signature_list)]


def _signed_files(manifest: Manifest) -> dict[str, str]:
    return {MANIFEST: manifest.digest.removeprefix("sha256:"), **{file.path: file.sha256 for file in manifest.files}}


def _statement(manifest: Manifest) -> dict[str, Any]:
    files = sorted(_signed_files(manifest).items())
    return {
        "_type": _STATEMENT,
        # The subject is named by its digest, so that a signature outlives every renaming.
        "subject": [{"name": manifest.digest, "digest": {"sha256": _root(sha256 for _, sha256 in files)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(BESIDE),
            },
            "resources": [{"name": name, "digest": sha256, "algorithm": "sha256"} for name, sha256 in files],
        },
    }


def _root(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _pae(payload: bytes) -> bytes:
    """Return what is signed instead of the payload (DSSE 1.0), so that the payload's type is signed with it."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _opened(bundle: dict[str, Any]) -> tuple[str, bytes, bytes]:
    """Return the fingerprint of the key that a bundle claims, its payload and its only signature."""
    if bundle["mediaType"] != _BUNDLE:
        raise _malformed("its mediaType isn't that of a Sigstore bundle 0.3")
    material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
    if "publicKey" not in material:
        raise _malformed("it was made with a certificate, and only keys are known here")
    hint = material["publicKey"]["hint"]
    if not (isinstance(hint, str) and _HEX.fullmatch(hint)):
        raise _malformed("it doesn't say by which key")
    if envelope["payloadType"] != _PAYLOAD:
        raise _malformed("its payloadType isn't in-toto's")
    if len(envelope["signatures"]) != 1:
        raise _malformed("its envelope must hold one signature")
    payload = base64.b64decode(envelope["payload"], validate=True)
    return hint, payload, base64.b64decode(envelope["signatures"][0]["sig"], validate=True)


def _resources(statement: dict[str, Any]) -> dict[str, str]:
    """Return the digest of each file in a statement, once the statement is found consistent."""
    if statement["_type"] != _STATEMENT or statement["predicateType"] != _PREDICATE:
        raise _malformed("its payload isn't a statement of model-signing 1.0")
    digests: dict[str, str] = {}
    for resource in statement["predicate"]["resources"]:
        name, digest = resource["name"], resource["digest"]
        if not isinstance(name, str) or not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise _malformed("a resource has no name, or no sha256")
        if resource["algorithm"] != "sha256" or name in digests:
            raise _malformed("a resource is named twice, or hashed by something else than sha256")
        digests[name] = digest
    (subject,) = statement["subject"]
    if subject["digest"] != {"sha256": _root(digests.values())}:
        raise _malformed("its subject isn't the digest of its resources")
    return digests


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except BadSignature:
        raise
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{what} isn't JSON") from error
    if not isinstance(value, dict):
        raise _malformed(f"{what} isn't a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal keys, two readers may each use another one.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _malformed("a key occurs twice")
    return result


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(LIMIT + 1)
    except NotRegularError as error:
        raise _malformed("it isn't a plain file") from error


def _malformed(why: str) -> BadSignature:
    return BadSignature(f"this isn't a signature that can be used, {why}: get it again, or sign the version again")
