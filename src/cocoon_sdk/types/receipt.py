"""The receipt as users see it."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.types.base import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptInfo(Reply):
    """A receipt that passed every check of payments.md §4. Ids and keys are hex, money is nano."""

    request_id: str
    provider: str
    channel: str
    seq: int
    cost: str
    cost_nano: int
    spent_nano: int
    raw: bytes
    verified: bool = True
