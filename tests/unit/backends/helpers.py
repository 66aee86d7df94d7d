"""Requests and readers for backend tests."""

from __future__ import annotations

from typing import Any

from cocoon_provider.backends.base import (
    Backend,
    Event,
    Finished,
    Generation,
    Piece,
    Prefilled,
)
from cocoon_sdk.protocol.messages import Request, Resume

EVERYTHING = 1 << 40


def make_request(backend: Backend, *, resume: Resume | None = None, **body: Any) -> Request:
    """A request to the backend's first model: a chat, unless the body has a prompt."""
    info = next(iter(backend.models.values()))
    if "prompt" not in body:
        body.setdefault("messages", [{"role": "user", "content": "Hello"}])
    seed = body.get("seed", 7)
    return Request(
        id=bytes(16),
        kind="completion" if "prompt" in body else "chat",
        model=info.id,
        model_hash=info.hash,
        body=body,
        seed=seed,
        date="2026-07-01",
        salt=bytes(16),
        price=(0, 0, 0),
        resume=resume,
    )


async def collect(generation: Generation) -> list[Event]:
    """All events of a generation that may do everything at once."""
    generation.grant(prompt=EVERYTHING, completion=EVERYTHING)
    return [event async for event in generation]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def ids_of(events: list[Event]) -> list[int]:
    return [token for event in events if isinstance(event, Piece) for token in event.ids]


def prompt_of(events: list[Event]) -> int:
    return max(event.prompt + event.cached for event in events if isinstance(event, Prefilled))


def reason_of(events: list[Event]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].reasons[0]
