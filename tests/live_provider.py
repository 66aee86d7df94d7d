"""`cocoon-provider serve` with a backend for tests: a slow echo, or a tiny random model.

The command is the real one; only the backend is made here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cocoon_provider.backends.base import Backend
from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.cli import main as command
from cocoon_provider.config import Config
from cocoon_provider.operations import serve as operation


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each token")
    parser.add_argument("--gguf", type=Path, help="serve this model instead of an echo")
    parser.add_argument("--port", required=True)
    options = parser.parse_args()

    def make_backend(config: Config) -> Backend:
        if options.gguf is not None:
            return _onnx(options.gguf)
        return EchoBackend(tuple(config.models), delay=options.delay, answer=_answer)

    operation.make_backend = make_backend
    sys.argv = ["cocoon-provider", "serve", "--verbose", "--port", options.port]
    command.main()


def _answer(question: str) -> str:
    """`<n> text` repeats the text n times, so that short prompts have long answers."""
    times, _, text = question.partition(" ")
    return text * int(times) if times.isdigit() else question


def _onnx(gguf: Path) -> Backend:
    from cocoon_provider.backends.onnx import OnnxBackend
    from cocoon_provider.models.store import ensure_model

    model = ensure_model(str(gguf), quantization="f32")
    return OnnxBackend([model], device="cpu", threads=1, allow_cpu=True)


if __name__ == "__main__":
    main()
