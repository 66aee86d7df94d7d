"""Amounts, metering, vouchers and receipts; on the client also channels, budgets and the ledger."""
