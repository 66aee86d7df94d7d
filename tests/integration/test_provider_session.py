"""A provider on loopback and a client by hand: every way a request can go (wire.md, payments.md §3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cocoon_sdk.payments.meter import cost
from cocoon_sdk.payments.receipt import FinishReason, ResponseHash
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.messages import frame_type
from tests.provider_world import PRICE, RawClient, build_world, buy, request, running

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_paid_answer_is_delivered_metered_and_receipted(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            text = "The quick brown fox jumps over the lazy dog. " * 5
            asked = request(world, text)
            outcome = await buy(client, world, channel, asked)
            assert outcome.text == text
            receipt = outcome.receipt(world)
            assert receipt.finish is FinishReason.STOP
            assert receipt.counts.completion == len(outcome.ids) == len(text)
            assert receipt.price == cost(receipt.counts, PRICE) == receipt.spent
            assert (receipt.seq, receipt.client) == (1, channel.key.public_key)
            running_hash = ResponseHash()
            for event in outcome.frames:
                running_hash.update(frame_type(event.message), event.body)
            assert receipt.response_hash == running_hash.digest()
            assert len(outcome.meters) >= len(text) // 32
            assert all(len(event.body) <= 246 for event in outcome.frames)
            results = [e.message for e in outcome.frames if isinstance(e.message, messages.Result)]
            assert [(r.kind, r.data) for r in results] == [
                ("finish", {"choice": 0, "reason": "stop"})
            ]
            assert receipt.session_id == client.session.session_id
