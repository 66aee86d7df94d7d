"""The signers that an operator's folder can reach for a role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cocoon_sdk.keys import Signer, load_key
from cocoon_sdk.operator.config import read_settings
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.signers import Ask, open_signers

RoleName = Literal["root", "registry"]


def signers_for(
    folder: OperatorFolder,
    role: RoleName,
    keys: Sequence[bytes],
    specs: Sequence[str] = (),
    *,
    ask: Ask | None = None,
) -> list[Signer]:
    """Signers of those of `keys` that are within reach.

    Args:
        folder: the operator's folder.
        role: whose section of operator.toml counts.
        keys: the public keys that may sign.
        specs: texts that name signers, in place of what the folder says.
        ask: gives PINs and passphrases by name.

    Raises:
        ConfigError: a named key is not usable or not one of `keys`; a key file is damaged or readable
            by others.
    """
    if specs:
        return open_signers(specs, keys, role=role, ask=ask)
    settings = read_settings(folder).keys
    named = settings.root if role == "root" else settings.registry
    if named:
        return open_signers(named, keys, role=role, base=folder.path, ask=ask)
    # A folder may hold keys of both roles, and of roots that are history.
    found = [load_key(path) for path in sorted(folder.keys.glob("*.key"))]
    return [key for key in found if key.public_key in keys]
