"""Private, decentralised AI inference paid in the coin of TON: the client SDK.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocoon_sdk.attestation.policy import AttestationPolicy as AttestationPolicy
    from cocoon_sdk.attestation.policy import TrustedImage as TrustedImage
    from cocoon_sdk.client import AsyncCocoon as AsyncCocoon
    from cocoon_sdk.payments.budget import Budget as Budget
    from cocoon_sdk.registry.several import RegistrySource as RegistrySource
    from cocoon_sdk.routing.policy import Routing as Routing
    from cocoon_sdk.transport.core import Timeouts as Timeouts

__version__ = "0.1.0"

_HOMES = {
    "AsyncCocoon": "cocoon_sdk.client",
    "AttestationPolicy": "cocoon_sdk.attestation.policy",
    "Budget": "cocoon_sdk.payments.budget",
    "RegistrySource": "cocoon_sdk.registry.several",
    "Routing": "cocoon_sdk.routing.policy",
    "Timeouts": "cocoon_sdk.transport.core",
    "TrustedImage": "cocoon_sdk.attestation.policy",
}

__all__ = [
    "AsyncCocoon",
    "AttestationPolicy",
    "Budget",
    "RegistrySource",
    "Routing",
    "Timeouts",
    "TrustedImage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
