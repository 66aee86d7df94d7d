"""The manifest is the model: one encoding, one hash, every file accounted for."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from cocoon_provider.models.manifest import (
    GRAPH,
    MANIFEST,
    MAX_MANIFEST,
    TOKENS,
    WEIGHTS,
    Manifest,
    ModelFolder,
    sha256_file,
)
from cocoon_sdk.errors import ConfigError

CONTENT = {GRAPH: b"graph", WEIGHTS: b"weights", TOKENS: b"{}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, raw in CONTENT.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / MANIFEST).write_bytes(manifest().pack())
    return tmp_path


def manifest(**changes: object) -> Manifest:
    fields = {
        "name": "m", "architecture": "llama", "layers": 1, "heads": 2, "kv_heads": 1,
        "head_dim": 16, "hidden": 32, "vocab": 300, "context": 512, "quantization": "int8",
        "act": "f32", "source_sha256": "00" * 32,
        "files": {name: sha256(raw).hexdigest() for name, raw in CONTENT.items()},
        "tokens_hash": sha256(CONTENT[TOKENS]).hexdigest(), "converter_version": "1",
    }  # fmt: skip
    return Manifest(**(fields | changes))  # type: ignore[arg-type]


def test_the_encoding_is_canonical_and_its_hash_is_the_models(folder: Path) -> None:
    raw = manifest().pack()
    assert raw == msgspec.json.encode(msgspec.json.decode(raw), order="sorted")
    assert b" " not in raw
    opened = ModelFolder.open(folder, verify=True)
    assert opened.model_hash == sha256(raw).digest()
    assert opened.manifest == manifest()
    assert (opened.graph, opened.bundle()) == (folder / GRAPH, b"{}")
    assert sha256(manifest(context=513).pack()).digest() != opened.model_hash


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_verifying_finds_every_file_that_differs(folder: Path, name: str, fault: str) -> None:
    if fault == "changed":
        (folder / name).write_bytes(CONTENT[name] + b"!")
    else:
        (folder / name).unlink()
    with pytest.raises(ConfigError, match=name):
        ModelFolder.open(folder, verify=True)
    assert ModelFolder.open(folder).path == folder  # unless it is asked for nothing is hashed


@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_a_bundle_that_is_not_the_promised_one_is_never_served(folder: Path, fault: str) -> None:
    opened = ModelFolder.open(folder)
    if fault == "changed":
        (folder / TOKENS).write_bytes(b"{ }")
    else:
        (folder / TOKENS).unlink()
    with pytest.raises(ConfigError, match=TOKENS):
        opened.bundle()


@pytest.mark.parametrize(
    "change",
    [
        {"files": {GRAPH: "00", WEIGHTS: "00"}},
        {"files": {GRAPH: "00", WEIGHTS: "00", TOKENS: "00", "extra": "00"}},
        {"quantization": "int4"},
        {"act": "bf16"},
        {"layers": 1.5},
        {"unknown": 1},
    ],
)
def test_a_manifest_of_another_shape_is_refused(folder: Path, change: dict[str, object]) -> None:
    document = msgspec.json.decode(manifest().pack()) | change
    (folder / MANIFEST).write_bytes(msgspec.json.encode(document))
    with pytest.raises(ConfigError, match=str(folder)):
        ModelFolder.open(folder)


def test_a_manifest_that_was_only_read_in_part_is_refused(folder: Path) -> None:
    """Its hash would not be that of the file."""
    raw = manifest().pack()
    (folder / MANIFEST).write_bytes(raw + b" " * (MAX_MANIFEST - len(raw)))
    ModelFolder.open(folder)
    (folder / MANIFEST).write_bytes(raw + b" " * (MAX_MANIFEST - len(raw) + 1))
    with pytest.raises(ConfigError):
        ModelFolder.open(folder)


def test_no_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a converted model"):
        ModelFolder.open(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot read"):
        sha256_file(tmp_path)


def test_files_are_hashed_as_they_are(tmp_path: Path) -> None:
    raw = bytes(range(256)) * 5_000
    (tmp_path / "f").write_bytes(raw)
    assert sha256_file(tmp_path / "f") == sha256(raw).hexdigest()
