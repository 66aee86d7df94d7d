"""The openai-shaped resources that hang on a client."""
