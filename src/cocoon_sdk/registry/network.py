"""The `network` text that binds a signed file to one chain and one registry (registry.md, "Encodings")."""

from __future__ import annotations

import hashlib
import re

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.ton.chain import DEVNET_NETWORK

DEVNET_ALIAS = "devnet"

_TEXT = re.compile(r"(devnet|-?[0-9]{1,10})(?:/([a-z0-9][a-z0-9._-]{0,31}))?")
_INT32 = range(-(2**31), 2**31)


def parse_network(text: str, *, name_required: bool = True) -> tuple[int, str]:
    """Split `"-239/main"` into the chain's global id and the registry's name.

    `devnet/NAME` stands for the local development chain. A provider's descriptor may leave the name
    out: it then serves every registry of that chain (`name_required=False`, the name is "").

    Raises:
        RegistryFormatError: another form, or an id outside 32 bits.
    """
    match = _TEXT.fullmatch(text)
    if match is None or (name_required and match[2] is None):
        raise RegistryFormatError(
            f"not a network: {text[:60]!r}; expected a chain id and a registry name, as in -239/main"
        )
    chain = DEVNET_NETWORK if match[1] == DEVNET_ALIAS else int(match[1])
    if chain not in _INT32:
        raise RegistryFormatError(f"the chain id {chain} does not fit 32 bits")
    return chain, match[2] or ""


def registry_id(network: str) -> bytes:
    """The 32 bytes by which CLIENT_AUTH names a registry: SHA-256 of its network text."""
    return hashlib.sha256(network.encode()).digest()
