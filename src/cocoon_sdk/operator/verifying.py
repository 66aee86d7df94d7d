"""Checking the providers' signatures of whole lists, on every core.

One signature takes a seventh of a millisecond, a list of 100,000 a quarter of a minute. Long lists are
shared out among processes of their own, which run this module, so that no program that embeds the
operator needs to be one that can be forked or imported twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from cocoon_sdk.errors import RegistryError
from cocoon_sdk.registry.descriptor import check_descriptor, read_descriptor
from cocoon_sdk.registry.model import Descriptor, Entry

WORTHWHILE = 5_000  # entries; below, starting a process costs more than it saves

MODULE = "cocoon_sdk.operator.verifying"

Fault = str | None


class Judged(NamedTuple):
    """A descriptor, None where it is not genuine, and why a client would refuse it, None where not."""

    descriptor: Descriptor | None
    problem: str | None


def faults(entries: Sequence[Entry]) -> list[Fault]:
    """Why each entry is not what its provider signed, None where it is; in the same order."""
    workers = min(_cores(), len(entries) // WORTHWHILE + 1)
    if workers == 1:
        return [_fault(entry) for entry in entries]
    size = -(-len(entries) // workers)
    parts = [entries[start : start + size] for start in range(0, len(entries), size)]
    with ThreadPoolExecutor(workers) as pool:
        return [fault for part in pool.map(_elsewhere, parts) for fault in part]


def judge(
    entries: Mapping[str, Entry],
    *,
    network: str,
    now: int,
    min_seq: Mapping[str, int],
    revoked: Collection[str],
    known: Mapping[str, Entry] | None = None,
) -> dict[str, Judged]:
    """The verdict of a client on each entry, by provider id.

    Args:
        entries: by provider id.
        network: the registry's network text.
        now: unix seconds.
        min_seq: lowest acceptable sequence number by provider id.
        revoked: provider ids.
        known: entries whose signatures were checked before; the very same need not be checked again.
    """
    held = known or {}
    fresh = [provider for provider, entry in entries.items() if held.get(provider) != entry]
    wrong = dict(zip(fresh, faults([entries[provider] for provider in fresh]), strict=True))
    judged = {}
    for provider, entry in entries.items():
        fault = wrong.get(provider)
        if fault is not None:
            judged[provider] = Judged(None, fault)
            continue
        descriptor = msgspec.json.decode(entry.d, type=Descriptor)
        problem = None
        try:
            check_descriptor(
                descriptor,
                network=network,
                now=now,
                min_seq=min_seq.get(provider, 0),
                revoked=provider in revoked,
            )
        except RegistryError as error:
            problem = str(error)
        judged[provider] = Judged(descriptor, problem)
    return judged


def main() -> None:
    """Entries in on standard input, faults out on standard output."""
    entries = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Entry])
    sys.stdout.buffer.write(msgspec.json.encode([_fault(entry) for entry in entries]))


def _fault(entry: Entry) -> Fault:
    try:
        read_descriptor(entry)
    except RegistryError as error:
        return str(error)
    return None


def _elsewhere(entries: Sequence[Entry]) -> list[Fault]:
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=msgspec.json.encode(entries),
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        found = msgspec.json.decode(done.stdout, type=list[Fault])
    except ValueError:  # it could not be started, or ran out of memory: the work remains
        found = []
    return found if len(found) == len(entries) else [_fault(entry) for entry in entries]


def _cores() -> int:
    affinity = getattr(
        os, "sched_getaffinity", None
    )  # Linux: containers may have fewer than the machine
    return len(affinity(0)) if affinity else os.cpu_count() or 1


if __name__ == "__main__":
    main()
