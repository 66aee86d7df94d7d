"""Proof that signers forked a registry: two envelopes of one version, for anybody to check.

A file of JSON: the `roots` under which both verify, oldest first, and the two `envelopes`,
all base64. Whoever trusts the same root keys can check it without trusting who sends it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from cocoon_sdk.errors import RegistryEquivocationError, RegistryFormatError
from cocoon_sdk.registry.files import replace_file
from cocoon_sdk.registry.strict import decode_strict
from cocoon_sdk.registry.trust import Trust
from cocoon_sdk.registry.verified import VerifiedRegistry
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES, TrustedSet

MAX_EVIDENCE_BYTES = 3 * MAX_REGISTRY_BYTES
_MAX_ROOTS = 4_096  # far more than any registry will have


class _Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    roots: Annotated[list[bytes], Meta(min_length=1)]
    envelopes: Annotated[list[bytes], Meta(min_length=2, max_length=2)]


def encode_evidence(roots: Sequence[bytes], envelopes: Sequence[bytes]) -> bytes:
    """The content of an evidence file."""
    return msgspec.json.encode(_Evidence(roots=list(roots), envelopes=list(envelopes)))


def write_evidence(folder: Path, content: bytes) -> Path:
    """Keep an evidence file in `folder`, under a name of its content; returns its path.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"equivocation-{hashlib.sha256(content).hexdigest()[:16]}.json"
    if not path.exists():
        replace_file(path, content)
    return path


def check_evidence(raw: bytes, trust: Trust) -> tuple[VerifiedRegistry, VerifiedRegistry]:
    """The two registries of an evidence file, once it is sure that they prove a fork.

    Args:
        raw: the file's content.
        trust: judges the first root; times and expiry do not matter here.

    Raises:
        RegistryError: it proves nothing; the subclass says why.
    """
    evidence = decode_strict(
        raw, _Evidence, what="the evidence", limit=MAX_EVIDENCE_BYTES, values=_MAX_ROOTS
    )
    first, second = evidence.envelopes
    trusted = _trusted(evidence, trust)
    one = trusted.update_registry(first, _while_valid(trusted), allow_stale=True)
    try:
        trusted.judge_registry(second, _while_valid(trusted), allow_stale=True)
    except RegistryEquivocationError:
        alone = _trusted(evidence, trust)
        return one, alone.update_registry(second, _while_valid(alone), allow_stale=True)
    raise RegistryFormatError(
        f"versions {one.payload.version} and another of {one.payload.network} may both be honest; "
        "the evidence proves no fork"
    )


def _trusted(evidence: _Evidence, trust: Trust) -> TrustedSet:
    trusted = TrustedSet(trust)
    for root in evidence.roots[len(trusted.roots) :]:
        trusted.update_root(root)
    return trusted


def _while_valid(trusted: TrustedSet) -> int:
    """A time at which the newest root holds: what is proved is a signature, not its freshness."""
    assert trusted.root is not None  # noqa: S101 - evidence holds at least one root
    return trusted.root.expires - 1
