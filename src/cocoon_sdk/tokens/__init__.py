"""Tokenizer and chat template; the same code counts on both sides."""
