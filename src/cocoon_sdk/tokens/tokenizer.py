"""Text to token ids and back, the same on both sides. Needs the extra `[tokens]`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cocoon_sdk.errors import ConfigError, InvalidRequestError, VerificationError
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.chat import normalise_messages
from cocoon_sdk.tokens.shape import check_shape
from cocoon_sdk.tokens.stream import StreamDecoder

if TYPE_CHECKING:
    from cocoon_sdk.tokens.template import ChatTemplate, Segment

try:
    import tokenizers
except ImportError as _missing:
    raise ConfigError(
        "counting tokens needs the packages of the extra: pip install 'cocoon-sdk[tokens]'"
    ) from _missing


class Tokenizer:
    """The tokenizer and chat template of a bundle.

    Special tokens come only from the template: whatever users typed is encoded as plain text.

    Args:
        bundle: Verified by its hash; its contents are still foreign data.

    Raises:
        VerificationError: the bundle's tokenizer or template cannot be used.
    """

    def __init__(self, bundle: TokenBundle) -> None:
        try:
            document = json.loads(bundle.tokenizer)
        except (ValueError, RecursionError) as error:
            raise VerificationError(
                "token bundle holds no usable tokenizer; use another provider"
            ) from error
        try:
            # Encoded anew, so that the library reads what was checked: names may occur twice in JSON.
            self._core = tokenizers.Tokenizer.from_str(json.dumps(check_shape(document)))
            added = document.get("added_tokens") or []
            self._specials = {
                str(token["content"]): int(token["id"]) for token in added if token.get("special")
            }
        except VerificationError:
            raise
        except Exception as error:  # the library raises bare Exception for any unreadable document
            raise VerificationError(
                "token bundle holds no usable tokenizer; use another provider"
            ) from error
        self._core.no_padding()
        self._core.no_truncation()
        self._core.encode_special_tokens = True
        self._bundle = bundle
        self._template: ChatTemplate | None = None
        self.eos_ids = frozenset(bundle.special.eos)
        self.special_ids = frozenset(self._specials.values()) | self.eos_ids
        if not all(map(self.knows, self.special_ids)):
            raise VerificationError("token bundle names special tokens outside of its vocabulary")

    def knows(self, token: int) -> bool:
        """Whether the id is in the vocabulary; models may have unused ids."""
        return 0 <= token < 2**32 and self._core.id_to_token(token) is not None

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; a special token's name in it is text like any other.

        Raises:
            InvalidRequestError: half of a surrogate pair, which no UTF-8 can carry.
        """
        try:
            ids: list[int] = self._core.encode(text, add_special_tokens=False).ids
        except TypeError as error:
            raise InvalidRequestError("a text is not valid Unicode (lone surrogates)") from error
        return ids

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        date: str | None = None,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """The prompt's ids for a chat.

        Raises:
            InvalidRequestError: the messages are malformed, or the template refuses them.
            VerificationError: the template misbehaves.
        """
        parts = self._chat_template().render(
            normalise_messages(messages),
            tools=tools,
            day=date,
            add_generation_prompt=add_generation_prompt,
        )
        return self._encode_parts(parts)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, special tokens their names.

        Raises:
            InvalidRequestError: an id outside of the vocabulary.
        """
        tokens = list(ids)
        for token in tokens:
            if not self.knows(token):
                raise InvalidRequestError(f"token id {token} is not in the model's vocabulary")
        text: str = self._core.decode(tokens, skip_special_tokens=False)
        return text

    def stream(self, *, after: Sequence[int] = ()) -> StreamDecoder:
        """A decoder for ids that arrive one at a time, behind ids whose text is known already."""
        return StreamDecoder(self.decode, after)

    def _encode_parts(self, parts: Sequence[str | Segment]) -> list[int]:
        from cocoon_sdk.tokens.template import Segment

        ids: list[int] = []
        for part in parts:
            if isinstance(part, Segment):
                ids += self.encode(part)
            else:
                ids.append(self._specials[part])
        return ids

    def _chat_template(self) -> ChatTemplate:
        if self._template is None:
            try:
                from cocoon_sdk.tokens.template import ChatTemplate
            except ImportError as missing:
                raise ConfigError(
                    "chat templates need the packages of the extra: pip install 'cocoon-sdk[tokens]'"
                ) from missing
            names = {token: content for content, token in self._specials.items()}
            special = self._bundle.special
            bos = names.get(-1 if special.bos is None else special.bos, "")
            eos = names.get(special.eos[0], "") if special.eos else ""
            self._template = ChatTemplate(
                self._bundle.chat_template, self._specials, {"bos_token": bos, "eos_token": eos}
            )
        return self._template
