import os
import stat
from pathlib import Path

import msgspec
import pytest
from registry_world import DAY, NOW, descriptor_of, make_keys

from cocoon_sdk.errors import (
    CocoonError,
    ConfigError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.keys import Ed25519Key, load_key, save_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.report import describe_snapshot, show_folder
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.model import Entry

NETWORK = "devnet/test"
ALICE, BOB = make_keys("provider", 2)


def entry_of(key: Ed25519Key, **changes: object) -> bytes:
    return encode_entry(sign_descriptor(key, descriptor_of(key, **changes)))


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    path = tmp_path / "registry"
    operations.init(path, network=NETWORK, now=NOW, registry_keys=3)
    return OperatorFolder(path)


def client_of(folder: OperatorFolder, now: int = NOW) -> RegistryClient:
    trust = operations.load_root(folder).root.keys
    return RegistryClient(folder.path, trust=trust, cache=False, clock=lambda: now)


@pytest.mark.anyio
async def test_a_client_accepts_what_an_operator_signs(folder: OperatorFolder) -> None:
    operations.add(folder, entry_of(ALICE), now=NOW)
    operations.add(folder, entry_of(BOB), now=NOW)
    first = operations.sign(folder, now=NOW)
    assert first.skipped == {}
    assert first.registry.payload.prev is None
    snapshot = await client_of(folder).snapshot()
    assert {provider.id for provider in snapshot.providers} == {
        ALICE.public_key.hex(),
        BOB.public_key.hex(),
    }
    assert [provider.problem(NOW) for provider in snapshot.providers] == [None, None]
    assert snapshot.fresh_until == NOW + 3 * 3600
    assert snapshot.expires == NOW + DAY
    second = operations.sign(folder, now=NOW + 3600)
    assert second.registry.payload.version == 2
    assert second.registry.payload.prev == first.registry.digest.hex()
    assert (await client_of(folder, NOW + 3600).snapshot()).version == 2


def test_init_makes_private_keys_private(folder: OperatorFolder) -> None:
    keys = sorted(path.name for path in folder.keys.iterdir())
    assert keys == ["registry-1.key", "registry-2.key", "registry-3.key", "root-1.key"]
    if os.name == "posix":
        assert stat.S_IMODE(folder.keys.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.keys.iterdir()} == {0o600}
    root = operations.load_root(folder)
    assert (root.root.threshold, root.registry.threshold) == (1, 2)
    assert root.expires == NOW + 365 * DAY


def test_init_never_overwrites(folder: OperatorFolder) -> None:
    before = folder.read_root()
    with pytest.raises(ConfigError, match="already"):
        operations.init(folder.path, network=NETWORK, now=NOW)
    assert folder.read_root() == before


@pytest.mark.parametrize(
    "options",
    [
        {"network": "main"},
        {"root_keys": 2, "root_threshold": 3},
        {"registry_keys": 2, "registry_threshold": 3},
        {"root_keys": 0},
        {"registry_keys": 0},
        {"root_public": [ALICE.public_key] * 2},
        {"root_public": [ALICE.public_key], "registry_public": [ALICE.public_key]},
        {"root_public": [ALICE.public_key, BOB.public_key]},  # 2 of 3 needed, 1 is here
    ],
)
def test_impossible_roles_leave_nothing_behind(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "new"
    with pytest.raises((ConfigError, RegistryFormatError)):
        operations.init(path, **({"network": NETWORK, "now": NOW} | options))  # type: ignore[arg-type] # table
    assert not path.exists()


def test_keys_held_elsewhere_are_counted(tmp_path: Path) -> None:
    root = operations.init(
        tmp_path / "new",
        network=NETWORK,
        now=NOW,
        root_public=[ALICE.public_key],
        root_threshold=1,
        registry_public=[BOB.public_key],
        registry_threshold=2,
    )
    assert len(root.root.keys) == len(root.registry.keys) == 2
    folder = OperatorFolder(tmp_path / "new")
    with pytest.raises(ConfigError, match="2 of 2 registry keys, 1 of them signed"):
        operations.sign(folder, now=NOW)
    save_key(BOB, folder.keys / "bob.key")
    assert operations.sign(folder, now=NOW).registry.payload.version == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"expires": NOW}, RegistryExpiredError),
        ({"network": "-239/main"}, RegistryFormatError),
        ({"endpoints": ["ws://provider.example"]}, RegistryFormatError),
        ({"endpoints": ["wss://ok.example", "http://x.example"]}, RegistryFormatError),
        ({"issued": NOW + 4000}, RegistryExpiredError),
    ],
)
def test_what_clients_would_refuse_is_not_added(
    folder: OperatorFolder, changes: dict[str, object], error: type[CocoonError]
) -> None:
    with pytest.raises(error):
        operations.add(folder, entry_of(ALICE, **changes), now=NOW)
    assert not folder.read_entries()


def test_forged_and_malformed_entries_are_not_added(folder: OperatorFolder) -> None:
    entry = msgspec.json.decode(entry_of(ALICE), type=Entry)
    forged = encode_entry(Entry(d=entry.d.replace("100,", "999,"), s=entry.s))
    with pytest.raises(RegistrySignatureError):
        operations.add(folder, forged, now=NOW)
    for raw in (b"", b"{}", b'{"d": "x", "s": "x", "x": 1}', b"[" * 1000, b" " * 40_000):
        with pytest.raises(RegistryFormatError):
            operations.add(folder, raw, now=NOW)


def test_an_entry_is_replaced_only_by_a_newer_one(folder: OperatorFolder) -> None:
    operations.add(folder, entry_of(ALICE), now=NOW)
    operations.add(folder, entry_of(ALICE), now=NOW)  # the same again is no change
    for seq in (4, 5):
        with pytest.raises(RegistryRollbackError, match="register again"):
            operations.add(folder, entry_of(ALICE, seq=seq, region="x"), now=NOW)
    assert operations.add(folder, entry_of(ALICE, seq=6), now=NOW).seq == 6


@pytest.mark.anyio
async def test_removed_providers_may_come_back_and_revoked_ones_may_not(
    folder: OperatorFolder,
) -> None:
    alice, bob = ALICE.public_key.hex(), BOB.public_key.hex()
    for key in (ALICE, BOB):
        operations.add(folder, entry_of(key), now=NOW)
    assert operations.remove(folder, alice[:12]) == alice
    assert operations.revoke(folder, bob) == bob
    signed = operations.sign(folder, now=NOW)
    assert signed.registry.payload.entries == []
    assert signed.registry.payload.revoked == [bob]
    operations.add(folder, entry_of(ALICE), now=NOW)
    with pytest.raises(RegistrySignatureError, match="revoked"):
        operations.add(folder, entry_of(BOB, seq=9), now=NOW)


def test_revoking_only_the_older_descriptors(folder: OperatorFolder) -> None:
    alice = ALICE.public_key.hex()
    operations.add(folder, entry_of(ALICE), now=NOW)
    operations.revoke(folder, alice, below=6)
    operations.revoke(folder, alice, below=3)  # never lowers
    signed = operations.sign(folder, now=NOW)
    assert signed.registry.payload.min_seq == {alice: 6}
    assert "below 6" in signed.skipped[alice]
    operations.add(folder, entry_of(ALICE, seq=6), now=NOW)
    assert operations.sign(folder, now=NOW).skipped == {}


def test_an_identity_that_was_never_listed_can_be_revoked(folder: OperatorFolder) -> None:
    assert operations.revoke(folder, "cd" * 32) == "cd" * 32
    assert folder.read_policy().revoked == ["cd" * 32]


@pytest.mark.parametrize("text", ["", "12", "zz" * 32, "../" * 21 + "x", "00000000"])
def test_unknown_providers(folder: OperatorFolder, text: str) -> None:
    operations.add(folder, entry_of(ALICE), now=NOW)
    for act in (operations.remove, operations.revoke):
        with pytest.raises(ConfigError):
            act(folder, text)
    assert len(folder.read_entries()) == 1


def test_what_is_not_listed_cannot_be_removed(folder: OperatorFolder) -> None:
    with pytest.raises(ConfigError, match="is not listed"):
        operations.remove(folder, "cd" * 32)


def test_a_sequence_number_that_no_client_would_read(folder: OperatorFolder) -> None:
    with pytest.raises(ConfigError, match="not a provider id or sequence number"):
        operations.revoke(folder, "cd" * 32, below=2**60)
    assert folder.read_policy().min_seq == {}
    operations.revoke(folder, "cd" * 32, below=2**53 - 1)  # a sequence number may be as high
    assert folder.read_policy().min_seq == {"cd" * 32: 2**53 - 1}


def test_a_clock_that_ran_ahead_once_does_not_stop_the_registry(folder: OperatorFolder) -> None:
    ahead = operations.sign(folder, now=NOW + 100 * DAY).registry.payload
    after = operations.sign(folder, now=NOW).registry.payload
    assert (ahead.issued, after.issued, after.version) == (NOW + 100 * DAY, NOW, 2)
    again = operations.sign(folder, now=NOW - 200).registry.payload
    assert (again.issued, again.version) == (NOW, 3)  # two machines, and a little apart


def test_expired_entries_are_left_out_and_named(folder: OperatorFolder) -> None:
    operations.add(folder, entry_of(ALICE), now=NOW)
    operations.add(folder, entry_of(BOB, expires=NOW + 60), now=NOW)
    signed = operations.sign(folder, now=NOW + 60)
    assert len(signed.registry.payload.entries or ()) == 1
    assert "expired" in signed.skipped[BOB.public_key.hex()]


def test_nothing_is_signed_under_an_expired_root(folder: OperatorFolder) -> None:
    with pytest.raises(RegistryExpiredError, match="root 1"):
        operations.sign(folder, now=NOW + 366 * DAY)
    assert folder.read_registry() is None


def test_signing_needs_the_threshold_of_private_keys(folder: OperatorFolder) -> None:
    for number in (1, 2):
        (folder.keys / f"registry-{number}.key").unlink()
    with pytest.raises(ConfigError, match=r"2 of 3 registry keys, 1 of them signed; .*cosign"):
        operations.sign(folder, now=NOW)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_key_that_others_can_read_is_not_used(folder: OperatorFolder) -> None:
    (folder.keys / "registry-1.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        operations.sign(folder, now=NOW)


def test_publishing_copies_public_files_only(folder: OperatorFolder, tmp_path: Path) -> None:
    target = tmp_path / "www" / "cocoon"
    with pytest.raises(ConfigError, match="nothing is signed"):
        operations.publish(folder, target, now=NOW)
    operations.sign(folder, now=NOW)
    names = operations.publish(folder, target, now=NOW)
    assert names == ["1.root.json", "root.json", "registry.json"]  # roots before the registry
    assert {path.name for path in target.iterdir()} == {*names, ".lock"}
    secrets = [load_key(path).seed.hex().encode() for path in folder.keys.iterdir()]
    for path in target.iterdir():
        assert not any(secret in path.read_bytes() for secret in secrets)
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_publishing_onto_a_file(folder: OperatorFolder, tmp_path: Path) -> None:
    operations.sign(folder, now=NOW)
    (tmp_path / "www").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        operations.publish(folder, tmp_path / "www", now=NOW)


def test_publishing_never_goes_back(folder: OperatorFolder, tmp_path: Path) -> None:
    target = tmp_path / "www"
    operations.sign(folder, now=NOW)
    old = folder.read_registry() or b""
    operations.sign(folder, now=NOW)
    operations.publish(folder, target, now=NOW)
    folder.write_registry(old)
    with pytest.raises(RegistryRollbackError, match="version 2"):
        operations.publish(folder, target, now=NOW)
    with pytest.raises(RegistryExpiredError):
        operations.publish(folder, target, now=NOW + DAY)


def test_a_folder_without_a_registry(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="cocoon registry init"):
            operations.sign(OperatorFolder(path), now=NOW)


def test_damaged_policy(folder: OperatorFolder) -> None:
    (folder.path / "policy.json").write_text('{"revoked": ["x"]}')
    with pytest.raises(ConfigError, match="does not parse"):
        operations.sign(folder, now=NOW)


def test_show_reports_and_does_not_raise(folder: OperatorFolder) -> None:
    operations.add(folder, entry_of(ALICE), now=NOW)
    folder.write_entry(BOB.public_key.hex(), Entry(d="{}", s=""))
    report = show_folder(folder, now=NOW + 8 * DAY).to_dict()
    assert report["registry"] is None
    assert report["registry_role"] == {
        "threshold": 2,
        "keys": operations.load_root(folder).registry.keys,
        "keys_here": 3,
    }
    problems = {item["id"]: item["problem"] for item in report["entries"]}
    assert "expired" in problems[ALICE.public_key.hex()]
    assert "does not parse" in problems[BOB.public_key.hex()]
    operations.sign(folder, now=NOW)
    lines = dict(show_folder(folder, now=NOW + 2 * DAY).summary())
    assert "EXPIRED" in lines["registry"]
    assert "1 of 1 must sign, here: 1" in lines["root keys"]


@pytest.mark.anyio
async def test_a_verified_registry_is_described(folder: OperatorFolder) -> None:
    operations.add(folder, entry_of(ALICE), now=NOW)
    operations.sign(folder, now=NOW)
    snapshot = await client_of(folder).snapshot()
    report = describe_snapshot(snapshot, now=NOW)
    assert report["providers"] == [
        {
            "id": ALICE.public_key.hex(),
            "models": ["m"],
            "assurance": "operator",
            "problem": None,
        }
    ]
    late = describe_snapshot(snapshot, now=NOW + 8 * DAY)
    assert late["providers"][0]["assurance"] is None
    assert "expired" in late["providers"][0]["problem"]
