"""crypto_secretstream_xchacha20poly1305 from ChaCha20 and Poly1305, following libsodium's description."""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

TAG_MESSAGE, TAG_PUSH, TAG_REKEY, TAG_FINAL = range(4)
OVERHEAD = 17
_SIGMA = struct.unpack("<4I", b"expand 32-byte k")


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 (draft-irtf-cfrg-xchacha §2.2): a ChaCha20 block without its last addition."""
    words = struct.unpack("<16I", _chacha20(key, nonce, bytes(64)))
    added = (*_SIGMA, *struct.unpack("<4I", nonce))
    outer = (*words[:4], *words[12:])
    return struct.pack("<8I", *((w - a) % 2**32 for w, a in zip(outer, added, strict=True)))


def _chacha20(key: bytes, counter_and_nonce: bytes, data: bytes) -> bytes:
    return Cipher(ChaCha20(key, counter_and_nonce), mode=None).encryptor().update(data)


class SecretStream:
    """One direction's state: a key, a 32-bit counter that starts at 1, and 8 bytes of nonce."""

    def __init__(self, key: bytes, header: bytes) -> None:
        assert len(key) == 32
        assert len(header) == 24
        self.key = hchacha20(key, header[:16])
        self.nonce = header[16:]
        self.counter = 1

    def _stream(self, block: int, data: bytes) -> bytes:
        head = struct.pack("<II", block, self.counter)
        return _chacha20(self.key, head + self.nonce, data)

    def push(self, message: bytes, ad: bytes, tag: int) -> bytes:
        """Tag, ciphertext and MAC; afterwards the state has moved on."""
        mac = Poly1305(self._stream(0, bytes(32)))
        tag_block = self._stream(1, bytes([tag]).ljust(64, b"\0"))
        sealed = self._stream(2, message)
        mac.update(ad.ljust(-(-len(ad) // 16) * 16, b"\0"))
        # libsodium pads by (16 - 64 + length) mod 16, which is not up to a block; wire data depends on it.
        mac.update(tag_block + sealed + bytes((len(message) - 48) % 16))
        mac.update(struct.pack("<QQ", len(ad), 64 + len(message)))
        code = mac.finalize()
        self.nonce = bytes(a ^ b for a, b in zip(self.nonce, code, strict=False))
        self.counter = (self.counter + 1) % 2**32
        if tag & TAG_REKEY or self.counter == 0:
            self._rekey()
        return tag_block[:1] + sealed + code

    def _rekey(self) -> None:
        fresh = self._stream(0, self.key + self.nonce)
        self.key, self.nonce, self.counter = fresh[:32], fresh[32:], 1
