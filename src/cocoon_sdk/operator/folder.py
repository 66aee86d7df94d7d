"""An operator's folder: keys, entries as providers submitted them, and the signed files.

keys/*.key          private keys, 0600; move the root keys to another machine
entries/<id>.json   {"d": …, "s": …}, one for each provider
policy.json         revoked identities and lowest sequence numbers
root.json, N.root.json, registry.json     what `publish` copies to a web server
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct, field

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.registry.descriptor import decode_entry, encode_entry
from cocoon_sdk.registry.model import Count, Entry, Hex32, Role
from cocoon_sdk.registry.sources import REGISTRY_FILE, ROOT_FILE, root_file
from cocoon_sdk.store.lock import file_lock

PREFIX_MIN = 8

_ID = re.compile(r"[0-9a-f]{64}")


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator decided about identities, whether or not they are listed."""

    revoked: list[Hex32] = field(default_factory=list)
    min_seq: dict[Hex32, Count] = field(default_factory=dict)


class OperatorFolder:
    """Reads and writes the files of one registry; knows nothing of what they mean."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

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
            ConfigError: there is a registry already.
        """
        if (self.path / ROOT_FILE).exists():
            raise ConfigError(f"{self.path} holds a registry already; choose another folder")
        self.entries.mkdir(parents=True, exist_ok=True)
        self.keys.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other commands out while the folder changes."""
        if not self.path.is_dir():
            raise ConfigError(f"there is no registry at {self.path}; run: cocoon registry init")
        with file_lock(self.path / ".lock"):
            yield

    def read_root(self) -> bytes:
        """The newest root.json.

        Raises:
            ConfigError: the folder holds none.
        """
        raw = self._read(ROOT_FILE)
        if raw is None:
            raise ConfigError(f"there is no registry at {self.path}; run: cocoon registry init")
        return raw

    def write_root(self, raw: bytes, version: int) -> None:
        """Store a root under its version and as the newest."""
        write_file(self.path / root_file(version), raw)
        write_file(self.path / ROOT_FILE, raw)

    def read_registry(self) -> bytes | None:
        """The newest registry.json, None before the first signing."""
        return self._read(REGISTRY_FILE)

    def write_registry(self, raw: bytes) -> None:
        """Store a registry as the newest."""
        write_file(self.path / REGISTRY_FILE, raw)

    def public_files(self) -> list[Path]:
        """What may be published, in the order in which it must appear: roots before the registry."""
        numbers = (path.name.partition(".")[0] for path in self.path.glob(f"*.{ROOT_FILE}"))
        versions = sorted(int(number) for number in numbers if number.isdecimal())
        names = [*map(root_file, versions), ROOT_FILE, REGISTRY_FILE]
        return [self.path / name for name in names]

    def read_entries(self) -> dict[str, Entry]:
        """All entries by provider id, in the order of the ids."""
        files = sorted(self.entries.glob("*.json"))
        return {path.stem: decode_entry(path.read_bytes()) for path in files}

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
        raw = self._read("policy.json")
        try:
            return Policy() if raw is None else msgspec.json.decode(raw, type=Policy)
        except ValueError as error:
            raise ConfigError(f"{self.path / 'policy.json'} does not parse: {error}") from None

    def write_policy(self, policy: Policy) -> None:
        """Store the operator's decisions."""
        raw = msgspec.json.format(msgspec.json.encode(policy), indent=2)
        write_file(self.path / "policy.json", raw + b"\n")

    def signers(self, role: Role) -> Sequence[Ed25519Key]:
        """The keys of `role` that lie in keys/.

        Raises:
            ConfigError: a key file is damaged or readable by others.
        """
        keys = [load_key(path) for path in sorted(self.keys.glob("*.key"))]
        return [key for key in keys if key.public_key in role.public_keys]

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self.path / name} cannot be read: {error.strerror}") from None


def write_file(path: Path, content: bytes) -> None:
    """Write beside the target, flush, rename over it; readable by a web server.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp makes 0600, which a web server could not read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
