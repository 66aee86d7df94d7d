"""The tree of errors: as its docstring draws it, with codes that programs may rely on."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from cocoon_sdk import errors
from cocoon_sdk.errors import CocoonError, WireCode

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, CocoonError)
}
# Programs match on these texts: one may be added, none changed.
CODES = {
    "CocoonError": "cocoon_error",
    "ConfigError": "config",
    "RegistryError": "registry",
    "RegistrySignatureError": "registry_signature",
    "RegistryExpiredError": "registry_expired",
    "RegistryRollbackError": "registry_rollback",
    "RegistryEquivocationError": "registry_equivocation",
    "RegistryUnavailableError": "registry_unavailable",
    "RegistryFormatError": "registry_format",
    "ChainError": "chain",
    "ChainUnavailableError": "chain_unavailable",
    "ChainDataError": "chain_data",
    "TransactionFailedError": "transaction_failed",
    "StoreError": "store",
    "RequestError": "request",
    "InvalidRequestError": "invalid_request",
    "ModelNotFoundError": "model_not_found",
    "ContextLengthError": "context_length",
    "NoProviderError": "no_provider",
    "ConnectError": "connect",
    "HandshakeError": "handshake",
    "DeadlineError": "deadline",
    "StreamTruncatedError": "stream_truncated",
    "ProviderError": "provider",
    "ProviderOverloadedError": "overloaded",
    "ProviderInternalError": "provider_internal",
    "PaymentError": "payment",
    "BudgetExceededError": "budget_exceeded",
    "InsufficientFundsError": "insufficient_funds",
    "ChannelDesyncError": "channel_desync",
    "VoucherRejectedError": "voucher_rejected",
    "VerificationError": "verification",
    "AttestationError": "attestation",
    "DecryptionError": "decryption",
    "ReceiptMismatchError": "receipt_mismatch",
    "OverchargeError": "overcharge",
}
RETRYABLE = {
    *("RegistryUnavailableError", "ChainUnavailableError", "NoProviderError", "ConnectError"),
    *("DeadlineError", "StreamTruncatedError", "ProviderOverloadedError", "ProviderInternalError"),
}


def drawn_tree() -> dict[str, str]:
    """Parent of each class, read off the indentation of the docstring's drawing."""
    parents: dict[str, str] = {}
    open_at: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        names = list(re.finditer(r"\b\w+Error\b", line))
        if not names or (len(names) == 1 and not re.match(r"[\s│├└─]*\w+Error\s*$", line)):
            continue
        column = names[0].start()
        while open_at and open_at[-1][0] >= column:
            open_at.pop()
        for name in names:
            if open_at:
                parents[name.group()] = open_at[-1][1]
        open_at.append((column, names[0].group()))
    return parents


def test_the_drawn_tree_is_the_tree() -> None:
    bases = {name: kind.__bases__[0].__name__ for name, kind in CLASSES.items()}
    del bases["CocoonError"]
    assert drawn_tree() == bases


def test_codes_are_stable_and_unique() -> None:
    assert {name: kind.code for name, kind in CLASSES.items()} == CODES
    assert len(set(CODES.values())) == len(CODES)


def test_what_may_be_tried_again() -> None:
    assert {name for name, kind in CLASSES.items() if kind.retryable} == RETRYABLE


def test_who_lies_is_never_asked_again() -> None:
    """sdk.md: a VerificationError quarantines the provider."""
    kinds = [kind for kind in CLASSES.values() if issubclass(kind, errors.VerificationError)]
    assert len(kinds) == 5
    assert not any(kind.retryable for kind in kinds)


def test_wire_codes_are_the_published_ones() -> None:
    """wire.md, Frames: both sides use these strings and no others."""
    assert [code.value for code in WireCode] == [
        *("invalid_request", "model_not_found", "context_length", "price_changed"),
        *("payment_required", "voucher_rejected", "insufficient_funds", "channel_unknown"),
        *("channel_closing", "epoch_mismatch", "duplicate_request", "not_found"),
        *("overloaded", "draining", "registry_fork", "timeout", "internal"),
    ]


def test_every_request_error_says_what_it_cost() -> None:
    """sdk.md, Errors: .request_id .attempts .charged_nano .partial_text."""
    for kind in CLASSES.values():
        if issubclass(kind, errors.RequestError):
            extra = {"phase": "idle"} if kind is errors.DeadlineError else {}
            error = kind("said", **extra)
            facts = (error.request_id, error.attempts, error.charged_nano, error.partial_text)
            assert facts == (None, 0, 0, "")
            assert str(error) == "said"


EXAMPLES: list[CocoonError] = [
    errors.ConfigError("said"),
    errors.TransactionFailedError("said", exit_code=108),
    errors.StreamTruncatedError(
        "said", request_id=b"r", attempts=2, charged_nano=5, partial_text="t"
    ),
    errors.NoProviderError("said", rejections={"p": "too dear"}),
    errors.HandshakeError("said", local=True, charged_nano=5),
    errors.DeadlineError("said", phase="total", charged_nano=5, partial_text="t"),
    errors.ProviderOverloadedError("said", wire_code="overloaded", retry_after=2.5),
    errors.BudgetExceededError("said", scope="day", limit=9, spent=8, needed=2),
    errors.InsufficientFundsError("said", needed=3),
    errors.VoucherRejectedError("said", required=3, accepted=2, available=1),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_cross_process_borders_whole(error: CocoonError) -> None:
    """Task queues and process pools pickle what their workers raise."""
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert str(other) == "said"
        assert vars(other) == vars(error)


def test_rejections_are_the_callers_no_longer() -> None:
    reasons = {"p": "too dear"}
    error = errors.NoProviderError("said", rejections=reasons)
    reasons.clear()
    assert error.rejections == {"p": "too dear"}
