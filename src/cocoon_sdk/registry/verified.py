"""A registry that passed every check, the floor that it sets for later ones, and how long it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cocoon_sdk.errors import RegistryExpiredError
from cocoon_sdk.registry.descriptor import CLOCK_SKEW
from cocoon_sdk.registry.listing import Listing
from cocoon_sdk.registry.model import RegistryPayload, RootPayload

LONGEST_FRESH = (
    24 * 3600
)  # seconds after which a client asks again, however long the signers promise


class Seen(NamedTuple):
    """The newest registry ever accepted. Order is by (root_version, version), never by digest."""

    root_version: int
    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class VerifiedRegistry:
    """A registry that passed every check at the time it was accepted."""

    raw: bytes
    payload: RegistryPayload
    digest: bytes  # SHA-256 of the payload
    listing: Listing

    @property
    def seen(self) -> Seen:
        """The floor that this registry sets for later ones."""
        return Seen(self.payload.root_version, self.payload.version, self.digest)

    @property
    def fresh_until(self) -> int:
        """When to ask for a newer one. Bounded, or a thief of keys could sign the last file ever asked for."""
        return min(self.payload.fresh_until, self.payload.issued + LONGEST_FRESH)


def check_times(
    payload: RegistryPayload, root: RootPayload, now: int, *, allow_stale: bool = False
) -> None:
    """Refuse a registry or root that is out of date at `now`.

    Raises:
        RegistryExpiredError: issued in the future, expired, or the root expired.
    """
    if payload.issued > now + CLOCK_SKEW:
        raise RegistryExpiredError(
            f"registry {payload.version} was issued {payload.issued - now} s in the future; "
            "check this machine's clock"
        )
    if now >= payload.expires and not allow_stale:
        raise RegistryExpiredError(
            f"registry {payload.version} expired {now - payload.expires} s ago; "
            "its operator must sign a new one"
        )
    if now >= root.expires:
        raise RegistryExpiredError(
            f"root {root.version} expired {now - root.expires} s ago; "
            "the holders of the root keys must sign a new one"
        )
