"""Architectures: read, or refused by the name of what is not supported."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference.tiny import Shape, write_tiny_gguf

from cocoon_provider.models.architecture import MAX_CONTEXT, from_gguf
from cocoon_provider.models.gguf import GgufFile
from cocoon_sdk.errors import ConfigError

TINY = Shape()


def _parts(tmp_path: Path, shape: Shape = TINY):
    with GgufFile(write_tiny_gguf(tmp_path / "tiny.gguf", shape)) as file:
        return file.metadata, {tensor.name: tensor.shape for tensor in file.tensors.values()}


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_reads_each_family(tmp_path: Path, family: str, tied: bool) -> None:
    metadata, shapes = _parts(tmp_path, Shape(family=family, tied=tied))
    read = from_gguf(metadata, shapes)
    assert (read.family, read.layers, read.hidden, read.heads, read.kv_heads) == (
        family,
        2,
        64,
        4,
        2,
    )
    assert (read.head_dim, read.ffn, read.context, read.tied) == (16, 96, 512, tied)
    assert set(read.tensors()) == set(shapes)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("general.architecture", "gemma3", "'gemma3' is not supported"),
        ("general.architecture", None, "None is not supported"),
        ("llama.expert_count", 8, "mixture-of-experts"),
        ("llama.attention.sliding_window", 4096, "sliding-window"),
        ("llama.rope.scaling.type", "yarn", "'yarn' is not supported"),
        ("llama.rope.dimension_count", 8, "rotating 8 of 16"),
        ("llama.attention.key_length", 24, "heads of 24"),
        ("llama.attention.key_length", 2**40, "key_length"),
        ("llama.attention.head_count_kv", 3, "over 3 key-value heads"),
        ("llama.attention.head_count", 0, "head_count"),
        ("llama.block_count", 2**40, "block_count"),
        ("llama.block_count", True, "block_count"),
        ("llama.block_count", "2", "block_count"),
        ("llama.block_count", 3, "lacks the tensor blk.2."),
        ("llama.block_count", 1, "blk.1.*unknown"),
        ("llama.feed_forward_length", 64, "has shape"),
        ("llama.attention.layer_norm_rms_epsilon", None, "epsilon"),
        ("llama.rope.freq_base", float("nan"), "freq_base"),
        ("llama.context_length", -1, "context_length"),
    ],
)
def test_refuses_by_name(tmp_path: Path, key: str, value: object, fault: str) -> None:
    metadata, shapes = _parts(tmp_path)
    with pytest.raises(ConfigError, match=fault):
        from_gguf(metadata | {key: value}, shapes)


def test_refuses_a_tensor_it_does_not_understand(tmp_path: Path) -> None:
    metadata, shapes = _parts(tmp_path)
    with pytest.raises(ConfigError, match=r"blk\.0\.attn_q\.bias is unknown for llama"):
        from_gguf(metadata, shapes | {"blk.0.attn_q.bias": (64,)})
    from_gguf(metadata, shapes | {"rope_freqs.weight": (8,)})
    with pytest.raises(ConfigError, match="rope_freqs"):
        from_gguf(metadata, shapes | {"rope_freqs.weight": (9,)})


def test_long_contexts_are_cut_to_what_the_tables_hold(tmp_path: Path) -> None:
    metadata, shapes = _parts(tmp_path)
    read = from_gguf(metadata | {"llama.context_length": 10_000_000}, shapes)
    assert read.context == MAX_CONTEXT
