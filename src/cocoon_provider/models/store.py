"""Converted models on disk: found, or made once, atomically, by one process at a time."""

from __future__ import annotations

import hashlib
import re
import shutil
from functools import cache
from pathlib import Path

from cocoon_provider.models.catalogue import CATALOGUE
from cocoon_provider.models.convert import convert
from cocoon_provider.models.graph import Activation, Precision, Quantization
from cocoon_provider.models.manifest import STANDARD, ModelFolder, sha256_file
from cocoon_provider.models.progress import Progress, quiet
from cocoon_provider.models.pull import models_dir, pull
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.store.lock import file_lock


def ensure_model(
    name: str,
    *,
    quantization: Quantization = "int8",
    act: Activation = "f32",
    title: str | None = None,
    progress: Progress | None = None,
) -> ModelFolder:
    """The converted model of a catalogue name or a local .gguf or .whl file.

    `title` is the id under which it is offered: the catalogue name, or from the file's, unless given.

    Pulled and converted where the cache lacks it; a cached model is checked against its manifest, and
    made again where it is damaged.

    Raises:
        ConfigError: the model cannot be had or is not supported; nothing half-made stays behind.
    """
    report = progress or quiet
    precision = Precision(quantization, act)
    listing = CATALOGUE.get(name)
    digest = listing.gguf_sha256 if listing else sha256_file(pull(name, progress=report))
    title = _checked(title) if title else name if listing else _title(Path(name).stem)
    key = hashlib.sha256(f"{title}\n{digest}\n{converter_hash()}".encode()).hexdigest()[:16]
    folder = models_dir() / f"{title}-{quantization}-{act}-{key}"
    with file_lock(folder.with_name(f"{folder.name}.lock"), timeout=None):
        if folder.is_dir():
            try:
                return ModelFolder.open(folder, verify=True)
            except ConfigError:
                shutil.rmtree(folder)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        try:
            partial.mkdir()
            made = convert(
                pull(name, progress=report),
                partial,
                name=title,
                precision=precision,
                progress=report,
                sampling=listing.sampling if listing else STANDARD,
            )
            if made.manifest.source_sha256 != digest:
                raise ConfigError(
                    f"the model file {name} changed while it was converted; try again"
                )
            partial.rename(folder)
        except OSError as error:
            raise ConfigError(f"cannot write the converted model to {folder}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return ModelFolder.open(folder)


@cache
def converter_hash() -> str:
    """SHA-256 over this package's sources: a changed converter converts again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _checked(title: str) -> str:
    if _title(title) != title:
        raise ConfigError(
            f"{title!r} is no model name; use lower case letters, digits, dots and dashes"
        )
    return title


def _title(stem: str) -> str:
    """A file's stem as a model name: lower case letters, digits, dots and dashes."""
    title = re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-.")
    if not title:
        raise ConfigError(f"the file name {stem!r} gives no usable model name; rename the file")
    return title[:100]
