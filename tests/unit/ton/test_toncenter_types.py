"""Reading toncenter's JSON: strict where it matters, indifferent to what is new."""

from __future__ import annotations

import base64

import msgspec
import pytest

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton import toncenter_types as api

HASH = bytes(range(224, 256))  # its base64 holds + and /


def test_new_fields_are_ignored_and_missing_ones_are_not() -> None:
    raw = b'{"last": {"seqno": 5, "global_id": -3, "gen_utime": "7", "new": {}}, "first": 1}'
    assert api.decode(raw, api.MasterchainInfo, "x").last.seqno == 5
    for wrong in (b'{"last": {"seqno": 5, "global_id": -3}}', b'{"last": null}', b"{}", b"[]"):
        with pytest.raises(ChainDataError, match="answer to x is malformed"):
            api.decode(wrong, api.MasterchainInfo, "x")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b'{"ok": "yes"}',
        b'{"ok": 1}',
        b'{"error": "\xff", "ok": true}',
        b"[" * 100_000,
    ],
)
def test_whatever_a_broken_proxy_sends_is_one_error(raw: bytes) -> None:
    with pytest.raises(ChainDataError):
        api.decode(raw, api.Envelope, "x")


def test_a_result_is_parsed_only_when_it_is_known_what_it_is() -> None:
    envelope = api.decode(b'{"ok": true, "result": [1, {"a": 2}]}', api.Envelope, "x")
    assert api.decode(envelope.result, list, "y") == [1, {"a": 2}]
    assert api.decode(b'{"ok": false, "error": "no"}', api.Envelope, "x").error == "no"


@pytest.mark.parametrize(
    ("value", "expected"), [("0", 0), (0, 0), ("9" * 39, 10**39 - 1), (2**70, 2**70), ("007", 7)]
)
def test_numbers_as_text_or_as_numbers(value: int | str, expected: int) -> None:
    assert api.number(value, "balance") == expected


@pytest.mark.parametrize(
    "value", ["", "-1", -1, "1.5", "1e3", "0x10", " 1", "1_000", "١", "9" * 40]
)
def test_other_texts_are_no_amounts(value: int | str) -> None:
    with pytest.raises(ChainDataError, match="as balance"):
        api.number(value, "balance")


def test_some_numbers_may_be_negative() -> None:
    assert api.number("-5", "opcode", least=-5) == -5
    with pytest.raises(ChainDataError):
        api.number("-6", "opcode", least=-5)


def test_a_long_answer_is_not_repeated_in_an_error() -> None:
    with pytest.raises(ChainDataError) as caught:
        api.number("x" * 10_000, "balance")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        HASH.hex(),
        HASH.hex().upper(),
        base64.b64encode(HASH).decode(),
        base64.urlsafe_b64encode(HASH).decode(),
    ],
)
def test_hashes_in_every_form_that_services_use(text: str) -> None:
    assert api.hash_bytes(text, "hash") == HASH


@pytest.mark.parametrize(
    "text", ["", "zz" * 32, HASH.hex()[:-2], base64.b64encode(HASH[:-1]).decode(), "A" * 43, "ü"]
)
def test_other_texts_are_no_hashes(text: str) -> None:
    with pytest.raises(ChainDataError, match="as hash"):
        api.hash_bytes(text, "hash")


@pytest.mark.parametrize("text", ["!", "AAA", "AA==\n", "A A=", "ü"])
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(ChainDataError, match="than base64 as code"):
        api.binary(text, "code")


def test_rows_default_to_what_must_not_pass_for_success() -> None:
    assert not msgspec.convert({}, api.ComputePhase).success
    assert not msgspec.convert({}, api.ActionPhase).success
    assert not msgspec.convert({}, api.Description).compute_ph.success
