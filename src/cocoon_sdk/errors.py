"""Every error that this package raises, and the codes that travel in ERROR frames.

    CocoonError
    ├─ ConfigError
    ├─ RegistryError
    │  ├─ RegistrySignatureError    RegistryExpiredError     RegistryRollbackError
    │  └─ RegistryEquivocationError RegistryUnavailableError RegistryFormatError
    ├─ ChainError
    │  ├─ ChainUnavailableError     ChainDataError
    │  └─ TransactionFailedError
    ├─ StoreError
    ├─ RequestError
    │  ├─ InvalidRequestError
    │  │  └─ ModelNotFoundError  ContextLengthError
    │  ├─ NoProviderError
    │  ├─ ConnectError  HandshakeError  DeadlineError  StreamTruncatedError
    │  └─ ProviderError
    │     └─ ProviderOverloadedError  ProviderInternalError
    ├─ PaymentError
    │  ├─ BudgetExceededError  InsufficientFundsError
    │  └─ ChannelDesyncError   VoucherRejectedError
    └─ VerificationError
       └─ AttestationError  DecryptionError  ReceiptMismatchError  OverchargeError

A message says what happened, the amount or limit, and what to do next. A message never holds prompt
text, answer text or key material.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar

from cocoon_sdk.types.attestation import AttestationStep


class WireCode(StrEnum):
    """The codes of ERROR frames (wire.md, "Frames"). Both sides use these strings and no others."""

    INVALID_REQUEST = "invalid_request"
    MODEL_NOT_FOUND = "model_not_found"
    CONTEXT_LENGTH = "context_length"
    PRICE_CHANGED = "price_changed"
    PAYMENT_REQUIRED = "payment_required"
    VOUCHER_REJECTED = "voucher_rejected"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CHANNEL_UNKNOWN = "channel_unknown"
    CHANNEL_CLOSING = "channel_closing"
    EPOCH_MISMATCH = "epoch_mismatch"
    DUPLICATE_REQUEST = "duplicate_request"
    NOT_FOUND = "not_found"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    REGISTRY_FORK = "registry_fork"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class CocoonError(Exception):
    """Base of all errors. `code` is a stable string; `retryable` says whether trying again can help."""

    code: ClassVar[str] = "cocoon_error"
    retryable: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own version calls the constructor without the keywords that some require.
        return _rebuild, (type(self), *self.args), vars(self)


def _rebuild(kind: type[CocoonError], *args: object) -> CocoonError:
    return kind.__new__(kind, *args)


class ConfigError(CocoonError):
    """A setting is missing or wrong; the message names it and where it came from."""

    code = "config"


class RegistryError(CocoonError):
    """The registry cannot be trusted or read."""

    code = "registry"


class RegistrySignatureError(RegistryError):
    """Too few valid signatures of distinct role keys."""

    code = "registry_signature"


class RegistryExpiredError(RegistryError):
    """A root, registry or descriptor is past its expiry, or issued in the future."""

    code = "registry_expired"


class RegistryRollbackError(RegistryError):
    """A version or sequence number lower than one already seen, or a broken chain of versions."""

    code = "registry_rollback"


class RegistryEquivocationError(RegistryError):
    """Two different registries were signed under the same version.

    `envelopes` are both of them where both are at hand; `evidence` is the file that holds them with the
    root they verify under, for others to check (`cocoon_sdk.registry.evidence`).
    """

    code = "registry_equivocation"

    def __init__(
        self, message: str, *, envelopes: tuple[bytes, ...] = (), evidence: str | None = None
    ) -> None:
        super().__init__(message)
        self.envelopes = envelopes
        self.evidence = evidence


class RegistryUnavailableError(RegistryError):
    """The registry file could not be fetched and no valid cached copy exists."""

    code = "registry_unavailable"
    retryable = True


class RegistryFormatError(RegistryError):
    """Signed bytes that do not parse: wrong fields, duplicate keys, bad UTF-8, too deep, too large."""

    code = "registry_format"


class ChainError(CocoonError):
    """Something about the TON chain."""

    code = "chain"


class ChainUnavailableError(ChainError):
    """No chain API answered; nothing was sent, or it is unknown whether it was (the message says)."""

    code = "chain_unavailable"
    retryable = True


class ChainDataError(ChainError):
    """The chain API answered with data that is malformed or contradicts itself."""

    code = "chain_data"


class TransactionFailedError(ChainError):
    """A transaction was executed and failed. `exit_code` is the TVM's, where it got that far."""

    code = "transaction_failed"

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StoreError(CocoonError):
    """The local database cannot be opened, is newer than this program, or is held by another."""

    code = "store"


class RequestError(CocoonError):
    """A request that did not end well: what it cost and what had arrived."""

    code = "request"

    def __init__(
        self,
        message: str,
        *,
        request_id: bytes | None = None,
        attempts: int = 0,
        charged_nano: int = 0,
        partial_text: str = "",
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.attempts = attempts
        self.charged_nano = charged_nano
        self.partial_text = partial_text


class InvalidRequestError(RequestError):
    """A parameter is wrong or unsupported; it is named. Nothing was sent or charged."""

    code = "invalid_request"


class ModelNotFoundError(InvalidRequestError):
    """No provider in the registry lists the model."""

    code = "model_not_found"


class ContextLengthError(InvalidRequestError):
    """Prompt plus answer exceed the model's context."""

    code = "context_length"


class NoProviderError(RequestError):
    """No provider can take the request. `rejections` maps each provider to its reason."""

    code = "no_provider"
    retryable = True

    def __init__(self, message: str, *, rejections: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.rejections = dict(rejections or {})


class ConnectError(RequestError):
    """The provider's endpoint could not be reached."""

    code = "connect"
    retryable = True


class HandshakeError(RequestError):
    """The encrypted session could not be set up. `local` says that our side broke the protocol."""

    code = "handshake"

    def __init__(self, message: str, *, local: bool = False, charged_nano: int = 0) -> None:
        super().__init__(message, charged_nano=charged_nano)
        self.local = local


class DeadlineError(RequestError):
    """A timeout passed. `phase` is one of connect, first_token, idle, total."""

    code = "deadline"
    retryable = True

    def __init__(
        self, message: str, *, phase: str, charged_nano: int = 0, partial_text: str = ""
    ) -> None:
        super().__init__(message, charged_nano=charged_nano, partial_text=partial_text)
        self.phase = phase


class StreamTruncatedError(RequestError):
    """The stream ended without its receipt; `.partial_text` holds what came, `.charged_nano` its cost."""

    code = "stream_truncated"
    retryable = True


class ProviderError(RequestError):
    """The provider answered with an error. `wire_code` is the code it sent."""

    code = "provider"

    def __init__(self, message: str, *, wire_code: str = "", charged_nano: int = 0) -> None:
        super().__init__(message, charged_nano=charged_nano)
        self.wire_code = wire_code


class ProviderOverloadedError(ProviderError):
    """The provider's queue is full; `retry_after` is in seconds."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, wire_code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, wire_code=wire_code)
        self.retry_after = retry_after


class ProviderInternalError(ProviderError):
    """The provider failed on its side."""

    code = "provider_internal"
    retryable = True


class PaymentError(CocoonError):
    """Paying is not possible, not allowed, or was refused."""

    code = "payment"


class BudgetExceededError(PaymentError):
    """A budget scope would be exceeded. Amounts in nano."""

    code = "budget_exceeded"

    def __init__(self, message: str, *, scope: str, limit: int, spent: int, needed: int) -> None:
        super().__init__(message)
        self.scope = scope
        self.limit = limit
        self.spent = spent
        self.needed = needed


class InsufficientFundsError(PaymentError):
    """A channel or wallet does not hold enough. `needed` in nano."""

    code = "insufficient_funds"

    def __init__(self, message: str, *, needed: int = 0) -> None:
        super().__init__(message)
        self.needed = needed


class ChannelDesyncError(PaymentError):
    """Client, provider and chain disagree about a channel."""

    code = "channel_desync"


class VoucherRejectedError(PaymentError):
    """The provider refused a voucher. Amounts in nano, where it named them."""

    code = "voucher_rejected"

    def __init__(
        self,
        message: str,
        *,
        required: int | None = None,
        accepted: int | None = None,
        available: int | None = None,
    ) -> None:
        super().__init__(message)
        self.required = required
        self.accepted = accepted
        self.available = available


class VerificationError(CocoonError):
    """A provider failed a cryptographic or accounting check; it is quarantined and never retried."""

    code = "verification"


class AttestationError(VerificationError):
    """The provider's attestation is missing or does not meet the policy; `steps` says what was checked."""

    code = "attestation"

    def __init__(self, message: str, *, steps: Sequence[AttestationStep] = ()) -> None:
        super().__init__(message)
        self.steps = tuple(steps)


class DecryptionError(VerificationError):
    """A record that does not authenticate: tampered, replayed, reordered or truncated."""

    code = "decryption"


class ReceiptMismatchError(VerificationError):
    """A receipt that does not match what was asked, delivered or signed."""

    code = "receipt_mismatch"


class OverchargeError(VerificationError):
    """The provider counted more than it delivered, or priced more than it offered."""

    code = "overcharge"
