"""Where an operator's keys are: a file, an environment variable, or what securesystemslib can reach.

file:PATH               64 hex digits, readable by the owner only
env:NAME                64 hex digits in an environment variable
ssl:URI#ed25519:HEX     a securesystemslib signer (`file2:`, `hv:`, …) and the public key it must have
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import (
    Ed25519Key,
    Signer,
    format_public_key,
    load_key,
    parse_public_key,
    verify_signature,
)

if TYPE_CHECKING:
    from securesystemslib.signer import Signer as OtherSigner  # type: ignore[attr-defined] # no __all__

Ask = Callable[[str], str]

FORMS = "file:PATH, env:NAME or ssl:URI#ed25519:HEX"

_SEED = re.compile(r"[0-9a-f]{64}")


class SecureSystemsSigner:
    """A key behind securesystemslib: PEM files, hardware modules, key services.

    Args:
        uri: names the private key; the part before the first colon selects the implementation.
        public_key: the key that it must hold. Only Ed25519 keys are part of a registry.
        ask: gives PINs and passphrases by name, where the implementation wants them.

    Raises:
        ConfigError: the extra is missing, the URI is not usable, or it is not an Ed25519 key.
    """

    def __init__(self, uri: str, public_key: bytes, *, ask: Ask | None = None) -> None:
        self.public_key = public_key
        self._uri = uri
        self._signer = _connect(uri, public_key, ask)

    def sign(self, message: bytes) -> bytes:
        """The signature, checked, because the other end may hold another key than was named.

        Raises:
            ConfigError: it refused, or signed with another key.
        """
        try:
            signature = bytes.fromhex(self._signer.sign(message).signature)
        except Exception as error:  # its implementations raise what their libraries raise
            raise ConfigError(f"{self._uri} did not sign: {_reason(error)}") from error
        if not verify_signature(self.public_key, message, signature):
            raise ConfigError(
                f"{self._uri} signed with another key than {format_public_key(self.public_key)}; "
                "name its public key after #"
            )
        return signature


def open_signer(spec: str, *, base: Path | None = None, ask: Ask | None = None) -> Signer:
    """The signer that a text names.

    Args:
        spec: one of the forms above.
        base: folder that relative paths start from; the current one when None.
        ask: gives PINs and passphrases by name.

    Raises:
        ConfigError: another form, or there is no usable key.
    """
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return load_key((base or Path()) / Path(rest).expanduser())
    if kind == "env" and rest and _SEED.fullmatch(rest.lower()) is None:
        return _environment_key(rest)
    if kind == "ssl" and rest:
        uri, _, public = rest.rpartition("#")
        if not uri:
            raise ConfigError(
                f"{spec} does not say its public key; write ssl:URI#ed25519: and 64 hex digits"
            )
        return SecureSystemsSigner(uri, parse_public_key(public), ask=ask)
    # The text may be the key itself, so no more of it is shown than the word before a colon.
    shown = f"{kind}:" if kind.isalpha() and kind != spec else "what was given"
    raise ConfigError(f"{shown} names no key; use {FORMS}")


def open_signers(
    specs: Sequence[str],
    allowed: Sequence[bytes],
    *,
    role: str,
    base: Path | None = None,
    ask: Ask | None = None,
) -> list[Signer]:
    """The signers of all texts, each of which must hold one of the `allowed` keys of a role.

    Raises:
        ConfigError: see `open_signer`, or a key that is not of the role.
    """
    signers = [open_signer(spec, base=base, ask=ask) for spec in specs]
    for spec, signer in zip(specs, signers, strict=True):
        if signer.public_key not in allowed:
            raise ConfigError(
                f"{spec.partition('#')[0]} holds {format_public_key(signer.public_key)}, which is "
                f"not a {role} key here; see: cocoon registry show"
            )
    return signers


def _environment_key(name: str) -> Ed25519Key:
    text = os.environ.get(name, "").strip()
    if not text:
        raise ConfigError(f"the environment variable {name} is not set; it must hold a key")
    if _SEED.fullmatch(text) is None:  # the text itself may be most of a key: it is not shown
        raise ConfigError(f"the environment variable {name} does not hold a key (64 hex digits)")
    return Ed25519Key(bytes.fromhex(text))


def _connect(uri: str, public_key: bytes, ask: Ask | None) -> OtherSigner:
    try:
        from securesystemslib import signer as others
    except ImportError:
        raise ConfigError(
            f"{uri} needs securesystemslib: pip install 'cocoon-sdk[operator]'"
        ) from None
    known = others.SIGNER_FOR_URI_SCHEME  # type: ignore[attr-defined] # no __all__
    scheme = uri.partition(":")[0]
    if scheme not in known:
        names = ", ".join(f"{name}:" for name in sorted(known))
        raise ConfigError(f"securesystemslib has no signer for {scheme}:, it has {names}")
    if scheme == "file2":
        _check_private(uri)
    text = public_key.hex()
    key = others.SSlibKey(text, "ed25519", "ed25519", {"public": text})  # type: ignore[attr-defined] # no __all__
    try:
        return others.Signer.from_priv_key_uri(uri, key, ask)  # type: ignore[attr-defined] # no __all__
    except Exception as error:
        raise ConfigError(
            f"{uri} cannot sign with {format_public_key(public_key)}: {_reason(error)}. A registry "
            "takes Ed25519 keys only; of securesystemslib's signers file2:, hv: and tkey: have them"
        ) from error


def _check_private(uri: str) -> None:
    """A PEM file is a key file like any other: for its owner only."""
    path = Path(os.environ.get("CRYPTO_SIGNER_PATH_PREFIX", ""), urlsplit(uri).path)
    with contextlib.suppress(OSError):  # whoever reads it will say so
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} is readable by others; run: chmod 600 {path}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
