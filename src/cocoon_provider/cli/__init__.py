"""The `cocoon-provider` command."""

from __future__ import annotations

import sys


def entry() -> None:
    """Entry point of the console script; says which extra is missing where one is."""
    try:
        from cocoon_provider.cli.main import main as run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.exit(f"error: cocoon-provider needs {error.name}: pip install 'cocoon-sdk[provider]'")
    run()
