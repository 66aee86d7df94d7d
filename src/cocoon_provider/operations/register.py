"""The signed entry that a provider submits to a registry (registry.md, "Operator and provider sides")."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from cocoon_provider.attestation import load_evidence
from cocoon_provider.backends.base import ModelInfo
from cocoon_provider.config import Config
from cocoon_provider.operations.home import Home, make_backend
from cocoon_sdk.errors import ConfigError, RegistryError
from cocoon_sdk.keys import Signer
from cocoon_sdk.payments.amounts import parse_amount
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.protocol.kem import supported_suites
from cocoon_sdk.registry.descriptor import (
    decode_entry,
    encode_entry,
    read_descriptor,
    sign_descriptor,
)
from cocoon_sdk.registry.model import Descriptor, ModelOffer, ModelPrice, PromptOverhead
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import CODE_HASH
from cocoon_sdk.ton.wallet import Wallet

log = logging.getLogger(__name__)

LIFETIME = 7 * 86_400
PREFERRED_CLOSE_DELAY = 86_400


def describe(
    config: Config,
    *,
    identity: Signer,
    payout: Address,
    endpoint: str,
    models: Iterable[ModelInfo],
    now: int,
    att: str | None = None,
) -> Descriptor:
    """What this provider offers from now on, for seven days. Its time is its sequence number.

    `att` is the digest of the attestation bundle that it serves, hex.
    """
    prices = config.prices()
    return Descriptor(
        id=identity.public_key.hex(),
        network=str(config.chain.network),
        seq=now,
        issued=now,
        expires=now + LIFETIME,
        endpoints=[endpoint],
        suites=list(supported_suites()),
        payout=payout.raw,
        code_hash=CODE_HASH.hex(),
        min_deposit=parse_amount(config.channels.min_deposit),
        close_delay=max(PREFERRED_CLOSE_DELAY, config.channels.min_close_delay),
        window=config.channels.window,
        region=config.region,
        att=att,
        limits={"requests": config.concurrency, "waiting": config.limits.waiting},
        prompt_overhead=PromptOverhead(
            base=config.prompt_overhead.base, per_message=config.prompt_overhead.per_message
        ),
        models=[_offer(model, prices[model.id]) for model in models],
    )


def write_entry(path: Path, identity: Signer, descriptor: Descriptor) -> None:
    """Sign the descriptor and replace the entry file atomically.

    A suite that the entry before it promised and this one does not is worth a warning: until the registry
    carries the new entry, clients demand what it still lists, and go elsewhere.
    """
    before = _read_entry(path)
    lost = sorted(set(before.suites) - set(descriptor.suites)) if before is not None else []
    if lost:
        log.warning(
            "suites %s of the last entry are not available any more: clients refuse this provider until the "
            "registry carries %s; suite 2 needs pip install 'cocoon-sdk[pq]'",
            lost,
            path,
        )
    raw = encode_entry(sign_descriptor(identity, descriptor))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_bytes(raw)
    fresh.replace(path)


def offered_names(path: Path) -> dict[str, str]:
    """Names of models by hash (hex), as this provider's entry file has them; none without a valid one."""
    descriptor = _read_entry(path)
    return {} if descriptor is None else {offer.hash: offer.id for offer in descriptor.models}


def _read_entry(path: Path) -> Descriptor | None:
    try:
        return read_descriptor(decode_entry(path.read_bytes()))
    except (OSError, RegistryError):
        return None


def _offer(model: ModelInfo, price: Price) -> ModelOffer:
    return ModelOffer(
        id=model.id,
        hash=model.hash.hex(),
        ctx=model.context,
        price=ModelPrice(prompt=price.prompt, cached=price.cached, completion=price.completion),
        tokenizer=model.tokenizer_hash.hex(),
        tokens=model.tokens_hash.hex(),
        quantization=model.quantization,
        features=list(model.features),
    )


async def register_provider(home: Home, config: Config, path: Path) -> Path:
    """Load the models to learn their hashes, and write the entry.

    Raises:
        ConfigError: no public endpoint is configured, or a model cannot be loaded.
    """
    if not config.endpoint:
        raise ConfigError(
            f"{home.config_path}: set endpoint to your public wss:// URL before registering"
        )
    backend = make_backend(config)
    try:
        await backend.start()
        identity = home.identity()
        models = backend.models.values()
        evidence = load_evidence(config.attestation, models, identity.public_key)
        descriptor = describe(
            config,
            identity=identity,
            payout=Wallet(home.wallet_key(), config.network).address,
            endpoint=config.endpoint,
            models=models,
            now=int(time.time()),
            att=None if evidence is None else evidence.digest.hex(),
        )
    finally:
        await backend.aclose()
    write_entry(path, identity, descriptor)
    return path
