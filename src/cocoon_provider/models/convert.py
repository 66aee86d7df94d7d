"""One GGUF file to one model folder: graph, weights, token bundle, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cocoon_provider.models.architecture import Architecture, from_gguf
from cocoon_provider.models.builder import build_model
from cocoon_provider.models.gguf import Array, GgufFile
from cocoon_provider.models.graph import Graph, Precision
from cocoon_provider.models.manifest import (
    GRAPH,
    MANIFEST,
    STANDARD,
    TOKENS,
    WEIGHTS,
    Manifest,
    ModelFolder,
    SamplingDefaults,
    sha256_file,
)
from cocoon_provider.models.progress import Progress
from cocoon_provider.models.tokens import token_bundle
from cocoon_provider.models.weights import WeightFile

CONVERTER_VERSION = "1"


class GgufSource:
    """The weights of a GGUF file in the row order of the graph."""

    def __init__(self, file: GgufFile, architecture: Architecture) -> None:
        self._file = file
        self._heads = {"attn_q": architecture.heads, "attn_k": architecture.kv_heads}
        self._interleaved = architecture.interleaved

    def has(self, name: str) -> bool:
        """Whether the file has the tensor."""
        return name in self._file.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Dimensions, outermost first."""
        return self._file.tensors[name].shape

    def rows(self, name: str) -> Iterator[Array]:
        """Rows in blocks; q and k of llama files in one block, since their rows change places."""
        heads = self._heads.get(name.split(".")[-2]) if self._interleaved else None
        if heads is None:
            yield from self._file.rows(name)
        else:
            yield half_split(self._file.read(name), heads)

    def read(self, name: str) -> Array:
        """A whole tensor."""
        return self._file.read(name)


def half_split(rows: Array, heads: int) -> Array:
    """Reorder each head's rows from neighbouring pairs to pairs half a head apart.

    llama's GGUF files keep q and k for a rotation of neighbouring rows; the attention operator rotates
    a row with the one half a head away.
    """
    count, columns = rows.shape
    paired = rows.reshape(heads, count // heads // 2, 2, columns)
    return np.ascontiguousarray(paired.swapaxes(1, 2)).reshape(count, columns)


def convert(
    source: Path,
    folder: Path,
    *,
    name: str,
    precision: Precision,
    progress: Progress,
    sampling: SamplingDefaults = STANDARD,
) -> ModelFolder:
    """Write a model folder from a GGUF file into the existing, empty `folder`.

    `sampling` is what the model's makers recommend.

    Raises:
        ConfigError: the file is damaged or of a kind that is not supported.
    """
    with GgufFile(source) as file:
        shapes = {tensor.name: tensor.shape for tensor in file.tensors.values()}
        architecture = from_gguf(file.metadata, shapes)
        bundle = token_bundle(file.metadata, architecture.vocab)
        (folder / TOKENS).write_bytes(bundle)
        with WeightFile(folder / WEIGHTS) as weights:
            graph = Graph(precision, weights, GgufSource(file, architecture))
            model = build_model(
                graph, architecture, lambda done, total: progress("convert", done, total)
            )
        (folder / GRAPH).write_bytes(model.SerializeToString(deterministic=True))
    manifest = Manifest(
        name=name,
        architecture=architecture.family,
        layers=architecture.layers,
        heads=architecture.heads,
        kv_heads=architecture.kv_heads,
        head_dim=architecture.head_dim,
        hidden=architecture.hidden,
        vocab=architecture.vocab,
        context=architecture.context,
        quantization=precision.quantization,
        act=precision.act,
        source_sha256=sha256_file(source),
        files={file: sha256_file(folder / file) for file in (GRAPH, WEIGHTS, TOKENS)},
        tokens_hash=hashlib.sha256(bundle).hexdigest(),
        converter_version=CONVERTER_VERSION,
        sampling=sampling,
    )
    (folder / MANIFEST).write_bytes(manifest.pack())
    return ModelFolder.open(folder)
