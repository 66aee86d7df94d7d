"""The weight file: aligned regions in order, and tensors that say where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_tensor

from cocoon_provider.models.weights import ALIGNMENT, Region, WeightFile


def test_regions_are_aligned_whole_and_in_order(tmp_path: Path) -> None:
    with WeightFile(tmp_path / "w.data") as file:
        first = file.write([np.arange(3, dtype=np.uint8), np.arange(3, 5, dtype=np.uint8)])
        second = file.write([np.ones(100, np.float32)])
        empty = file.write([])
        third = file.write([np.full(1, 9, np.uint8)])
    assert (first, second) == (Region(0, 5), Region(64, 400))
    assert empty == Region(512, 0)
    assert third == Region(512, 1)
    assert all(region.offset % ALIGNMENT == 0 for region in (first, second, third))
    raw = (tmp_path / "w.data").read_bytes()
    assert raw[:5] == bytes(range(5))
    assert raw[5:64] == bytes(59)
    assert raw[64:464] == np.ones(100, np.float32).tobytes()
    assert len(raw) == 513


def test_blocks_in_another_memory_order_are_written_row_by_row(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    with WeightFile(tmp_path / "w.data") as file:
        file.write([np.asfortranarray(matrix)])
    assert (tmp_path / "w.data").read_bytes() == matrix.tobytes()


def test_onnx_reads_back_what_a_tensor_refers_to(tmp_path: Path) -> None:
    values = np.array([[1.5, -2], [3, 4]], np.float16)
    with WeightFile(tmp_path / "w.data") as file:
        file.write([np.zeros(7, np.uint8)])
        region = file.write([values])
        tensors = [file.tensor(name, (2, 2), np.float16, region) for name in ("one", "two")]
    for tensor, name in zip(tensors, ("one", "two"), strict=True):
        assert (tensor.name, tensor.data_type) == (name, TensorProto.FLOAT16)
        load_external_data_for_tensor(tensor, str(tmp_path))
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), values)
