"""Private, decentralised AI inference paid in the coin of TON: the client SDK."""

__version__ = "0.1.0"
