"""Reviewing what a provider submitted: is it genuine, is it there, does it answer?

The client's own code does the knocking, so what passes here is what clients will find.
"""

from __future__ import annotations

from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import RegistryError
from cocoon_sdk.operator.build import DAY
from cocoon_sdk.operator.canary import CanarySettings, ask
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.probe import Reach, probe_endpoint
from cocoon_sdk.operator.signing import check
from cocoon_sdk.operator.state import load_root
from cocoon_sdk.operator.verdicts import Check, ReviewReport, fail, ok, warn
from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor
from cocoon_sdk.registry.model import Descriptor, Entry
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.ton.chain import DEVNET_NETWORK


async def review(
    folder: OperatorFolder,
    raw: bytes,
    *,
    now: int,
    allow_private: bool = False,
    canary: CanarySettings | None = None,
) -> ReviewReport:
    """Check an entry file in every way that a client could come to use it. Nothing is added.

    Args:
        folder: the operator's folder.
        raw: the entry file.
        now: unix seconds.
        allow_private: knock at private addresses as well.
        canary: how to ask one question of each model; None asks none.

    Raises:
        ConfigError: the operator's folder is not usable.
    """
    root, policy = load_root(folder), folder.read_policy()
    try:
        entry = decode_entry(raw)
        descriptor = read_descriptor(entry)
    except RegistryError as error:
        fix = "ask for the file that `cocoon-provider register` writes"
        return ReviewReport(None, checks=[fail("entry", str(error), fix)])
    checks = [ok("signature", "the descriptor is signed by the identity key that it names")]
    report = ReviewReport(
        descriptor.id, descriptor.seq, tuple(offer.id for offer in descriptor.models), checks
    )
    try:
        check(descriptor, root, policy, now)
        checks.append(_lifetime(descriptor, now))
    except RegistryError as error:
        fix = "the provider must register again for this registry, unless you revoked it"
        checks.append(fail("descriptor", str(error), fix))
        return report
    checks.append(_sequence(folder, entry, descriptor))
    loopback = parse_network(root.network)[0] == DEVNET_NETWORK
    reach = Reach(allow_private=allow_private, allow_loopback=loopback)
    for url in descriptor.endpoints:
        checks += await probe_endpoint(descriptor, url, reach)
    if canary is not None:
        checks += await ask(entry, descriptor, network=root.network, now=now, settings=canary)
    return report


def _lifetime(descriptor: Descriptor, now: int) -> Check:
    left = descriptor.expires - now
    told = f"valid for {format_duration(left)}"
    if left < DAY:
        return warn("descriptor", told, "ask the provider to register again soon")
    return ok("descriptor", told)


def _sequence(folder: OperatorFolder, entry: Entry, descriptor: Descriptor) -> Check:
    held = folder.read_entry(descriptor.id)
    if held is None:
        return ok("sequence", "a provider that is not listed yet")
    if held.d == entry.d:
        return ok("sequence", "this very entry is listed already")
    seq = read_descriptor(held).seq
    if descriptor.seq > seq:
        return ok("sequence", f"seq {descriptor.seq} follows {seq}, which is listed")
    return fail(
        "sequence",
        f"seq {descriptor.seq} does not follow {seq}, which is listed",
        "the provider must register again",
    )
