"""What a key holder is asked to sign, in words: checked first, then compared with what was before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import RegistryFormatError, RegistryRollbackError
from cocoon_sdk.operator.build import check_root, open_envelope, shortfall
from cocoon_sdk.operator.differences import Change, compare_entries, compare_policy, compare_roots
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.operator.rotation import root_roles
from cocoon_sdk.operator.state import PreviousRegistry, listed_entries, previous, read_registry
from cocoon_sdk.registry.descriptor import check_descriptor, read_descriptor
from cocoon_sdk.registry.dsse import signing_keys
from cocoon_sdk.registry.model import Descriptor, Entry, RegistryPayload, Role, RootPayload
from cocoon_sdk.registry.strict import decode_strict
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES
from cocoon_sdk.registry.verify import check_times


@dataclass(frozen=True, slots=True)
class Inspection:
    """A draft, checked: `raw` is what was looked at, and nothing else may be signed.

    `lacking` says which signatures it still needs, None when it has them all.
    """

    kind: str
    network: str
    version: int
    summary: list[tuple[str, str]]
    changes: list[Change]
    roles: Mapping[str, Role] = field(repr=False)
    raw: bytes = field(repr=False, default=b"")
    signed: frozenset[bytes] = frozenset()
    lacking: str | None = None

    @property
    def allowed(self) -> tuple[bytes, ...]:
        """The keys whose signatures count, each once."""
        return tuple(dict.fromkeys(key for role in self.roles.values() for key in role.public_keys))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": self.kind,
            "network": self.network,
            "version": self.version,
            "summary": dict(self.summary),
            "changes": [change._asdict() for change in self.changes],
            "signed": sorted(key.hex() for key in self.signed),
            "lacking": self.lacking,
        }


def inspect_root(raw: bytes, old: RootPayload | None, *, now: int) -> Inspection:
    """A draft of a root.json.

    Args:
        raw: the envelope.
        old: the root before; None for version 1.
        now: unix seconds.

    Raises:
        RegistryRollbackError: it is not the successor of `old`.
        RegistryFormatError: malformed, or for another network.
        ConfigError: one key in both roles.
    """
    what = "root.json"
    envelope = open_envelope(raw, what=what)
    root = check_root(decode_strict(envelope.payload, RootPayload, what=what, limit=MAX_ROOT_BYTES))
    if root.version != (1 if old is None else old.version + 1):
        follows = "nothing; give the root before it"
        if old is not None:
            follows = f"root {old.version}, the newest here; was it accepted already, or made in another folder?"
        raise RegistryRollbackError(
            f"the draft is root {root.version}, which cannot follow {follows}"
        )
    if old is not None and root.network != old.network:
        raise RegistryFormatError(f"the draft is for {root.network}, the root is for {old.network}")
    roles = root_roles(root, old)
    return Inspection(
        kind="root",
        network=root.network,
        version=root.version,
        summary=[
            ("network", root.network),
            ("version", str(root.version)),
            ("expires", f"in {format_duration(root.expires - now)}"),
            ("root keys", _role(root.root)),
            ("registry keys", _role(root.registry)),
        ],
        changes=compare_roots(old, root),
        roles=roles,
        raw=raw,
        signed=_signed(raw, roles),
        lacking=shortfall(raw, roles, what=what),
    )


def inspect_registry(
    raw: bytes,
    root: RootPayload,
    *,
    now: int,
    places: Sequence[PublicFolder] = (),
    before: PublicFolder | None = None,
) -> Inspection:
    """A draft of a registry.json, every entry that is new or changed verified.

    Args:
        raw: the envelope.
        root: the root under which it is made.
        now: unix seconds.
        places: folders where its shards may lie.
        before: the folder of the version before; None shows all as new. So does one that the keys of
            `root` did not sign: whoever made the draft may have made that, too.

    Raises:
        RegistryError: what clients would refuse: a wrong network or root, times, an entry; a version
            or sequence number that does not follow the ones before; a shard that is missing.
    """
    what = "registry.json"
    draft = read_registry(raw)
    payload = draft.payload
    if (payload.network, payload.root_version) != (root.network, root.version):
        raise RegistryFormatError(
            f"the draft is for {payload.network} under root {payload.root_version}, the root given is "
            f"{root.network} version {root.version}"
        )
    check_times(payload, root, now)
    roles = {"registry": root.registry}
    last = None if before is None else previous(before)
    compared = "nothing" if last is None else f"version {last.payload.version}"
    old: dict[str, Entry] = {}
    if before is not None and last is not None:
        _check_follows(draft, last)
        places = [*places, before]
        unsigned = shortfall(before.read_registry() or b"", roles, what=f"the {what} there")
        if unsigned is not None:
            compared, last = f"nothing, because {unsigned}", None
        else:
            old = listed_entries(last, before, without=draft.digests, lenient=True)
    new = listed_entries(draft, *places, without=last.digests if last else frozenset())
    changes = compare_entries(old, new, lambda entry: _descriptor(entry, payload, now))
    changes.sort(key=lambda change: change.what == "changed")  # what is rare comes first
    slices = f" in {len(draft.shards)} shards" if draft.shards else ""
    return Inspection(
        kind="registry",
        network=payload.network,
        version=payload.version,
        summary=[
            ("network", payload.network),
            ("version", f"{payload.version}, under root {payload.root_version}"),
            ("issued", f"{format_duration(max(0, now - payload.issued))} ago"),
            ("asked for again", f"after {format_duration(payload.fresh_until - payload.issued)}"),
            ("expires", f"in {format_duration(payload.expires - now)}"),
            ("lists", f"{draft.count} providers{slices}"),
            ("compared with", compared),
        ],
        changes=[*compare_policy(last.payload if last else None, payload), *changes],
        roles=roles,
        raw=raw,
        signed=_signed(raw, roles),
        lacking=shortfall(raw, roles, what=what),
    )


def _check_follows(draft: PreviousRegistry, last: PreviousRegistry) -> None:
    new, old = draft.payload, last.payload
    if new.network != old.network:
        raise RegistryFormatError(
            f"the draft is for {new.network}, the version before for {old.network}"
        )
    if new.version != old.version + 1 or new.prev != last.digest.hex():
        raise RegistryRollbackError(
            f"the draft is version {new.version} and does not continue version {old.version} as it "
            "is here; fetch the newest registry.json, or have the draft made again"
        )


def _descriptor(entry: Entry, payload: RegistryPayload, now: int) -> Descriptor:
    """What a client would accept, or an error."""
    descriptor = read_descriptor(entry)
    check_descriptor(
        descriptor,
        network=payload.network,
        now=now,
        min_seq=payload.min_seq.get(descriptor.id, 0),
        revoked=descriptor.id in payload.revoked,
    )
    return descriptor


def _signed(raw: bytes, roles: Mapping[str, Role]) -> frozenset[bytes]:
    keys = [key for role in roles.values() for key in role.public_keys]
    return signing_keys(open_envelope(raw, what="the draft"), keys)


def _role(role: Role) -> str:
    return f"{role.threshold} of {len(role.keys)} must sign"
