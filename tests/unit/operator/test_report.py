"""What `show` tells: every entry with its verdict, sorted, and the times as an operator needs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from registry_world import DAY, NOW, descriptor_of, make_keys

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder, Policy
from cocoon_sdk.operator.report import FolderReport, show_folder
from cocoon_sdk.operator.state import load_root
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import Entry

ALICE, BOB, CAROL = sorted(make_keys("provider", 3), key=lambda key: key.public_key)


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    operations.init(tmp_path / "registry", network="devnet/test", now=NOW, registry_keys=3)
    return OperatorFolder(tmp_path / "registry")


def put(folder: OperatorFolder, key: Ed25519Key, **changes: object) -> str:
    provider = key.public_key.hex()
    folder.write_entry(provider, sign_descriptor(key, descriptor_of(key, **changes)))
    return provider


def problems(report: FolderReport) -> dict[str, str | None]:
    return {entry.id: entry.problem for entry in report.entries}


def test_each_entry_has_its_own_verdict(folder: OperatorFolder) -> None:
    good = put(folder, ALICE)
    revoked = put(folder, BOB)
    old = put(folder, CAROL, seq=3)
    folder.write_policy(Policy(revoked=[revoked], min_seq={old: 4}))
    report = show_folder(folder, now=NOW)
    assert problems(report)[good] is None
    assert "revoked" in (problems(report)[revoked] or "")
    assert "below 4" in (problems(report)[old] or "")
    assert report.rows()[0] == (good, "5", "7 days", "operator", "none")
    assert [entry.seq for entry in report.entries] == [5, 5, 3]


def test_an_entry_that_does_not_parse_hides_no_other(folder: OperatorFolder) -> None:
    good = put(folder, ALICE)
    bad = BOB.public_key.hex()
    folder.write_entry(bad, Entry(d="{}", s=""))
    rows = {row[0]: row for row in show_folder(folder, now=NOW).rows()}
    assert rows[bad][1:4] == ("-", "-", "-")
    assert rows[good][4] == "none"


def test_an_attestation_is_told_as_a_claim(folder: OperatorFolder) -> None:
    put(folder, ALICE, att="ab" * 32)
    put(folder, BOB)
    rows = show_folder(folder, now=NOW).rows()
    assert [row[3] for row in rows] == ["attested (claimed)", "operator"]


def test_another_networks_descriptor_is_a_problem(folder: OperatorFolder) -> None:
    provider = put(folder, ALICE, network="-239/main")
    assert "-239/main" in (problems(show_folder(folder, now=NOW))[provider] or "")


def test_before_the_first_signing_the_next_step_is_named(folder: OperatorFolder) -> None:
    lines = dict(show_folder(folder, now=NOW).summary())
    assert lines["registry"] == "not signed yet; run: cocoon registry sign"
    assert lines["registry keys"] == "2 of 3 must sign, here: 3"
    assert lines["root"] == "version 1, expires in 365 days"


def test_every_key_is_shown_in_full(folder: OperatorFolder) -> None:
    (folder.keys / "registry-2.key").unlink()
    root = load_root(folder)
    shown = [text for name, text in show_folder(folder, now=NOW).summary() if not name]
    assert [text.removesuffix(" (here)") for text in shown] == [
        *root.root.keys,
        *root.registry.keys,
    ]
    assert sum(text.endswith(" (here)") for text in shown) == 3


def test_expiry_counts_from_the_last_second(folder: OperatorFolder) -> None:
    put(folder, ALICE)
    operations.sign(folder, now=NOW)

    def line(now: int) -> str:
        return dict(show_folder(folder, now=now).summary())["registry"]

    assert line(NOW + DAY - 1) == "version 1, 1 listed, expires in 1 second"
    assert line(NOW + DAY) == "version 1, 1 listed, EXPIRED 0 seconds ago"
    assert line(NOW + DAY + 5) == "version 1, 1 listed, EXPIRED 5 seconds ago"


def test_the_report_is_json_and_agrees_with_the_files(folder: OperatorFolder) -> None:
    provider = put(folder, ALICE)
    operations.sign(folder, now=NOW)
    (folder.keys / "registry-1.key").unlink()
    told = json.loads(json.dumps(show_folder(folder, now=NOW).to_dict()))
    assert told["network"] == "devnet/test"
    assert told["root"]["version"] == 1
    assert told["root"]["keys_here"] == 1
    assert told["registry_role"]["keys_here"] == 2
    assert told["registry"] == {
        "version": 1,
        "issued": NOW,
        "expires": NOW + DAY,
        "entries": 1,
        "shards": None,
        "revoked": [],
        "min_seq": {},
    }
    assert told["entries"] == [
        {"id": provider, "seq": 5, "expires_in": 7 * DAY, "assurance": "operator", "problem": None}
    ]


def test_a_key_that_cannot_be_reached_is_reported(folder: OperatorFolder) -> None:
    (folder.path / "operator.toml").write_text('[keys]\nregistry = ["env:NOT_SET_ANYWHERE"]\n')
    report = show_folder(folder, now=NOW)
    problem = "registry keys: the environment variable NOT_SET_ANYWHERE is not set"
    root = frozenset(load_root(folder).root.public_keys)
    assert report.keys_here == {"root": root, "registry": frozenset()}
    assert dict(report.summary())["problem"].startswith(problem)
    assert report.to_dict()["problems"][0].startswith(problem)


def test_entries_in_shards_are_counted(folder: OperatorFolder) -> None:
    put(folder, ALICE)
    put(folder, BOB)
    operations.sign(folder, now=NOW, shards=True)
    report = show_folder(folder, now=NOW)
    assert dict(report.summary())["registry"].startswith("version 1, 2 listed in 2 shards")
    assert report.to_dict()["registry"]["shards"] == 2
    assert problems(show_folder(folder, now=NOW + 8 * DAY)).keys() == problems(report).keys()
    assert show_folder(folder, now=NOW + 8 * DAY).rows()[0][2] == "EXPIRED"
