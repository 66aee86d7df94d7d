"""The cache of converted models: made once, whole or not at all, checked when found."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from reference.tiny import write_tiny_gguf

from cocoon_provider.models import store
from cocoon_provider.models.manifest import MANIFEST, TOKENS, WEIGHTS, ModelFolder
from cocoon_provider.models.pull import models_dir
from cocoon_provider.models.store import converter_hash, ensure_model
from cocoon_sdk.errors import ConfigError


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_tiny_gguf(tmp_path / "Tiny Model_v1.gguf"))


def test_converts_once_and_describes_itself(source: str) -> None:
    stages: list[tuple[str, int, int]] = []
    made = ensure_model(source, progress=lambda *step: stages.append(step))
    assert stages == [("convert", 1, 2), ("convert", 2, 2)]
    manifest = made.manifest
    assert (manifest.name, manifest.quantization, manifest.act) == ("tiny-model-v1", "int8", "f32")
    assert (manifest.layers, manifest.vocab, manifest.context) == (2, manifest.vocab, 512)
    assert made.path.parent == models_dir()
    stages.clear()
    again = ensure_model(source, progress=lambda *step: stages.append(step))
    assert (again, stages) == (made, [])


def test_each_precision_is_a_folder_of_its_own(source: str) -> None:
    folders = {
        ensure_model(source, quantization=quantization, act=act).path
        for quantization, act in (("int8", "f32"), ("f32", "f32"), ("int8", "f16"))
    }
    assert len(folders) == 3


@pytest.mark.parametrize("victim", [WEIGHTS, TOKENS, MANIFEST])
def test_a_damaged_model_is_made_again(source: str, victim: str) -> None:
    made = ensure_model(source)
    path = made.path / victim
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        ModelFolder.open(made.path, verify=True).bundle()
    assert ensure_model(source).model_hash == made.model_hash
    ModelFolder.open(made.path, verify=True)


def test_a_refused_file_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ConfigError, match=r"bad\.gguf"):
        ensure_model(str(path))
    assert [entry for entry in models_dir().iterdir() if entry.suffix != ".lock"] == []


def test_a_killed_conversion_is_swept(source: str) -> None:
    made = ensure_model(source)
    left = made.path.with_name(f"{made.path.name}.partial")
    made.path.rename(left)
    (left / "junk").write_text("half")
    assert ensure_model(source).model_hash == made.model_hash
    assert not left.exists()


def test_two_at_once_convert_once(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conversions = []
    convert = store.convert

    def counted(*args, **kwargs):
        conversions.append(args)
        return convert(*args, **kwargs)

    monkeypatch.setattr(store, "convert", counted)
    found: list[ModelFolder] = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_model(source))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1
    assert len({folder.model_hash for folder in found}) == 1
    assert len(found) == 3


def test_manifest_is_strict(source: str) -> None:
    made = ensure_model(source)
    document = msgspec.json.decode((made.path / MANIFEST).read_bytes())
    for change in ({"surprise": 1}, {"layers": "2"}, {"files": {"../../etc/passwd": "00"}}):
        (made.path / MANIFEST).write_bytes(msgspec.json.encode(document | change))
        with pytest.raises(ConfigError):
            ModelFolder.open(made.path)
    (made.path / MANIFEST).write_bytes(bytes(1_000_000))
    with pytest.raises(ConfigError, match="not a converted model"):
        ModelFolder.open(made.path)


def test_the_model_hash_is_the_manifests(source: str) -> None:
    import hashlib

    made = ensure_model(source)
    assert made.model_hash == hashlib.sha256(made.manifest.pack()).digest()
    assert (made.path / MANIFEST).read_bytes() == made.manifest.pack()


def test_converter_hash_is_of_the_sources() -> None:
    assert len(converter_hash()) == 64


def test_a_name_without_letters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rename the file"):
        ensure_model(str(write_tiny_gguf(tmp_path / "___.gguf")))
