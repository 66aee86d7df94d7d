"""Copying the public files to where a web server serves them."""

from __future__ import annotations

from pathlib import Path

from cocoon_sdk.errors import (
    ConfigError,
    RegistryEquivocationError,
    RegistryFormatError,
    RegistryRollbackError,
)
from cocoon_sdk.operator.build import open_envelope
from cocoon_sdk.operator.config import read_settings
from cocoon_sdk.operator.files import make_folder
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.operator.state import PreviousRegistry, previous, trusted_set
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.sources import REGISTRY_FILE, ROOT_FILE, root_file
from cocoon_sdk.registry.verify import VerifiedRegistry


def publish(folder: OperatorFolder, target: Path, *, now: int) -> list[str]:
    """Copy the public files to a folder that a web server serves; the names that were written.

    Shards come first, then the roots, then the registry that names them. Shards that the new index
    drops stay for a day, because clients may still hold the old one.

    Raises:
        RegistryError: the registry is below its threshold, expired, or older than the one published.
        ConfigError: nothing is signed, the target is of another registry, or it cannot be written.
    """
    site = PublicFolder(target)
    if site.path.resolve() == folder.path.resolve():
        raise ConfigError(f"{target} is the operator's folder, with its keys; name another one")
    with folder.lock():
        raw = folder.read_registry()
        if raw is None:
            raise ConfigError("nothing is signed yet; run: cocoon registry sign")
        registry = trusted_set(folder).update_registry(raw, now)
        index = registry.payload.shards or []
        shards = {shard.sha256: _held(folder, shard) for shard in index}
        make_folder(site.path)
        with site.lock():
            published = _published(site)
            _check_newer(published, registry, target)
            _check_roots(folder, site)
            names = site.write_shards(shards)
            names += _write_roots(folder, site)
            kept = shards.keys()
            dropped = (
                [one for one in published.shards if one.sha256 not in kept] if published else []
            )
            site.retire_shards(dropped, now=now)
            site.write_registry(raw)
            site.prune_shards(index, before=now - read_settings(folder).shards.grace)
    return [*names, REGISTRY_FILE]


def _held(folder: OperatorFolder, shard: Shard) -> bytes:
    raw = folder.read_shard(shard.sha256)
    if raw is None:
        raise ConfigError(
            f"shard {shard.name} ({shard.sha256}) is missing in {folder.path} or damaged; "
            "run: cocoon registry sign"
        )
    return raw


def _published(site: PublicFolder) -> PreviousRegistry | None:
    try:
        return previous(site)
    except RegistryFormatError as error:
        raise ConfigError(
            f"{site.path / REGISTRY_FILE} is not a registry ({error}); move it away and try again"
        ) from None


def _check_newer(
    published: PreviousRegistry | None, registry: VerifiedRegistry, target: Path
) -> None:
    """Keep what clients saw: an older version or another content of the same one would alarm them."""
    if published is None:
        return
    networks = registry.payload.network, published.payload.network
    if networks[0] != networks[1]:
        raise ConfigError(
            f"{target} holds the registry {networks[1]}, this folder is of {networks[0]}; "
            "publish it elsewhere"
        )
    ours, theirs = registry.seen, published.seen
    if theirs[:2] > ours[:2]:
        raise RegistryRollbackError(
            f"{target} holds version {theirs.version} (root {theirs.root_version}), this folder only "
            f"{ours.version} (root {ours.root_version}); clients would refuse it"
        )
    if theirs[:2] == ours[:2] and theirs.digest != ours.digest:
        raise RegistryEquivocationError(
            f"{target} holds another version {theirs.version} than this folder; do two machines "
            "sign? Sign again where the published one was made"
        )


def _check_roots(folder: OperatorFolder, site: PublicFolder) -> None:
    """Keep the chain that clients walk: they could follow neither another one nor a shorter one."""
    ours, theirs = folder.read_roots(), site.read_roots()
    longer = set(theirs) - set(ours)
    if longer:
        raise RegistryRollbackError(
            f"{site.path} holds root {max(longer)}, this folder only {max(ours, default=0)}; "
            "accept that root here first"
        )
    for version in theirs:
        if version in ours and _payload(theirs[version]) != _payload(ours[version]):
            raise RegistryEquivocationError(
                f"{site.path} holds another root {version} than this folder; do two machines rotate? "
                "Clients follow the one that they saw first"
            )


def _payload(root: bytes) -> bytes:
    return open_envelope(root, what=ROOT_FILE).payload


def _write_roots(folder: OperatorFolder, site: PublicFolder) -> list[str]:
    names = []
    for version, raw in folder.read_roots().items():
        site.write(root_file(version), raw)
        names.append(root_file(version))
    site.write(ROOT_FILE, folder.read_root())
    return [*names, ROOT_FILE]
