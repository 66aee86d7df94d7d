"""The trusted set as a state machine: it moves forward, or raises and stays where it was.

The attacks of threats.md are in tests/adversarial/test_registry_files.py.
"""

from __future__ import annotations

import pytest
from registry_world import NOW, World, make_keys

from cocoon_sdk.errors import (
    RegistryError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.registry.trust import PinnedRoot, parse_trust
from cocoon_sdk.registry.verify import (
    NewerRootNeededError,
    Seen,
    TrustedSet,
    check_times,
)


@pytest.fixture
def world() -> World:
    return World()


def trusting(world: World, **options: object) -> TrustedSet:
    trusted = TrustedSet(parse_trust(world.trust), **options)
    trusted.update_root(world.roots[1])
    return trusted


def test_before_a_root_nothing_can_be_judged(world: World) -> None:
    trusted = TrustedSet(parse_trust(world.trust))
    assert (trusted.root, trusted.roots, trusted.seen) == (None, (), None)
    assert world.registry_raw is not None
    with pytest.raises(RegistrySignatureError, match="no root is trusted yet"):
        trusted.update_registry(world.registry_raw, NOW)


def test_a_pinned_root_is_trusted_from_the_start(world: World) -> None:
    trust = parse_trust(world.roots[1])
    assert isinstance(trust, PinnedRoot)
    trusted = TrustedSet(trust)
    assert trusted.root is not None
    assert trusted.root.version == 1
    assert world.registry_raw is not None
    assert trusted.update_registry(world.registry_raw, NOW).payload.version == 1


def test_what_was_accepted_is_the_new_floor(world: World) -> None:
    trusted = trusting(world)
    assert world.registry_raw is not None
    first = trusted.update_registry(world.registry_raw, NOW)
    assert trusted.seen == first.seen == Seen(1, 1, first.digest)
    assert first.digest.hex() == world.digest()
    second = trusted.update_registry(world.publish_registry(2), NOW)
    assert trusted.seen == second.seen > first.seen


def test_a_refusal_changes_nothing(world: World) -> None:
    trusted = trusting(world)
    trusted.update_registry(world.publish_registry(1), NOW)
    trusted.update_registry(world.publish_registry(2), NOW)
    before = (trusted.seen, trusted.roots, trusted.root, trusted.keys_since)
    expired = world.make_registry(3, issued=NOW - 9, fresh_until=NOW - 5, expires=NOW - 1)
    for raw in (b"", expired, world.make_registry(1), world.make_registry(3, prev="00" * 32)):
        with pytest.raises(RegistryError):
            trusted.update_registry(raw, NOW)
    for raw in (world.roots[1], world.make_root(3), b"{}"):
        with pytest.raises(RegistryError):
            trusted.update_root(raw)
    assert (trusted.seen, trusted.roots, trusted.root, trusted.keys_since) == before


def test_only_a_change_of_the_registrys_keys_starts_a_new_chain(world: World) -> None:
    trusted = trusting(world)
    assert trusted.keys_since == 1
    world.root_keys = world.root_keys + make_keys("more", 1)
    trusted.update_root(world.publish_root(2))
    assert trusted.keys_since == 1
    world.registry_keys = world.registry_keys[::-1]  # the same keys in another order
    trusted.update_root(world.publish_root(3))
    assert trusted.keys_since == 1
    world.registry_threshold = 3
    trusted.update_root(world.publish_root(4))
    assert trusted.keys_since == 4
    assert trusted.roots == tuple(world.roots[number] for number in (1, 2, 3, 4))
    with pytest.raises(RegistryRollbackError, match="root 4 replaced the signing keys"):
        trusted.update_registry(world.make_registry(1, world.registry_keys, root_version=3), NOW)


def test_a_registry_of_a_later_root_asks_for_that_root(world: World) -> None:
    trusted = trusting(world)
    with pytest.raises(NewerRootNeededError, match="root 2"):
        trusted.update_registry(world.make_registry(1, root_version=2), NOW)


def test_a_network_that_is_none_is_refused_even_in_a_first_root(world: World) -> None:
    trusted = TrustedSet(parse_trust(world.trust))
    with pytest.raises(RegistryFormatError, match="not a network"):
        trusted.update_root(world.make_root(1, network="anything"))


def test_the_network_is_fixed_by_the_caller_or_the_first_root(world: World) -> None:
    with pytest.raises(RegistryFormatError, match="devnet/test, expected -239/main"):
        trusting(world, network="-239/main")
    trusted = trusting(world)
    with pytest.raises(RegistryFormatError, match="expected devnet/test"):
        trusted.update_registry(world.make_registry(1, network="devnet/other"), NOW)


@pytest.mark.parametrize(
    ("now", "stale", "said"),
    [
        (NOW - 301, False, "in the future"),
        (NOW - 300, False, None),
        (NOW + 86_399, False, None),
        (NOW + 86_400, False, "expired 0 s ago"),
        (NOW + 86_400, True, None),
        (NOW - 301, True, "in the future"),
        (NOW + 365 * 86_400, True, "root 1 expired"),
    ],
)
def test_times_to_the_second(world: World, now: int, stale: bool, said: str | None) -> None:
    """registry.md: issued ≤ now + 5 min · now < expires · root not expired."""
    trusted = trusting(world)
    assert world.registry_raw is not None
    payload = trusted.update_registry(world.registry_raw, NOW).payload
    assert trusted.root is not None
    if said is None:
        check_times(payload, trusted.root, now, allow_stale=stale)
        return
    with pytest.raises(RegistryExpiredError, match=said):
        check_times(payload, trusted.root, now, allow_stale=stale)
