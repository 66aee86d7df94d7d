"""Running a converted model's graph directly, without the engine."""

from __future__ import annotations

import numpy as np
import onnxruntime

from cocoon_provider.models.manifest import ModelFolder

Past = dict[str, np.ndarray]


class GraphRunner:
    """One onnxruntime session on the CPU, one sequence at a time."""

    def __init__(self, folder: ModelFolder, *, threads: int = 2) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            folder.graph, options, providers=["CPUExecutionProvider"]
        )
        manifest = folder.manifest
        self.layers = manifest.layers
        self.empty = np.zeros(
            (1, manifest.kv_heads, 0, manifest.head_dim),
            np.float16 if manifest.act == "f16" else np.float32,
        )

    def start(self) -> Past:
        return {
            f"past_key_values.{i}.{part}": self.empty
            for i in range(self.layers)
            for part in ("key", "value")
        }

    def logits(self, ids: list[int], past: Past, rows: list[int] | None = None) -> np.ndarray:
        """Logits [rows, vocab] after `ids`, which follow `past`; `past` grows by them."""
        total = past["past_key_values.0.key"].shape[2] + len(ids)
        chosen = list(range(len(ids))) if rows is None else rows
        logits, *present = self.session.run(
            None,
            {
                "input_ids": np.array([ids], np.int64),
                "seqlens_k": np.array([total - 1], np.int32),
                "total_sequence_length": np.array(total, np.int32),
                "logits_rows": np.array(chosen, np.int64),
                **past,
            },
        )
        past.update(zip(past, present, strict=True))
        return logits

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        past, ids = self.start(), list(prompt)
        for step in range(count):
            new = ids[-1:] if step else ids
            ids.append(int(self.logits(new, past, [len(new) - 1])[0].argmax()))
        return ids[len(prompt) :]


def divergence(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """KL(expected || found) per row, in nats, of the distributions that two sets of logits mean."""
    p, q = (_log_softmax(np.asarray(logits, np.float64)) for logits in (expected, found))
    return (np.exp(p) * (p - q)).sum(-1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
