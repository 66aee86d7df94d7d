"""Ed25519 keys behind a `Signer`, the signature domains of all parts, and voucher keys per channel.

Every signed string starts with a label of its own and is never 32 bytes long, so that a signature
made for one purpose cannot be presented for another (wire.md, "Properties").
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Protocol, runtime_checkable

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError

from cocoon_sdk.errors import ConfigError

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

DOMAIN_SERVER_AUTH = b"cocoon/1 server-auth\0"
DOMAIN_CLIENT_AUTH = b"cocoon/1 client-auth\0"
DOMAIN_RECEIPT = b"cocoon/1 receipt\0"
DOMAIN_CHANNEL = b"cocoon-channel-v1"  # fixed by the contract; Voucher and CloseAuth differ by tag

_SEED_TEXT = re.compile(r"[0-9a-f]{64}")
_PUBLIC_TEXT = re.compile(r"ed25519:([0-9a-f]{64})")


@runtime_checkable
class Signer(Protocol):
    """Something that signs with one Ed25519 key: a file, an environment variable, a hardware module."""

    @property
    def public_key(self) -> bytes:
        """The 32-byte public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        ...


class Ed25519Key:
    """A private key in memory. Its representation never shows the seed."""

    __slots__ = ("_secret", "_seed", "public_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ConfigError(f"an Ed25519 seed is {SEED_BYTES} bytes, got {len(seed)}")
        self._seed = bytes(seed)
        self.public_key, self._secret = crypto_sign_seed_keypair(self._seed)

    @classmethod
    def generate(cls) -> Ed25519Key:
        """A fresh key from the operating system's randomness."""
        return cls(secrets.token_bytes(SEED_BYTES))

    @property
    def seed(self) -> bytes:
        """The 32-byte seed, for storing the key; never log it."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """The 64-byte detached signature over `message` (RFC 8032)."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Ed25519Key(public_key={self.public_key.hex()})"


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is valid; small-order and non-canonical keys are refused.

    The TVM accepts forgeries for small-order keys where libsodium does not, so the point is checked
    as well (payments.md §3).
    """
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    if not is_valid_public_key(public_key):
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def is_valid_public_key(public_key: bytes) -> bool:
    """Whether this is a canonical point of the prime-order group.

    That costs nearly as much as a signature does, so the answers for the last few thousand keys are
    kept: providers see the same customer with each voucher, clients the same provider each time.
    """
    return len(public_key) == PUBLIC_KEY_BYTES and bool(
        crypto_core_ed25519_is_valid_point(public_key)
    )


def format_public_key(public_key: bytes) -> str:
    """`ed25519:` and 64 hex digits, the registry's text form (registry.md, "Encodings")."""
    return f"ed25519:{public_key.hex()}"


def parse_public_key(text: str) -> bytes:
    """The 32 bytes behind `ed25519:<64 hex>`.

    Raises:
        ConfigError: another form, or a point outside the prime-order group.
    """
    match = _PUBLIC_TEXT.fullmatch(text)
    if match is None:
        raise ConfigError(f"not a public key: {text[:80]!r}; expected ed25519: and 64 hex digits")
    key = bytes.fromhex(match[1])
    if not is_valid_public_key(key):
        raise ConfigError(f"{text} is not a valid Ed25519 point; ask its owner for the right key")
    return key


def derive_channel_key(
    master_seed: bytes, *, network: int, provider_key: bytes, salt: int
) -> Ed25519Key:
    """The voucher key of one channel: BLAKE2b-256 keyed by the master over (network, provider, salt).

    One key per channel, so that it never links a user across providers (wire.md, "Messages").
    """
    material = (
        b"cocoon/1 channel-key\0"
        + network.to_bytes(4, "little", signed=True)
        + provider_key
        + salt.to_bytes(8, "little")
    )
    return Ed25519Key(hashlib.blake2b(material, key=master_seed, digest_size=SEED_BYTES).digest())


def save_key(key: Ed25519Key, path: Path) -> None:
    """Write the seed as hex, readable by the owner only, whole or not at all. Nothing is overwritten.

    Raises:
        ConfigError: the file exists already, or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.seed.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link fails where the name is taken; a rename would replace another process's new key.
        os.link(temporary, path)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} exists already; move it away first, keys are not overwritten"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink()


def load_key(path: Path) -> Ed25519Key:
    """Read a key that `save_key` wrote.

    Raises:
        ConfigError: missing, readable by others, or not 64 hex digits.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii").strip()
    except FileNotFoundError as error:
        raise ConfigError(f"no key file at {path}") from error
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} does not hold a key (64 hex digits)") from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"{path} is readable by others; run: chmod 600 {path}")
    if _SEED_TEXT.fullmatch(text) is None:
        raise ConfigError(f"{path} does not hold a key (64 hex digits)")
    return Ed25519Key(bytes.fromhex(text))


def load_or_create_key(path: Path) -> Ed25519Key:
    """The key in `path`, made there on first use."""
    if not path.exists():
        try:
            save_key(Ed25519Key.generate(), path)
        except ConfigError:
            if not path.exists():  # else another process made it first: then that one is the key
                raise
    return load_key(path)
