"""The names in a registry: what can be read without believing anything, and what cannot be."""

from __future__ import annotations

import json

import pytest

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.listing import list_entries
from cocoon_sdk.registry.model import Entry


def payload(*texts: str) -> list[Entry]:
    return [Entry(d=text, s="unchecked") for text in texts]


def named(provider: str, *models: str, **more: object) -> str:
    return json.dumps({"id": provider, "models": [{"id": name} for name in models], **more})


def test_ids_models_and_entries_in_the_registrys_order() -> None:
    first, second = named("bb" * 32, "m", "n", v=99), named("aa" * 32, later=True)
    listing = list_entries(payload(first, second))
    assert [(one.id, one.models) for one in listing.entries] == [
        ("bb" * 32, ("m", "n")),
        ("aa" * 32, ()),
    ]
    assert listing.entries[0].entry == Entry(d=first, s="unchecked")
    assert listing.unreadable == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        named("AA" * 32),
        named("aa" * 31),
        named("aa" * 32, ""),
        named("aa" * 32, "m" * 201),
        json.dumps({"id": "aa" * 32, "models": "m"}),
        "[" * 100_000,
        '{"id": "' + "aa" * 32 + '", "models": [], "x": ' + "[" * 100_000,
    ],
)
def test_what_names_nobody_is_counted_and_hurts_nobody(text: str) -> None:
    listing = list_entries(payload(text, named("bb" * 32)))
    assert listing.unreadable == 1
    assert [one.id for one in listing.entries] == ["bb" * 32]


def test_one_provider_twice_makes_the_whole_file_ambiguous() -> None:
    with pytest.raises(RegistryFormatError, match="twice"):
        list_entries(payload(named("aa" * 32, "m"), named("bb" * 32), named("aa" * 32, "n")))
