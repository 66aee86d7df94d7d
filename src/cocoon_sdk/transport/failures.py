"""Errors of a request: out of ERROR frames, with their cost, and as copies for several who wait."""

from __future__ import annotations

from typing import Any, TypeVar

from cocoon_sdk.errors import (
    ChannelDesyncError,
    CocoonError,
    ConnectError,
    ContextLengthError,
    DecryptionError,
    HandshakeError,
    InsufficientFundsError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    ProviderInternalError,
    ProviderOverloadedError,
    RequestError,
    StreamTruncatedError,
    VoucherRejectedError,
    WireCode,
)
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.protocol.constants import CLOSE_TIMEOUT
from cocoon_sdk.protocol.errors import ProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.messages import Error

MAX_MESSAGE_CHARACTERS = 300
MAX_CODE_CHARACTERS = 64

E = TypeVar("E", bound=CocoonError)


def error_from_frame(frame: Error) -> CocoonError:
    """The typed error of an ERROR frame. The provider's words are foreign text: cut and cleaned."""
    said = _clean(frame.message, MAX_MESSAGE_CHARACTERS)
    match frame.code:
        case WireCode.INVALID_REQUEST | WireCode.DUPLICATE_REQUEST:
            return InvalidRequestError(f"the provider refused the request: {said}")
        case WireCode.MODEL_NOT_FOUND:
            return ModelNotFoundError(f"the provider does not serve this model: {said}")
        case WireCode.CONTEXT_LENGTH:
            return ContextLengthError(f"the request does not fit the model's context: {said}")
        case WireCode.OVERLOADED | WireCode.DRAINING:
            return ProviderOverloadedError(
                f"the provider has no room now: {said}",
                wire_code=frame.code,
                retry_after=frame.retry_after_ms / 1000,
            )
        case WireCode.INSUFFICIENT_FUNDS:
            needed = _amount(frame.detail, "required") or 0
            return InsufficientFundsError(
                f"the channel holds too little for this request ({said}); it needs "
                f"{format_amount(needed)}: `cocoon wallet topup` adds coins, or ask for fewer tokens",
                needed=needed,
            )
        case WireCode.PAYMENT_REQUIRED | WireCode.VOUCHER_REJECTED:
            return VoucherRejectedError(
                f"the provider did not accept the payment: {said}",
                required=_amount(frame.detail, "required"),
                accepted=_amount(frame.detail, "accepted"),
                available=_amount(frame.detail, "available"),
            )
        case WireCode.CHANNEL_UNKNOWN | WireCode.CHANNEL_CLOSING | WireCode.EPOCH_MISMATCH:
            return ChannelDesyncError(
                f"the provider sees the payment channel differently: {said}; "
                "compare with `cocoon wallet show`"
            )
        case WireCode.PRICE_CHANGED:
            return ProviderError(
                f"the provider's price is above the one in the registry: {said}; refresh the registry",
                wire_code=frame.code,
            )
        case WireCode.INTERNAL:
            return ProviderInternalError(f"the provider failed: {said}", wire_code=frame.code)
        case _:
            code = _clean(frame.code, MAX_CODE_CHARACTERS)
            return ProviderError(f"the provider answered {code!r}: {said}", wire_code=code)


def error_of_session(error: ProtocolError, *, handshaken: bool) -> CocoonError:
    """What a broken session means to the user."""
    if isinstance(error, RemoteProtocolError) and error.close_code == CLOSE_TIMEOUT:
        if handshaken:
            return StreamTruncatedError(f"the session with the provider ended: {error}")
        return ConnectError(f"the provider did not finish the handshake: {error}")
    if not handshaken:
        return HandshakeError(
            f"the provider could not prove that it is the one in the registry: {error}"
        )
    return DecryptionError(f"the provider broke the encrypted session: {error}")


def explain_refusal(
    refusal: CocoonError, channel: PaymentChannel | None, lacking: int
) -> CocoonError:
    """The refusal, or InsufficientFundsError where it came because our channel ran out.

    A provider that got no more vouchers cannot know why. `lacking` is what we could not sign for, in nano.
    """
    if channel is None or lacking <= 0 or not isinstance(refusal, VoucherRejectedError):
        return refusal
    if channel.state.signed < channel.state.limit:
        return refusal
    return InsufficientFundsError(
        f"the channel {channel.address.raw} ran out of funds during the answer, which needs "
        f"{format_amount(lacking)} coins more; top it up, or ask for fewer tokens",
        needed=lacking,
    )


def charge(error: CocoonError, nano: int, partial_text: str) -> CocoonError:
    """Say on a request's error what it cost and what had arrived."""
    if isinstance(error, RequestError):
        error.charged_nano = nano
        error.partial_text = partial_text
    return error


def twin(error: E) -> E:
    """The same error once more.

    What ends a connection concerns several requests, and each notes its own cost and text on its own copy.
    """
    copied = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    return copied


def _clean(text: str, most: int) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:most])


def _amount(detail: dict[str, Any], name: str) -> int | None:
    value = detail.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
