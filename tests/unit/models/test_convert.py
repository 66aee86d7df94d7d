"""One GGUF file to one folder: what is written, what of the source shows in it, what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from reference.tiny import Shape, convert_tiny, write_tiny_gguf

from cocoon_provider.models.architecture import from_gguf
from cocoon_provider.models.convert import GgufSource, convert, half_split
from cocoon_provider.models.gguf import GgufFile
from cocoon_provider.models.graph import Precision
from cocoon_provider.models.manifest import GRAPH, MANIFEST, TOKENS, WEIGHTS, ModelFolder
from cocoon_provider.models.progress import quiet
from cocoon_sdk.errors import ConfigError


def test_the_folder_holds_exactly_what_the_manifest_says(tmp_path: Path) -> None:
    made = convert_tiny(tmp_path, Shape(layers=3, context=640), quantization="int8")
    assert {path.name for path in made.path.iterdir()} == {GRAPH, WEIGHTS, TOKENS, MANIFEST}
    assert ModelFolder.open(made.path, verify=True) == made
    found = made.manifest
    assert (found.name, found.architecture) == ("tiny", "llama")
    assert (found.layers, found.heads, found.kv_heads, found.head_dim) == (3, 4, 2, 16)
    assert (found.hidden, found.context) == (64, 640)
    assert (found.quantization, found.act) == ("int8", "f32")
    source = (tmp_path / "tiny.gguf").read_bytes()
    assert found.source_sha256 == hashlib.sha256(source).hexdigest()
    assert found.tokens_hash == found.files[TOKENS] == hashlib.sha256(made.bundle()).hexdigest()


def test_each_layer_is_progress(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "t.gguf", Shape(layers=3))
    (tmp_path / "out").mkdir()
    steps: list[tuple[str, int, int]] = []
    convert(
        source, tmp_path / "out", name="t", precision=Precision("f32", "f32"),
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert steps == [("convert", n, 3) for n in (1, 2, 3)]


def test_name_precision_and_source_are_part_of_the_models_identity(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = convert_tiny(one)
    assert convert_tiny(other).model_hash == first.model_hash
    hashes = {first.model_hash}
    hashes.add(convert_tiny(one, quantization="int8").model_hash)
    for number, (seed, name) in enumerate([(1, "tiny"), (0, "named")]):
        source = write_tiny_gguf(tmp_path / f"{number}.gguf", seed=seed)
        folder = tmp_path / str(number)
        folder.mkdir()
        precision = Precision("f32", "f32")
        made = convert(source, folder, name=name, precision=precision, progress=quiet)
        hashes.add(made.model_hash)
    assert len(hashes) == 4


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_only_q_and_k_of_llama_files_change_their_rows(tmp_path: Path, family: str) -> None:
    path = write_tiny_gguf(tmp_path / "t.gguf", Shape(family=family, pre="qwen2"))
    with GgufFile(path) as file:
        shapes = {tensor.name: tensor.shape for tensor in file.tensors.values()}
        source = GgufSource(file, from_gguf(file.metadata, shapes))
        for part, heads in (("attn_q", 4), ("attn_k", 2), ("attn_v", None), ("ffn_up", None)):
            name = f"blk.0.{part}.weight"
            plain = file.read(name)
            expected = half_split(plain, heads) if heads and family == "llama" else plain
            assert np.array_equal(np.concatenate(list(source.rows(name))), expected)
            assert source.shape(name) == plain.shape
            assert np.array_equal(source.read(name), plain)
        assert source.has("token_embd.weight")
        assert not source.has("output.weight")


def test_half_split_turns_a_rotation_of_neighbours_into_one_of_halves() -> None:
    """Rotating the reordered rows by halves is the reordering of rotating the rows by pairs."""
    heads, width = 2, 6
    rows = np.random.default_rng(3).normal(size=(heads * width, 5)).astype(np.float32)

    def turn(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.6 * first - 0.8 * second, 0.8 * first + 0.6 * second

    by_pairs = rows.copy()
    by_pairs[0::2], by_pairs[1::2] = turn(rows[0::2], rows[1::2])
    by_halves = half_split(rows, heads).reshape(heads, 2, width // 2, 5)
    turned = np.stack(turn(by_halves[:, 0], by_halves[:, 1]), axis=1)
    assert np.allclose(turned.reshape(rows.shape), half_split(by_pairs, heads), atol=1e-6)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "t.gguf", Shape(family="mamba"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="mamba"):
        convert(path, tmp_path / "out", name="t", precision=Precision("f32", "f32"), progress=quiet)
    assert not (tmp_path / "out" / MANIFEST).exists()
