"""operator.toml: where the keys of each role are, and when the list is cut into shards."""

from __future__ import annotations

import tomllib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.operator.build import HOUR, REGISTRY_LIFETIME
from cocoon_sdk.operator.files import read_file
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.operator.sharding import SHARD_ABOVE

CONFIG_FILE = "operator.toml"

TEMPLATE = f"""\
# How `cocoon registry` works in this folder. Lines with # show what holds without them.

[keys]
# Where keys are: file:PATH, env:NAME or ssl:URI#ed25519:HEX. A role without any takes keys/*.key.
# root = []
# registry = []

[shards]
# above = {SHARD_ABOVE}         # cut the list into shards when it is longer
# grace_hours = {REGISTRY_LIFETIME // HOUR}     # how long shards stay that the newest index does not name
"""


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts that name signers, by role; see operator/signers.py for their forms."""

    root: list[str] = field(default_factory=list)
    registry: list[str] = field(default_factory=list)


class ShardSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When there are shards, and how long old ones stay.

    Clients may hold an index for its whole life and ask for its shards, so the grace has that as its
    lower bound.
    """

    above: Annotated[int, Meta(ge=0)] = SHARD_ABOVE
    grace_hours: Annotated[int, Meta(ge=REGISTRY_LIFETIME // HOUR)] = REGISTRY_LIFETIME // HOUR

    @property
    def grace(self) -> int:
        """The same in seconds."""
        return self.grace_hours * HOUR


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    keys: KeySettings = field(default_factory=KeySettings)
    shards: ShardSettings = field(default_factory=ShardSettings)


def read_settings(folder: PublicFolder) -> Settings:
    """The settings of a folder, the defaults where it has no file.

    Raises:
        ConfigError: the file does not parse.
    """
    path = folder.path / CONFIG_FILE
    raw = read_file(path)
    if raw is None:
        return Settings()
    try:
        return msgspec.convert(tomllib.loads(raw.decode()), Settings)
    except ValueError as error:  # of UTF-8, TOML and msgspec
        raise ConfigError(f"{path}: {error}") from None
