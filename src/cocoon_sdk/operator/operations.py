"""What an operator does to a registry, one function for each command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cocoon_sdk.errors import ConfigError, RegistryRollbackError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.operator.build import ROOT_LIFETIME, check_root, make_role, seal, shortfall
from cocoon_sdk.operator.config import CONFIG_FILE, TEMPLATE
from cocoon_sdk.operator.drafts import write_draft
from cocoon_sdk.operator.folder import OperatorFolder, Policy
from cocoon_sdk.operator.publishing import publish
from cocoon_sdk.operator.signing import Signed, check, sign
from cocoon_sdk.operator.state import load_root, previous
from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.registry.model import Descriptor, RootPayload

__all__ = (
    "Signed",
    "add",
    "init",
    "load_root",
    "previous",
    "publish",
    "remove",
    "revoke",
    "sign",
)


def init(
    path: str | Path,
    *,
    network: str,
    now: int,
    root_keys: int = 1,
    root_threshold: int | None = None,
    registry_keys: int = 1,
    registry_threshold: int | None = None,
    root_public: Sequence[bytes] = (),
    registry_public: Sequence[bytes] = (),
    lifetime: int = ROOT_LIFETIME,
    draft: Path | None = None,
) -> RootPayload:
    """Make keys and root version 1 in a new folder.

    Args:
        path: the folder.
        network: chain id and registry name, as in "-239/main".
        now: unix seconds.
        root_keys: how many root keys to make here.
        root_threshold: how many root keys must sign; a strict majority when None.
        registry_keys: how many registry keys to make here.
        registry_threshold: how many registry keys must sign; a strict majority when None.
        root_public: root keys that are held elsewhere.
        registry_public: registry keys that are held elsewhere.
        lifetime: seconds until the root expires.
        draft: write the root there, however many signed; see `cosigning.accept`.

    Raises:
        ConfigError: the folder holds a registry, impossible thresholds, or too few root keys here.
        RegistryFormatError: not a network text.
    """
    new_root = [Ed25519Key.generate() for _ in range(root_keys)]
    new_registry = [Ed25519Key.generate() for _ in range(registry_keys)]
    all_root = [*(key.public_key for key in new_root), *root_public]
    all_registry = [*(key.public_key for key in new_registry), *registry_public]
    root = check_root(
        RootPayload(
            network=network,
            version=1,
            expires=now + lifetime,
            root=make_role(all_root, root_threshold or len(all_root) // 2 + 1),
            registry=make_role(all_registry, registry_threshold or len(all_registry) // 2 + 1),
        )
    )
    raw = seal(root, new_root)
    lacking = shortfall(raw, {"root": root.root}, what="root.json")
    if lacking is not None and draft is None:
        raise ConfigError(
            f"{lacking}; where other people hold the others, add --draft FILE and let them run: "
            "cocoon registry cosign FILE"
        )
    folder = OperatorFolder(path)
    folder.create()
    with folder.lock():
        for name, keys in (("root", new_root), ("registry", new_registry)):
            for number, key in enumerate(keys, 1):
                save_key(key, folder.keys / f"{name}-{number}.key")
        folder.write_policy(Policy())
        folder.write(CONFIG_FILE, TEMPLATE.encode())
        if draft is None:
            folder.write_root(raw, 1)
        else:
            write_draft(draft, raw)
    return root


def add(folder: OperatorFolder, raw: bytes, *, now: int) -> Descriptor:
    """Take a provider's entry file in, or a newer one of the same provider.

    Raises:
        RegistryError: what a client would refuse is refused here; so is an older sequence number.
    """
    entry = decode_entry(raw)
    descriptor = read_descriptor(entry)
    with folder.lock():
        root, policy = load_root(folder), folder.read_policy()
        check(descriptor, root, policy, now)
        for url in descriptor.endpoints:
            parse_endpoint(url)
        held = folder.read_entry(descriptor.id)
        if held is not None and held.d != entry.d:
            seq = read_descriptor(held).seq
            if descriptor.seq <= seq:
                raise RegistryRollbackError(
                    f"provider {descriptor.id} is listed with seq {seq}, this entry has "
                    f"{descriptor.seq}; the provider must register again"
                )
        folder.write_entry(descriptor.id, entry)
    return descriptor


def remove(folder: OperatorFolder, provider: str) -> str:
    """Take a provider out; it may be added again. Returns its id.

    Raises:
        ConfigError: it is not listed.
    """
    with folder.lock():
        found = folder.find_provider(provider)
        if not folder.remove_entry(found):
            raise ConfigError(f"provider {found} is not listed")
    return found


def revoke(folder: OperatorFolder, provider: str, *, below: int | None = None) -> str:
    """Declare an identity key stolen, or (`below`) only its descriptors under a sequence number.

    Raises:
        ConfigError: not an id.
    """
    with folder.lock():
        found = folder.find_provider(provider)
        policy = folder.read_policy()
        if below is None:
            revoked = sorted({*policy.revoked, found})
            changed = Policy(revoked=revoked, min_seq=policy.min_seq)
        else:
            floor = max(below, policy.min_seq.get(found, 0))
            changed = Policy(revoked=policy.revoked, min_seq={**policy.min_seq, found: floor})
        try:
            msgspec.convert(msgspec.to_builtins(changed), Policy)
        except msgspec.ValidationError as error:
            raise ConfigError(f"not a provider id or sequence number: {error}") from None
        folder.write_policy(changed)
        if below is None:
            folder.remove_entry(found)  # last: an interrupted revocation must still refuse
    return found
