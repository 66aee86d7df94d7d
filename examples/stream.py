"""Print an answer while it arrives, and stop paying when it has said enough.

    python examples/stream.py "Tell me about the sea."

Settings come from the environment, as for ask.py.
"""

import asyncio
import sys

from cocoon_sdk import AsyncCocoon, Budget
from cocoon_sdk.errors import CocoonError, StreamTruncatedError

ENOUGH = 400  # characters


async def main(question: str) -> None:
    async with AsyncCocoon(budget=Budget(request="0.1")) as client:
        model = (await client.models.list())[0].id
        said, usage = 0, None
        async with client.chat.completions.stream(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=120,
        ) as stream:
            async for chunk in stream:
                print(chunk.text, end="", flush=True)
                said += len(chunk.text)
                usage = chunk.usage
                if said > ENOUGH:
                    break  # the provider stops; nothing more is signed
    print(
        f"\n{usage.cost} coins"
        if usage
        else "\nstopped early; the coins are those of what was read"
    )


if __name__ == "__main__":
    try:
        asyncio.run(main(" ".join(sys.argv[1:]) or "Tell me about the sea."))
    except StreamTruncatedError as error:
        sys.exit(f"cut off after {error.partial_text!r}, at a cost of {error.charged_nano} nano")
    except CocoonError as error:
        sys.exit(f"{error.code}: {error}")
