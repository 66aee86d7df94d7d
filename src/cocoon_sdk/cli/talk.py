"""The answers of `cocoon chat`, and what is said about each: its cost, and why it ended early."""

from __future__ import annotations

import asyncio
import sys

from cocoon_sdk.cli.output import escape_controls, print_json, tell
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import CocoonError
from cocoon_sdk.payments.amounts import format_coins
from cocoon_sdk.resources.params import Message
from cocoon_sdk.streaming import AsyncChatStream
from cocoon_sdk.types.chat import ChatCompletion


class Talk:
    """A conversation with one model; `messages` grows with every answer."""

    def __init__(
        self, client: AsyncCocoon, model: str, max_tokens: int, temperature: float | None
    ) -> None:
        self._client = client
        self._max_tokens = max_tokens
        self._temperature = temperature
        self.model = model
        self.messages: list[Message] = []

    def _stream(self, text: str) -> AsyncChatStream:
        return self._client.chat.completions.stream(
            model=self.model,
            messages=[*self.messages, Message(role="user", content=text)],
            max_tokens=self._max_tokens,
            temperature=self._temperature,
        )

    async def print_reply(self, text: str) -> bool:
        """Print the whole answer as JSON; False where it was cancelled."""
        async with self._stream(text) as stream:
            try:
                print_json((await stream.get_final_completion()).to_dict())
            except asyncio.CancelledError:
                _tell_stopped(stream)
                return False
        return True

    async def ask(self, text: str) -> bool:
        """Stream one answer and say what it cost; False where it was cancelled, which keeps what has come.

        Raises:
            CocoonError: after the cost of what had arrived was told; the question is not kept.
        """
        said: list[str] = []
        finished = False
        async with self._stream(text) as stream:
            try:
                await _print_text(stream, said)
                finished = True
            except asyncio.CancelledError:
                _tell_stopped(stream)
            except CocoonError:
                if said or stream.charged_nano:
                    cost = format_coins(stream.charged_nano)
                    tell(f"cut off; what arrived cost {cost}. Asking again costs anew")
                raise
        if finished:
            self._tell_cost(stream.completion())
        if said:
            self.messages.append(Message(role="user", content=text))
            self.messages.append(Message(role="assistant", content="".join(said)))
        return finished

    def _tell_cost(self, answer: ChatCompletion) -> None:
        usage = answer.usage
        if answer.choices[0].finish_reason == "length":
            tell(f"cut at --max-tokens {self._max_tokens}", style="yellow")
        tell(
            f"{usage.prompt_tokens} prompt + {usage.completion_tokens} answer tokens, "
            f"cost {usage.cost} coins, receipt verified, {_assurance(answer)}",
            style="dim",
        )


def _assurance(answer: ChatCompletion) -> str:
    """What protects the prompt from the provider's owner."""
    if answer.attestation is None:
        return "operator (its owner can read this)"
    kept = " for this session" if answer.attestation.fresh else ""
    return f"attested{kept} as image {answer.attestation.image[:16]}…"


def _tell_stopped(stream: AsyncChatStream) -> None:
    # The provider may have been a few tokens ahead, which its receipt then counts.
    cost = format_coins(stream.charged_nano)
    tell(f"stopped; what arrived cost about {cost}, nothing more is paid", style="yellow")


async def _print_text(stream: AsyncChatStream, said: list[str]) -> None:
    """Write the text as it comes; whatever ends it, the next line begins at its start."""
    try:
        async for text in stream.text_stream:
            said.append(text)
            sys.stdout.write(escape_controls(text))
            sys.stdout.flush()
    finally:
        if said:
            sys.stdout.write("\n")
            sys.stdout.flush()
