"""Listings are pinned completely: an exact version and both hashes, of a size that can be checked."""

from __future__ import annotations

import re

import pytest

from cocoon_provider.models.catalogue import CATALOGUE
from cocoon_provider.models.store import _checked


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_listing_names_one_file_and_nothing_else_will_do(name: str) -> None:
    listing = CATALOGUE[name]
    assert _checked(name) == name  # offered under this name as it is
    assert re.fullmatch(r"[a-z0-9-]+==\d+(\.\d+)+", listing.requirement)
    for digest in (listing.wheel_sha256, listing.gguf_sha256):
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert listing.wheel_sha256 != listing.gguf_sha256
    assert listing.member.endswith(".gguf")
    assert not listing.member.startswith("/")
    assert ".." not in listing.member.split("/")
    assert listing.gguf_size > 1_000_000
    assert listing.wheel_size > 1_000_000
