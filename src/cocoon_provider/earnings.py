"""What the provider has earned: by day, by model, and what is still on vouchers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from cocoon_provider.tables import channels, income, receipts, streams

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class ModelEarnings:
    """Receipts of one model. `model` is the hex of its hash; amounts in nano."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    earned_nano: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """Amounts in nano.

    Attributes:
        earned_nano: The sum of all receipts.
        due_nano: Of requests that run now.
        redeemed_nano: Came in on chain.
        unredeemed_nano: Earned, covered by vouchers, not redeemed yet.
        lost_nano: Earned on channels that were destroyed before it was redeemed.
    """

    earned_nano: int
    due_nano: int
    redeemed_nano: int
    unredeemed_nano: int
    lost_nano: int
    today_nano: int
    requests: int
    channels: int
    models: tuple[ModelEarnings, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def read_earnings(connection: Connection, *, now: int) -> Earnings:
    """Add up the books."""
    earned = receipts.c.price
    by_model = connection.execute(
        select(
            receipts.c.model_hash,
            func.count(),
            func.sum(receipts.c.prompt),
            func.sum(receipts.c.completion),
            func.sum(earned),
        ).group_by(receipts.c.model_hash)
    ).all()
    models = tuple(
        ModelEarnings(bytes(model).hex(), int(count), int(prompt), int(completion), int(nano))
        for model, count, prompt, completion, nano in by_model
    )
    rows = connection.execute(select(channels.c.gone, channels.c.spent, channels.c.redeemed)).all()
    midnight = now - now % _DAY
    today = select(func.coalesce(func.sum(earned), 0)).where(receipts.c.at >= midnight)
    return Earnings(
        earned_nano=sum(model.earned_nano for model in models),
        due_nano=_total(connection, streams.c.due),
        redeemed_nano=_total(connection, income.c.amount),
        unredeemed_nano=sum(max(0, row.spent - row.redeemed) for row in rows if not row.gone),
        lost_nano=sum(max(0, row.spent - row.redeemed) for row in rows if row.gone),
        today_nano=int(connection.execute(today).scalar_one()),
        requests=sum(model.requests for model in models),
        channels=sum(1 for row in rows if not row.gone),
        models=models,
    )


def _total(connection: Connection, column: Any) -> int:
    return int(connection.execute(select(func.coalesce(func.sum(column), 0))).scalar_one())
