"""The trusted set: which root and registry are believed, and the only ways in which that may change.

A state machine without I/O, after TUF's client rules (registry.md, "What a client checks"). Give it
files in any order; it either moves forward or raises and stays where it was.
"""

from __future__ import annotations

import hashlib

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.registry.dsse import decode_envelope, verify_envelope
from cocoon_sdk.registry.listing import list_entries
from cocoon_sdk.registry.model import REGISTRY_TYPE, ROOT_TYPE, RegistryPayload, RootPayload
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.strict import decode_strict
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES, Trust, TrustKeys
from cocoon_sdk.registry.verified import Seen, VerifiedRegistry, check_times

__all__ = [
    "MAX_REGISTRY_BYTES",
    "NewerRootNeededError",
    "Seen",
    "TrustedSet",
    "VerifiedRegistry",
    "check_times",
]

MAX_REGISTRY_BYTES = 160 * 1024 * 1024  # 100,000 providers in one file, and some room


class NewerRootNeededError(RegistrySignatureError):
    """The registry names a root that is newer than the newest trusted one."""


class TrustedSet:
    """Roots from the first trusted one onwards, and the floor below which no registry may fall.

    Args:
        trust: judges the first root.
        network: the network text that every file must carry; the first root's when None.
        seen: the floor remembered from earlier runs.
    """

    def __init__(
        self, trust: Trust, *, network: str | None = None, seen: Seen | None = None
    ) -> None:
        self._trust = trust
        self._network = network
        self._roots: list[bytes] = []
        self._root: RootPayload | None = None
        self._keys_since = 0  # the root version that last changed the registry's keys
        self.seen = seen
        self._newest: VerifiedRegistry | None = None
        if not isinstance(trust, TrustKeys):
            self.update_root(trust.raw)

    @property
    def root(self) -> RootPayload | None:
        """The newest trusted root, None before the first."""
        return self._root

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The chain of root files, oldest first, as they were given."""
        return tuple(self._roots)

    @property
    def keys_since(self) -> int:
        """Registries made under an older root than this are refused: their keys were replaced."""
        return self._keys_since

    def update_root(self, raw: bytes) -> RootPayload:
        """Accept the first root, or the successor of the newest one.

        Expiry is judged when a registry is, because an old root may still lead to its successor.

        Raises:
            RegistrySignatureError: not signed by the thresholds of both the old and the new root.
            RegistryRollbackError: any version but the next.
            RegistryFormatError: malformed, or for another network.
        """
        envelope = decode_envelope(raw, what="root.json", limit=MAX_ROOT_BYTES)
        # Verify first: by what is trusted already, or, for a pinned file, by the file itself below.
        if self._root is not None:
            role = self._root.root
            what = f"the successor of root {self._root.version}"
            verify_envelope(envelope, ROOT_TYPE, role.public_keys, role.threshold, what=what)
        elif isinstance(self._trust, TrustKeys):
            verify_envelope(
                envelope,
                ROOT_TYPE,
                self._trust.keys,
                self._trust.threshold,
                what="root.json (judged by the trusted root keys)",
            )
        payload = decode_strict(
            envelope.payload, RootPayload, what="root.json", limit=MAX_ROOT_BYTES
        )
        own = payload.root
        verify_envelope(
            envelope, ROOT_TYPE, own.public_keys, own.threshold, what=f"root {payload.version}"
        )
        self._check_network(payload.network, "root.json")
        old = self._root
        if old is not None and payload.version != old.version + 1:
            raise RegistryRollbackError(
                f"root {payload.version} cannot follow root {old.version}; roots go one by one"
            )
        if old is None or _role_changed(old, payload):
            self._keys_since = payload.version
        self._root, self._network = payload, payload.network
        self._roots.append(raw)
        return payload

    def update_registry(
        self, raw: bytes, now: int, *, allow_stale: bool = False
    ) -> VerifiedRegistry:
        """Judge a registry and, where it passes, accept it.

        Args:
            raw: the envelope file.
            now: unix seconds.
            allow_stale: accept one that expired (the root may not have).

        Raises:
            RegistryError: as `judge_registry` and `accept` describe.
        """
        verified = self.judge_registry(raw, now, allow_stale=allow_stale)
        self.accept(verified)
        return verified

    def judge_registry(
        self, raw: bytes, now: int, *, allow_stale: bool = False
    ) -> VerifiedRegistry:
        """A registry that may be accepted. Nothing moves, so this may run in another thread.

        Raises:
            NewerRootNeededError: made under a root that is not trusted yet; give that root first.
            RegistrySignatureError: below the threshold.
            RegistryFormatError: malformed, wrong network, or a provider listed twice.
            RegistryRollbackError: older than the floor, or `prev` is not the version before.
            RegistryEquivocationError: the floor's version with another content.
            RegistryExpiredError: registry or root expired, or issued in the future.
        """
        root = self._root
        if root is None:
            raise RegistrySignatureError("no root is trusted yet, so no registry can be judged")
        what = "registry.json"
        envelope = decode_envelope(raw, what=what, limit=MAX_REGISTRY_BYTES)
        role = root.registry
        payload_bytes = verify_envelope(
            envelope, REGISTRY_TYPE, role.public_keys, role.threshold, what=what
        )
        payload = decode_strict(payload_bytes, RegistryPayload, what=what, limit=MAX_REGISTRY_BYTES)
        self._check_network(payload.network, what)
        if payload.root_version > root.version:
            raise NewerRootNeededError(
                f"registry {payload.version} was made under root {payload.root_version}, "
                f"the newest trusted root is {root.version}"
            )
        digest = hashlib.sha256(payload_bytes).digest()
        verified = VerifiedRegistry(raw, payload, digest, list_entries(payload.entries or ()))
        self._check_floor(verified)
        check_times(payload, root, now, allow_stale=allow_stale)
        return verified

    def recheck(self, registry: VerifiedRegistry, now: int, *, allow_stale: bool = False) -> None:
        """Judge again what was verified before, by the floor and the clock of now.

        Raises:
            RegistryError: as `judge_registry` describes.
        """
        assert self._root is not None  # noqa: S101 - a registry was verified under it
        self._check_floor(registry)
        check_times(registry.payload, self._root, now, allow_stale=allow_stale)

    def accept(self, registry: VerifiedRegistry) -> None:
        """Raise the floor to a registry that was judged.

        Raises:
            RegistryError: the floor rose in the meantime; see `judge_registry`.
        """
        self._check_floor(registry)
        self.seen = registry.seen
        self._newest = registry

    def _check_network(self, network: str, what: str) -> None:
        parse_network(network)
        if self._network is not None and network != self._network:
            raise RegistryFormatError(f"{what} is for network {network}, expected {self._network}")

    def _check_floor(self, registry: VerifiedRegistry) -> None:
        payload, seen = registry.payload, self.seen
        # Signers whose keys survived a rotation must not be able to bring an old file back.
        if payload.root_version < self._keys_since:
            raise RegistryRollbackError(
                f"registry {payload.version} was made under root {payload.root_version}, but root "
                f"{self._keys_since} replaced the signing keys; a newer registry is needed"
            )
        if seen is None:
            return
        if registry.seen[:2] < seen[:2]:
            raise RegistryRollbackError(
                f"registry {payload.version} (root {payload.root_version}) is older than version "
                f"{seen.version} (root {seen.root_version}), which was accepted before"
            )
        if registry.seen[:2] == seen[:2] and registry.digest != seen.digest:
            newest = self._newest
            known = [newest.raw] if newest is not None and newest.seen == seen else []
            raise RegistryEquivocationError(
                f"two different registries are signed as version {seen.version}: "
                f"{seen.digest.hex()} and {registry.digest.hex()}; tell others, do not use it",
                envelopes=(*known, registry.raw),
            )
        # After a change of keys the versions before it may be a thief's: the chain starts anew.
        chained = self._keys_since <= seen.root_version
        successor = payload.version == seen.version + 1
        if chained and successor and payload.prev != seen.digest.hex():
            raise RegistryRollbackError(
                f"registry {payload.version} does not continue version {seen.version} as seen here "
                f"(prev {payload.prev}, expected {seen.digest.hex()})"
            )


def _role_changed(old: RootPayload, new: RootPayload) -> bool:
    a, b = old.registry, new.registry
    return a.threshold != b.threshold or set(a.keys) != set(b.keys)
