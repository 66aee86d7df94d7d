"""The file beside the graph: every large tensor, one after another, written as it is made.

Nothing is kept in memory once written. The graph refers to regions by offset and length, so two
tensors may share one region (the tied embedding and head).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from onnx import StringStringEntryProto, TensorProto
from onnx.helper import np_dtype_to_tensor_dtype

ALIGNMENT = 64


class Region(NamedTuple):
    """Bytes of the weight file."""

    offset: int
    length: int


class WeightFile:
    """An append-only weight file of a graph, and the tensors that refer to it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, blocks: Iterable[npt.NDArray[Any]]) -> Region:
        """Append blocks as one region, aligned for the kernels that map it."""
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        start = self._file.tell()
        for block in blocks:
            self._file.write(np.ascontiguousarray(block).data)
        return Region(start, self._file.tell() - start)

    def tensor(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, region: Region
    ) -> TensorProto:
        """An initializer of the graph whose data is `region`."""
        tensor = TensorProto(
            name=name,
            dims=shape,
            data_type=np_dtype_to_tensor_dtype(np.dtype(dtype)),
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (
            ("location", self.name),
            ("offset", str(region.offset)),
            ("length", str(region.length)),
        ):
            tensor.external_data.append(StringStringEntryProto(key=key, value=value))
        return tensor
