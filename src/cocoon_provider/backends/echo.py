"""A backend without a model: it answers with the last user message, one byte a token.

For tests, development and the public test kit. It needs neither numpy nor onnxruntime nor tokenizers,
yet its token bundle is a genuine one: a client that has `tokenizers` counts and decodes with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType

from cocoon_provider.backends.base import Event, Finished, FinishReason, ModelInfo, Piece, Prefilled
from cocoon_provider.backends.limits import completion_limit
from cocoon_provider.backends.parameters import Parameters, parse_parameters
from cocoon_sdk.errors import InvalidRequestError, ModelNotFoundError
from cocoon_sdk.protocol.messages import Channel, Request
from cocoon_sdk.tokens.bundle import TokenBundle

START, END = 256, 257
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def echo_bundle() -> TokenBundle:
    """The bundle of the echo model: token n is byte n; 256 and 257 open and end a message."""
    added = [
        {
            "id": token,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token, content in ((START, "<|start|>"), (END, "<|end|>"))
    ]
    vocab = {_byte_symbol(byte): byte for byte in range(256)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level | {"use_regex": False},
        "post_processor": None,
        "decoder": byte_level | {"use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": vocab | {"<|start|>": START, "<|end|>": END},
            "merges": [],
        },
    }
    return TokenBundle.build(tokenizer, CHAT_TEMPLATE, bos=None, eos=(END,))


def _byte_symbol(byte: int) -> str:
    """The character that stands for a byte in the vocabulary of a byte-level tokenizer."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [b for b in range(256) if b not in printable].index(byte))


class EchoBackend:
    """Answers with what was asked (`answer` may make something else of it). Deterministic.

    Args:
        models: Names under which the echo is offered.
        delay: Seconds of waiting before each token.
        context: Tokens of prompt and answer together.
        answer: Makes the answer out of the last user message or the prompt.
    """

    def __init__(
        self,
        models: Sequence[str] = ("echo",),
        *,
        delay: float = 0.0,
        context: int = 65_536,
        answer: Callable[[str], str] = str,
    ) -> None:
        bundle = echo_bundle()
        self._delay = delay
        self._answer = answer
        self._open: set[EchoGeneration] = set()
        self._models = {
            name: ModelInfo(
                id=name,
                hash=hashlib.sha256(b"cocoon echo model\0" + name.encode()).digest(),
                context=context,
                features=(),
                quantization="none",
                tokens_hash=bundle.hash,
                tokenizer_hash=bundle.tokenizer_hash,
                bundle=bundle.raw,
            )
            for name in models
        }

    @property
    def models(self) -> Mapping[str, ModelInfo]:
        """The models on offer by id."""
        return MappingProxyType(self._models)

    async def start(self) -> None:
        """Nothing to load."""

    def submit(self, request: Request, *, client_key: bytes | None) -> EchoGeneration:
        """See `Backend.submit`."""
        del client_key  # there is no prefix cache to salt
        info = self._models.get(request.model)
        if info is None or info.hash != request.model_hash:
            raise ModelNotFoundError(f"model {request.model!r} with this hash is not offered here")
        parameters = parse_parameters(request)
        resumed = _resumed(request)
        prompt_tokens = len(_prompt_bytes(parameters)) + len(resumed)
        limit = completion_limit(
            asked=parameters.max_tokens,
            prompt_tokens=prompt_tokens,
            resumed=len(resumed),
            context=info.context,
        )
        text = self._answer(_question(parameters))
        cuts = [text.find(stop) for stop in parameters.stop if stop in text]
        rest = text[: min(cuts, default=len(text))].encode()[len(resumed) :].decode(errors="ignore")
        generation = EchoGeneration(prompt_tokens, limit, rest, self._delay, self._open.discard)
        self._open.add(generation)
        return generation

    async def aclose(self) -> None:
        """Cancel what runs."""
        for generation in tuple(self._open):
            generation.cancel()


class EchoGeneration:
    """One echo; see `Generation`."""

    def __init__(
        self,
        prompt_tokens: int,
        max_tokens: int,
        text: str,
        delay: float,
        on_end: Callable[[EchoGeneration], None],
    ) -> None:
        self._prompt_tokens = prompt_tokens
        self._max_tokens = max_tokens
        self._text = text
        self._delay = delay
        self._on_end = on_end
        self._granted = (0, 0)
        self._cancelled = False
        self._changed = asyncio.Event()

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt and of a resume."""
        return self._prompt_tokens

    @property
    def max_tokens(self) -> int:
        """The most completion tokens that will come."""
        return self._max_tokens

    def grant(self, *, prompt: int, completion: int) -> None:
        """Allow work up to these totals."""
        self._granted = (max(prompt, self._granted[0]), max(completion, self._granted[1]))
        self._changed.set()

    def cancel(self) -> None:
        """Stop before the next token."""
        self._cancelled = True
        self._changed.set()
        self._on_end(self)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events, once."""
        try:
            async for event in self._events():
                yield event
        finally:
            self._on_end(self)

    async def _events(self) -> AsyncIterator[Event]:
        done = 0
        while done < self._prompt_tokens and await self._allowed(0, done + 1):
            done = min(self._prompt_tokens, self._granted[0])
            yield Prefilled(done, 0)
        delivered = 0
        reason: FinishReason = "stop"
        for char in self._text:
            ids = tuple(char.encode())
            if delivered + len(ids) > self._max_tokens:
                reason = "length"
                break
            if not await self._allowed(1, delivered + len(ids)):
                break
            if self._delay:
                await asyncio.sleep(self._delay * len(ids))
            if self._cancelled:
                break
            delivered += len(ids)
            yield Piece(0, Channel.CONTENT, char, ids)
        yield Finished(("cancelled" if self._cancelled else reason,))

    async def _allowed(self, which: int, total: int) -> bool:
        """Wait until the grant covers `total`; False when cancelled first."""
        while not self._cancelled and self._granted[which] < total:
            self._changed.clear()
            await self._changed.wait()
        return not self._cancelled


def _question(parameters: Parameters) -> str:
    if parameters.messages is None:
        return parameters.prompt or ""
    users = [m["content"] for m in parameters.messages if m["role"] == "user"]
    return str(users[-1]) if users else ""


def _prompt_bytes(parameters: Parameters) -> bytes:
    """One byte per prompt token: the template by hand, each special token as a zero byte."""
    if parameters.messages is None:
        return (parameters.prompt or "").encode()
    turns = [f"\0{m['role']}\n{m['content']}\0" for m in parameters.messages]
    return "".join([*turns, "\0assistant\n"]).encode()


def _resumed(request: Request) -> bytes:
    """The bytes of a resume's ids (wire.md, "Frames": they must decode to exactly `text_bytes`)."""
    if request.resume is None:
        return b""
    try:
        raw = bytes(request.resume.ids)
        raw.decode()
    except ValueError:  # an id above 255, or bytes that are no text
        raw = b""
    if not raw or len(raw) != request.resume.text_bytes:
        raise InvalidRequestError("resume.ids do not decode to resume.text_bytes of text")
    return raw
