"""The payment channel contract and its Python bindings."""
