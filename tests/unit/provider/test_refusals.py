"""What becomes of an error on its way to the client."""

from __future__ import annotations

import pytest

from cocoon_provider.refusals import Refusal, refusal_of
from cocoon_sdk.errors import (
    ChainUnavailableError,
    CocoonError,
    ConfigError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderInternalError,
    ProviderOverloadedError,
    StoreError,
    WireCode,
)


def test_the_frame_says_code_message_delay_and_facts() -> None:
    refusal = Refusal(WireCode.PAYMENT_REQUIRED, "more", retry_after_ms=5, required=7, accepted=3)
    frame = refusal.frame()
    assert (frame.code, frame.message, frame.retry_after_ms) == ("payment_required", "more", 5)
    assert frame.detail == {"required": 7, "accepted": 3}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelNotFoundError("why"), WireCode.MODEL_NOT_FOUND),
        (ContextLengthError("why"), WireCode.CONTEXT_LENGTH),  # both are kinds of the next
        (InvalidRequestError("why"), WireCode.INVALID_REQUEST),
        (ProviderOverloadedError("why", retry_after=0.25), WireCode.OVERLOADED),
    ],
)
def test_what_the_client_can_mend_is_told(error: CocoonError, code: WireCode) -> None:
    refusal = refusal_of(error)
    assert (refusal.code, refusal.message) == (code, "why")
    assert refusal.retry_after_ms == (250 if code is WireCode.OVERLOADED else 0)


@pytest.mark.parametrize(
    "kind", [StoreError, ConfigError, ChainUnavailableError, ProviderInternalError]
)
def test_our_own_troubles_are_not(kind: type[CocoonError]) -> None:
    refusal = refusal_of(kind("postgresql://user:password@10.0.0.1"))
    assert refusal.code is WireCode.INTERNAL
    assert "password" not in refusal.message + str(refusal.detail)
