"""The pieces of a graph by themselves: what each operator gets, what is stored once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cocoon_provider.models.graph import Array, Graph, Precision
from cocoon_provider.models.weights import WeightFile
from cocoon_sdk.errors import ConfigError

RANDOM = np.random.default_rng(5)


class Source:
    """Tensors in memory, whose rows come in blocks of three; how often each was read."""

    def __init__(self, **tensors: Array) -> None:
        self.tensors = tensors
        self.reads: list[str] = []

    def has(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def rows(self, name: str) -> Iterator[Array]:
        self.reads.append(name)
        for start in range(0, len(self.tensors[name]), 3):
            yield self.tensors[name][start : start + 3]

    def read(self, name: str) -> Array:
        return self.tensors[name]


def matrix(rows: int, columns: int) -> Array:
    return RANDOM.normal(size=(rows, columns)).astype(np.float32)


class Stage:
    """A graph of one piece that can be run."""

    def __init__(self, folder: Path, source: Source, quantization: str, act: str) -> None:
        self.folder, self.source = folder, source
        self.file = WeightFile(folder / "g.data")
        self.graph = Graph(Precision(quantization, act), self.file, source)  # type: ignore[arg-type]
        self.kind = self.graph.precision.numpy

    def run(self, output: str, **inputs: np.ndarray) -> np.ndarray:
        self.file.__exit__(None, None, None)
        declared = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if value.dtype == np.int64 else self.graph.precision.onnx,
                value.shape,
            )
            for name, value in inputs.items()
        ]  # fmt: skip
        result = helper.make_tensor_value_info(output, self.graph.precision.onnx, None)
        made = helper.make_graph(self.graph.nodes, "g", declared, [result], self.graph.initializers)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        path = self.folder / "g.onnx"
        path.write_bytes(
            helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return np.asarray(session.run([output], inputs)[0])

    def region(self, name: str) -> dict[str, str]:
        [tensor] = [t for t in self.graph.initializers if t.name == name]
        return {entry.key: entry.value for entry in tensor.external_data}


BUILDS = [("f32", "f32", 1e-4), ("f16", "f16", 2e-2), ("int8", "f32", 6e-2)]


@pytest.fixture(params=BUILDS, ids=lambda build: f"{build[0]}-{build[1]}")
def build(request: pytest.FixtureRequest) -> tuple[str, str, float]:
    return request.param


def test_linear_multiplies_with_the_stacked_rows(tmp_path: Path, build) -> None:
    source = Source(**{"a.q": matrix(5, 64), "a.k": matrix(4, 64)})
    stage = Stage(tmp_path, source, *build[:2])
    x = matrix(2, 64).astype(stage.kind)
    assert stage.graph.linear("y", "x", ["a.q", "a.k"]) == "y"
    expected = x.astype(np.float32) @ np.concatenate([source.read("a.q"), source.read("a.k")]).T
    assert np.abs(stage.run("y", x=x) - expected).max() < build[2] * np.abs(expected).max()


def test_embedding_and_tied_head_share_what_is_stored(tmp_path: Path, build) -> None:
    source = Source(table=matrix(7, 64))
    stage = Stage(tmp_path, source, *build[:2])
    ids = np.array([6, 0, 3])
    stage.graph.embedding("e", "ids", "table")
    stage.graph.head("logits", "e", "table")
    assert source.reads == ["table"]  # quantised and written once
    suffix = "codes" if build[0] == "int8" else "weight"
    assert stage.region(f"e.{suffix}") == stage.region(f"logits.{suffix}")
    rows = source.read("table")[ids]
    expected = rows @ source.read("table").T
    found = stage.run("logits", ids=ids)
    assert np.abs(found - expected).max() < build[2] * np.abs(expected).max()
    assert found.argmax(axis=1).tolist() == ids.tolist()


def test_different_parts_are_stored_apart(tmp_path: Path) -> None:
    source = Source(a=matrix(3, 32), b=matrix(3, 32))
    stage = Stage(tmp_path, source, "int8", "f32")
    stage.graph.linear("one", "x", ["a", "b"])
    stage.graph.linear("two", "x", ["b", "a"])
    assert stage.region("one.codes") != stage.region("two.codes")
    stage.file.__exit__(None, None, None)


def test_vectors_and_constants_keep_their_types(tmp_path: Path) -> None:
    source = Source(norm=np.array([1, 2, 3], np.float32))
    stage = Stage(tmp_path, source, "int8", "f16")
    stage.graph.vector("norm")
    stage.graph.constant("shape", [0, -1])
    norm, shape = stage.graph.initializers
    assert (norm.name, norm.data_type, list(norm.dims)) == ("norm", TensorProto.FLOAT16, [3])
    assert onnx.numpy_helper.to_array(shape).tolist() == [0, -1]
    assert shape.data_type == TensorProto.INT64
    stage.file.__exit__(None, None, None)
    assert np.fromfile(tmp_path / "g.data", np.float16).tolist() == [1, 2, 3]


def test_rows_that_fill_no_blocks_are_refused_by_name(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Source(ffn_up=matrix(4, 48)), "int8", "f32")
    with pytest.raises(ConfigError, match="ffn_up has rows of 48"):
        stage.graph.linear("y", "x", ["ffn_up"])
    stage.file.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("quantization", "act", "numpy", "number"),
    [
        ("f32", "f32", np.float32, TensorProto.FLOAT),
        ("f16", "f16", np.float16, TensorProto.FLOAT16),
        ("int8", "f16", np.float16, TensorProto.FLOAT16),
    ],
)
def test_activations_have_one_type(quantization, act, numpy, number) -> None:
    precision = Precision(quantization, act)
    assert (precision.numpy, precision.onnx) == (numpy, number)
