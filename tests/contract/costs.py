"""What each operation costs, measured on the executor; the table of docs/reference/contract.md."""

from __future__ import annotations

from collections.abc import Callable

from cocoon_sdk.devnet.blockchain_config import FEES_2024, FEES_2026, Fees
from cocoon_sdk.ton.contract.channel import deposit_body

from .world import CLIENT, COIN, STRANGER, Outcome, World

Make = Callable[[Fees], World]
Act = Callable[[World], Outcome]


def _opened(fees: Fees) -> World:
    return World(fees=fees).opened()


def _closing(fees: Fees) -> World:
    world = _opened(fees)
    assert world.request_close().code == 0
    return world


def _finalize_when_due(world: World) -> Outcome:
    world.now = world.data.close_at
    return world.finalize()


OPERATIONS: tuple[tuple[str, Make, Act], ...] = (
    ("open", lambda fees: World(fees=fees), lambda w: w.open()),
    ("top-up with a body", _opened, lambda w: w.send(CLIENT, COIN, deposit_body())),
    ("top-up by bare transfer", _opened, lambda w: w.send(CLIENT, COIN, None)),
    ("redeem by the provider", _opened, lambda w: w.redeem(COIN // 2)),
    ("redeem by anyone else", _opened, lambda w: w.redeem(COIN // 2, by=STRANGER)),
    ("request_close", _opened, lambda w: w.request_close()),
    ("cancel_close", _closing, lambda w: w.cancel_close()),
    ("finalize", _closing, _finalize_when_due),
    (
        "provider_close with a voucher",
        _opened,
        lambda w: w.provider_close(COIN // 2, COIN // 2),
    ),
    ("provider_close without one", _opened, lambda w: w.provider_close(0)),
    ("coop_close", _opened, lambda w: w.coop_close(COIN // 2)),
)


def measure() -> list[tuple[str, int, int, int]]:
    """(operation, gas, nano under the fees of 2026, nano under those before), rent left out."""
    rows = []
    for name, make, act in OPERATIONS:
        new, old = (act(make(fees)) for fees in (FEES_2026, FEES_2024))
        assert new.code == old.code == 0, name
        assert new.tx.gas_used == old.tx.gas_used
        rows.append(
            (
                name,
                new.tx.gas_used,
                new.spent - new.tx.storage_fee,
                old.spent - old.tx.storage_fee,
            )
        )
    return rows


def table() -> str:
    """The rows as Markdown."""
    lines = [
        "| operation | gas | nano, fees since May 2026 | nano, fees before |",
        "|---|---:|---:|---:|",
    ]
    lines += [f"| {name} | {gas:,} | {new:,} | {old:,} |" for name, gas, new, old in measure()]
    return "\n".join(lines)
