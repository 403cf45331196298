"""Read and use keys in PEM, for signing and verifying: ECDSA on the curve P-256, and Ed25519.

The package `cryptography` is imported only when a key is used, so that whoever doesn't sign doesn't need it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from adapterhub_fin_registry.errors import BadKey, Refused
from adapterhub_fin_registry.io.safe_read import NotRegularError, open_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Kind = Literal["p256", "ed25519"]
PASSPHRASE: Final = "AHF_KEY_PASSPHRASE"
_LIMIT: Final = 64 * 2**10  # bytes
_EXPECTED: Final = "give a PEM file of a P-256 or an Ed25519 key, such as `ahf sign --new-key FILE` writes"


@dataclass(frozen=True)
class PublicKey:
    """Represent a key for verifying; `name` is its name for people, and `fingerprint` the SHA-256 of its PEM."""

    name: str
    fingerprint: str
    _key: EllipticCurvePublicKey | Ed25519PublicKey = field(repr=False, compare=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], name: str | None = None) -> PublicKey:
        """Read the public key in a file.

        Raises BadKey if the file holds none that can verify, and Refused if `cryptography` isn't installed.
        """
        return cls.parse(_read(Path(path)), name or Path(path).name)

    @classmethod
    def parse(cls, pem: bytes, name: str) -> PublicKey:
        """Parse the public key in some PEM; `name` is for people and messages.

        Raises BadKey if it is a private key or one of another kind, and Refused if `cryptography` isn't installed.
        """
        _need_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        if b"PRIVATE KEY-----" in pem:
            raise BadKey(f"{name} holds a private key: give the public one, which can be shown to anybody")
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{name} isn't a public key: {_EXPECTED}") from error
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(name, _fingerprint(key), key)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(name, _fingerprint(key), key)
        raise BadKey(f"{name} is a key of another kind: {_EXPECTED}")

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether the private half of this key signed the message."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        try:  # the key determines the algorithm, never the signature
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """Represent a key for signing, with the public half that verifies its signatures."""

    public: PublicKey
    _key: EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], passphrase: Callable[[], str] | None = None) -> PrivateKey:
        """Read the private key in a file that only its owner may read.

        An encrypted key is decrypted with the environment's AHF_KEY_PASSPHRASE, else with what `passphrase` returns.
        Raises BadKey if the file can't be used, and Refused if `cryptography` isn't installed.
        """
        _need_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = Path(path)
        pem = _read(path, private=True)
        secret = _passphrase(path, passphrase) if b"ENCRYPTED" in pem else None
        try:
            key = load_pem_private_key(pem, secret)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            if secret is not None:
                raise BadKey(
                    f"{path} isn't opened by that passphrase: give the one that it was encrypted with"
                ) from error
            raise BadKey(f"{path} isn't a private key: {_EXPECTED}") from error
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(PublicKey(path.name, _fingerprint(key.public_key()), key.public_key()), key)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(PublicKey(path.name, _fingerprint(key.public_key()), key.public_key()), key)
        raise BadKey(f"{path} is a key of another kind: {_EXPECTED}")

    def sign(self, message: bytes) -> bytes:
        """Return the signature over a message."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        try:  # RFC 6979: signing twice gives the same bytes, and so the same file
            return self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2
            return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def new_key(kind: Kind = "p256", passphrase: str | None = None) -> tuple[bytes, bytes]:
    """Create a private key and return it with its public half, both as PEM.

    Without a passphrase the private key isn't encrypted. Raises Refused if `cryptography` isn't installed.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return private, _pem(key.public_key())


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        with open_regular(path.expanduser().resolve()) as file:  # resolved, since a mounted secret is a link
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LIMIT + 1)
    except NotRegularError as error:
        raise BadKey(f"{path} isn't a plain file: {_EXPECTED}") from error
    except (OSError, RuntimeError) as error:
        raise BadKey(f"the key {path} can't be read ({getattr(error, 'strerror', error)}): {_EXPECTED}") from error
    if len(data) > _LIMIT:
        raise BadKey(f"{path} is larger than any key: {_EXPECTED}")
    if private and sys.platform != "win32" and mode & 0o077:
        raise BadKey(f"others may read the private key {path}: make it yours alone with `chmod 600 {path}`")
    return data


def _passphrase(path: Path, ask: Callable[[], str] | None) -> bytes:
    given = os.environ.get(PASSPHRASE) or (ask() if ask is not None else "")
    if not given:
        raise BadKey(f"{path} is encrypted: put its passphrase into {PASSPHRASE}")
    return given.encode()


def _pem(key: EllipticCurvePublicKey | Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _fingerprint(key: EllipticCurvePublicKey | Ed25519PublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()  # of the PEM and not of its DER, as model-signing's hint


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise Refused(
            "signing, and checking who signed, needs the package cryptography: pip install 'adapterhub-fin[signing]'"
        ) from error
