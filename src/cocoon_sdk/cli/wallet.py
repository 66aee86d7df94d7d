"""`cocoon wallet`: the wallet, its coins, and payment channels."""

from __future__ import annotations

import typer

from cocoon_sdk.cli import (
    wallet_channels,
    wallet_close,
    wallet_explain,
    wallet_keys,
    wallet_sweep,
    wallet_view,
)

app = typer.Typer(
    help="Wallet, balances and payment channels.", no_args_is_help=True, add_completion=False
)

app.command("new")(wallet_keys.new)
app.command("import")(wallet_keys.import_key)
app.command("show")(wallet_view.show)
app.command("fund")(wallet_view.fund)
app.command("open")(wallet_channels.open_channel)
app.command("topup")(wallet_channels.top_up)
app.command("top-up", hidden=True)(wallet_channels.top_up)  # its name until 0.1
app.command("close")(wallet_close.close)
app.command("cancel-close")(wallet_close.cancel_close)
app.command("finalize")(wallet_close.finalize)
app.command("sweep")(wallet_sweep.sweep)
app.command("explain")(wallet_explain.explain)
