"""cocoon-e2e/1 a second time, written from wire.md alone: `cryptography`, hashlib and the standard library.

Nothing here imports the product or libsodium, so that vectors made here can find the product wrong.
"""
