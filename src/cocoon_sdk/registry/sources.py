"""Where registry files come from: an https URL, a path, or bytes that the caller holds."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cocoon_sdk.errors import ConfigError, RegistryFormatError, RegistryUnavailableError
from cocoon_sdk.registry.shards import shard_file
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES

if TYPE_CHECKING:
    import httpx

SourceSpec = str | Path | bytes

REGISTRY_FILE = "registry.json"
ROOT_FILE = "root.json"


def root_file(version: int) -> str:
    """The name under which one version of the root stays published."""
    return f"{version}.{ROOT_FILE}"


class Fetched(NamedTuple):
    """An envelope as it came, and the tag by which a server recognises it."""

    raw: bytes
    etag: str | None = None


class Source(Protocol):
    """One place that holds registry.json, with root.json and its versions beside it."""

    @property
    def locator(self) -> str:
        """A text that names the place, for messages and for the cache."""
        ...

    @property
    def on_this_machine(self) -> bool:
        """Whether the file comes from this machine: a path, bytes, or loopback."""
        ...

    def check(self) -> None:
        """Raise RegistryUnavailableError where it is cheap to see that there is no registry."""
        ...

    def has_changed(self) -> bool:
        """Whether it is cheap to see, and true, that the registry is not the one last read."""
        ...

    async def registry(self, etag: str | None) -> Fetched | None:
        """The registry file; None if it still is the one with this tag."""
        ...

    async def root(self, version: int | None) -> bytes | None:
        """One version of the root, or the newest (None); None if there is no such file."""
        ...

    async def shard(self, sha256: str, length: int) -> bytes | None:
        """A shard of at most `length` bytes; None if there is no such file."""
        ...


class BytesSource:
    """A registry.json in memory. It has no root beside it, so a root.json must be pinned."""

    on_this_machine = True

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._read = False
        self.locator = f"bytes with SHA-256 {hashlib.sha256(raw).hexdigest()[:16]}…"

    def check(self) -> None:
        """Bytes are always there."""

    def has_changed(self) -> bool:
        """Only until it was read."""
        return not self._read

    async def registry(self, etag: str | None) -> Fetched | None:  # noqa: ARG002 - protocol
        """The bytes."""
        self._read = True
        return Fetched(self._raw)

    async def root(self, version: int | None) -> bytes | None:  # noqa: ARG002 - protocol
        """There never is one."""
        return None

    async def shard(self, sha256: str, length: int) -> bytes | None:  # noqa: ARG002 - protocol
        """There never is one."""
        return None


class FileSource:
    """A registry.json on disk; a folder stands for the file of that name inside it."""

    on_this_machine = True

    def __init__(self, path: Path) -> None:
        expanded = path.expanduser()
        self._path = expanded / REGISTRY_FILE if expanded.is_dir() else expanded
        self._read: tuple[int, int] | None = None
        self.locator = str(self._path.absolute())

    def check(self) -> None:
        """A path that leads nowhere is a mistake, whatever the cache holds."""
        if self._signature() is None:
            raise RegistryUnavailableError(f"there is no registry file at {self._path}")

    def has_changed(self) -> bool:
        """Whether size or modification time differ from when it was read."""
        return self._signature() != self._read

    async def registry(self, etag: str | None) -> Fetched | None:  # noqa: ARG002 - protocol
        """The file."""
        self._read = self._signature()
        raw = await asyncio.to_thread(_read_file, self._path, MAX_REGISTRY_BYTES)
        if raw is None:
            raise RegistryUnavailableError(f"there is no registry file at {self._path}")
        return Fetched(raw)

    async def root(self, version: int | None) -> bytes | None:
        """The root beside it."""
        name = ROOT_FILE if version is None else root_file(version)
        return await asyncio.to_thread(_read_file, self._path.with_name(name), MAX_ROOT_BYTES)

    async def shard(self, sha256: str, length: int) -> bytes | None:
        """The shard in the folder of shards beside it."""
        return await asyncio.to_thread(_read_file, self._path.parent / shard_file(sha256), length)

    def _signature(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def open_source(
    spec: SourceSpec, *, transport: httpx.AsyncBaseTransport | None = None, timeout: float = 20.0
) -> Source:
    """The source behind `registry=`.

    Args:
        spec: https URL (http on loopback), file or folder path, or the bytes of registry.json.
        transport: replaces the network, in tests.
        timeout: seconds for one file, first byte to last.

    Raises:
        ConfigError: a URL that is neither https nor on loopback.
    """
    if isinstance(spec, bytes):
        return BytesSource(spec)
    if isinstance(spec, str) and "://" in spec:
        from cocoon_sdk.registry.http import HttpSource  # httpx costs start-up time

        try:
            return HttpSource(spec, transport=transport, timeout=timeout)
        except RegistryFormatError as error:
            raise ConfigError(f"registry: {error}") from None
    return FileSource(Path(spec))


def _read_file(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RegistryUnavailableError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > limit:
        raise RegistryFormatError(f"{path} is above the limit of {limit} bytes")
    return raw
