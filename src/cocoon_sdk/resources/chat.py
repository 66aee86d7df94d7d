"""`client.chat.completions`: OpenAI's names, our receipts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from cocoon_sdk.errors import InvalidRequestError
from cocoon_sdk.resources.params import DEFAULT_MAX_TOKENS, Message, chat_body
from cocoon_sdk.streaming import AsyncChatStream
from cocoon_sdk.transport.failover import RequestRun
from cocoon_sdk.transport.question import Question
from cocoon_sdk.types.chat import ChatCompletion

if TYPE_CHECKING:
    from cocoon_sdk.client import AsyncCocoon

MAX_SEED = 2**64


class AsyncChat:
    """The `chat` namespace."""

    def __init__(self, client: AsyncCocoon) -> None:
        self.completions = AsyncCompletions(client)


class AsyncCompletions:
    """Chat completions, whole or streamed."""

    def __init__(self, client: AsyncCocoon) -> None:
        self._client = client

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message | Mapping[str, Any]],
        stream: Literal[False] = False,
        max_tokens: int = ...,
        seed: int | None = ...,
        temperature: float | None = ...,
        top_p: float | None = ...,
        top_k: int | None = ...,
        min_p: float | None = ...,
        stop: str | Sequence[str] | None = ...,
        frequency_penalty: float | None = ...,
        presence_penalty: float | None = ...,
        repetition_penalty: float | None = ...,
        logit_bias: Mapping[str, float] | None = ...,
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message | Mapping[str, Any]],
        stream: Literal[True],
        max_tokens: int = ...,
        seed: int | None = ...,
        temperature: float | None = ...,
        top_p: float | None = ...,
        top_k: int | None = ...,
        min_p: float | None = ...,
        stop: str | Sequence[str] | None = ...,
        frequency_penalty: float | None = ...,
        presence_penalty: float | None = ...,
        repetition_penalty: float | None = ...,
        logit_bias: Mapping[str, float] | None = ...,
    ) -> AsyncChatStream: ...

    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message | Mapping[str, Any]],
        stream: bool = False,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        seed: int | None = None,
        **sampling: Any,
    ) -> ChatCompletion | AsyncChatStream:
        """Ask for an answer.

        Args:
            model: The model's id as the registry lists it.
            messages: Each with `role` (system, user, assistant) and `content` (text).
            stream: Give an `AsyncChatStream` of chunks instead of the whole completion.
            max_tokens: The longest answer, in tokens; it also bounds what the request can cost.
            seed: The same seed, model and parameters give the same answer; drawn if absent.
            **sampling: temperature, top_p, top_k, min_p, stop, frequency_penalty, presence_penalty,
                repetition_penalty, logit_bias.

        Raises:
            InvalidRequestError: a parameter is wrong; nothing was sent.
            NoProviderError: every provider was rejected; `.rejections` says why.
            PaymentError: a budget or channel does not cover the request.
            VerificationError: the provider cheated or was impersonated; it is not asked again.
            RequestError: the request failed; it says what arrived and what it cost.
        """
        answer = self.stream(
            model=model, messages=messages, max_tokens=max_tokens, seed=seed, **sampling
        )
        if stream:
            return answer
        async with answer:
            return await answer.get_final_completion()

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Message | Mapping[str, Any]],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        seed: int | None = None,
        **sampling: Any,
    ) -> AsyncChatStream:
        """The same as a context manager: `async with client.chat.completions.stream(...) as answer`.

        Raises:
            InvalidRequestError: a parameter is wrong; nothing was sent.
        """
        if not isinstance(model, str) or not model:
            raise InvalidRequestError("model is missing; name one that the registry lists")
        if seed is not None and (
            not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < MAX_SEED
        ):
            raise InvalidRequestError(f"seed is {seed!r}; use a whole number below 2^64")
        body = chat_body(messages, max_tokens=max_tokens, sampling=sampling)
        settings = self._client.request_settings()
        question = Question(
            model=model,
            kind="chat",
            body=body,
            prompt_bytes=sum(len(message["content"].encode()) for message in body["messages"]),
            message_count=len(body["messages"]),
            max_tokens=max_tokens,
            seed=secrets.randbits(64) if seed is None else seed,
            assurance=settings.assurance,
            routing=settings.routing,
            timeouts=settings.timeouts,
            allow_private=settings.allow_private,
            salt=settings.core.salt,
        )
        return AsyncChatStream(RequestRun(settings.core, question))
