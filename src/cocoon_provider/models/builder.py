"""The decoder as an ONNX graph (engine.md, "From GGUF to ONNX").

Inputs: input_ids [B, S] i64, seqlens_k [B] i32 (total length - 1), total_sequence_length [] i32,
logits_rows [N] i64 (which of the B*S positions need logits), past_key_values.i.{key,value}
[B, kv_heads, T, head_dim].
Outputs: logits [N, vocab] f32, present.i.{key,value}.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from cocoon_provider.models.architecture import Architecture
from cocoon_provider.models.graph import MICROSOFT, Graph

# onnx writes newer versions by default than onnxruntime accepts.
IR_VERSION = 10
OPSET = 21
PIECE = 8192  # positions of the rotary tables that are alive at a time

Step = Callable[[int, int], None]


def build_model(graph: Graph, architecture: Architecture, step: Step) -> ModelProto:
    """Fill `graph` (its weights go to its weight file) and return the finished model.

    Args:
        graph: an empty graph in the wanted precision.
        architecture: the model's sizes.
        step: called with (layers done, layers in all).

    Raises:
        ConfigError: a weight cannot be stored in the wanted precision.
    """
    sizes = architecture
    _rotary_tables(graph, sizes)
    hidden = graph.embedding("embedding", "input_ids", "token_embd.weight")
    normed = graph.add(
        "SimplifiedLayerNormalization",
        [hidden, graph.vector("blk.0.attn_norm.weight")],
        ["blk.0.attn_norm"],
        attributes={"axis": -1, "epsilon": sizes.norm_eps},
    )
    for layer in range(sizes.layers):
        prefix = f"blk.{layer}"
        attended = _attention(graph, sizes, prefix, normed, layer)
        normed, hidden = _skip_norm(graph, sizes, f"{prefix}.ffn_norm", attended, hidden)
        added = _feed_forward(graph, prefix, normed)
        last = layer + 1 == sizes.layers
        following = "output_norm" if last else f"blk.{layer + 1}.attn_norm"
        normed, hidden = _skip_norm(graph, sizes, following, added, hidden)
        step(layer + 1, sizes.layers)
    rows = graph.add("Reshape", [normed, graph.constant("flat", [-1, sizes.hidden])], ["positions"])
    chosen = graph.add("Gather", [rows, "logits_rows"], ["chosen"], attributes={"axis": 0})
    table = "token_embd.weight" if sizes.tied else "output.weight"
    half = graph.precision.act == "f16"
    head = graph.head("head" if half else "logits", chosen, table)
    if half:
        graph.add("Cast", [head], ["logits"], attributes={"to": TensorProto.FLOAT})
    return _finish(graph, sizes)


def _rotary_tables(graph: Graph, sizes: Architecture) -> None:
    """cos_cache and sin_cache [context, head_dim / 2], computed in float64."""
    exponents = np.arange(0, sizes.head_dim, 2, dtype=np.float64) / sizes.head_dim
    frequencies = sizes.rope_base**-exponents / sizes.rope_scale  # radians per position
    if graph.source.has("rope_freqs.weight"):
        frequencies /= graph.source.read("rope_freqs.weight").astype(np.float64)
    shape = (sizes.context, sizes.head_dim // 2)
    for name, function in (("cos_cache", np.cos), ("sin_cache", np.sin)):
        graph.store_blocks(
            name,
            shape,
            (
                function(np.outer(np.arange(first, min(first + PIECE, sizes.context)), frequencies))
                for first in range(0, sizes.context, PIECE)
            ),
        )


def _skip_norm(
    graph: Graph, sizes: Architecture, name: str, added: str, hidden: str
) -> tuple[str, str]:
    """(norm(added + hidden), added + hidden)."""
    total = f"{name}.sum"
    graph.add(
        "SkipSimplifiedLayerNormalization",
        [added, hidden, graph.vector(f"{name}.weight")],
        [name, "", "", total],
        domain=MICROSOFT,
        attributes={"epsilon": sizes.norm_eps},
    )
    return name, total


def _attention(graph: Graph, sizes: Architecture, prefix: str, value: str, layer: int) -> str:
    parts = [f"{prefix}.attn_{part}" for part in "qkv"]
    packed = graph.linear(f"{prefix}.qkv", value, [f"{part}.weight" for part in parts])
    if sizes.qkv_bias:
        biases = [graph.source.read(f"{part}.bias") for part in parts]
        stacked = np.concatenate(biases).astype(graph.precision.numpy)
        bias = graph.store(f"{prefix}.qkv.bias", stacked)
        packed = graph.add("Add", [packed, bias], [f"{prefix}.qkv.biased"])
    query, key, values = packed, "", ""
    if sizes.qk_norm:
        query, key, values = _normed_heads(graph, sizes, prefix, packed)
    context = f"{prefix}.attention"
    graph.add(
        "GroupQueryAttention",
        [
            query,
            key,
            values,
            f"past_key_values.{layer}.key",
            f"past_key_values.{layer}.value",
            "seqlens_k",
            "total_sequence_length",
            "cos_cache",
            "sin_cache",
        ],
        [context, f"present.{layer}.key", f"present.{layer}.value"],
        domain=MICROSOFT,
        attributes={"num_heads": sizes.heads, "kv_num_heads": sizes.kv_heads, "do_rotary": 1},
    )
    return graph.linear(f"{prefix}.attn_output", context, [f"{prefix}.attn_output.weight"])


def _normed_heads(
    graph: Graph, sizes: Architecture, prefix: str, packed: str
) -> tuple[str, str, str]:
    """Split the packed projection and normalise each query and key head (qwen3)."""
    q, kv = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    names = [f"{prefix}.{part}" for part in ("query", "key", "value")]
    lengths = graph.constant(f"{prefix}.split", [q, kv, kv])
    graph.add("Split", [packed, lengths], names, attributes={"axis": -1})
    normed = []
    for name, heads, weight in (
        (names[0], sizes.heads, "attn_q_norm"),
        (names[1], sizes.kv_heads, "attn_k_norm"),
    ):
        shape = graph.constant(f"{name}.heads", [0, 0, heads, sizes.head_dim])
        split = graph.add("Reshape", [name, shape], [f"{name}.split"])
        norm = graph.add(
            "SimplifiedLayerNormalization",
            [split, graph.vector(f"{prefix}.{weight}.weight")],
            [f"{name}.norm"],
            attributes={"axis": -1, "epsilon": sizes.norm_eps},
        )
        flat = graph.constant(f"{name}.flat", [0, 0, heads * sizes.head_dim])
        normed.append(graph.add("Reshape", [norm, flat], [f"{name}.normed"]))
    return normed[0], normed[1], names[2]


def _feed_forward(graph: Graph, prefix: str, value: str) -> str:
    gate = graph.linear(f"{prefix}.ffn_gate", value, [f"{prefix}.ffn_gate.weight"])
    up = graph.linear(f"{prefix}.ffn_up", value, [f"{prefix}.ffn_up.weight"])
    # x * sigmoid(1 * x) is SiLU.
    activated = graph.add(
        "QuickGelu", [gate], [f"{prefix}.silu"], domain=MICROSOFT, attributes={"alpha": 1.0}
    )
    product = graph.add("Mul", [activated, up], [f"{prefix}.gated"])
    return graph.linear(f"{prefix}.ffn_down", product, [f"{prefix}.ffn_down.weight"])


def _finish(graph: Graph, sizes: Architecture) -> ModelProto:
    kind = graph.precision.onnx

    def value(name: str, element: int, shape: list[str | int]) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, element, shape)

    inputs = [
        value("input_ids", TensorProto.INT64, ["batch", "sequence"]),
        value("seqlens_k", TensorProto.INT32, ["batch"]),
        value("total_sequence_length", TensorProto.INT32, []),
        value("logits_rows", TensorProto.INT64, ["rows"]),
    ]
    outputs = [value("logits", TensorProto.FLOAT, ["rows", sizes.vocab])]
    for layer in range(sizes.layers):
        for part in ("key", "value"):
            past: list[str | int] = ["batch", sizes.kv_heads, "past", sizes.head_dim]
            present: list[str | int] = ["batch", sizes.kv_heads, "total", sizes.head_dim]
            inputs.append(value(f"past_key_values.{layer}.{part}", kind, past))
            outputs.append(value(f"present.{layer}.{part}", kind, present))
    return helper.make_model(
        helper.make_graph(graph.nodes, "decoder", inputs, outputs, graph.initializers),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
        producer_name="cocoon",
    )
