"""Reading GGUF files: a memory-mapped parser that trusts no length it reads.

A GGUF file is foreign: every count and offset in it is checked against the file's size and against
fixed limits before anything is allocated, so that a truncated or hostile file ends in a `ConfigError`
that names the file and the fault. Only the dequantisation itself is the `gguf` package's.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from cocoon_sdk.errors import ConfigError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_ITEMS = 4_194_304  # array elements of the whole file; the largest vocabularies have 262,144
MAX_TEXT = 64 * 1024 * 1024  # bytes of all strings of the whole file
MAX_NAME = 256
CHUNK_BYTES = 8 * 1024 * 1024  # of float32 rows that are alive at a time

Array = npt.NDArray[np.float32]

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4",
    6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_TYPES = frozenset(
    {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
)  # fmt: skip


class Tensor(NamedTuple):
    """Where a tensor's rows lie. `shape` is outermost first: (rows, columns) for a matrix."""

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int
    row_bytes: int

    @property
    def rows(self) -> int:
        """Number of rows: all dimensions but the last, multiplied."""
        return math.prod(self.shape[:-1])


class GgufFile:
    """An open GGUF file: `metadata` by key, `tensors` by name, and their rows as float32.

    Raises:
        ConfigError: the file is missing, no GGUF, truncated, over a limit, or of an unsupported kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the model file {path}: {error}") from error
        self._at = 0
        self._items = 0
        self._text = 0
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        try:
            self._parse()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the mapping; the metadata stays readable."""
        self._map.close()

    def rows(self, name: str) -> Iterator[Array]:
        """The tensor's rows as float32, in blocks of at most `CHUNK_BYTES`, in order."""
        tensor = self.tensors[name]
        columns = tensor.shape[-1]
        step = max(1, CHUNK_BYTES // (4 * columns))
        for first in range(0, tensor.rows, step):
            count = min(step, tensor.rows - first)
            start = tensor.offset + first * tensor.row_bytes
            raw = np.frombuffer(self._map[start : start + count * tensor.row_bytes], np.uint8)
            block = np.asarray(
                _decode(raw.reshape(count, tensor.row_bytes), tensor.kind), np.float32
            )
            if not np.isfinite(block).all():
                raise self._refuse(f"tensor {name} holds values that are not finite")
            yield block.reshape(count, columns)

    def read(self, name: str) -> Array:
        """The whole tensor as float32, in its own shape."""
        blocks = list(self.rows(name))
        return np.concatenate(blocks).reshape(self.tensors[name].shape)

    def _refuse(self, fault: str) -> ConfigError:
        return ConfigError(f"cannot use the model file {self.path}: {fault}")

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._map):
            raise self._refuse(f"it ends at byte {len(self._map)}, inside its header")
        raw = self._map[self._at : end]
        self._at = end
        return raw

    def _u32(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def _u64(self) -> int:
        return int.from_bytes(self._take(8), "little")

    def _string(self, limit: int = MAX_TEXT) -> str:
        size = self._u64()
        self._text += size
        if size > limit or self._text > MAX_TEXT:
            raise self._refuse(f"a text of {size} bytes in its header is over the limit")
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as error:
            raise self._refuse("a text in its header is not UTF-8") from error

    def _parse(self) -> None:
        if self._take(4) != MAGIC:
            raise self._refuse("it does not begin with GGUF")
        version = self._u32()
        if version not in VERSIONS:
            raise self._refuse(f"GGUF version {version} is not supported (2 and 3 are)")
        tensors, keys = self._u64(), self._u64()
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise self._refuse(
                f"{tensors} tensors and {keys} keys are over {MAX_TENSORS} and {MAX_KEYS}"
            )
        for _ in range(keys):
            name = self._string(MAX_NAME)
            if name in self.metadata:
                raise self._refuse(f"the key {name!r} occurs twice")
            self.metadata[name] = self._value(self._u32())
        headers = [self._tensor_header() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or not 1 <= alignment <= 65_536
            or alignment & (alignment - 1)
        ):
            raise self._refuse(f"its alignment {alignment!r} is no power of two up to 65536")
        start = -(-self._at // alignment) * alignment
        for name, kind, shape, offset in headers:
            if name in self.tensors:
                raise self._refuse(f"the tensor {name!r} occurs twice")
            self.tensors[name] = self._place(name, kind, shape, start + offset)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise self._refuse(f"a value of unknown type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        return np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()

    def _array(self) -> list[Any]:
        kind, count = self._u32(), self._u64()
        self._items += count
        if self._items > MAX_ITEMS:
            raise self._refuse(
                f"an array of {count} values is over the limit of {MAX_ITEMS} a file"
            )
        if kind == _STRING:
            return [self._string() for _ in range(count)]
        if kind not in _SCALARS:
            raise self._refuse(f"an array of unsupported type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        values: list[Any] = np.frombuffer(self._take(dtype.itemsize * count), dtype).tolist()
        return values

    def _tensor_header(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self._string(MAX_NAME)
        dimensions = self._u32()
        if not 1 <= dimensions <= 4:
            raise self._refuse(f"tensor {name!r} has {dimensions} dimensions")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        return name, self._u32(), tuple(reversed(shape)), self._u64()

    def _place(self, name: str, kind: int, shape: tuple[int, ...], offset: int) -> Tensor:
        try:
            quantization = GGMLQuantizationType(kind)
        except ValueError:
            raise self._refuse(f"tensor {name!r} has the unknown type {kind}") from None
        if quantization.name not in _TYPES:
            raise self._refuse(f"tensor {name!r} is {quantization.name}, which is not supported")
        block, size = GGML_QUANT_SIZES[quantization]
        if 0 in shape or shape[-1] % block:
            raise self._refuse(f"tensor {name!r} of shape {shape} has no whole blocks of {block}")
        row_bytes = shape[-1] // block * size
        tensor = Tensor(name, quantization, shape, offset, row_bytes)
        if offset + tensor.rows * row_bytes > len(self._map):
            raise self._refuse(
                f"tensor {name!r} ends past the file's {len(self._map)} bytes (truncated?)"
            )
        return tensor


def _decode(raw: npt.NDArray[np.uint8], kind: GGMLQuantizationType) -> npt.NDArray[Any]:
    if kind == GGMLQuantizationType.F32:
        return raw.view("<f4")
    if kind == GGMLQuantizationType.F16:
        return raw.view("<f2")
    decoded: npt.NDArray[Any] = dequantize(raw, kind)
    return decoded
