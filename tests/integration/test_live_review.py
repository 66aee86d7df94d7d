"""`cocoon registry review` against a provider that really runs: free, with a channel, and gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.live import FREE, Account, LiveProvider, LiveSystem

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("live")]


def review(account: Account, provider: LiveProvider, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the report."""
    folder = str(account.system.folder / "operator")
    entry = str(provider.home / "provider" / "entry.json")
    done = account.cocoon("registry", "review", folder, entry, "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["reviews"][0]


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"].partition(" ")[0]: check["verdict"] for check in report["checks"]}


async def test_a_paid_provider_is_asked_through_a_channel(live: LiveSystem) -> None:
    account, provider = live.account(), live.providers["echo"]
    code, report = review(account, provider)
    assert code == 0, report
    assert report["id"] == provider.id
    found = verdicts(report)
    assert found.pop("canary") == "WARN"  # no channel yet
    assert set(found.values()) == {"OK"}, report
    await account.open(provider)
    code, report = review(account, provider)
    assert code == 0, report
    canary = next(check for check in report["checks"] if check["name"] == "canary echo")
    assert canary["verdict"] in {"OK", "WARN"}  # an echo is right only where it is to repeat
    assert "coins" in canary["detail"]
    assert (await account.channel()).spent > 0
    assert len(await account.receipts()) == 1


async def test_a_free_provider_is_asked_at_once_and_one_that_is_gone_fails(
    live: LiveSystem,
) -> None:
    account = live.account()
    provider = live.add_provider("gratis", prices=FREE)
    try:
        code, report = review(account, provider)
        assert code == 0, report
        assert verdicts(report)["canary"] in {"OK", "WARN"}
        assert "not asked" not in str(report)
    finally:
        provider.close()
        del live.providers["gratis"]
    code, report = review(account, provider, "--no-canary")
    assert code == 1
    assert verdicts(report)["session"] == "FAIL"
