"""`attest`: a bundle made on a confidential machine (wire.md, "Attestation").

Never run on a machine with Intel TDX, for none was at hand; see `cocoon_provider.quotes`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocoon_provider.attestation import previous_path
from cocoon_provider.operations.home import Home, make_backend
from cocoon_provider.quotes import QuoteSource, TsmQuotes
from cocoon_sdk.attestation.bundle import (
    MAX_COLLATERAL,
    Bundle,
    Claims,
    bundle_digest,
    encode_bundle,
    encode_claims,
    stapled_report_data,
)
from cocoon_sdk.attestation.policy import DEFAULT_LIFETIME
from cocoon_sdk.errors import AttestationError, ConfigError

SKEW = 300  # clients' clocks may be behind ours
COLLATERAL_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class NewBundle:
    """What `attest` wrote."""

    path: Path
    digest: bytes
    expires: int


async def attest(
    home: Home,
    *,
    image_id: str,
    output: Path,
    collateral: Path | None = None,
    gpu_evidence: str | None = None,
    source: QuoteSource | None = None,
) -> NewBundle:
    """Quote this machine over the identity key and claims for a week, and write the bundle.

    The bundle that was there is kept beside it and served, too, while registries still name it.

    Args:
        home: The provider's folder.
        image_id: The id that the image's publisher gave it, 64 hex digits.
        output: The file to write.
        collateral: Intel's answers for this platform as JSON; fetched from Intel without it.
        gpu_evidence: Digest of evidence about the GPU, 64 hex digits; clients do not check it.
        source: Makes the quote; default: the Linux kernel.

    Raises:
        ConfigError: more than one model, or an argument cannot be used.
        AttestationError: this machine makes no quotes, or a part is too large.
    """
    backend = make_backend(home.config())
    try:
        await backend.start()
        models = [model.hash for model in backend.models.values()]
    finally:
        await backend.aclose()
    if len(models) != 1:
        raise ConfigError(
            f"{home.config_path} offers {len(models)} models; claims name one, so configure one"
        )
    now = int(time.time())
    claims = encode_claims(
        Claims(
            not_before=now - SKEW,
            expires=now - SKEW + DEFAULT_LIFETIME,
            model_hash=models[0],
            image_id=_hash("--image-id", image_id),
            gpu_evidence=None if gpu_evidence is None else _hash("--gpu-evidence", gpu_evidence),
        )
    )
    wanted = stapled_report_data(home.identity().public_key, claims)
    quote = await asyncio.to_thread((source or TsmQuotes()).quote, wanted)
    answers = await _fetch(quote) if collateral is None else _read(collateral)
    raw = encode_bundle(Bundle(quote=quote, collateral=answers, claims=claims))
    _write(output, raw)
    return NewBundle(output, bundle_digest(raw), now - SKEW + DEFAULT_LIFETIME)


def _hash(option: str, text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ConfigError(f"{option} is {text[:80]!r}; it must be 64 hex digits")
    return value


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_bytes(raw)
    if path.exists():
        shutil.copy2(path, previous_path(path))
    fresh.replace(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_COLLATERAL + 1)
    except OSError as error:
        raise ConfigError(f"the collateral {path} cannot be read: {error.strerror}") from error


async def _fetch(quote: bytes) -> bytes:
    try:
        library: Any = importlib.import_module("dcap_qvl")
    except ImportError as error:
        raise ConfigError(
            "the collateral is fetched with dcap-qvl, which is missing: pip install 'cocoon-sdk[tdx]', "
            "or pass --collateral FILE"
        ) from error
    try:
        async with asyncio.timeout(COLLATERAL_TIMEOUT):
            found = await library.get_collateral_from_pcs(quote)
        text: str = found.to_json()
    except (ValueError, RuntimeError, TimeoutError) as error:
        raise AttestationError(
            f"Intel gave no collateral for this platform ({error}); try again, or pass --collateral FILE"
        ) from error
    return text.encode()
