"""The reference provider: serves models over encrypted sessions and is paid by vouchers."""
