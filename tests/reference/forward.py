"""A forward pass in float64 that shares no code with the product: the answers to be matched.

It reads the GGUF through the `gguf` package alone and computes straight from the definition of the
architecture, one sequence at a time, with keys and values kept between calls.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize

Cache = list[tuple[np.ndarray, np.ndarray]]


class Reference:
    """`logits(ids)` of a GGUF model, float64 [len(ids), vocab]."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.w = {
            tensor.name: np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float64)
            for tensor in reader.tensors
        }
        field = reader.get_field
        family = field("general.architecture").contents()
        keys = {
            "layers": "block_count",
            "heads": "attention.head_count",
            "kv_heads": "attention.head_count_kv",
            "eps": "attention.layer_norm_rms_epsilon",
            "base": "rope.freq_base",
        }
        self.layers, self.heads, self.kv_heads, self.eps, self.base = (
            field(f"{family}.{key}").contents() for key in keys.values()
        )
        self.family = family
        self.dim = len(self.w["blk.0.attn_q.weight"]) // self.heads

    def start(self) -> Cache:
        empty = np.zeros((self.kv_heads, 0, self.dim))
        return [(empty, empty)] * self.layers

    def logits(self, ids: list[int], cache: Cache) -> np.ndarray:
        """Logits after each of `ids`, which follow what `cache` holds; `cache` grows by them."""
        w, x = self.w, self.w["token_embd.weight"][ids]
        first = cache[0][0].shape[1]
        for i in range(self.layers):
            b = f"blk.{i}."
            n = self.norm(x, w[b + "attn_norm.weight"])
            q, k, v = (self.heads_of(n, b + f"attn_{part}") for part in "qkv")
            q, k = self.rotate(q, first), self.rotate(k, first)
            k, v = (np.concatenate(pair, axis=1) for pair in zip(cache[i], (k, v), strict=True))
            cache[i] = (k, v)
            x = x + self.attend(q, k, v) @ w[b + "attn_output.weight"].T
            n = self.norm(x, w[b + "ffn_norm.weight"])
            gate = n @ w[b + "ffn_gate.weight"].T
            up = n @ w[b + "ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w[b + "ffn_down.weight"].T
        head = w.get("output.weight", w["token_embd.weight"])
        return self.norm(x, w["output_norm.weight"]) @ head.T

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """The `count` most likely next tokens, end-of-text included and passed over."""
        cache, ids = self.start(), list(prompt)
        for _ in range(count):
            new = ids if not cache[0][0].shape[1] else ids[-1:]
            ids.append(int(self.logits(new, cache)[-1].argmax()))
        return ids[len(prompt) :]

    def norm(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * weight

    def heads_of(self, n: np.ndarray, name: str) -> np.ndarray:
        """Project, add the bias and norm where the model has them; [heads, tokens, dim]."""
        y = n @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0.0)
        y = y.reshape(len(n), -1, self.dim)
        if f"{name}_norm.weight" in self.w:
            y = self.norm(y, self.w[f"{name}_norm.weight"])
        return y.transpose(1, 0, 2)

    def rotate(self, x: np.ndarray, first: int) -> np.ndarray:
        """Rotary embedding in the file's own order: neighbours for llama, half a head apart else."""
        positions = first + np.arange(x.shape[1])
        angles = positions[:, None] * self.base ** (-np.arange(0, self.dim, 2) / self.dim)
        turned = np.exp(1j * angles)
        if self.family == "llama":
            z = (x[..., 0::2] + 1j * x[..., 1::2]) * turned
            return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)
        half = self.dim // 2
        z = (x[..., :half] + 1j * x[..., half:]) * turned
        return np.concatenate([z.real, z.imag], axis=-1)

    def attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        group = self.heads // self.kv_heads
        k, v = k.repeat(group, axis=0), v.repeat(group, axis=0)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(self.dim)
        new, total = scores.shape[1:]
        hidden = np.arange(total)[None, :] > (total - new + np.arange(new))[:, None]
        scores[:, hidden] = -np.inf
        e = np.exp(scores - scores.max(-1, keepdims=True))
        out = (e / e.sum(-1, keepdims=True)) @ v
        return out.transpose(1, 0, 2).reshape(new, -1)
