"""What the demo tells to type, and what it counts as verified. The whole runs in tests/integration."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cocoon_sdk.cli.demo.scene import Scene
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import sign_receipt
from tests.unit.payments.ledger_kit import PROVIDER, open_ledger, receipt


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    home = tmp_path / "it's a home; $(rm)"
    home.mkdir()
    return Scene(home, "m")


def test_lines_can_be_pasted_whatever_the_folder_is_called(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCOON_CACHE", "/a cache")
    words = [shlex.split(line) for line in scene.shell_lines()]
    exported = dict(word.split("=", 1) for first, word in words[:-2] if first == "export")
    assert exported["COCOON_HOME"] == str(scene.home)
    assert exported["COCOON_CACHE"] == "/a cache"
    assert exported["COCOON_REGISTRY"] == str(scene.home / "registry")
    assert exported["COCOON_ASSURANCE"] == "operator"
    assert words[-2][1:] == ["chat", "Write a haiku about the sea."]
    assert words[-1][1:] == ["wallet", "show"]


@pytest.mark.anyio
async def test_a_receipt_counts_only_if_it_is_stored_and_well_signed(scene: Scene) -> None:
    scene._provider_id = PROVIDER.public_key.hex()
    made = receipt(1, Counts(10), seq=1, spent=200)
    good = sign_receipt(PROVIDER, made)
    forged = good[:-1] + bytes([good[-1] ^ 1])
    assert not await scene.receipt_is_stored(good)
    with open_ledger(scene.home) as database:
        for number, raw in enumerate((good, forged)):
            row = receipt(number, Counts(), seq=number, spent=0)
            database.run_sync(lambda c, m=row, r=raw: ledger.add_receipt(c, m, r, channel_id=None))
    assert await scene.receipt_is_stored(good)
    assert not await scene.receipt_is_stored(forged)


@pytest.mark.anyio
async def test_without_published_files_no_registry_is_verified(scene: Scene) -> None:
    scene._trust = [f"ed25519:{PROVIDER.public_key.hex()}"]
    assert not await scene.registry_verifies()
