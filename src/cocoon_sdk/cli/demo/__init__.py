"""`cocoon demo`: the whole system once, on real input."""

from cocoon_sdk.cli.demo.command import app

__all__ = ["app"]
