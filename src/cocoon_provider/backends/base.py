"""What the serving core asks of an inference backend, whatever runs behind it.

The core validates payment, the backend validates the request. Work is metered by *grants*: a backend
computes no prompt token and delivers no completion token beyond what was granted, and goes idle instead.
Grants are cumulative totals, so a repeated or overtaken grant does no harm.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cocoon_sdk.protocol.messages import Channel, Request

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on offer. Hashes are 32 bytes.

    Attributes:
        id: The name that requests use.
        hash: SHA-256 of the model's manifest: the model hash of descriptors and receipts.
        context: Prompt and completion tokens together, at most.
        features: Optional capabilities (`tools`, `json_schema`, …); plain chat needs none.
        quantization: How the weights are stored (`int8`, `f32`, …).
        tokens_hash: SHA-256 of `bundle`.
        tokenizer_hash: SHA-256 of the tokenizer part of the bundle alone.
        bundle: The token bundle's bytes (`cocoon_sdk.tokens.bundle`), served to clients by hash.
    """

    id: str
    hash: bytes
    context: int
    features: tuple[str, ...]
    quantization: str
    tokens_hash: bytes
    tokenizer_hash: bytes
    bundle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Progress through the prompt, as running totals.

    It comes when a prompt grant is used up and when the prompt is complete
    (`prompt + cached == prompt_tokens`); always before the first `Piece`.

    Attributes:
        prompt: Prompt tokens computed so far.
        cached: Prompt tokens taken from the prefix cache; disjoint from `prompt`.
    """

    prompt: int
    cached: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Answer text and the token ids that it decodes from; at least one id.

    The ids of all pieces of a choice, in order, decode to the texts of those pieces, in order. Ids of an
    end-of-sequence token or of a stop string never appear.
    """

    choice: int
    channel: Channel
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event. One reason per choice."""

    reasons: tuple[FinishReason, ...]


Event = Prefilled | Piece | Finished


class Generation(Protocol):
    """One accepted request."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, the ids of a resume included (they are billed as prompt)."""

    @property
    def max_tokens(self) -> int:
        """The most completion tokens that will be delivered, over all choices."""

    def grant(self, *, prompt: int, completion: int) -> None:
        """Allow work up to these running totals. Lower totals than before change nothing.

        Nothing runs before the first grant. Cached prompt tokens count towards `prompt`.
        """

    def cancel(self) -> None:
        """Stop within one engine step; `Finished` with reason `cancelled` follows. Idempotent."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events, once, ending after `Finished`.

        Raises:
            ProviderInternalError: the backend failed; nothing more will come.
        """


class Backend(Protocol):
    """Runs models. All methods belong to the event loop that `start` ran on."""

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """The models on offer by id; complete after `start`."""

    async def start(self) -> None:
        """Load what is needed.

        Raises:
            ConfigError: the device or a model cannot be used as configured.
        """

    def submit(self, request: Request, *, client_key: bytes | None) -> Generation:
        """Check a request and queue it. It does nothing before its first grant.

        Args:
            request: The whole REQUEST; payment fields are ignored.
            client_key: Salts the prefix cache; None for anonymous clients.

        Raises:
            ModelNotFoundError: no such model, or another hash than the one on offer.
            InvalidRequestError: a parameter is wrong or not supported; the message names it.
            ContextLengthError: prompt and completion exceed the model's context.
        """

    async def aclose(self) -> None:
        """Cancel everything and free the device. Idempotent."""
