import json

import msgspec
import pytest
from registry_world import DAY, NOW, World, descriptor_of

from cocoon_sdk.errors import RegistryFormatError, RegistrySignatureError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry import listed as listed_module
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.listed import SeenSequences
from cocoon_sdk.registry.model import Entry
from cocoon_sdk.registry.network import registry_id
from cocoon_sdk.registry.snapshot import Snapshot, make_snapshot
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet

ALICE, BOB = Ed25519Key(b"a" * 32), Ed25519Key(b"b" * 32)
ALICE_ID, BOB_ID = ALICE.public_key.hex(), BOB.public_key.hex()


def signed(key: Ed25519Key, **changes: object) -> Entry:
    return sign_descriptor(key, descriptor_of(key, **changes))


def snapshot_of(
    *entries: Entry, seen: SeenSequences | None = None, here: bool = False, **changes: object
) -> Snapshot:
    world = World()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    raw = world.make_registry(1, entries=msgspec.to_builtins(list(entries)), **changes)
    return make_snapshot(trusted.update_registry(raw, NOW), seen, on_this_machine=here)


def test_providers_are_found_by_id_and_by_model() -> None:
    snapshot = snapshot_of(signed(ALICE), signed(BOB))
    alice = snapshot.get(ALICE_ID)
    assert alice is not None
    assert alice.public_key == ALICE.public_key
    assert snapshot.get("00" * 32) is None
    assert [provider.id for provider in snapshot.for_model("m")] == [ALICE_ID, BOB_ID]
    assert snapshot.for_model("other") == ()
    assert alice.origin.registry_id == registry_id("devnet/test")
    assert alice.registries == ("devnet/test",)
    assert snapshot.models == {"m": 2}


def test_signatures_are_verified_once_and_only_for_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    genuine = listed_module.read_descriptor

    def counting(entry: Entry):
        calls.append(json.loads(entry.d)["id"])
        return genuine(entry)

    monkeypatch.setattr(listed_module, "read_descriptor", counting)
    snapshot = snapshot_of(signed(ALICE), signed(BOB))
    assert calls == []
    for _ in range(3):
        snapshot.providers[1].verify(NOW)
    assert calls == [BOB_ID]


def test_an_entry_altered_by_the_registry_is_its_own_problem_only() -> None:
    entry = signed(ALICE)
    altered = Entry(d=entry.d.replace("wss://provider", "wss://attacker"), s=entry.s)
    snapshot = snapshot_of(altered, signed(BOB))
    with pytest.raises(RegistrySignatureError, match=ALICE_ID):
        snapshot.providers[0].verify(NOW)
    assert "not signed by that identity" in (snapshot.providers[0].problem(NOW) or "")
    assert snapshot.providers[1].problem(NOW) is None


def test_unreadable_entries_are_counted_and_hurt_nobody() -> None:
    entries = [
        *(Entry(d=text, s="") for text in ("", "{}", "[" * 2000, '{"id": "x", "models": []}')),
        signed(BOB),
    ]
    snapshot = snapshot_of(*entries)
    assert snapshot.unreadable == 4
    assert [provider.id for provider in snapshot.providers] == [BOB_ID]


def test_a_descriptor_of_a_later_version_is_listed_and_not_used() -> None:
    fields = json.loads(signed(ALICE).d) | {"v": 2}
    snapshot = snapshot_of(Entry(d=json.dumps(fields), s=""), signed(BOB))
    with pytest.raises(RegistryFormatError):
        snapshot.providers[0].verify(NOW)
    assert snapshot.providers[1].verify(NOW).v == 1


def test_reasons_name_what_is_wrong() -> None:
    snapshot = snapshot_of(
        signed(ALICE), signed(BOB, seq=3), revoked=[ALICE_ID], min_seq={BOB_ID: 4}
    )
    assert "revoked" in (snapshot.providers[0].problem(NOW) or "")
    assert "seq 3 is below 4" in (snapshot.providers[1].problem(NOW) or "")
    late = snapshot_of(signed(BOB)).providers[0]
    assert late.problem(NOW) is None
    assert "expired 5 seconds ago" in (late.problem(NOW + 7 * DAY + 5) or "")


def test_a_descriptor_seen_in_a_newer_version_bars_the_older() -> None:
    seen = SeenSequences()
    newer = snapshot_of(signed(ALICE, seq=9), seen=seen)
    older = snapshot_of(signed(ALICE, seq=8), seen=seen)
    assert older.providers[0].problem(NOW) is None
    newer.providers[0].verify(NOW)
    assert seen.changed
    assert "below 9" in (older.providers[0].problem(NOW) or "")


def test_an_unusable_descriptor_raises_no_floor() -> None:
    seen = SeenSequences()
    snapshot = snapshot_of(signed(ALICE, seq=9, expires=NOW), seen=seen)
    assert snapshot.providers[0].problem(NOW) is not None
    assert seen.as_dict() == {}
    assert not seen.changed


def test_sequences_only_rise() -> None:
    seen = SeenSequences({"p": 5})
    seen.raise_to("p", 4)
    seen.merge({"p": 3, "q": 1})
    assert seen.as_dict() == {"p": 5, "q": 1}
    assert not seen.changed


def test_loopback_is_for_devnets_of_this_machine() -> None:
    assert snapshot_of(here=True).origin.allow_loopback
    assert not snapshot_of(here=False).origin.allow_loopback
    world = World()
    world.network = "-239/main"
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.make_root(1))
    registry = trusted.update_registry(world.make_registry(1), NOW)
    assert not make_snapshot(registry, on_this_machine=True).origin.allow_loopback
