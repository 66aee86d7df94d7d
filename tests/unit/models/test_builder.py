"""The graph: its face, its operators, and its answers against the float64 reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from reference.forward import Reference
from reference.session import GraphRunner, divergence
from reference.tiny import Shape, convert_tiny

from cocoon_provider.models.convert import half_split
from cocoon_provider.models.graph import Precision
from cocoon_provider.models.manifest import ModelFolder
from cocoon_sdk.errors import ConfigError

FAMILIES = ["llama", "qwen2", "qwen3"]
BUILDS = [("f32", "f32"), ("int8", "f32"), ("int8", "f16"), ("f16", "f16")]
IDS = [5, 17, 200, 33, 9, 121, 64, 250, 3, 88, 41, 7, 199, 150, 20, 111, 30]
LLAMA_OPS = {
    "SimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "GroupQueryAttention",
    "QuickGelu",
    "Mul",
    "Reshape",
    "Gather",
}


def _graph(folder: ModelFolder) -> onnx.ModelProto:
    return onnx.load(folder.graph, load_external_data=False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_f32_logits_match(tmp_path: Path, family: str, tied: bool) -> None:
    folder = convert_tiny(tmp_path, Shape(family=family, tied=tied, pre="qwen2"))
    reference, runner = Reference(tmp_path / "tiny.gguf"), GraphRunner(folder)
    expected = reference.logits(IDS, reference.start())
    found = runner.logits(IDS, runner.start())
    assert np.abs(found - expected).max() < 1e-3
    assert expected.std() > 1  # the comparison means something


@pytest.mark.parametrize("family", FAMILIES)
def test_f32_matches_when_fed_in_pieces(tmp_path: Path, family: str) -> None:
    folder = convert_tiny(tmp_path, Shape(family=family))
    reference, runner = Reference(tmp_path / "tiny.gguf"), GraphRunner(folder)
    expected = reference.logits(IDS, reference.start())
    past, found = runner.start(), []
    for piece in (IDS[:6], IDS[6:7], IDS[7:15], IDS[15:]):
        found.append(runner.logits(piece, past))
    assert np.abs(np.concatenate(found) - expected).max() < 1e-3


@pytest.mark.parametrize(("quantization", "act"), BUILDS[1:])
def test_other_builds_are_close(tmp_path: Path, quantization, act) -> None:
    """A random net multiplies rounding errors; what is checked is that weights sit where they should."""
    folder = convert_tiny(tmp_path, quantization=quantization, act=act)
    reference, runner = Reference(tmp_path / "tiny.gguf"), GraphRunner(folder)
    expected = reference.logits(IDS, reference.start())
    found = runner.logits(IDS, runner.start())
    assert found.dtype == np.float32
    assert divergence(expected, found).mean() < (0.001 if quantization == "f16" else 0.1)


def test_logits_rows_chooses_positions(tmp_path: Path) -> None:
    runner = GraphRunner(convert_tiny(tmp_path))
    every = runner.logits(IDS, runner.start())
    some = runner.logits(IDS, runner.start(), [16, 2])
    assert np.allclose(some, every[[16, 2]], atol=1e-5)
    assert runner.logits(IDS, runner.start(), []).shape == (0, every.shape[1])


def test_rows_of_a_batch_do_not_meet(tmp_path: Path) -> None:
    """Two rows of different length, one step each: the same logits as alone."""
    runner = GraphRunner(convert_tiny(tmp_path))
    first, second = runner.start(), runner.start()
    runner.logits(IDS[:9], first)
    runner.logits(IDS[4:10], second)
    alone = [runner.logits([7], dict(first))[0], runner.logits([11], dict(second))[0]]
    shared = {}
    for name, value in first.items():
        padded = np.pad(second[name], ((0, 0), (0, 0), (0, 3), (0, 0)), constant_values=9.0)
        shared[name] = np.concatenate([value, padded])
    together = runner.session.run(
        ["logits"],
        {
            "input_ids": np.array([[7], [11]]),
            "seqlens_k": np.array([9, 6], np.int32),
            "total_sequence_length": np.array(10, np.int32),
            "logits_rows": np.array([0, 1]),
            **shared,
        },
    )[0]
    assert np.abs(together - np.stack(alone)).max() < 1e-4


@pytest.mark.parametrize(("quantization", "act"), BUILDS)
def test_face_and_operators(tmp_path: Path, quantization, act) -> None:
    model = _graph(convert_tiny(tmp_path, quantization=quantization, act=act))
    assert model.ir_version <= 13
    assert all(entry.version <= 26 for entry in model.opset_import)
    cache = [f"{i}.{part}" for i in range(2) for part in ("key", "value")]
    assert [value.name for value in model.graph.input] == [
        "input_ids",
        "seqlens_k",
        "total_sequence_length",
        "logits_rows",
        *(f"past_key_values.{name}" for name in cache),
    ]
    assert [value.name for value in model.graph.output] == [
        "logits",
        *(f"present.{name}" for name in cache),
    ]
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    wanted = onnx.TensorProto.FLOAT16 if act == "f16" else onnx.TensorProto.FLOAT
    assert kinds["past_key_values.0.key"] == wanted
    dense = (
        {"MatMul", "Gemm"} if quantization != "int8" else {"MatMulNBits", "GatherBlockQuantized"}
    )
    cast = {"Cast"} if act == "f16" else set()
    assert {node.op_type for node in model.graph.node} == LLAMA_OPS | dense | cast


@pytest.mark.parametrize("quantization", ["int8", "f32"])
def test_tied_embedding_and_head_share_one_region(tmp_path: Path, quantization) -> None:
    tied, untied = tmp_path / "tied", tmp_path / "untied"
    regions = {}
    for folder, flag in ((tied, True), (untied, False)):
        folder.mkdir()
        model = _graph(convert_tiny(folder, Shape(tied=flag), quantization=quantization))
        found = {
            tensor.name: {entry.key: entry.value for entry in tensor.external_data}
            for tensor in model.graph.initializer
            if tensor.external_data
        }
        suffix = "codes" if quantization == "int8" else "weight"
        regions[flag] = (found[f"embedding.{suffix}"], found[f"logits.{suffix}"])
    assert regions[True][0] == regions[True][1]
    assert regions[False][0] != regions[False][1]


def test_conversion_is_reproducible(tmp_path: Path) -> None:
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folders.append(convert_tiny(tmp_path / name, quantization="int8"))
    assert folders[0].model_hash == folders[1].model_hash


def test_half_split_undoes_the_order_of_llama_files() -> None:
    # Two heads of four rows; a llama file holds each head's rows as 0, 2, 1, 3.
    rows = np.repeat(
        np.array([[0.0], [2], [1], [3], [10], [12], [11], [13]], np.float32), 2, axis=1
    )
    assert half_split(rows, 2)[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]


@pytest.mark.parametrize(
    "pair", [("f32", "f16"), ("f16", "f32"), ("int4", "f32"), ("int8", "bf16")]
)
def test_impossible_precisions_are_refused(pair) -> None:
    with pytest.raises(ConfigError, match="weights"):
        Precision(*pair)


def test_rows_that_fill_no_blocks_are_refused_for_int8(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no multiple of 32"):
        convert_tiny(tmp_path, Shape(ffn=80), quantization="int8")
