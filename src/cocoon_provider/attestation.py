"""What this provider proves of itself: its bundle, and quotes for single sessions (wire.md, "Attestation")."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from cocoon_provider.backends.base import ModelInfo
from cocoon_provider.config import AttestationSettings
from cocoon_provider.quotes import QuoteSource, TsmQuotes
from cocoon_sdk.attestation.bundle import (
    MAX_BUNDLE,
    Bundle,
    bundle_digest,
    decode_bundle,
    decode_claims,
    fresh_report_data,
    stapled_report_data,
)
from cocoon_sdk.errors import AttestationError, ConfigError, WireCode
from cocoon_sdk.protocol.messages import Attest, Error, Message

log = logging.getLogger(__name__)

MAX_WAITING = 16
MAX_KEPT = 256


class Evidence:
    """Bundles that are served as they are, and a source of fresh quotes where there is one.

    `older` is the bundle before this one: a registry names it until it carries our new entry.
    """

    def __init__(
        self,
        raw: bytes,
        *,
        identity: bytes,
        source: QuoteSource | None = None,
        older: bytes | None = None,
    ) -> None:
        self.bundles = (raw,) if older is None else (raw, older)
        self.digest = bundle_digest(raw)
        self._bundle: Bundle = decode_bundle(raw)
        self._identity = identity
        self._source = source
        self._made: OrderedDict[bytes, Attest] = OrderedDict()
        self._turn = asyncio.Lock()
        self._work: asyncio.Task[Attest] | None = None
        self._waiting = 0

    async def answer(self, exporter: bytes) -> Message:
        """The answer to ATTEST_CHALLENGE: ATTEST over this session, made once for it, or an ERROR."""
        if self._source is None:
            return no_quotes()
        if self._waiting >= MAX_WAITING:
            return Error(
                WireCode.OVERLOADED,
                f"{MAX_WAITING} quotes are being waited for; try again in a second",
                retry_after_ms=1_000,
            )
        self._waiting += 1
        try:
            await self._turn.acquire()
            # A client that leaves takes its question along, but not the quote that is being made: the
            # machine works on one at a time, however many come and go.
            self._work = asyncio.create_task(self._attest(self._source, exporter))
            self._work.add_done_callback(_seen)
            return await asyncio.shield(self._work)
        except AttestationError as error:
            log.error("no quote for a session: %s", error)
            return Error(WireCode.INTERNAL, "no quote can be made now; use another provider")
        finally:
            self._waiting -= 1

    async def _attest(self, source: QuoteSource, exporter: bytes) -> Attest:
        try:
            made = self._made.get(exporter)
            if made is None:
                wanted = fresh_report_data(self._identity, exporter)
                quote = await asyncio.to_thread(source.quote, wanted)
                # The collateral is about the platform, which is the bundle's.
                made = self._made[exporter] = Attest(quote, self._bundle.collateral)
                while len(self._made) > MAX_KEPT:
                    self._made.popitem(last=False)
            return made
        finally:
            self._turn.release()


def _seen(task: asyncio.Task[Attest]) -> None:
    """A failure that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()


def no_quotes() -> Error:
    """What a provider without a confidential machine answers to ATTEST_CHALLENGE."""
    return Error(
        WireCode.NOT_FOUND,
        "this provider makes no quotes for single sessions; accept its bundle alone, or use another one",
    )


def load_evidence(
    settings: AttestationSettings, models: Collection[ModelInfo], identity: bytes
) -> Evidence | None:
    """The evidence that is configured, checked as far as it can be without a verifier; None without any.

    Raises:
        ConfigError: the bundle cannot be read, or no client could accept it.
    """
    if not settings.bundle:
        return None
    path = Path(settings.bundle).expanduser()
    name = f"attestation.bundle ({path})"
    try:
        raw = _read(path)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BUNDLE:
        raise ConfigError(f"{name} is larger than {MAX_BUNDLE} bytes")
    try:
        bundle = decode_bundle(raw)
        claims = decode_claims(bundle.claims)
    except AttestationError as error:
        raise ConfigError(f"{name}: {error}") from error
    if [model.hash for model in models] != [claims.model_hash]:
        raise ConfigError(
            f"{name} claims the model {claims.model_hash.hex()}; an attested provider serves that one "
            f"model, here are: {', '.join(f'{one.id} {one.hash.hex()}' for one in models)}"
        )
    # Wherever a quote's format has its report_data: without these bytes it cannot bind them.
    if stapled_report_data(identity, bundle.claims) not in bundle.quote:
        raise ConfigError(
            f"{name} was made for another identity key or other claims; make it again on this machine"
        )
    if not claims.not_before <= time.time() < claims.expires:
        raise ConfigError(
            f"{name} holds from unix time {claims.not_before} to {claims.expires}, which is not now; "
            "make it again"
        )
    return Evidence(
        raw,
        identity=identity,
        source=TsmQuotes() if settings.fresh == "tsm" else None,
        older=_older(previous_path(path)),
    )


def previous_path(path: Path) -> Path:
    """Where the bundle before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _older(path: Path) -> bytes | None:
    """It only bridges a few hours, so what is wrong with it does not stop us."""
    try:
        raw = _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("the attestation bundle %s cannot be read: %s", path, error.strerror)
        return None
    return raw if len(raw) <= MAX_BUNDLE else None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BUNDLE + 1)
