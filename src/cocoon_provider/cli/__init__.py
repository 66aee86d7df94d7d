"""The `cocoon-provider` command."""

from __future__ import annotations

import sys

_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it


def entry() -> None:
    """Entry point of the console script; says which extra is missing where one is."""
    try:
        from cocoon_provider.cli.main import main as run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.exit(f"error: cocoon-provider needs {error.name}: pip install 'cocoon-sdk[provider]'")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)  # imports take a second
    run()
