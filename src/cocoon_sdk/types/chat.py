"""Chat completions: the reply, and the chunks of a streamed one. Field names are OpenAI's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cocoon_sdk.types.attestation import AttestationResult
from cocoon_sdk.types.base import Reply
from cocoon_sdk.types.receipt import ReceiptInfo

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Reply):
    """Token counts as the verified receipt states them; `cost` in decimal coins, `cost_nano` exact."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: str = "0"
    cost_nano: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage(Reply):
    """What the assistant said."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Reply):
    """One answer."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompletion(Reply):
    """A whole answer with its verified receipt.

    `assurance` is what was established: `attested` comes with the `attestation` whose steps all passed.
    """

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage
    provider: str
    assurance: str
    receipt: ReceiptInfo
    attestation: AttestationResult | None = None
    object: str = "chat.completion"

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].message.content


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceDelta(Reply):
    """The piece of text that a chunk adds."""

    role: str | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkChoice(Reply):
    """One choice's part of a chunk."""

    index: int
    delta: ChoiceDelta
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompletionChunk(Reply):
    """A piece of a streamed answer. The last chunk carries `usage` and `receipt`."""

    id: str
    model: str
    created: int
    choices: tuple[ChunkChoice, ...]
    provider: str
    usage: Usage | None = None
    receipt: ReceiptInfo | None = None
    object: str = "chat.completion.chunk"

    @property
    def text(self) -> str:
        """The text that this chunk adds to the first choice."""
        return "".join(choice.delta.content or "" for choice in self.choices if choice.index == 0)
