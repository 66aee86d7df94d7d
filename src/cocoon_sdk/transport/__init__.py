"""The only asyncio and websockets code of the SDK."""
