"""What the first root.json is judged by: root keys that the user got elsewhere, or a pinned file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import format_public_key, parse_public_key

MAX_ROOT_BYTES = 512 * 1024

TrustSource = Sequence[str] | str | Path | bytes


@dataclass(frozen=True, slots=True)
class TrustKeys:
    """Root keys of which `threshold` must have signed the first root.json."""

    keys: tuple[bytes, ...]
    threshold: int

    @property
    def id(self) -> str:
        """A stable name of this trust, for the cache."""
        text = ",".join([str(self.threshold), *sorted(key.hex() for key in self.keys)])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PinnedRoot:
    """A root.json that the user holds already."""

    raw: bytes

    @property
    def id(self) -> str:
        """A stable name of this trust, for the cache."""
        return hashlib.sha256(self.raw).hexdigest()


Trust = TrustKeys | PinnedRoot


def parse_trust(trust: TrustSource, threshold: int | None = None) -> Trust:
    """Read the `trust=` of a client.

    Args:
        trust: root keys (`ed25519:…`, a list or one comma-separated text), or a root.json as path or
            bytes.
        threshold: how many of the keys must have signed; a strict majority when None.

    Raises:
        ConfigError: no keys, a malformed or repeated key, an impossible threshold, an unreadable file.
    """
    if isinstance(trust, bytes):
        pinned: bytes | None = trust
    elif isinstance(trust, Path):
        pinned = _read_pinned(trust)
    elif isinstance(trust, str) and not trust.strip().startswith("ed25519:"):
        pinned = _read_pinned(Path(trust).expanduser())
    else:
        pinned = None
    if pinned is not None:
        if threshold is not None:
            raise ConfigError("trust_threshold goes with root keys; a pinned root.json has its own")
        return PinnedRoot(pinned)
    texts = trust.split(",") if isinstance(trust, str) else list(trust)  # type: ignore[arg-type] # a sequence of str is all that is left
    keys = tuple(parse_public_key(str(text).strip()) for text in texts)
    if not keys:
        raise ConfigError("trust is empty; give the registry's root keys or its root.json")
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"trust lists {format_public_key(key)} twice")
    needed = len(keys) // 2 + 1 if threshold is None else threshold
    if not 1 <= needed <= len(keys):
        raise ConfigError(f"trust_threshold {needed} is not between 1 and {len(keys)} keys")
    return TrustKeys(keys, needed)


def _read_pinned(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"trust is neither root keys (ed25519:…) nor a readable root.json: {path}: "
            f"{error.strerror or error}"
        ) from error
    if len(raw) > MAX_ROOT_BYTES:
        raise ConfigError(f"{path} is above {MAX_ROOT_BYTES} bytes, no root.json is that large")
    return raw
