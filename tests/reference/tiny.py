"""A random model small enough for any test: a GGUF file of a few layers and 300-odd tokens.

path = write_tiny_gguf(folder / "tiny.gguf")
folder = convert_tiny(tmp_path, quantization="f32")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize

from cocoon_provider.models.convert import convert
from cocoon_provider.models.graph import Activation, Precision, Quantization
from cocoon_provider.models.manifest import ModelFolder
from cocoon_provider.models.progress import quiet

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["the", "and", "ing", "hello", "world", "Ġthe", "Ġhello", "Ġworld", "Ġa", "system", "user"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    family: str = "llama"
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    ffn: int = 96
    context: int = 512
    tied: bool = True
    pre: str = "smollm"
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32


def write_tiny_gguf(path: Path, shape: Shape = Shape(), *, seed: int = 0) -> Path:
    """Write a random model; the same seed and shape give the same file."""
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(path, shape.family)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(shape.pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, values in weights(shape, len(tokens), seed).items():
        if values.ndim == 2 and shape.kind != gguf.GGMLQuantizationType.F32:
            packed = quantize(values, shape.kind)
            writer.add_tensor(name, packed, raw_dtype=shape.kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def convert_tiny(
    folder: Path,
    shape: Shape = Shape(),
    *,
    seed: int = 0,
    quantization: Quantization = "f32",
    act: Activation = "f32",
) -> ModelFolder:
    """Write a random model into `folder` and convert it there."""
    source = write_tiny_gguf(folder / "tiny.gguf", shape, seed=seed)
    target = folder / f"tiny-{quantization}-{act}"
    target.mkdir()
    return convert(
        source, target, name="tiny", precision=Precision(quantization, act), progress=quiet
    )


def vocabulary() -> tuple[list[str], list[str]]:
    """Special tokens, the 256 byte letters, and merges that lead to `WORDS`."""
    tokens = SPECIAL + sorted(byte_letters().values())
    merges: list[str] = []
    for word in WORDS:
        left = word[0]
        for letter in word[1:]:
            merge = f"{left} {letter}"
            left += letter
            if left not in tokens:
                tokens.append(left)
                merges.append(merge)
    return tokens, merges


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + index) for index, byte in enumerate(others)
    }


def weights(shape: Shape, vocab: int, seed: int) -> dict[str, np.ndarray]:
    """Tensors by GGUF name; large enough in the layers that answers do not just repeat the prompt."""
    random = np.random.default_rng(seed)
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        scale = gain / np.sqrt(columns)
        return random.normal(0, scale, (rows, columns)).astype(np.float32)

    def vector(size: int, mean: float = 1.0) -> np.ndarray:
        return random.normal(mean, 0.1, size).astype(np.float32)

    tensors = {
        "token_embd.weight": random.normal(0, 0.35, (vocab, shape.hidden)).astype(np.float32),
        "output_norm.weight": vector(shape.hidden),
    }
    if not shape.tied:
        tensors["output.weight"] = matrix(vocab, shape.hidden, 3.0)
    for index in range(shape.layers):
        layer = {
            "attn_norm.weight": vector(shape.hidden),
            "attn_q.weight": matrix(q, shape.hidden, 2.0),
            "attn_k.weight": matrix(kv, shape.hidden, 2.0),
            "attn_v.weight": matrix(kv, shape.hidden, 2.0),
            "attn_output.weight": matrix(shape.hidden, q, 2.0),
            "ffn_norm.weight": vector(shape.hidden),
            "ffn_gate.weight": matrix(shape.ffn, shape.hidden, 2.0),
            "ffn_up.weight": matrix(shape.ffn, shape.hidden, 2.0),
            "ffn_down.weight": matrix(shape.hidden, shape.ffn, 2.0),
        }
        if shape.family == "qwen2":
            layer |= {f"attn_{part}.bias": vector(q if part == "q" else kv, 0.0) for part in "qkv"}
        if shape.family == "qwen3":
            layer |= {f"attn_{part}_norm.weight": vector(shape.head_dim) for part in "qk"}
        tensors |= {f"blk.{index}.{name}": values for name, values in layer.items()}
    return tensors
