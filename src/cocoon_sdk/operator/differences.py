"""Two versions of a file, compared for the person who is asked to sign the second."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from cocoon_sdk.errors import RegistryRollbackError
from cocoon_sdk.registry.model import Descriptor, Entry, RegistryPayload, Role, RootPayload


class Change(NamedTuple):
    """One difference: what happened, to whom or what, and the detail."""

    what: str
    subject: str
    detail: str


def compare_entries(
    old: Mapping[str, Entry], new: Mapping[str, Entry], read: Callable[[Entry], Descriptor]
) -> list[Change]:
    """Providers that are added, changed or removed, by id.

    `read` verifies an entry and raises where a client would; it is asked for what is new or changed.

    Raises:
        RegistryRollbackError: a changed entry does not have a higher sequence number.
    """
    changes = []
    for provider in sorted(old.keys() | new.keys()):
        if provider not in new:
            changes.append(Change("removed", provider, ""))
            continue
        if old.get(provider) == new[provider]:
            continue
        descriptor = read(new[provider])
        if provider not in old:
            changes.append(Change("added", provider, _told(descriptor)))
            continue
        before = msgspec.json.decode(old[provider].d, type=Descriptor)
        if descriptor.seq <= before.seq:
            raise RegistryRollbackError(
                f"provider {provider} was listed with seq {before.seq}, the draft has "
                f"{descriptor.seq}; take its newest entry"
            )
        changes.append(Change("changed", provider, _moved(before, descriptor)))
    return changes


def compare_policy(old: RegistryPayload | None, new: RegistryPayload) -> list[Change]:
    """What changed about revoked identities and lowest sequence numbers."""
    revoked = set(old.revoked) if old else set()
    floors = old.min_seq if old else {}
    changes = [Change("revoked", one, "") for one in sorted(set(new.revoked) - revoked)]
    changes += [Change("NO LONGER REVOKED", one, "") for one in sorted(revoked - set(new.revoked))]
    for one in sorted(floors.keys() | new.min_seq.keys()):
        before, now = floors.get(one, 0), new.min_seq.get(one, 0)
        if before != now:
            what = "lowest seq raised" if now > before else "LOWEST SEQ LOWERED"
            changes.append(Change(what, one, f"{before} to {now}"))
    return changes


def compare_roots(old: RootPayload | None, new: RootPayload) -> list[Change]:
    """What the new root says otherwise."""
    changes = [
        *_compare_roles("root", old.root if old else None, new.root),
        *_compare_roles("registry", old.registry if old else None, new.registry),
        *_compare_sets("mirror", old.mirrors if old else (), new.mirrors),
    ]
    before = old.anchor.contract if old and old.anchor else "none"
    now = new.anchor.contract if new.anchor else "none"
    if before != now:
        changes.append(Change("anchor", now, f"was {before}"))
    return changes


def _compare_roles(name: str, old: Role | None, new: Role) -> Iterator[Change]:
    yield from _compare_sets(f"{name} key", old.keys if old else (), new.keys)
    if old is not None and old.threshold != new.threshold:
        yield Change(f"{name} threshold", str(new.threshold), f"was {old.threshold}")


def _compare_sets(what: str, old: Collection[str], new: Collection[str]) -> Iterator[Change]:
    for one in new:
        if one not in old:
            yield Change(f"{what} added", one, "")
    for one in old:
        if one not in new:
            yield Change(f"{what} removed", one, "")


def _told(descriptor: Descriptor) -> str:
    return ", ".join(f"{name} {value}" for name, value in _facts(descriptor).items())


def _moved(old: Descriptor, new: Descriptor) -> str:
    before, now = _facts(old), _facts(new)
    return ", ".join(
        f"{name} {now[name]} (was {before[name]})" for name in now if before[name] != now[name]
    )


def _facts(descriptor: Descriptor) -> dict[str, str]:
    """What a person can judge; prices are nano per million tokens."""
    models = (
        f"{offer.id} at {offer.price.prompt}/{offer.price.cached}/{offer.price.completion}"
        for offer in descriptor.models
    )
    return {
        "seq": str(descriptor.seq),
        "endpoints": " ".join(descriptor.endpoints),
        "models": " ".join(models),
        "payout": descriptor.payout,
    }
