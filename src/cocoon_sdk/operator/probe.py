"""Knocking at a provider's endpoints as a client would: address, session, suites, files, speed."""

from __future__ import annotations

import hashlib
import json
import time
from typing import NamedTuple

from cocoon_sdk.attestation.bundle import MAX_BUNDLE, bundle_digest
from cocoon_sdk.errors import CocoonError
from cocoon_sdk.operator.verdicts import Check, fail, ok, warn
from cocoon_sdk.protocol.kem import supported_suites
from cocoon_sdk.registry.endpoint import parse_endpoint, resolve_endpoint
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.transport.bundle import MAX_BUNDLE_BYTES
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.page import PageError, get_page
from cocoon_sdk.transport.reach import Site

CONNECT_LIMIT = 10.0
SLOW = 2.0  # seconds for dialling and the handshake
MAX_PAGE = 1024 * 1024


class Reach(NamedTuple):
    """Which addresses may be dialled; see registry/endpoint.py."""

    allow_private: bool = False
    allow_loopback: bool = False


async def probe_endpoint(descriptor: Descriptor, url: str, reach: Reach) -> list[Check]:
    """Everything that one endpoint of a verified descriptor promises."""
    try:
        endpoint = parse_endpoint(url)
        addresses = await resolve_endpoint(endpoint, **reach._asdict())
    except CocoonError as error:
        return [
            fail(
                f"address {url}",
                str(error),
                "the provider must name a wss:// address that resolves to a public one; "
                "--allow-private is for machines of your own",
            )
        ]
    checks: list[Check] = []
    for address in addresses:
        site = Site(endpoint, address)
        checks += await _sessions(descriptor, site)
    site = Site(endpoint, addresses[0])
    return [
        *checks,
        await _health(site),
        await _list(descriptor, site),
        *await _files(descriptor, site),
    ]


async def _sessions(descriptor: Descriptor, site: Site) -> list[Check]:
    """One session for each suite that the descriptor lists: each proves the identity key."""
    checks = []
    where = f"{site.endpoint.url} ({site.address})"
    for suite in descriptor.suites:
        name = f"session {where}, suite {suite}"
        if suite not in supported_suites():
            text = "this installation does not have the suite, so it was not tried"
            checks.append(warn(name, text, "pip install 'cocoon-sdk[pq]', or a newer version"))
            continue
        peer = Peer(
            site=site,
            provider_id=descriptor.public_key,
            signer=None,
            channel=None,
            registry=None,
            suites=(suite,),
        )
        started = time.monotonic()
        try:
            connection = await open_connection(peer, limit=CONNECT_LIMIT)
        except CocoonError as error:
            fix = "the provider must serve there with the identity key and suites that it signed"
            checks.append(fail(name, str(error), fix))
            continue
        seconds = time.monotonic() - started
        await connection.close()
        told = f"identity proved in {seconds * 1000:.0f} ms"
        if seconds > SLOW:
            checks.append(warn(name, told, "clients prefer nearer providers; try from elsewhere"))
        else:
            checks.append(ok(name, told))
    return checks


async def _health(site: Site) -> Check:
    name = f"health {site.endpoint.url}"
    try:
        await get_page(site, "/healthz", limit=MAX_PAGE)
    except PageError as error:
        return warn(name, str(error), "is it draining, or does a proxy hide GET /healthz?")
    return ok(name, "it says that it is well")


async def _list(descriptor: Descriptor, site: Site) -> Check:
    """What it says today about models and prices, beside what it signed."""
    name = f"offers {site.endpoint.url}"
    again = "the provider must register again after changing models or prices"
    try:
        raw = await get_page(site, "/v1/models", limit=MAX_PAGE)
        served = {one["id"]: (one["hash"], one["price"]) for one in json.loads(raw)["data"]}
    except PageError as error:
        return warn(name, f"/v1/models: {error}", "ask the provider to let GET /v1/models through")
    except (ValueError, KeyError, TypeError, RecursionError):
        return warn(name, "/v1/models is not the list that providers serve", again)
    for offer in descriptor.models:
        price = offer.price
        signed = {"prompt": price.prompt, "cached": price.cached, "completion": price.completion}
        if offer.id not in served:
            return fail(name, f"{offer.id} is signed and not served", again)
        if served[offer.id] != (offer.hash, signed):
            return fail(name, f"{offer.id} is served with another hash or price than signed", again)
    return ok(name, "models, hashes and prices are those that it signed")


async def _files(descriptor: Descriptor, site: Site) -> list[Check]:
    """The files that the descriptor names by hash."""
    checks = []
    for digest in dict.fromkeys(offer.tokens for offer in descriptor.models):
        named = ", ".join(offer.id for offer in descriptor.models if offer.tokens == digest)
        name = f"token bundle of {named}"
        fix = f"the provider must serve GET /tokens/{digest[:16]}…, or register again"
        try:
            raw = await get_page(site, f"/tokens/{digest}", limit=MAX_BUNDLE_BYTES)
        except PageError as error:
            checks.append(fail(name, str(error), fix))
            continue
        if hashlib.sha256(raw).hexdigest() == digest:
            checks.append(ok(name, f"{len(raw)} bytes with the hash that it signed"))
        else:
            checks.append(fail(name, "it has another hash than signed", fix))
    if descriptor.att is not None:
        checks.append(await _attestation(descriptor.att, site))
    return checks


async def _attestation(digest: str, site: Site) -> Check:
    name, fix = "attestation bundle", "the provider must serve GET /attestation, or register again"
    try:
        raw = await get_page(site, "/attestation", limit=MAX_BUNDLE)
    except PageError as error:
        return fail(name, str(error), fix)
    if bundle_digest(raw).hex() != digest:
        return fail(name, "it has another digest than signed", fix)
    return ok(name, "it has the digest that was signed; clients judge what it proves")
