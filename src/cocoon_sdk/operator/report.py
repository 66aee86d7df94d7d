"""What `show` and `verify` tell, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.keyring import RoleName, signers_for
from cocoon_sdk.operator.signing import len_listed
from cocoon_sdk.operator.state import entries_before, load_root, previous
from cocoon_sdk.operator.verifying import Judged, judge
from cocoon_sdk.registry.model import Descriptor, RegistryPayload, Role, RootPayload
from cocoon_sdk.registry.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EntryReport:
    """One entry in the folder. `expires_in` is in seconds; what does not parse has neither that nor a `seq`."""

    id: str
    seq: int | None
    expires_in: int | None
    assurance: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class FolderReport:
    """The state of an operator's folder at one moment."""

    root: RootPayload
    registry: RegistryPayload | None
    entries: tuple[EntryReport, ...]
    keys_here: dict[str, frozenset[bytes]]
    now: int
    key_problems: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """The network text."""
        return self.root.network

    def summary(self) -> list[tuple[str, str]]:
        """Lines of name and value."""
        lines = [
            ("root", f"version {self.root.version}, {_due(self.root.expires - self.now)}"),
            *self._role("root", self.root.root),
            *self._role("registry", self.root.registry),
        ]
        lines += [("problem", problem) for problem in self.key_problems]
        if self.registry is None:
            return [*lines, ("registry", "not signed yet; run: cocoon registry sign")]
        due = _due(self.registry.expires - self.now)
        listed = f"{len_listed(self.registry)} listed"
        if self.registry.shards is not None:
            shards = len(self.registry.shards)
            listed += f" in {shards} shard{'s' * (shards != 1)}"
        return [*lines, ("registry", f"version {self.registry.version}, {listed}, {due}")]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Rows of provider, seq, expires in, assurance, problem."""
        return [
            (
                entry.id,
                "-" if entry.seq is None else str(entry.seq),
                _expiry(entry.expires_in),
                entry.assurance or "-",
                entry.problem or "none",
            )
            for entry in self.entries
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        registry = self.registry
        return {
            "network": self.network,
            "root": {
                "version": self.root.version,
                "expires": self.root.expires,
                "threshold": self.root.root.threshold,
                "keys": self.root.root.keys,
                "keys_here": len(self.keys_here["root"]),
            },
            "registry_role": {
                "threshold": self.root.registry.threshold,
                "keys": self.root.registry.keys,
                "keys_here": len(self.keys_here["registry"]),
            },
            "registry": None
            if registry is None
            else {
                "version": registry.version,
                "issued": registry.issued,
                "expires": registry.expires,
                "entries": len_listed(registry),
                "shards": None if registry.shards is None else len(registry.shards),
                "revoked": registry.revoked,
                "min_seq": registry.min_seq,
            },
            "problems": list(self.key_problems),
            "entries": [
                {
                    "id": entry.id,
                    "seq": entry.seq,
                    "expires_in": entry.expires_in,
                    "assurance": entry.assurance,
                    "problem": entry.problem,
                }
                for entry in self.entries
            ],
        }

    def _role(self, name: str, role: Role) -> list[tuple[str, str]]:
        """How many must sign, then each key: `--drop-registry-key` and its kin want it in full."""
        here = self.keys_here[name]
        told = f"{role.threshold} of {len(role.keys)} must sign, here: {len(here)}"
        keys = zip(role.keys, role.public_keys, strict=True)
        return [
            (f"{name} keys", told),
            *(("", text + (" (here)" if key in here else "")) for text, key in keys),
        ]


def show_folder(folder: OperatorFolder, *, now: int) -> FolderReport:
    """Read the folder; a bad entry is reported, not raised."""
    root, before, policy = load_root(folder), previous(folder), folder.read_policy()

    judged = judge(
        folder.read_entries(),
        network=root.network,
        now=now,
        min_seq=policy.min_seq,
        revoked=policy.revoked,
        known=entries_before(folder),
    )
    here: dict[str, frozenset[bytes]] = {}
    problems: list[str] = []
    roles: tuple[tuple[RoleName, Role], ...] = (("root", root.root), ("registry", root.registry))
    for name, role in roles:
        try:
            signers = signers_for(folder, name, role.public_keys)
            here[name] = frozenset(signer.public_key for signer in signers)
        except ConfigError as error:
            here[name] = frozenset()
            problems.append(f"{name} keys: {error}")
    return FolderReport(
        root=root,
        registry=before.payload if before else None,
        entries=tuple(_entry_report(provider, one, now) for provider, one in judged.items()),
        keys_here=dict(here),
        key_problems=tuple(problems),
        now=now,
    )


def describe_snapshot(snapshot: Snapshot, *, now: int) -> dict[str, Any]:
    """A verified registry with the verdict on each descriptor, JSON-ready.

    `broken` are shards that could not be had, each with the reason.
    """
    origin = snapshot.origin
    judged = judge(
        {item.id: item.entry for item in snapshot.providers},
        network=snapshot.registry,
        now=now,
        min_seq=origin.min_seq,
        revoked=origin.revoked,
    )
    return {
        "network": snapshot.registry,
        "version": snapshot.version,
        "root_version": snapshot.root_version,
        "digest": snapshot.digest.hex(),
        "issued": snapshot.issued,
        "fresh_until": snapshot.fresh_until,
        "expires": snapshot.expires,
        "unreadable": snapshot.unreadable,
        "broken": {name: str(error) for name, error in snapshot.broken.items()},
        "providers": [
            {
                "id": item.id,
                "models": list(item.models),
                "assurance": None
                if one.descriptor is None or one.problem
                else _assurance(one.descriptor),
                "problem": one.problem,
            }
            for item, one in zip(snapshot.providers, judged.values(), strict=True)
        ],
    }


def _entry_report(provider: str, judged: Judged, now: int) -> EntryReport:
    descriptor = judged.descriptor
    if descriptor is None:
        return EntryReport(provider, None, None, None, judged.problem)
    left = descriptor.expires - now
    return EntryReport(provider, descriptor.seq, left, _assurance(descriptor), judged.problem)


def _assurance(descriptor: Descriptor) -> str:
    """What a descriptor lets a client hope for. Only the client's own check makes `attested` of a claim."""
    return "operator" if descriptor.att is None else "attested (claimed)"


def _due(seconds: int) -> str:
    if seconds > 0:
        return f"expires in {format_duration(seconds)}"
    return f"EXPIRED {format_duration(-seconds)} ago"


def _expiry(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    return format_duration(seconds) if seconds > 0 else "EXPIRED"
