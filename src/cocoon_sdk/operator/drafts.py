"""Envelopes on their way from one key holder to the next, until they reach their threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Signer
from cocoon_sdk.operator.build import open_envelope
from cocoon_sdk.operator.files import make_folder, read_file, write_file
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.registry.dsse import EnvelopeSignature, pae
from cocoon_sdk.registry.model import REGISTRY_TYPE, ROOT_TYPE, Shard
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES

KINDS = {ROOT_TYPE: "root", REGISTRY_TYPE: "registry"}


def kind_of(raw: bytes) -> str:
    """`"root"` or `"registry"`, by the type that is signed.

    Raises:
        ConfigError: an envelope of something else.
        RegistryFormatError: not an envelope.
    """
    kind = open_envelope(raw, what="the draft").payload_type
    if kind not in KINDS:
        raise ConfigError(
            f"the draft is of type {kind[:80]!r}; only roots and registries are signed"
        )
    return KINDS[kind]


def read_draft(path: Path) -> bytes:
    """The content of a draft file.

    Raises:
        ConfigError: it cannot be read.
    """
    raw = read_file(path, limit=MAX_REGISTRY_BYTES)
    if raw is None:
        raise ConfigError(f"there is no file {path}")
    return raw


def write_draft(path: Path, raw: bytes, shards: dict[str, bytes] | None = None) -> None:
    """Store a draft, with new shards in the folder `shards` beside it."""
    make_folder(path.parent)
    beside(path).write_shards(shards or {})
    write_file(path, raw)


def beside(path: Path) -> PublicFolder:
    """The folder of a draft, which holds its shards."""
    return PublicFolder(path.parent)


def add_signatures(raw: bytes, signers: Iterable[Signer]) -> bytes:
    """The envelope with one more signature of each signer; those that it has stay as they are."""
    envelope = open_envelope(raw, what="the draft")
    message = pae(envelope.payload_type, envelope.payload)
    added = [
        EnvelopeSignature(sig=signer.sign(message), keyid=signer.public_key.hex())
        for signer in signers
    ]
    return _with(raw, added)


def merge(raws: Sequence[bytes]) -> bytes:
    """One envelope with the signatures of all copies of a draft.

    Raises:
        ConfigError: they are not copies of one draft.
    """
    envelopes = [open_envelope(raw, what="the draft") for raw in raws]
    if len({(one.payload_type, one.payload) for one in envelopes}) != 1:
        raise ConfigError("these files are not copies of one draft; signatures cannot be combined")
    return _with(raws[0], [one for envelope in envelopes[1:] for one in envelope.signatures])


def missing_shards(shards: Sequence[Shard], *places: PublicFolder) -> dict[str, bytes]:
    """Shards that the first place lacks and another has, by SHA-256."""
    first, *others = places
    found = {}
    for shard in shards:
        if first.read_shard(shard.sha256) is None:
            raw = next((raw for one in others if (raw := one.read_shard(shard.sha256))), None)
            if raw is None:
                where = ", ".join(str(place.path) for place in places)
                raise ConfigError(
                    f"shard {shard.name} ({shard.sha256}) is not in {where}; "
                    "copy the folder shards that lies beside the draft as well"
                )
            found[shard.sha256] = raw
    return found


def _with(raw: bytes, added: Iterable[EnvelopeSignature]) -> bytes:
    envelope = open_envelope(raw, what="the draft")
    signatures = {one.sig: one for one in (*envelope.signatures, *added)}
    return msgspec.json.encode(
        msgspec.structs.replace(envelope, signatures=list(signatures.values()))
    )
