from __future__ import annotations

import pytest

from cocoon_sdk import errors
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol.messages import Error
from cocoon_sdk.transport.failures import charge, error_from_frame


@pytest.mark.parametrize("code", list(WireCode))
def test_every_code_has_a_class_and_shows_the_message(code: WireCode) -> None:
    error = error_from_frame(Error(code, "because of this"))
    assert type(error) is not errors.RequestError
    assert "because of this" in str(error)


def test_an_unknown_code_is_a_provider_error() -> None:
    assert type(error_from_frame(Error("from_the_future", "hm"))) is errors.ProviderError


def test_amounts_travel_and_junk_amounts_do_not() -> None:
    frame = Error(
        WireCode.VOUCHER_REJECTED, "", 0, {"required": 5, "accepted": "x", "available": -1}
    )
    error = error_from_frame(frame)
    assert isinstance(error, errors.VoucherRejectedError)
    assert (error.required, error.accepted, error.available) == (5, None, None)


def test_foreign_text_cannot_drive_a_terminal_or_fill_a_log() -> None:
    text = str(error_from_frame(Error(WireCode.INTERNAL, "\x1b[31m" + "x" * 10_000)))
    assert "\x1b" not in text
    assert len(text) < 500


def test_nor_can_a_foreign_code() -> None:
    error = error_from_frame(Error("\x1b[31m" + "x" * 60_000, "hm"))
    assert isinstance(error, errors.ProviderError)
    assert len(str(error)) < 500
    assert error.wire_code.isprintable()
    assert len(error.wire_code) <= 64


def test_retry_after_is_in_seconds() -> None:
    error = error_from_frame(Error(WireCode.OVERLOADED, "", 1500))
    assert isinstance(error, errors.ProviderOverloadedError)
    assert error.retry_after == 1.5
    assert error.retryable


def test_charge_is_noted_on_request_errors_only() -> None:
    failed = charge(errors.ProviderInternalError("x"), 7, "so far")
    assert isinstance(failed, errors.RequestError)
    assert (failed.charged_nano, failed.partial_text) == (7, "so far")
    assert charge(errors.ReceiptMismatchError("x"), 7, "") is not None
