"""m of n keys on several machines, and the next root: nobody signs blindly, nothing counts too early."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from registry_world import DAY, NOW, descriptor_of, make_keys
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from cocoon_sdk.errors import (
    ConfigError,
    RegistryError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.keys import Ed25519Key, format_public_key, save_key
from cocoon_sdk.operator import cosigning, operations
from cocoon_sdk.operator.build import seal
from cocoon_sdk.operator.drafts import kind_of
from cocoon_sdk.operator.folder import OperatorFolder, Policy
from cocoon_sdk.operator.inspection import Inspection
from cocoon_sdk.operator.keyring import signers_for
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.operator.rotation import RoleChange, RootChange
from cocoon_sdk.operator.state import load_root, read_registry, read_root, trusted_set
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.registry.dsse import sign_envelope
from cocoon_sdk.registry.model import Entry, RootPayload

NETWORK = "devnet/test"
ALICE, BOB, CAROL = make_keys("holder", 3)  # hold registry keys
RITA, SAM, TOM = make_keys("root holder", 3)
PROVIDERS = make_keys("provider", 4)
IDS = [key.public_key.hex() for key in PROVIDERS]


def public(*keys: Ed25519Key) -> list[bytes]:
    return [key.public_key for key in keys]


def put(folder: OperatorFolder, *keys: Ed25519Key, **changes: object) -> None:
    for key in keys:
        raw = encode_entry(sign_descriptor(key, descriptor_of(key, **changes)))
        operations.add(folder, raw, now=NOW)


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    """Two of three root keys and one of two registry keys are here; the others are with people."""
    path = tmp_path / "registry"
    made = OperatorFolder(path)
    made.create()
    for name, key in (("rita", RITA), ("sam", SAM), ("alice", ALICE)):
        save_key(key, made.keys / f"{name}.key")
    draft = tmp_path / "first.json"
    operations.init(
        path,
        network=NETWORK,
        now=NOW,
        root_keys=0,
        registry_keys=0,
        root_public=public(RITA, SAM, TOM),
        registry_public=public(ALICE, BOB, CAROL),
        draft=draft,
    )
    look = cosigning.inspect(draft, now=NOW)
    assert look.lacking == "root.json needs 2 of 3 root keys, 0 of them signed"
    with pytest.raises(ConfigError, match="0 of them signed; send it to the next"):
        cosigning.accept(made, [draft], now=NOW)
    with pytest.raises(ConfigError, match="cocoon registry init"):
        load_root(made)
    assert cosigning.cosign(draft, look, [RITA, SAM]) is None
    assert cosigning.accept(made, [draft], now=NOW).version == 1
    put(made, *PROVIDERS[:2])
    return made


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    return tmp_path / "post" / "draft.json"


def make_draft(
    folder: OperatorFolder, draft: Path, *, now: int = NOW, shards: bool = False
) -> str | None:
    signers = signers_for(folder, "registry", load_root(folder).registry.public_keys)
    return cosigning.draft_registry(folder, draft, now=now, signers=signers, shards=shards)[1]


def inspect(
    folder: OperatorFolder, draft: Path, before: Path | None = None, now: int = NOW
) -> Inspection:
    return cosigning.inspect(draft, now=now, root=folder.path / "root.json", before=before)


def told(look: Inspection) -> list[tuple[str, str]]:
    return [(change.what, change.subject) for change in look.changes]


def round_trip(
    folder: OperatorFolder, draft: Path, *, now: int = NOW, shards: bool = False
) -> None:
    make_draft(folder, draft, now=now, shards=shards)
    cosigning.cosign(draft, inspect(folder, draft, now=now), [BOB])
    cosigning.accept(folder, [draft], now=now)


def test_a_registry_signed_on_two_machines(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    lacking = "registry.json needs 2 of 3 registry keys, 1 of them signed"
    assert make_draft(folder, draft) == lacking
    assert folder.read_registry() is None
    with pytest.raises(ConfigError, match="nothing is signed"):
        operations.publish(folder, tmp_path / "www", now=NOW)
    with pytest.raises(ConfigError, match="1 of them signed; send it to the next"):
        cosigning.accept(folder, [draft], now=NOW)
    look = inspect(folder, draft)
    assert (look.kind, look.network, look.version, look.lacking) == (
        "registry",
        NETWORK,
        1,
        lacking,
    )
    assert look.signed == {ALICE.public_key}
    assert told(look) == [("added", one) for one in sorted(IDS[:2])]
    assert "wss://provider.example" in look.changes[0].detail
    assert cosigning.cosign(draft, look, [BOB]) is None
    assert cosigning.accept(folder, [draft], now=NOW).kind == "registry"
    operations.publish(folder, tmp_path / "www", now=NOW)
    site = PublicFolder(tmp_path / "www")
    accepted = trusted_set(site).update_registry(site.read_registry() or b"", NOW)
    assert accepted.payload.version == 1


def test_publish_refuses_a_file_below_the_threshold(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    make_draft(folder, draft)
    folder.write_registry(draft.read_bytes())
    with pytest.raises(RegistrySignatureError, match="1 of 3 keys, 2 are needed"):
        operations.publish(folder, tmp_path / "www", now=NOW)
    assert not (tmp_path / "www").exists()


def test_copies_signed_at_the_same_time_are_combined(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    signers: Sequence[Ed25519Key] = ()
    cosigning.draft_registry(folder, draft, now=NOW, signers=signers)
    copies = []
    for name, key in (("a", ALICE), ("c", CAROL)):
        copy = tmp_path / name / "draft.json"
        copy.parent.mkdir()
        copy.write_bytes(draft.read_bytes())
        cosigning.cosign(copy, inspect(folder, copy), [key])
        copies.append(copy)
    with pytest.raises(ConfigError, match="1 of them signed"):
        cosigning.accept(folder, copies[:1], now=NOW)
    cosigning.accept(folder, [draft, *copies, copies[0]], now=NOW)
    other = tmp_path / "other.json"
    make_draft(folder, other)
    with pytest.raises(ConfigError, match="not copies of one draft"):
        cosigning.accept(folder, [draft, other], now=NOW)


def test_a_signature_counts_once(folder: OperatorFolder, draft: Path) -> None:
    make_draft(folder, draft)
    with pytest.raises(ConfigError, match="has signed this draft already"):
        cosigning.cosign(draft, inspect(folder, draft), [ALICE])
    for stranger in (RITA, PROVIDERS[0]):
        with pytest.raises(ConfigError, match="none of the keys that may sign this registry"):
            cosigning.cosign(draft, inspect(folder, draft), [stranger])
    with pytest.raises(ConfigError, match="1 of them signed"):
        cosigning.accept(folder, [draft, draft], now=NOW)


def test_what_was_shown_is_what_is_signed(folder: OperatorFolder, draft: Path) -> None:
    """Whoever can write the file could swap it while the holder reads the list of changes."""
    make_draft(folder, draft)
    look = inspect(folder, draft)
    put(folder, PROVIDERS[2])
    make_draft(folder, draft)
    swapped = draft.read_bytes()
    with pytest.raises(ConfigError, match="has changed since it was shown"):
        cosigning.cosign(draft, look, [BOB])
    assert draft.read_bytes() == swapped


@pytest.mark.parametrize("shards", [False, True])
def test_a_holder_sees_what_changes(folder: OperatorFolder, draft: Path, shards: bool) -> None:
    round_trip(folder, draft, shards=shards)
    put(folder, PROVIDERS[0], seq=6, endpoints=["wss://moved.example"])
    put(folder, PROVIDERS[2])
    operations.remove(folder, IDS[1])
    operations.revoke(folder, IDS[3])
    operations.revoke(folder, IDS[2], below=4)
    make_draft(folder, draft, now=NOW + 60, shards=shards)
    look = inspect(folder, draft, folder.path, NOW + 60)
    assert set(told(look)) == {
        *(("changed", IDS[0]), ("added", IDS[2]), ("removed", IDS[1])),
        *(("revoked", IDS[3]), ("lowest seq raised", IDS[2])),
    }
    changed = next(change for change in look.changes if change.what == "changed")
    assert changed.detail == (
        "seq 6 (was 5), endpoints wss://moved.example (was wss://provider.example)"
    )
    assert dict(look.summary)["compared with"] == "version 1"
    assert json.loads(json.dumps(look.to_dict()))["lacking"] == look.lacking
    folder.write_policy(Policy())
    operations.remove(folder, IDS[2])
    cosigning.cosign(draft, look, [BOB])
    cosigning.accept(folder, [draft], now=NOW + 60)
    make_draft(folder, draft, now=NOW + 120, shards=shards)
    look = inspect(folder, draft, folder.path, NOW + 120)
    assert {("NO LONGER REVOKED", IDS[3]), ("LOWEST SEQ LOWERED", IDS[2])} <= set(told(look))


def test_the_draft_brings_the_new_shards_only(folder: OperatorFolder, draft: Path) -> None:
    round_trip(folder, draft, shards=True)
    for path in (draft.parent / "shards").iterdir():
        path.unlink()
    put(folder, PROVIDERS[2])
    make_draft(folder, draft, shards=True)
    assert len(list((draft.parent / "shards").iterdir())) == 1
    with pytest.raises(RegistryFormatError, match="copy the folder shards as well"):
        inspect(folder, draft)
    look = inspect(folder, draft, folder.path)
    assert told(look) == [("added", IDS[2])]
    cosigning.cosign(draft, look, [BOB])
    elsewhere = draft.parent.parent / "draft.json"
    elsewhere.write_bytes(draft.read_bytes())
    with pytest.raises(ConfigError, match="copy the folder shards that lies beside the draft"):
        cosigning.accept(folder, [elsewhere], now=NOW)
    cosigning.accept(folder, [elsewhere, draft], now=NOW)


def test_without_the_old_shards_all_in_a_changed_one_are_shown_as_new(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    """A holder may keep the index only: less to compare with, nothing less verified."""
    round_trip(folder, draft, shards=True)
    index = tmp_path / "index"
    index.mkdir()
    (index / "registry.json").write_bytes(folder.read_registry() or b"")
    operations.revoke(folder, IDS[3], below=2)
    put(folder, PROVIDERS[0], seq=6)
    make_draft(folder, draft, shards=True)
    assert told(inspect(folder, draft, index)) == [
        ("lowest seq raised", IDS[3]),
        ("added", IDS[0]),
    ]
    cosigning.cosign(draft, inspect(folder, draft), [BOB])
    cosigning.accept(folder, [draft], now=NOW)
    make_draft(folder, draft, shards=True)
    assert told(inspect(folder, draft, folder.path)) == []


def test_a_forged_version_before_hides_nothing(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    """Whoever makes the draft may also serve the files that it is compared with."""
    round_trip(folder, draft)
    honest = read_registry(folder.read_registry() or b"").payload
    operations.revoke(folder, IDS[3])
    put(folder, PROVIDERS[2])
    make_draft(folder, draft)
    payload = read_registry(draft.read_bytes()).payload
    before = msgspec.structs.replace(honest, entries=payload.entries, revoked=payload.revoked)
    site = PublicFolder(tmp_path / "site")
    site.path.mkdir()
    site.write_registry(seal(before, [ALICE]))
    forged = hashlib.sha256(msgspec.json.encode(before)).hexdigest()
    draft.write_bytes(seal(msgspec.structs.replace(payload, prev=forged), [ALICE]))
    look = inspect(folder, draft, site.path)
    assert {("revoked", IDS[3]), ("added", IDS[2])} <= set(told(look))
    assert dict(look.summary)["compared with"] == (
        "nothing, because the registry.json there needs 2 of 3 registry keys, 1 of them signed"
    )
    site.write_registry(seal(before, [ALICE, BOB]))
    assert told(inspect(folder, draft, site.path)) == []


def test_what_is_rare_is_shown_before_what_is_not(folder: OperatorFolder, draft: Path) -> None:
    """The list is cut at some length, and descriptors are renewed all the time."""
    first, second, third = sorted(PROVIDERS[:3], key=lambda key: key.public_key)
    put(folder, first, second, third)
    operations.remove(folder, third.public_key.hex())
    operations.revoke(folder, IDS[3], below=9)
    round_trip(folder, draft)
    put(folder, first, seq=6)
    put(folder, second, seq=6)
    put(folder, third)
    folder.write_policy(Policy())
    make_draft(folder, draft)
    look = inspect(folder, draft, folder.path)
    assert [change.what for change in look.changes] == [
        *("LOWEST SEQ LOWERED", "added", "changed", "changed")
    ]
    assert dict(look.summary)["asked for again"] == "after 3 hours"


def draft_of(folder: OperatorFolder, draft: Path, **changes: object) -> None:
    """A draft as somebody would make it who is not honest."""
    make_draft(folder, draft)
    payload = msgspec.structs.replace(read_registry(draft.read_bytes()).payload, **changes)
    draft.write_bytes(seal(payload, [ALICE]))


def forged(key: Ed25519Key, **changes: object) -> Entry:
    return sign_descriptor(key, descriptor_of(key, **changes))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"network": "devnet/other"}, RegistryFormatError),
        ({"root_version": 2}, RegistryFormatError),
        ({"issued": NOW + DAY - 1, "fresh_until": NOW + DAY - 1}, RegistryExpiredError),
        ({"expires": NOW, "fresh_until": NOW}, RegistryExpiredError),
        ({"version": 3}, RegistryRollbackError),
        ({"prev": "ab" * 32}, RegistryRollbackError),
        ({"entries": [Entry(d=forged(PROVIDERS[0]).d, s="")]}, RegistrySignatureError),
        ({"entries": [forged(PROVIDERS[2], expires=NOW)]}, RegistryExpiredError),
        ({"entries": [forged(PROVIDERS[2], network="-239/main")]}, RegistryFormatError),
        ({"entries": [forged(PROVIDERS[0], seq=4)]}, RegistryRollbackError),
        ({"revoked": [IDS[2]], "entries": [forged(PROVIDERS[2])]}, RegistrySignatureError),
    ],
)
def test_what_clients_would_refuse_is_not_signed(
    folder: OperatorFolder, draft: Path, changes: dict[str, object], error: type[RegistryError]
) -> None:
    round_trip(folder, draft)
    draft_of(folder, draft, **changes)
    with pytest.raises(error):
        inspect(folder, draft, folder.path)


def test_the_registry_before_must_be_of_the_same_network(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    operations.init(other, network="devnet/else", now=NOW)
    operations.sign(OperatorFolder(other), now=NOW)
    make_draft(folder, draft)
    with pytest.raises(RegistryFormatError, match="the version before for devnet/else"):
        inspect(folder, draft, other)
    with pytest.raises(ConfigError, match="pass --root"):
        cosigning.inspect(draft, now=NOW)


def test_an_old_draft_is_not_accepted(folder: OperatorFolder, draft: Path, tmp_path: Path) -> None:
    stale = tmp_path / "stale.json"
    make_draft(folder, stale)
    cosigning.cosign(stale, inspect(folder, stale), [BOB])
    round_trip(folder, draft, now=NOW + 1)
    with pytest.raises(RegistryError, match="version 1"):
        cosigning.accept(folder, [stale], now=NOW + 1)
    round_trip(folder, draft, now=NOW + 2)
    with pytest.raises(RegistryRollbackError):
        cosigning.accept(folder, [stale], now=NOW + 2)


def test_only_drafts_are_read(draft: Path) -> None:
    draft.parent.mkdir()
    with pytest.raises(ConfigError, match="there is no file"):
        cosigning.inspect(draft, now=NOW)
    draft.write_bytes(b"{}")
    with pytest.raises(RegistryFormatError):
        cosigning.inspect(draft, now=NOW)
    with pytest.raises(ConfigError, match="only roots and registries"):
        kind_of(sign_envelope(b"{}", "application/other", [ALICE]))


# Roots


def rotate(folder: OperatorFolder, draft: Path | None = None, **changes: object) -> str | None:
    root, _ = cosigning.plan_root(folder, RootChange(**changes), now=NOW)  # type: ignore[arg-type] # table
    return cosigning.rotate_root(folder, root, draft=draft)


def test_another_year(folder: OperatorFolder) -> None:
    old = load_root(folder)
    root, look = cosigning.plan_root(folder, RootChange(lifetime=400 * DAY), now=NOW + DAY)
    assert look.changes == []
    assert cosigning.rotate_root(folder, root) is None
    new = load_root(folder)
    assert new == msgspec.structs.replace(old, version=2, expires=NOW + 401 * DAY)
    assert list(folder.read_roots()) == [1, 2]


def test_a_registry_stays_valid_as_long_as_its_keys_do(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    round_trip(folder, draft)
    rotate(folder)
    names = operations.publish(folder, tmp_path / "www", now=NOW)
    assert names == ["1.root.json", "2.root.json", "root.json", "registry.json"]
    rotate(folder, registry=RoleChange(drop=public(CAROL)))
    with pytest.raises(RegistryRollbackError, match="replaced the signing keys"):
        operations.publish(folder, tmp_path / "www", now=NOW)
    round_trip(folder, draft)
    operations.publish(folder, tmp_path / "www", now=NOW)


def test_all_that_a_root_says_can_change(folder: OperatorFolder, draft: Path) -> None:
    change = RootChange(
        root=RoleChange(add=public(PROVIDERS[0]), drop=public(TOM), threshold=3),
        registry=RoleChange(add=public(PROVIDERS[1]), drop=public(BOB, CAROL), threshold=1),
        mirrors=["https://one.example/registry.json"],
        anchor="0:" + "ab" * 32,
    )
    root, look = cosigning.plan_root(folder, change, now=NOW)
    changes = {(one.what, one.subject): one.detail for one in look.changes}
    assert changes == {
        ("root key added", format_public_key(PROVIDERS[0].public_key)): "",
        ("root key removed", format_public_key(TOM.public_key)): "",
        ("root threshold", "3"): "was 2",
        ("registry key added", format_public_key(PROVIDERS[1].public_key)): "",
        ("registry key removed", format_public_key(BOB.public_key)): "",
        ("registry key removed", format_public_key(CAROL.public_key)): "",
        ("registry threshold", "1"): "was 2",
        ("mirror added", "https://one.example/registry.json"): "",
        ("anchor", "0:" + "ab" * 32): "was none",
    }
    lacking = "root.json needs 3 of 3 new root keys, 2 of them signed"
    with pytest.raises(ConfigError, match=f"{lacking}; where other people hold the others"):
        cosigning.rotate_root(folder, root)
    assert cosigning.rotate_root(folder, root, draft=draft) == lacking
    look = inspect(folder, draft)
    assert look.signed == {RITA.public_key, SAM.public_key}
    with pytest.raises(ConfigError, match="3 of 3 new root keys, 2 of them signed; send"):
        cosigning.accept(folder, [draft], now=NOW)
    assert cosigning.cosign(draft, look, [PROVIDERS[0]]) is None
    assert cosigning.accept(folder, [draft], now=NOW) == cosigning.Accepted("root", 2)
    assert load_root(folder) == root
    save_key(PROVIDERS[0], folder.keys / "new.key")
    rotate(folder, mirrors=[], anchor="")
    assert (load_root(folder).mirrors, load_root(folder).anchor) == ([], None)


def test_the_old_threshold_signs_as_well(folder: OperatorFolder, draft: Path) -> None:
    """New keys alone would let anybody who reaches the folder take the registry over."""
    for name in ("rita", "sam"):
        (folder.keys / f"{name}.key").unlink()
    save_key(TOM, folder.keys / "tom.key")
    save_key(PROVIDERS[0], folder.keys / "new.key")
    change = RoleChange(add=public(PROVIDERS[0]), drop=public(RITA, SAM), threshold=1)
    assert rotate(folder, draft, root=change) == (
        "root.json needs 2 of 3 old root keys, 1 of them signed"
    )
    with pytest.raises(ConfigError, match="2 of 3 old root keys"):
        cosigning.accept(folder, [draft], now=NOW)
    assert load_root(folder).version == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"root": RoleChange(drop=public(ALICE))},
        {"root": RoleChange(add=public(RITA))},
        {"root": RoleChange(add=public(BOB))},  # a registry key
        {"root": RoleChange(threshold=4)},
        {"registry": RoleChange(drop=public(BOB, CAROL))},  # the threshold stays 2
        {"registry": RoleChange(add=[b"\1" + bytes(31)])},
        {"mirrors": ["http://plain.example"]},
        {"mirrors": ["https://m.example"] * 17},
        {"anchor": "EQ"},
        {"anchor": "9999999999:" + "ab" * 32},  # no workchain
        {"lifetime": 2**60},
    ],
)
def test_impossible_roots_are_not_signed(
    folder: OperatorFolder, changes: dict[str, object]
) -> None:
    with pytest.raises((ConfigError, RegistryFormatError)):
        rotate(folder, **changes)
    assert list(folder.read_roots()) == [1]


def test_a_root_follows_the_one_before(folder: OperatorFolder, draft: Path, tmp_path: Path) -> None:
    rotate(folder, draft)
    rotate(folder)
    with pytest.raises(RegistryRollbackError, match="root 2, which cannot follow root 2"):
        inspect(folder, draft)
    with pytest.raises(RegistryRollbackError):
        cosigning.accept(folder, [draft], now=NOW)
    with pytest.raises(RegistryRollbackError, match="give the root before it"):
        cosigning.inspect(draft, now=NOW)
    other = read_root((folder.path / "1.root.json").read_bytes())
    foreign = msgspec.structs.replace(other, network="devnet/else", version=3)
    draft.write_bytes(seal(foreign, [RITA, SAM]))
    with pytest.raises(RegistryFormatError, match="devnet/else"):
        inspect(folder, draft)


def test_a_rotation_that_was_killed_between_its_two_files_goes_on(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    first = folder.read_root()
    rotate(folder, registry=RoleChange(drop=public(CAROL)))
    (folder.path / "root.json").write_bytes(first)  # as it is when 2.root.json was the last write
    round_trip(folder, draft)
    (folder.path / "root.json").write_bytes(first)
    rotate(folder)
    assert list(folder.read_roots()) == [1, 2, 3]
    (folder.path / "root.json").write_bytes(first)
    operations.publish(folder, tmp_path / "www", now=NOW)
    published = PublicFolder(tmp_path / "www")
    assert (published.path / "root.json").read_bytes() == published.read_roots()[3]


def test_recovery_after_the_theft_of_registry_keys(
    folder: OperatorFolder, draft: Path, tmp_path: Path
) -> None:
    """The runbook of docs/howto/run-a-registry.md: a thief's version number is out of nobody's reach."""
    www = tmp_path / "www"
    round_trip(folder, draft)
    operations.publish(folder, www, now=NOW)
    honest = read_registry(folder.read_registry() or b"").payload
    stolen = seal(msgspec.structs.replace(honest, version=2**53 - 1, prev="ab" * 32), [ALICE, BOB])
    PublicFolder(www).write_registry(stolen)
    victim = trusted_set(PublicFolder(www))
    victim.update_registry(stolen, NOW)

    new = make_keys("after the theft", 2)
    rotate(folder, registry=RoleChange(add=public(*new), drop=public(ALICE, BOB, CAROL)))
    (folder.path / "registry.json").unlink()
    signed = operations.sign(folder, now=NOW, signers=new)
    assert signed.registry.payload.version == 1
    operations.publish(folder, www, now=NOW)

    victim.update_root((www / "2.root.json").read_bytes())
    assert victim.update_registry((www / "registry.json").read_bytes(), NOW).payload.version == 1
    with pytest.raises(RegistryError):
        victim.update_registry(stolen, NOW)


# Other tools


def other_keys(*keys: Ed25519Key) -> list[SSlibKey]:
    texts = [key.public_key.hex() for key in keys]
    return [SSlibKey(text, "ed25519", "ed25519", {"public": text}) for text in texts]


def test_securesystemslib_accepts_what_we_sign(folder: OperatorFolder, draft: Path) -> None:
    round_trip(folder, draft, shards=True)
    rotate(folder, root=RoleChange(drop=public(TOM)))
    files = {
        "1.root.json": ((RITA, SAM, TOM), 2),
        "2.root.json": ((RITA, SAM), 2),
        "registry.json": ((ALICE, BOB, CAROL), 2),
    }
    for name, (keys, threshold) in files.items():
        other = OtherEnvelope.from_dict(json.loads((folder.path / name).read_bytes()))
        assert len(other.verify(other_keys(*keys), threshold)) == threshold
        with pytest.raises(VerificationError):
            other.verify(other_keys(*keys[1:], *PROVIDERS), threshold)


def test_one_signature_is_enough_for_securesystemslib_where_one_is(tmp_path: Path) -> None:
    operations.init(tmp_path / "one", network=NETWORK, now=NOW)
    folder = OperatorFolder(tmp_path / "one")
    operations.sign(folder, now=NOW)
    texts = load_root(folder).registry.keys
    key = SSlibKey("any", "ed25519", "ed25519", {"public": texts[0].removeprefix("ed25519:")})
    raw = folder.read_registry() or b""
    assert OtherEnvelope.from_dict(json.loads(raw)).signatures
    key.keyid = texts[0].removeprefix("ed25519:")
    assert len(OtherEnvelope.from_dict(json.loads(raw)).verify([key], 1)) == 1


def test_we_accept_what_securesystemslib_signs(tmp_path: Path) -> None:
    """A registry whose keys all live behind securesystemslib, and whose files it wrote itself."""
    makers = [CryptoSigner.generate_ed25519() for _ in range(4)]
    keys = [bytes.fromhex(maker.public_key.keyval["public"]) for maker in makers]
    root = cosigning.next_root(
        RootPayload(
            network=NETWORK,
            version=1,
            expires=NOW,
            root=operations.make_role(keys[:2], 2),
            registry=operations.make_role(keys[2:], 2),
        ),
        RootChange(),
        now=NOW,
    )
    root = msgspec.structs.replace(root, version=1)
    folder = OperatorFolder(tmp_path / "r")
    folder.create()
    folder.write_root(signed_elsewhere(seal(root, ()), makers[:2]), 1)
    assert load_root(folder) == root
    draft = tmp_path / "draft.json"
    cosigning.draft_registry(folder, draft, now=NOW, signers=())
    draft.write_bytes(signed_elsewhere(draft.read_bytes(), makers[2:]))
    assert cosigning.accept(folder, [draft], now=NOW).version == 1


def signed_elsewhere(raw: bytes, makers: list[CryptoSigner]) -> bytes:
    other = OtherEnvelope.from_dict(json.loads(raw))
    for maker in makers:
        other.sign(maker)
    return json.dumps(other.to_dict()).encode()
