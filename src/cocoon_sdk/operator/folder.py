"""An operator's folder: keys, entries as providers submitted them, and the signed files.

keys/*.key          private keys, 0600; move the root keys to another machine
entries/<id>.json   {"d": …, "s": …}, one for each provider
policy.json         revoked identities and lowest sequence numbers
and the public files, which `publish` copies to a web server (operator/public.py)
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import Struct, field

from cocoon_sdk.errors import ConfigError, RegistryFormatError
from cocoon_sdk.operator.files import make_folder, read_file, write_file
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.registry.descriptor import decode_entry, encode_entry
from cocoon_sdk.registry.model import Entry, Floor, Hex32

PREFIX_MIN = 8

_ID = re.compile(r"[0-9a-f]{64}")


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator decided about identities, whether or not they are listed."""

    revoked: list[Hex32] = field(default_factory=list)
    min_seq: dict[Hex32, Floor] = field(default_factory=dict)


class OperatorFolder(PublicFolder):
    """Reads and writes the files of one registry; knows nothing of what they mean."""

    @property
    def keys(self) -> Path:
        """The folder of private keys."""
        return self.path / "keys"

    @property
    def entries(self) -> Path:
        """The folder of entries."""
        return self.path / "entries"

    def create(self) -> None:
        """Make the folders.

        Raises:
            ConfigError: there is a registry already, or they cannot be made.
        """
        if self.has_root():
            raise ConfigError(f"{self.path} holds a registry already; choose another folder")
        make_folder(self.entries)
        make_folder(self.keys, mode=0o700)

    def read_entries(self) -> dict[str, Entry]:
        """All entries by provider id, in the order of the ids.

        Raises:
            ConfigError: a file cannot be read, or is no entry.
        """
        entries: dict[str, Entry] = {}
        for path in sorted(self.entries.glob("*.json"), key=lambda path: path.name):
            try:
                entries[path.stem] = decode_entry(read_file(path) or b"")
            except RegistryFormatError as error:
                raise ConfigError(f"{path}: {error}; move it away, or add it again") from None
        return entries

    def read_entry(self, provider: str) -> Entry | None:
        """One provider's entry, None where it is not listed."""
        raw = read_file(self.entries / f"{provider}.json")
        return None if raw is None else decode_entry(raw)

    def write_entry(self, provider: str, entry: Entry) -> None:
        """Store a provider's entry over an older one."""
        write_file(self.entries / f"{provider}.json", encode_entry(entry))

    def remove_entry(self, provider: str) -> bool:
        """Delete a provider's entry; whether there was one."""
        path = self.entries / f"{provider}.json"
        found = path.exists()
        path.unlink(missing_ok=True)
        return found

    def find_provider(self, text: str) -> str:
        """The id that `text` is, or the listed id that starts with it.

        Raises:
            ConfigError: no such provider, or more than one.
        """
        listed = [path.stem for path in sorted(self.entries.glob("*.json"))]
        matches = [provider for provider in listed if provider.startswith(text.lower())]
        if not matches and _ID.fullmatch(text.lower()):
            return text.lower()  # known by id, not listed (any more)
        if len(text) < PREFIX_MIN or len(matches) != 1:
            raise ConfigError(
                f"{text[:80]!r} is the start of {len(matches)} listed ids; give at least "
                f"{PREFIX_MIN} digits, or the whole id"
            )
        return matches[0]

    def read_policy(self) -> Policy:
        """The operator's decisions.

        Raises:
            ConfigError: policy.json is malformed.
        """
        raw = read_file(self.path / "policy.json")
        try:
            return Policy() if raw is None else msgspec.json.decode(raw, type=Policy)
        except ValueError as error:
            raise ConfigError(f"{self.path / 'policy.json'} does not parse: {error}") from None

    def write_policy(self, policy: Policy) -> None:
        """Store the operator's decisions."""
        raw = msgspec.json.format(msgspec.json.encode(policy), indent=2)
        write_file(self.path / "policy.json", raw + b"\n")
