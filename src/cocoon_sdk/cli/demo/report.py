"""What the demo shows at its end: one table for people, one JSON object for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cocoon_sdk.cli.output import print_table
from cocoon_sdk.payments.amounts import format_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """Nano in the three places where the demo's money can be."""

    client: int
    provider: int
    channel: int

    @property
    def total(self) -> int:
        """All of it; what is missing later went to the chain."""
        return self.client + self.provider + self.channel


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """One run. Amounts in nano, times in milliseconds; `chain_fees_nano` are those of the whole run."""

    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    first_token_ms: float
    tokens_per_second: float
    paid_nano: int
    redeemed_nano: int
    provider_balance_before_nano: int
    provider_balance_after_nano: int
    chain_fees_nano: int
    receipt_verified: bool
    registry_verified: bool
    handshake_suite: int
    frames_on_wire: int
    bytes_on_wire: int


def as_json(result: DemoResult) -> dict[str, object]:
    """The fields, ready for a JSON line."""
    return asdict(result)


def print_result(
    result: DemoResult, before: Balances, after: Balances, *, stderr: bool = False
) -> None:
    """The tables that end the demo; on standard error where standard output is for a program."""
    print_table(
        "The answer",
        ("what", "value"),
        (
            ("model", result.model),
            ("tokens", f"{result.prompt_tokens} prompt + {result.completion_tokens} completion"),
            ("first token", f"{result.first_token_ms:.0f} ms"),
            ("speed", f"{result.tokens_per_second:.1f} tokens/s"),
            ("session", f"cocoon-e2e/1, suite {result.handshake_suite}"),
            ("on the wire", f"{result.frames_on_wire} frames, {result.bytes_on_wire} bytes"),
            ("registry", _checked(result.registry_verified)),
            ("receipt", _checked(result.receipt_verified)),
        ),
        stderr=stderr,
    )
    rows = [
        (name, format_amount(old), format_amount(new), _signed(new - old))
        for name, old, new in (
            ("client wallet", before.client, after.client),
            ("provider wallet", before.provider, after.provider),
            ("payment channel", before.channel, after.channel),
            ("kept by the chain (fees)", 0, result.chain_fees_nano),
        )
    ]
    print_table("The money, in coins", ("where", "before", "after", "change"), rows, stderr=stderr)
    print_table(
        "The payment",
        ("what", "coins"),
        (
            ("paid by the client for this answer", format_amount(result.paid_nano)),
            ("redeemed by the provider on chain", format_amount(result.redeemed_nano)),
        ),
        stderr=stderr,
    )


def _checked(verified: bool) -> str:
    return "verified" if verified else "NOT VERIFIED"


def _signed(nano: int) -> str:
    return f"{'-' if nano < 0 else '+'}{format_amount(abs(nano))}"
