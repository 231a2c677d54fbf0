"""Who vouches for a bundle: an Ed25519 signature over its `SHA256SUMS` (RFC 8032).

A bundle is code: its configs may name any class and hold expressions. So what came from elsewhere
is not opened before somebody here has said that it may be, with a key that the settings name.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from wetread.errors import ConfigError, StorageError
from wetread.files import write_atomically
from wetread.models.manifest import NAME, SIGNATURE, check_seal, seal

_MAKE = "wetread bundle key makes a pair"


def make_keys(private: Path) -> Path:
    """Write a new private key, for its owner alone, and the public one beside it as `.pub`.

    Raises ConfigError if a file is there already, StorageError if it cannot be written.
    """
    public = private.with_name(f"{private.name}.pub")
    for path in (private, public):
        if path.exists():
            raise ConfigError(f"{path} is there already", hint="give another name")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        write_atomically(public, [shown])
    except OSError as error:
        raise StorageError(f"{private}: {error.strerror}", hint="give another folder") from error
    return public


def sign(bundle: Path, private: Path) -> Path:
    """Seal the bundle anew and sign the manifest. Raises ConfigError if the key is none."""
    key = _private(private)
    manifest = seal(bundle)
    path = bundle / SIGNATURE
    write_atomically(path, [base64.b64encode(key.sign(manifest.read_bytes())) + b"\n"])
    return path


def check_signature(bundle: Path, trusted: Sequence[Path]) -> Path:
    """The key that signed the bundle, whose files are as its manifest says.

    Raises ConfigError if a file is another, or no trusted key has signed the manifest.
    """
    manifest, path = bundle / NAME, bundle / SIGNATURE
    if not manifest.is_file():
        raise ConfigError(
            f"{bundle.name}: no {NAME}, so nobody can say whether its files are whole",
            hint="read it, then vouch for it: wetread bundle import … --vouch KEY",
        )
    check_seal(bundle)
    if not path.is_file():
        raise ConfigError(
            f"{bundle.name}: it is not signed, and a bundle is code",
            hint="read it, then vouch for it: wetread bundle import … --vouch KEY",
        )
    content = manifest.read_bytes()
    for each in trusted:
        if _has_signed(_public(each), path, content):
            return each
    raise ConfigError(
        f"{bundle.name}: none of {len(trusted)} trusted keys has signed it",
        hint="ask the sender for the public key, and name it: --trust, or trusted_keys",
    )


def _has_signed(key: Ed25519PublicKey, path: Path, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(path.read_bytes(), validate=False), content)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _public(path: Path) -> Ed25519PublicKey:
    found = _loaded(path, "public", load_pem_public_key)
    if not isinstance(found, Ed25519PublicKey):
        raise ConfigError(f"{path} is no Ed25519 key", hint=_MAKE)
    return found


def _private(path: Path) -> Ed25519PrivateKey:
    found = _loaded(path, "private", lambda content: load_pem_private_key(content, None))
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key", hint=_MAKE)
    return found


def _loaded(path: Path, kind: str, read: Callable[[bytes], object]) -> object:
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint=_MAKE) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no {kind} key in PEM", hint=_MAKE) from error
