"""The names in a registry: which providers and models it lists, before any descriptor is verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.model import Entry, Name

ID_DIGITS = 64


class _ModelBrief(Struct, frozen=True, gc=False):
    id: Name


class _Brief(Struct, frozen=True, gc=False):
    """The least that names an entry, so that a descriptor of a later version hurts nobody else."""

    id: str  # judged below: msgspec's patterns cost more than all the rest
    models: list[_ModelBrief]


class ListedEntry(Struct, frozen=True, gc=False):
    """An entry and what it claims to be; the registry's signers let it pass, nothing more."""

    id: str
    models: tuple[str, ...]
    entry: Entry


@dataclass(frozen=True, slots=True)
class Listing:
    """All entries that name a provider, and how many do not."""

    entries: tuple[ListedEntry, ...]
    unreadable: int


def list_entries(entries: Sequence[Entry]) -> Listing:
    """Read the names.

    Raises:
        RegistryFormatError: one provider is listed twice, so that it is unclear which entry counts.
    """
    decode = msgspec.json.Decoder(_Brief).decode
    listed: dict[str, ListedEntry] = {}
    unreadable = 0
    for entry in entries:
        try:
            brief = decode(entry.d)
            id_ = brief.id
            if len(id_) != ID_DIGITS or bytes.fromhex(id_).hex() != id_:
                raise ValueError("not an id")
        except (ValueError, RecursionError):
            unreadable += 1
            continue
        if id_ in listed:
            raise RegistryFormatError(f"the registry lists provider {id_} twice")
        models = tuple([model.id for model in brief.models])
        listed[id_] = ListedEntry(id_, models, entry)
    return Listing(tuple(listed.values()), unreadable)
