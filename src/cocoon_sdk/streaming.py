"""Streams as users hold them: chunks of a chat completion, with payment following consumption."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from types import AsyncGeneratorType, TracebackType
from typing import Self, cast

from cocoon_sdk.errors import StreamTruncatedError
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.receipt import FinishReason as ReceiptReason
from cocoon_sdk.protocol.messages import Channel, Delta
from cocoon_sdk.transport.failover import RequestRun
from cocoon_sdk.transport.job import Done, Finish, Item
from cocoon_sdk.transport.question import Asked
from cocoon_sdk.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatMessage,
    Choice,
    ChoiceDelta,
    ChunkChoice,
    FinishReason,
    Usage,
)
from cocoon_sdk.types.receipt import ReceiptInfo

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "cancelled": "cancelled",
    "error": "error",
}
_RECEIPT_REASONS: dict[ReceiptReason, FinishReason] = {
    ReceiptReason.STOP: "stop",
    ReceiptReason.LENGTH: "length",
    ReceiptReason.CANCELLED: "cancelled",
    ReceiptReason.ERROR: "error",
}


class _Reader:
    """Makes chunks out of a run's items and keeps what has come.

    It is apart from the stream that users hold, so that no cycle of references keeps a stream alive that
    they have let go: its generator is then closed at once, and payment stops.
    """

    def __init__(self, run: RequestRun) -> None:
        self.run = run
        self.text: dict[int, list[str]] = {}
        self.reasons: dict[int, FinishReason] = {}
        self.done: Done | None = None

    # An async generator: asyncio closes it even when a loop over it is left by `break`.
    async def chunks(self) -> AsyncGenerator[ChatCompletionChunk, None]:
        async with aclosing(self.run.items()) as items:
            async for item in items:
                chunk = self._chunk(item)
                if chunk is not None:
                    yield chunk

    def _chunk(self, item: Item) -> ChatCompletionChunk | None:
        match item:
            case Delta(choice=index, channel=Channel.CONTENT, text=text):
                first = index not in self.text
                self.text.setdefault(index, []).append(text)
                delta = ChoiceDelta(role="assistant" if first else None, content=text)
                return self._make(ChunkChoice(index=index, delta=delta))
            case Finish(choice=index, reason=reason):
                self.reasons[index] = _REASONS.get(reason, "stop")
                choice = ChunkChoice(
                    index=index, delta=ChoiceDelta(), finish_reason=self.reasons[index]
                )
                return self._make(choice)
            case Done() as done:
                self.done = done
                return self._make(usage=_usage(done), receipt=_receipt(done))
            case _:
                return None

    def _make(
        self,
        *choices: ChunkChoice,
        usage: Usage | None = None,
        receipt: ReceiptInfo | None = None,
    ) -> ChatCompletionChunk:
        asked: Asked = self.run.asked
        return ChatCompletionChunk(
            id=asked.completion_id,
            model=asked.model,
            created=asked.created,
            provider=asked.provider,
            choices=choices,
            usage=usage,
            receipt=receipt,
        )


class AsyncChatStream:
    """An answer while it arrives: iterate it for chunks, or `text_stream` for text.

    Vouchers are signed as the answer is read. Leaving the loop early, or `close()`, cancels the request:
    nothing is signed beyond the last delivered window.
    """

    def __init__(self, run: RequestRun) -> None:
        self._reader = _Reader(run)
        self._chunks = cast("AsyncGeneratorType[ChatCompletionChunk, None]", self._reader.chunks())

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        return self._chunks

    @property
    def charged_nano(self) -> int:
        """What the answer has cost so far, in nano: the receipt's price, or that of what arrived."""
        return self._reader.run.charged

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """The text of the first choice, piece by piece."""
        return _texts(self._chunks)

    async def get_final_completion(self) -> ChatCompletion:
        """Read to the end, then the whole completion.

        Raises:
            StreamTruncatedError: the stream was closed before its receipt.
        """
        async for _ in self._chunks:
            pass
        return self.completion()

    def completion(self) -> ChatCompletion:
        """The whole completion; only after the stream has ended."""
        reader = self._reader
        if reader.done is None:
            raise StreamTruncatedError(
                "the stream was closed before its receipt; read it to its end for the completion",
                charged_nano=reader.run.charged,
                partial_text="".join(reader.text.get(0, [])),
            )
        asked = reader.run.asked
        reason = _RECEIPT_REASONS.get(reader.done.receipt.finish, "stop")
        return ChatCompletion(
            id=asked.completion_id,
            model=asked.model,
            created=asked.created,
            provider=asked.provider,
            assurance=asked.assurance,
            attestation=asked.attestation,
            choices=tuple(
                Choice(
                    index=index,
                    message=ChatMessage(
                        role="assistant", content="".join(reader.text.get(index, []))
                    ),
                    finish_reason=reader.reasons.get(index, reason),
                )
                for index in sorted(reader.text.keys() | reader.reasons.keys() | {0})
            ),
            usage=_usage(reader.done),
            receipt=_receipt(reader.done),
        )

    async def close(self) -> None:
        """Stop the answer, and paying for it. A task that reads the stream gets StreamTruncatedError."""
        self._reader.run.stop()
        if not self._chunks.ag_running:
            await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _texts(chunks: AsyncIterator[ChatCompletionChunk]) -> AsyncIterator[str]:
    async for chunk in chunks:
        if chunk.text:
            yield chunk.text


def _usage(done: Done) -> Usage:
    counts = done.receipt.counts
    prompt = counts.prompt + counts.cached
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=counts.completion,
        total_tokens=prompt + counts.completion,
        cached_tokens=counts.cached,
        reasoning_tokens=counts.reasoning,
        cost=format_amount(done.receipt.price),
        cost_nano=done.receipt.price,
    )


def _receipt(done: Done) -> ReceiptInfo:
    receipt = done.receipt
    return ReceiptInfo(
        request_id=receipt.request_id.hex(),
        provider=receipt.provider.hex(),
        channel=receipt.channel.hex(),
        seq=receipt.seq,
        cost=format_amount(receipt.price),
        cost_nano=receipt.price,
        spent_nano=receipt.spent,
        raw=done.raw,
    )
