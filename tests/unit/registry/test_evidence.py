"""A fork that one client met, proved to another one."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.registry.evidence import check_evidence, encode_evidence, write_evidence
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet


@pytest.fixture
def world() -> World:
    return World()


def forked(world: World) -> bytes:
    one, two = world.make_registry(1), world.make_registry(1, entries=[])
    return encode_evidence([world.roots[1]], [one, two])


def test_the_error_of_a_fork_carries_both_envelopes(world: World) -> None:
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    one, two = world.make_registry(1), world.make_registry(1, entries=[])
    trusted.update_registry(one, NOW)
    with pytest.raises(RegistryEquivocationError) as caught:
        trusted.update_registry(two, NOW)
    assert caught.value.envelopes == (one, two)
    first, second = check_evidence(
        encode_evidence(trusted.roots, caught.value.envelopes), parse_trust(world.trust)
    )
    assert (first.raw, second.raw) == (one, two)
    later = TrustedSet(parse_trust(world.trust), seen=first.seen)
    later.update_root(world.roots[1])
    with pytest.raises(RegistryEquivocationError) as caught:
        later.update_registry(two, NOW)
    assert caught.value.envelopes == (two,)  # the other one is not at hand any more


def test_evidence_holds_after_everything_expired(world: World) -> None:
    raw = forked(world)
    assert json.loads(raw)["envelopes"]
    first, second = check_evidence(raw, parse_trust(world.trust))
    assert first.payload.expires < NOW + 2 * DAY
    assert first.digest != second.digest
    assert check_evidence(raw, parse_trust(world.roots[1]))


def test_evidence_after_a_change_of_keys(world: World) -> None:
    world.registry_keys = make_keys("new registry", 3)
    world.publish_root(2)
    one, two = world.make_registry(5, prev="00" * 32), world.make_registry(5, prev="01" * 32)
    raw = encode_evidence([world.roots[1], world.roots[2]], [one, two])
    assert check_evidence(raw, parse_trust(world.trust))


def test_what_proves_nothing(world: World) -> None:
    trust = parse_trust(world.trust)
    one = world.make_registry(1)
    honest = world.publish_registry(2)
    root = world.roots[1]
    with pytest.raises(RegistryFormatError, match="proves no fork"):
        check_evidence(encode_evidence([root], [one, honest]), trust)
    with pytest.raises(RegistryFormatError, match="proves no fork"):
        check_evidence(encode_evidence([root], [one, one]), trust)
    with pytest.raises(RegistryRollbackError):
        check_evidence(encode_evidence([root], [honest, one]), trust)
    forged = world.make_registry(1, make_keys("stranger", 3), entries=[])
    for pair in ([one, forged], [forged, one]):
        with pytest.raises(RegistrySignatureError):
            check_evidence(encode_evidence([root], pair), trust)
    stranger = World()
    stranger.root_keys = make_keys("stranger root", 3)
    with pytest.raises(RegistrySignatureError):
        check_evidence(encode_evidence([stranger.make_root(1)], [one, one]), trust)


@pytest.mark.parametrize("roots", [0, 1])
@pytest.mark.parametrize("envelopes", [0, 1, 3])
def test_malformed_evidence(world: World, roots: int, envelopes: int) -> None:
    text = base64.b64encode(world.roots[1]).decode()
    raw = json.dumps({"roots": [text] * roots, "envelopes": [text] * envelopes}).encode()
    with pytest.raises(RegistryFormatError):
        check_evidence(raw, parse_trust(world.trust))


def test_evidence_is_kept_under_its_content(world: World, tmp_path: Path) -> None:
    raw = forked(world)
    path = write_evidence(tmp_path / "new", raw)
    assert path.read_bytes() == raw
    before = path.stat().st_mtime_ns
    assert write_evidence(tmp_path / "new", raw) == path
    assert path.stat().st_mtime_ns == before
