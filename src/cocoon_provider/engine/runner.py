"""The model: an onnxruntime session and the keys and values of its sequences.

Keys and values of all sequences live in one slab [2 * layers, rows, kv_heads, context, head_dim]. The
graph's past and present are bound to the same memory, so a step writes only the new positions and its
cost follows the length in use, not the slab's (engine.md, "Engine").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cocoon_provider.engine.device import Device, open_session
from cocoon_provider.models.manifest import ModelFolder
from cocoon_sdk.errors import ConfigError

Logits = npt.NDArray[np.float32]


class Runner:
    """Runs tokens of one sequence at a time. Used by one thread.

    Args:
        folder: A converted model.
        device: Where it runs.
        rows: Sequences that can be held at once.
        threads: CPU threads; default: physical cores.
        allow_cpu: See `open_session`.

    Raises:
        ConfigError: the model cannot be run as asked.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        device: Device = "cpu",
        rows: int = 1,
        threads: int | None = None,
        allow_cpu: bool = False,
    ) -> None:
        manifest = folder.manifest
        if device == "cuda" and manifest.act != "f16":
            raise ConfigError(
                f"{manifest.name} was converted with {manifest.act} activations and CUDA needs f16;"
                " convert it with act f16, or set device cpu"
            )
        self.rows = rows
        self.context = manifest.context
        self.vocab = manifest.vocab
        self._session = open_session(folder.graph, device, threads=threads, allow_cpu=allow_cpu)
        # A fall-back that was allowed: memory must then be the CPU's.
        on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        self._place = "cuda" if on_gpu else "cpu"
        self._kind = np.float16 if manifest.act == "f16" else np.float32
        self._shape = (manifest.kv_heads, manifest.context, manifest.head_dim)
        self._layers = manifest.layers
        self._slab, self._base = self._allocate((2 * manifest.layers, rows, *self._shape))
        self._logits = np.empty((1, manifest.vocab), np.float32)
        self._last = np.zeros(1, np.int64)
        self._bindings = [self._bind(row) for row in range(rows)]

    def run(self, row: int, past: int, tokens: Sequence[int]) -> Logits:
        """Append tokens to a row that holds `past` of them.

        Returns:
            Logits [vocab] after the last token; valid until the next call.
        """
        total = past + len(tokens)
        if not 0 < len(tokens) <= total <= self.context:
            raise ValueError(f"{len(tokens)} tokens after {past} do not fit {self.context}")
        self._last[0] = len(tokens) - 1
        inputs = {
            "input_ids": np.array([tokens], np.int64),
            "seqlens_k": np.array([total - 1], np.int32),
            "total_sequence_length": np.array(total, np.int32),
            "logits_rows": self._last,
        }
        binding = self._bindings[row]
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        self._session.run_with_iobinding(binding)
        logits: Logits = self._logits[0]
        return logits

    def _allocate(self, shape: tuple[int, ...]) -> tuple[Any, int]:
        """Zeroed memory and its address; on the CPU the pages are only taken when written."""
        if self._place == "cpu":
            array = np.zeros(shape, self._kind)
            return array, array.ctypes.data
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, self._kind, "cuda", 0)
        return value, value.data_ptr()

    def _bind(self, row: int) -> Any:
        binding = self._session.io_binding()
        size = int(np.prod(self._shape)) * np.dtype(self._kind).itemsize
        shape = (1, *self._shape)
        for index in range(2 * self._layers):
            layer, part = divmod(index, 2)
            name = f"{layer}.{('key', 'value')[part]}"
            address = self._base + (index * self.rows + row) * size
            where = (self._place, 0, self._kind, shape, address)
            binding.bind_input(f"past_key_values.{name}", *where)
            binding.bind_output(f"present.{name}", *where)
        binding.bind_output(
            "logits", "cpu", 0, np.float32, self._logits.shape, self._logits.ctypes.data
        )
        return binding
