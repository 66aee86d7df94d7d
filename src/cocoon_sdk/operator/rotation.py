"""The next root.json: other keys, thresholds, mirrors or anchor, or only another year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import format_public_key
from cocoon_sdk.operator.build import ROOT_LIFETIME, check_root, make_role
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.registry.model import Anchor, Role, RootPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChange:
    """Keys that join or leave a role, and its new threshold (None keeps it)."""

    add: Sequence[bytes] = ()
    drop: Sequence[bytes] = ()
    threshold: int | None = None

    def apply(self, role: Role, name: str) -> Role:
        """The role after the change.

        Raises:
            ConfigError: a key to add that is there, one to drop that is not, an impossible threshold.
        """
        keys = list(role.public_keys)
        for key in self.drop:
            if key not in keys:
                raise ConfigError(f"{format_public_key(key)} is not a {name} key")
            keys.remove(key)
        for key in self.add:
            if key in keys:
                raise ConfigError(f"{format_public_key(key)} is a {name} key already")
            keys.append(key)
        return make_role(keys, role.threshold if self.threshold is None else self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChange:
    """What the next root says otherwise. `mirrors` None keeps them; `anchor` "" takes it away."""

    root: RoleChange = RoleChange()
    registry: RoleChange = RoleChange()
    mirrors: Sequence[str] | None = None
    anchor: str | None = None
    lifetime: int = ROOT_LIFETIME


def next_root(old: RootPayload, change: RootChange, *, now: int) -> RootPayload:
    """The successor of a root.

    Raises:
        ConfigError: an impossible change.
        RegistryFormatError: a mirror that is not an https URL.
    """
    anchor = old.anchor
    if change.anchor is not None:
        anchor = Anchor(contract=change.anchor) if change.anchor else None
    mirrors = old.mirrors if change.mirrors is None else list(change.mirrors)
    for url in mirrors:
        parse_endpoint(url, schemes=("https", "http"))
    return check_root(
        RootPayload(
            network=old.network,
            version=old.version + 1,
            expires=now + change.lifetime,
            root=change.root.apply(old.root, "root"),
            registry=change.registry.apply(old.registry, "registry"),
            mirrors=mirrors,
            anchor=anchor,
        )
    )


def root_roles(root: RootPayload, old: RootPayload | None) -> dict[str, Role]:
    """The roles whose thresholds must sign a root: its own, and that of the root before."""
    own = {"root" if old is None else "new root": root.root}
    return own if old is None else {"old root": old.root, **own}
