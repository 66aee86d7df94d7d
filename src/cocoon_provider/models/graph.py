"""Nodes and weights of one ONNX graph, in the precision that a build asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cocoon_provider.models.quantize import BLOCK, Blocks, quantize_rows
from cocoon_provider.models.weights import Region, WeightFile
from cocoon_sdk.errors import ConfigError

Quantization = Literal["int8", "f32", "f16"]
Activation = Literal["f32", "f16"]
Array = npt.NDArray[np.float32]

MICROSOFT = "com.microsoft"
ACCURACY_INT8 = 4  # MatMulNBits: activations are quantised to int8 too; the fast CPU kernels


class Source(Protocol):
    """Where weights come from: float32 tensors by GGUF name, rows in the order the graph wants."""

    def has(self, name: str) -> bool:
        """Whether the model has the tensor."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's dimensions, outermost first."""
        ...

    def rows(self, name: str) -> Iterator[Array]:
        """The rows of a matrix, in blocks."""
        ...

    def read(self, name: str) -> Array:
        """A whole tensor."""
        ...


@dataclass(frozen=True, slots=True)
class Precision:
    """How weights are stored and in which type activations flow."""

    quantization: Quantization
    act: Activation

    def __post_init__(self) -> None:
        if self.quantization not in {"int8", "f32", "f16"} or self.act not in {"f32", "f16"}:
            raise ConfigError(
                f"no build has {self.quantization} weights with {self.act} activations;"
                " weights are int8, f32 or f16, activations f32 or f16"
            )
        if self.quantization not in {"int8", self.act}:
            raise ConfigError(f"{self.quantization} weights need {self.quantization} activations")

    @property
    def numpy(self) -> type[np.float32 | np.float16]:
        """Element type of activations, norms, scales and the key-value cache."""
        return np.float16 if self.act == "f16" else np.float32

    @property
    def onnx(self) -> int:
        """The same type by its ONNX number."""
        return int(TensorProto.FLOAT16 if self.act == "f16" else TensorProto.FLOAT)


@dataclass(slots=True)
class _StoredBlocks:
    codes: Region
    scales: Region
    zeros: Region


@dataclass(slots=True)
class Graph:
    """A graph under construction. Methods return the name of the value they add."""

    precision: Precision
    weights: WeightFile
    source: Source
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    _stored: dict[str, _StoredBlocks | Region] = field(default_factory=dict)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a node named after its first output, and return that output."""
        node = helper.make_node(
            op, inputs, outputs, name=outputs[0], domain=domain, **(attributes or {})
        )
        self.nodes.append(node)
        return outputs[0]

    def constant(self, name: str, values: Sequence[int]) -> str:
        """A small int64 vector inside the graph file."""
        self.initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def store(self, name: str, values: npt.NDArray[Any]) -> str:
        """A tensor in the weight file, in the element type of `values`."""
        region = self.weights.write([values])
        self.initializers.append(self.weights.tensor(name, values.shape, values.dtype, region))
        return name

    def store_blocks(
        self, name: str, shape: tuple[int, ...], blocks: Iterable[npt.NDArray[Any]]
    ) -> str:
        """A tensor of `shape` in the weight file and the activation type, written block by block."""
        kind = self.precision.numpy
        region = self.weights.write(block.astype(kind) for block in blocks)
        self.initializers.append(self.weights.tensor(name, shape, kind, region))
        return name

    def vector(self, name: str) -> str:
        """A norm weight or bias of the source, in the activation type."""
        return self.store(name, self.source.read(name).astype(self.precision.numpy))

    def linear(self, name: str, value: str, parts: Sequence[str]) -> str:
        """Product of `value` with the parts' stacked rows, transposed; `name` names the result."""
        rows = sum(self.source.shape(part)[0] for part in parts)
        columns = self.source.shape(parts[0])[1]
        if self.precision.quantization == "int8":
            return self._matmul_blocks(name, value, parts, (rows, columns))
        stacked = np.concatenate([block for part in parts for block in self.source.rows(part)])
        weight = self.store(f"{name}.weight", stacked.astype(self.precision.numpy).T)
        return self.add("MatMul", [value, weight], [name])

    def embedding(self, name: str, ids: str, table: str) -> str:
        """Rows of `table` at `ids`."""
        shape = self.source.shape(table)
        if self.precision.quantization != "int8":
            weight = self._dense_region(f"{name}.weight", table)
            return self.add("Gather", [weight, ids], [name], attributes={"axis": 0})
        codes, scales, zeros = self._block_tensors(name, [table], shape, (shape[1],))
        attributes = {"bits": 8, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
        return self.add(
            "GatherBlockQuantized",
            [codes, ids, scales, zeros],
            [name],
            domain=MICROSOFT,
            attributes=attributes,
        )

    def head(self, name: str, value: str, table: str) -> str:
        """Scores of `value` [n, hidden] for each row of `table`; one region with a tied embedding."""
        if self.precision.quantization == "int8":
            return self._matmul_blocks(name, value, [table], self.source.shape(table))
        weight = self._dense_region(f"{name}.weight", table)
        return self.add("Gemm", [value, weight], [name], attributes={"transB": 1})

    def _dense_region(self, name: str, table: str) -> str:
        kind = self.precision.numpy
        region = self._stored.get(table)
        if not isinstance(region, Region):
            region = self.weights.write(block.astype(kind) for block in self.source.rows(table))
            self._stored[table] = region
        self.initializers.append(self.weights.tensor(name, self.source.shape(table), kind, region))
        return name

    def _matmul_blocks(
        self, name: str, value: str, parts: Sequence[str], shape: tuple[int, ...]
    ) -> str:
        rows, columns = shape
        split = (columns // BLOCK, BLOCK)
        codes, scales, zeros = self._block_tensors(name, parts, (rows, columns), split)
        attributes = {
            "K": columns,
            "N": rows,
            "bits": 8,
            "block_size": BLOCK,
            "accuracy_level": ACCURACY_INT8,
        }
        return self.add(
            "MatMulNBits",
            [value, codes, scales, zeros],
            [name],
            domain=MICROSOFT,
            attributes=attributes,
        )

    def _block_tensors(
        self,
        name: str,
        parts: Sequence[str],
        shape: tuple[int, ...],
        columns_as: tuple[int, ...],
    ) -> tuple[str, str, str]:
        """Initializers for codes [rows, *columns_as], scales and zeros [rows, columns/32]."""
        rows, columns = shape
        if columns % BLOCK:
            raise ConfigError(
                f"{parts[0]} has rows of {columns}, no multiple of {BLOCK}: int8 weights cannot hold"
                " them; convert with f32 or f16 weights"
            )
        key = "+".join(parts)
        stored = self._stored.get(key)
        if not isinstance(stored, _StoredBlocks):
            stored = self._write_blocks(parts)
            self._stored[key] = stored
        grid = (rows, columns // BLOCK)
        named = (f"{name}.codes", f"{name}.scales", f"{name}.zeros")
        self.initializers += [
            self.weights.tensor(named[0], (rows, *columns_as), np.uint8, stored.codes),
            self.weights.tensor(named[1], grid, self.precision.numpy, stored.scales),
            self.weights.tensor(named[2], grid, np.uint8, stored.zeros),
        ]
        return named

    def _write_blocks(self, parts: Sequence[str]) -> _StoredBlocks:
        small: list[Blocks] = []  # scales and zeros only: a sixth of the codes

        def codes() -> Iterable[npt.NDArray[np.uint8]]:
            for part in parts:
                for rows in self.source.rows(part):
                    blocks = quantize_rows(rows, self.precision.numpy)
                    small.append(blocks._replace(codes=np.empty((0, 0), np.uint8)))
                    yield blocks.codes

        return _StoredBlocks(
            codes=self.weights.write(codes()),
            scales=self.weights.write(blocks.scales for blocks in small),
            zeros=self.weights.write(blocks.zeros for blocks in small),
        )
