"""What a model is: its shape and the few switches in which the supported families differ.

llama, qwen2 and qwen3 are one decoder with small variations: biases on q, k and v (qwen2), a norm on
each query and key head (qwen3), and the row order in which GGUF keeps q and k (llama).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cocoon_sdk.errors import ConfigError

FAMILIES = ("llama", "qwen2", "qwen3")
MAX_HEAD = 256  # elements, the largest that models use
MAX_CONTEXT = 131_072  # positions in the rotary tables; longer contexts are served up to here
_LIMITS = {"layers": 512, "hidden": 65_536, "heads": 1024, "ffn": 1_048_576, "vocab": 4_194_304}


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes are element counts; `rope_scale` divides positions (linear scaling; 1.0 = none)."""

    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    rope_base: float
    rope_scale: float
    norm_eps: float
    tied: bool

    @property
    def interleaved(self) -> bool:
        """Whether the file keeps the rows of q and k in the order of interleaved rotation."""
        return self.family == "llama"

    @property
    def qkv_bias(self) -> bool:
        """Whether q, k and v have biases."""
        return self.family == "qwen2"

    @property
    def qk_norm(self) -> bool:
        """Whether each query and key head is normalised before the rotation."""
        return self.family == "qwen3"

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor the model must have, by its GGUF name, with its shape (rows, columns)."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (self.vocab, self.hidden),
            "output_norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["output.weight"] = (self.vocab, self.hidden)
        layer: dict[str, tuple[int, ...]] = {
            "attn_norm.weight": (self.hidden,),
            "attn_q.weight": (q, self.hidden),
            "attn_k.weight": (kv, self.hidden),
            "attn_v.weight": (kv, self.hidden),
            "attn_output.weight": (self.hidden, q),
            "ffn_norm.weight": (self.hidden,),
            "ffn_gate.weight": (self.ffn, self.hidden),
            "ffn_up.weight": (self.ffn, self.hidden),
            "ffn_down.weight": (self.hidden, self.ffn),
        }
        if self.qkv_bias:
            layer |= {"attn_q.bias": (q,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        if self.qk_norm:
            layer |= {
                "attn_q_norm.weight": (self.head_dim,),
                "attn_k_norm.weight": (self.head_dim,),
            }
        for index in range(self.layers):
            shapes |= {f"blk.{index}.{name}": shape for name, shape in layer.items()}
        return shapes


def from_gguf(metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """Read and check an architecture.

    Args:
        metadata: the file's keys and values.
        shapes: the file's tensors, outermost dimension first.

    Raises:
        ConfigError: an unsupported family or feature (named), a value out of range, or a tensor that
            is missing, of another shape, or not understood; none is ignored, since a graph without it
            would answer nonsense.
    """
    family = metadata.get("general.architecture")
    if family not in FAMILIES:
        raise ConfigError(
            f"the architecture {family!r} is not supported; supported are {', '.join(FAMILIES)}"
        )
    _refuse_features(metadata, family)
    hidden = _count(metadata, f"{family}.embedding_length", _LIMITS["hidden"])
    heads = _count(metadata, f"{family}.attention.head_count", _LIMITS["heads"])
    kv_heads = heads
    if f"{family}.attention.head_count_kv" in metadata:
        kv_heads = _count(metadata, f"{family}.attention.head_count_kv", heads)
    head_dim = hidden // heads
    if f"{family}.attention.key_length" in metadata:
        head_dim = _count(metadata, f"{family}.attention.key_length", MAX_HEAD)
    if heads % kv_heads or head_dim % 16 or not 16 <= head_dim <= MAX_HEAD:
        raise ConfigError(
            f"{heads} query heads over {kv_heads} key-value heads of {head_dim} are not supported"
            f" (whole groups, and heads in multiples of 16 up to {MAX_HEAD})"
        )
    vocab = shapes.get("token_embd.weight", (0,))[0]
    if not 1 <= vocab <= _LIMITS["vocab"]:
        raise ConfigError(f"the model's vocabulary of {vocab} tokens is out of range")
    context = _count(metadata, f"{family}.context_length", 1 << 40)
    architecture = Architecture(
        family=family,
        layers=_count(metadata, f"{family}.block_count", _LIMITS["layers"]),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=_count(metadata, f"{family}.feed_forward_length", _LIMITS["ffn"]),
        vocab=vocab,
        context=min(context, MAX_CONTEXT),
        rope_base=_positive(metadata, f"{family}.rope.freq_base", 10_000.0),
        rope_scale=_positive(metadata, f"{family}.rope.scaling.factor", 1.0),
        norm_eps=_positive(metadata, f"{family}.attention.layer_norm_rms_epsilon", None),
        tied="output.weight" not in shapes,
    )
    rotated = metadata.get(f"{family}.rope.dimension_count", head_dim)
    if rotated != head_dim:
        raise ConfigError(f"rotating {rotated} of {head_dim} dimensions a head is not supported")
    _check_tensors(architecture, shapes)
    return architecture


def _refuse_features(metadata: Mapping[str, Any], family: str) -> None:
    if metadata.get(f"{family}.expert_count", 0):
        raise ConfigError("mixture-of-experts models are not supported")
    if metadata.get(f"{family}.attention.sliding_window", 0):
        raise ConfigError("sliding-window attention is not supported")
    scaling = metadata.get(f"{family}.rope.scaling.type", "none")
    if scaling not in {"none", "linear"}:
        raise ConfigError(f"rotary scaling {scaling!r} is not supported (none and linear are)")


def _check_tensors(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> None:
    wanted = architecture.tensors()
    optional = {"rope_freqs.weight": (architecture.head_dim // 2,)}
    for name, shape in wanted.items():
        if name not in shapes:
            raise ConfigError(f"the model file lacks the tensor {name}")
        if tuple(shapes[name]) != shape:
            raise ConfigError(f"the tensor {name} has shape {tuple(shapes[name])}, not {shape}")
    for name, found in shapes.items():
        if name not in wanted and optional.get(name) != tuple(found):
            raise ConfigError(
                f"the tensor {name} is unknown for {architecture.family}: not supported"
            )


def _count(metadata: Mapping[str, Any], key: str, limit: int) -> int:
    value = metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ConfigError(f"the model file's {key} is {value!r}, not a number from 1 to {limit}")
    return value


def _positive(metadata: Mapping[str, Any], key: str, default: float | None) -> float:
    value = metadata.get(key, default)
    if not isinstance(value, float) or not 0 < value < float("inf"):
        raise ConfigError(f"the model file's {key} is {value!r}, not a positive number")
    return value
