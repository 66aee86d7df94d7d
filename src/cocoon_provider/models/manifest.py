"""What a converted model is made of. The hash of the manifest is the model hash of descriptors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import msgspec

from cocoon_sdk.errors import ConfigError

GRAPH = "model.onnx"
WEIGHTS = "model.onnx.data"
TOKENS = "tokens.json"
MANIFEST = "manifest.json"
MAX_MANIFEST = 64 * 1024


class SamplingDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model's makers recommend; holds where a request names nothing else."""

    temperature: float = 1.0
    top_p: float = 1.0


STANDARD = SamplingDefaults()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes are element counts, `context` is in tokens, hashes are SHA-256 in hex."""

    name: str
    architecture: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    context: int
    quantization: Literal["int8", "f32", "f16"]
    act: Literal["f32", "f16"]
    source_sha256: str
    files: dict[str, str]
    tokens_hash: str
    converter_version: str
    sampling: SamplingDefaults = STANDARD

    def pack(self) -> bytes:
        """The one encoding of this manifest: keys sorted, no spaces."""
        return msgspec.json.encode(self, order="sorted")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A converted model on disk."""

    path: Path
    manifest: Manifest
    model_hash: bytes

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> Self:
        """Read a model folder's manifest; with `verify`, also check every file's hash.

        Raises:
            ConfigError: a file is missing, damaged or does not match the manifest.
        """
        try:
            with (path / MANIFEST).open("rb") as file:
                raw = file.read(MAX_MANIFEST + 1)
            if len(raw) > MAX_MANIFEST:
                raise ConfigError(
                    f"{path} is not a converted model: {MANIFEST} is over {MAX_MANIFEST} bytes"
                )
            manifest = msgspec.json.decode(raw, type=Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{path} is not a converted model: {error}") from error
        folder = cls(path, manifest, hashlib.sha256(raw).digest())
        if set(manifest.files) != {GRAPH, WEIGHTS, TOKENS}:
            raise ConfigError(f"the manifest in {path} lists {sorted(manifest.files)}")
        if verify:
            folder.verify()
        return folder

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            ConfigError: a file is missing or differs.
        """
        for name, expected in self.manifest.files.items():
            if sha256_file(self.path / name) != expected:
                raise ConfigError(
                    f"{self.path / name} is damaged (its SHA-256 is not the manifest's);"
                    f" remove {self.path} and convert the model again"
                )

    @property
    def graph(self) -> Path:
        """The ONNX graph; its weights lie beside it."""
        return self.path / GRAPH

    def bundle(self) -> bytes:
        """The token bundle (tokenizer, template, special tokens) as served to clients.

        Raises:
            ConfigError: it is missing or not the one the manifest names.
        """
        try:
            raw = (self.path / TOKENS).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {self.path / TOKENS}: {error}") from error
        if hashlib.sha256(raw).hexdigest() != self.manifest.tokens_hash:
            raise ConfigError(f"{self.path / TOKENS} is damaged; convert the model again")
        return raw


def sha256_file(path: Path) -> str:
    """SHA-256 of a file in hex, read in pieces.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
