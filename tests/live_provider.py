"""`cocoon-provider serve` with an echo that can be slowed down: `--delay SECONDS` before each token.

The whole command is the real one; only the backend is built here.

"""

from __future__ import annotations

import argparse
import sys

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.cli import main as command
from cocoon_provider.operations import serve as operation


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--port", required=True)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    operation.make_backend = lambda config: EchoBackend(
        tuple(config.models), delay=options.delay, answer=_answer
    )
    verbose = ["--verbose"] if options.verbose else []
    sys.argv = ["cocoon-provider", "serve", "--port", options.port, *verbose]
    command.main()


def _answer(question: str) -> str:
    """`<n> text` repeats the text n times, so that short prompts have long answers."""
    times, _, text = question.partition(" ")
    return text * int(times) if times.isdigit() else question


if __name__ == "__main__":
    main()
