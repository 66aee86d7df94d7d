"""Why the provider says no: what becomes an ERROR frame (wire.md, "Frames")."""

from __future__ import annotations

from typing import Any

from cocoon_sdk.errors import (
    CocoonError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderOverloadedError,
    WireCode,
)
from cocoon_sdk.protocol import messages

_MILLISECONDS = 1000


class Refusal(Exception):  # noqa: N818 - the word of the specification; it never leaves the provider
    """A request, voucher or question that is refused. The message is for the client's developer.

    Attributes:
        code: One of the wire's codes.
        message: What happened, the value or limit, and what to do next; never prompt text.
        retry_after_ms: When trying again can help; 0 when it cannot or at once.
        detail: Machine-readable facts, such as the shortfall of a voucher in nano.
    """

    def __init__(
        self, code: WireCode, message: str, *, retry_after_ms: int = 0, **detail: Any
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.detail = detail

    def frame(self) -> messages.Error:
        """The ERROR frame that says this."""
        return messages.Error(self.code, self.message, self.retry_after_ms, self.detail)


def refusal_of(error: CocoonError) -> Refusal:
    """The refusal behind an error of a backend or of the chain; unexpected ones give no detail away."""
    match error:
        case ModelNotFoundError():
            return Refusal(WireCode.MODEL_NOT_FOUND, str(error))
        case ContextLengthError():
            return Refusal(WireCode.CONTEXT_LENGTH, str(error))
        case InvalidRequestError():
            return Refusal(WireCode.INVALID_REQUEST, str(error))
        case ProviderOverloadedError():
            delay = int(error.retry_after * _MILLISECONDS)
            return Refusal(WireCode.OVERLOADED, str(error), retry_after_ms=delay)
        case _:
            return internal_refusal()


def internal_refusal() -> Refusal:
    """Our own failure, without its cause: that is in the provider's log only."""
    return Refusal(WireCode.INTERNAL, "the provider failed; try again or use another provider")
