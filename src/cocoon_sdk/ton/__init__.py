"""Cells, addresses, the channel contract, chain clients and the wallet."""
