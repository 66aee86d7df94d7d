"""The end of the demo: one table for people, one object for programs, and a failed check shouts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cocoon_sdk.cli.demo.report import Balances, DemoResult, as_json, print_result

RESULT = DemoResult(
    model="m",
    text="hello",
    prompt_tokens=40,
    completion_tokens=9,
    first_token_ms=123.4,
    tokens_per_second=98.76,
    paid_nano=1700,
    redeemed_nano=1700,
    provider_balance_before_nano=10**9,
    provider_balance_after_nano=10**9 - 300,
    chain_fees_nano=2000,
    receipt_verified=True,
    registry_verified=True,
    handshake_suite=1,
    frames_on_wire=20,
    bytes_on_wire=6000,
)
BEFORE = Balances(client=4 * 10**9, provider=10**9, channel=5 * 10**8)
AFTER = Balances(client=4 * 10**9, provider=10**9 - 300, channel=5 * 10**8 - 1700)


def test_every_field_is_in_the_json() -> None:
    told = json.loads(json.dumps(as_json(RESULT)))
    assert DemoResult(**told) == RESULT


def test_no_coin_is_lost_between_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    assert BEFORE.total - AFTER.total == RESULT.chain_fees_nano
    print_result(RESULT, BEFORE, AFTER)
    out = capsys.readouterr().out
    for change in ("+0 ", "-0.0000003 ", "-0.0000017 ", "+0.000002 "):
        assert change in out
    assert "40 prompt + 9 completion" in out
    assert "98.8 tokens/s" in out
    assert "NOT VERIFIED" not in out


@pytest.mark.parametrize("check", ["receipt_verified", "registry_verified"])
def test_a_failed_check_shouts(capsys: pytest.CaptureFixture[str], check: str) -> None:
    print_result(replace(RESULT, **{check: False}), BEFORE, AFTER)
    out = capsys.readouterr().out
    assert out.count("NOT VERIFIED") == 1


def test_standard_output_is_left_to_the_program_that_reads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_result(RESULT, BEFORE, AFTER, stderr=True)
    out, err = capsys.readouterr()
    assert out == ""
    for title in ("The answer", "The money, in coins", "The payment"):
        assert title in err
