"""SQL engines, pragmas and migrations, for the client ledger and the provider ledger."""
