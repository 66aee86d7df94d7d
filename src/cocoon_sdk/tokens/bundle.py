"""The token bundle: what turns messages into token ids and back, as one JSON document known by its hash.

    {"tokenizer": <a tokenizer.json object>, "chat_template": "<jinja source>",
     "special": {"bos": <id or null>, "eos": [<id>, …]}}

The provider serves it, its descriptor names the SHA-256 of its bytes, and both sides count with it
(engine.md, "Tokenizer and template").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec

from cocoon_sdk.errors import VerificationError

MAX_BUNDLE_BYTES = 64 << 20
MAX_TEMPLATE_CHARS = 256 << 10


class SpecialTokens(msgspec.Struct, frozen=True):
    """Ids with a meaning: `bos` opens a sequence for templates that ask for it, each of `eos` ends an answer."""

    bos: int | None = None
    eos: tuple[int, ...] = ()


class _Document(msgspec.Struct, frozen=True):
    tokenizer: msgspec.Raw
    chat_template: str
    special: SpecialTokens


@dataclass(frozen=True, slots=True)
class TokenBundle:
    """A parsed bundle. Nothing in it is trusted beyond its hash: the template is foreign code.

    Attributes:
        raw: The document's bytes, as they are served and hashed.
        tokenizer: The tokenizer.json object, still as JSON text.
        chat_template: Jinja source.
        special: Ids with a meaning.
    """

    raw: bytes = field(repr=False)
    tokenizer: bytes = field(repr=False)
    chat_template: str = field(repr=False)
    special: SpecialTokens

    @property
    def hash(self) -> bytes:
        """SHA-256 of the document: `tokens` of a descriptor."""
        return hashlib.sha256(self.raw).digest()

    @property
    def tokenizer_hash(self) -> bytes:
        """SHA-256 of the tokenizer part alone: `tokenizer` of a descriptor."""
        return hashlib.sha256(self.tokenizer).digest()

    @classmethod
    def from_bytes(cls, raw: bytes, expected_hash: bytes | None = None) -> TokenBundle:
        """Parse a bundle, after checking its hash where one is expected.

        Raises:
            VerificationError: another hash, too large, or not a bundle.
        """
        if len(raw) > MAX_BUNDLE_BYTES:
            raise VerificationError(
                f"token bundle of {len(raw)} bytes exceeds the limit of {MAX_BUNDLE_BYTES}"
            )
        if expected_hash is not None and hashlib.sha256(raw).digest() != expected_hash:
            raise VerificationError(
                "token bundle does not have the hash that the descriptor names; fetch it again, "
                "or use another provider"
            )
        try:
            document = msgspec.json.decode(raw, type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise VerificationError("token bundle is malformed; use another provider") from error
        if len(document.chat_template) > MAX_TEMPLATE_CHARS:
            raise VerificationError(
                f"chat template of {len(document.chat_template)} characters exceeds the limit of "
                f"{MAX_TEMPLATE_CHARS}"
            )
        return cls(raw, bytes(document.tokenizer), document.chat_template, document.special)

    @classmethod
    def build(
        cls,
        tokenizer: bytes | dict[str, object],
        chat_template: str,
        *,
        bos: int | None,
        eos: tuple[int, ...],
    ) -> TokenBundle:
        """Make the document out of its parts; `tokenizer` is tokenizer.json as text or as an object."""
        part = tokenizer if isinstance(tokenizer, bytes) else msgspec.json.encode(tokenizer)
        document = _Document(msgspec.Raw(part), chat_template, SpecialTokens(bos, eos))
        return cls.from_bytes(msgspec.json.encode(document))
