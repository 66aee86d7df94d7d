"""The GGUF reader: equal to the gguf package on good files, bounded and clear on bad ones."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize
from reference.tiny import Shape, write_tiny_gguf

from cocoon_provider.models import gguf as reader
from cocoon_provider.models.gguf import GgufFile
from cocoon_sdk.errors import ConfigError

KINDS = [Kind.F32, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_gguf_package(tmp_path: Path, kind: Kind) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", Shape(kind=kind))
    theirs = gguf.GGUFReader(path)
    with GgufFile(path) as ours:
        for name, field in theirs.fields.items():
            if not name.startswith("GGUF."):
                assert ours.metadata[name] == field.contents()
        assert len(ours.tensors) == len(theirs.tensors)
        for tensor in theirs.tensors:
            expected = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
            assert np.array_equal(ours.read(tensor.name), expected)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0])
def test_rows_come_in_bounded_blocks(tmp_path: Path, kind: Kind, monkeypatch) -> None:
    values = np.random.default_rng(1).normal(size=(37, 64)).astype(np.float32)
    path = tmp_path / "rows.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    packed = values.astype(np.float16) if kind == Kind.F16 else quantize(values, kind)
    writer.add_tensor("a", packed, raw_dtype=None if kind == Kind.F16 else kind)
    _write(writer)
    monkeypatch.setattr(reader, "CHUNK_BYTES", 10 * 64 * 4)
    with GgufFile(path) as file:
        blocks = list(file.rows("a"))
        assert [len(block) for block in blocks] == [10, 10, 10, 7]
        assert np.allclose(np.concatenate(blocks), values, atol=0.02)


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the model file"):
        GgufFile(tmp_path / "none.gguf")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ConfigError, match="cannot read the model file"):
        GgufFile(tmp_path / "empty.gguf")


def test_every_truncation_is_refused(tiny: Path, tmp_path: Path) -> None:
    raw = tiny.read_bytes()
    short = tmp_path / "short.gguf"
    for size in random.Random(7).sample(range(1, len(raw) - 64), 200):
        short.write_bytes(raw[:size])
        with pytest.raises(ConfigError, match=r"short\.gguf"):
            GgufFile(short)


def test_flipped_bytes_never_end_in_another_error(tiny: Path, tmp_path: Path) -> None:
    raw, rng, bad = tiny.read_bytes(), random.Random(11), tmp_path / "bad.gguf"
    refused = 0
    for _ in range(400):
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(6000)] = rng.randrange(256)
        bad.write_bytes(changed)
        try:
            with GgufFile(bad) as file:
                for name in file.tensors:
                    for _ in file.rows(name):
                        pass
        except ConfigError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"GGML" + bytes(20), "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62), "over the limit"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff", "not UTF-8"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77), "type 77"),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 0, 2**61),
            "an array",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1),
            "array of unsupported type 9",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQQ", 3, 0, 1, 1)
            + b"k"
            + struct.pack("<IIQ", 9, 8, 4_000_000),
            "inside its header",
        ),
    ],
)
def test_hostile_headers_are_refused_in_bounded_memory(
    tmp_path: Path, raw: bytes, fault: str
) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=fault):
            GgufFile(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def _tensor(name: str, dims: list[int], kind: int, offset: int) -> bytes:
    raw = struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
    return raw + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ([_tensor("a", [2**40, 2**20], 0, 0)], "ends past the file"),
        ([_tensor("a", [4], 0, 2**63)], "ends past the file"),
        ([_tensor("a", [4, 0], 0, 0)], "no whole blocks"),
        ([_tensor("a", [33], 8, 0)], "no whole blocks of 32"),
        ([_tensor("a", [4], 999, 0)], "unknown type 999"),
        ([_tensor("a", [4], 24, 0)], "I8, which is not supported"),
        ([_tensor("a", [1] * 5, 0, 0)], "5 dimensions"),
        ([_tensor("a", [4], 0, 0), _tensor("a", [4], 0, 0)], "occurs twice"),
    ],
)
def test_hostile_tensors_are_refused(tmp_path: Path, tensors: list[bytes], fault: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0) + b"".join(tensors) + bytes(256)
    )
    with pytest.raises(ConfigError, match=fault):
        GgufFile(path)


def test_repeated_key_and_odd_alignment_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    pair = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 33)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pair * 2)
    with pytest.raises(ConfigError, match="occurs twice"):
        GgufFile(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
    with pytest.raises(ConfigError, match="alignment 33"):
        GgufFile(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "nan.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("bad.weight", np.array([[1.0, value]], np.float32))
    _write(writer)
    with GgufFile(path) as file, pytest.raises(ConfigError, match=r"bad\.weight .* not finite"):
        file.read("bad.weight")


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
