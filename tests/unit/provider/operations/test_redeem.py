"""Redeeming on demand: look first, take everything, close whatever happens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cocoon_provider.operations.home import Home
from cocoon_provider.operations.redeem import redeem_now
from cocoon_sdk.errors import ChainUnavailableError
from tests.provider_world import make_config

pytestmark = pytest.mark.anyio


class Settlement:
    def __init__(self, done: list[str], error: Exception | None) -> None:
        self.done = done
        self.error = error

    async def refresh(self) -> None:
        self.done.append("refresh")

    async def redeem(self, *, everything: bool = False) -> int:
        self.done.append(f"redeem everything={everything}")
        if self.error is not None:
            raise self.error
        return 77


def home_with(error: Exception | None) -> tuple[Home, list[str]]:
    done: list[str] = []

    async def aclose() -> None:
        done.append("aclose")

    books = SimpleNamespace(settlement=Settlement(done, error), aclose=aclose)
    return cast("Home", SimpleNamespace(books=lambda _config: books)), done


async def test_the_chain_is_read_before_everything_is_redeemed(tmp_path: Path) -> None:
    home, done = home_with(None)
    assert await redeem_now(home, make_config()) == 77
    assert done == ["refresh", "redeem everything=True", "aclose"]


async def test_the_books_are_closed_when_the_chain_is_down() -> None:
    home, done = home_with(ChainUnavailableError("down"))
    with pytest.raises(ChainUnavailableError):
        await redeem_now(home, make_config())
    assert done[-1] == "aclose"
