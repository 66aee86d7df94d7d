"""A provider's own entry: signing it, and everything a client checks before dialling (registry.md)."""

from __future__ import annotations

import base64
import binascii

import msgspec

from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import (
    ConfigError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.keys import Signer, verify_signature
from cocoon_sdk.registry.dsse import pae
from cocoon_sdk.registry.model import MAX_DESCRIPTOR_BYTES, PROVIDER_TYPE, Descriptor, Entry
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.strict import decode_strict

CLOCK_SKEW = 300  # seconds that a signer's clock may run ahead of ours
MAX_ENTRY_BYTES = 4 * MAX_DESCRIPTOR_BYTES  # the text again, with JSON escapes


def sign_descriptor(signer: Signer, descriptor: Descriptor) -> Entry:
    """The entry that a provider submits: the descriptor's JSON text and the signature over it.

    Raises:
        ConfigError: `id` is not the signer's key, or the text is above 8 KiB.
    """
    if descriptor.id != signer.public_key.hex():
        raise ConfigError("a descriptor is signed by the identity key that it names as id")
    text = msgspec.json.encode(descriptor)
    if len(text) > MAX_DESCRIPTOR_BYTES:
        raise ConfigError(
            f"the descriptor has {len(text)} bytes, the limit is {MAX_DESCRIPTOR_BYTES}; "
            "list fewer models"
        )
    signature = signer.sign(pae(PROVIDER_TYPE, text))
    return Entry(d=text.decode(), s=base64.b64encode(signature).decode())


def encode_entry(entry: Entry) -> bytes:
    """The content of an entry file: {"d": …, "s": …}."""
    return msgspec.json.encode(entry)


def decode_entry(raw: bytes) -> Entry:
    """Read an entry file. The signature is not checked here.

    Raises:
        RegistryFormatError: it is not {"d": …, "s": …}.
    """
    return decode_strict(raw, Entry, what="the entry file", limit=MAX_ENTRY_BYTES)


def read_descriptor(entry: Entry) -> Descriptor:
    """The descriptor of an entry, signature verified; time, sequence and revocation are not.

    Raises:
        RegistryFormatError: the text is above 8 KiB or malformed.
        RegistrySignatureError: the signature is not the named identity's.
    """
    text = entry.d.encode("utf-8", "surrogatepass")
    descriptor = decode_strict(text, Descriptor, what="the descriptor", limit=MAX_DESCRIPTOR_BYTES)
    try:
        signature = base64.b64decode(entry.s, validate=True)
    except (binascii.Error, ValueError):
        raise RegistryFormatError("the signature of the descriptor is not base64") from None
    if not verify_signature(descriptor.public_key, pae(PROVIDER_TYPE, text), signature):
        raise RegistrySignatureError(
            f"the descriptor of provider {descriptor.id} is not signed by that identity key"
        )
    return descriptor


def check_descriptor(
    descriptor: Descriptor, *, network: str, now: int, min_seq: int = 0, revoked: bool = False
) -> None:
    """Refuse a descriptor that is genuine but not to be used (any more).

    Args:
        descriptor: signature verified, from `read_descriptor`.
        network: the registry's network text; the descriptor must be for the same chain, and for the
            same registry where it names one.
        now: unix seconds.
        min_seq: the lowest acceptable sequence number, signed by the registry or seen before.
        revoked: whether the registry revoked the identity.

    Raises:
        RegistrySignatureError: the identity key was revoked.
        RegistryFormatError: the descriptor is for another network.
        RegistryExpiredError: expired, or issued in the future.
        RegistryRollbackError: `seq` is below `min_seq`.
    """
    provider = f"provider {descriptor.id}"
    if revoked:
        raise RegistrySignatureError(f"{provider} is revoked by the registry")
    chain, name = parse_network(descriptor.network, name_required=False)
    wanted_chain, wanted_name = parse_network(network)
    if chain != wanted_chain or name not in {"", wanted_name}:
        raise RegistryFormatError(
            f"{provider} describes itself for network {descriptor.network}, this is {network}; "
            "the provider must register for this one (chain.network in its config.toml)"
        )
    if descriptor.issued > now + CLOCK_SKEW:
        raise RegistryExpiredError(
            f"{provider}: descriptor issued {format_duration(descriptor.issued - now)} in the future; "
            "check this machine's clock"
        )
    if now >= descriptor.expires:
        raise RegistryExpiredError(
            f"{provider}: descriptor expired {format_duration(now - descriptor.expires)} ago; "
            "its operator must register again"
        )
    if descriptor.seq < min_seq:
        raise RegistryRollbackError(
            f"{provider}: descriptor seq {descriptor.seq} is below {min_seq}, an older one is shown"
        )
