"""Ask one question and print the answer, its cost and its receipt.

    python examples/ask.py "Why is the sky blue?"

Settings come from the environment: COCOON_REGISTRY, COCOON_TRUST, COCOON_ASSURANCE, COCOON_HOME.
`cocoon demo --keep` prints a set of them to try this with.
"""

import asyncio
import sys

from cocoon_sdk import AsyncCocoon
from cocoon_sdk.errors import CocoonError


async def main(question: str) -> None:
    async with AsyncCocoon() as client:
        model = (await client.models.list())[0].id
        reply = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=80,
        )
    print(reply.text)
    usage = reply.usage
    print(f"{usage.prompt_tokens} + {usage.completion_tokens} tokens for {usage.cost} coins")
    print(f"receipt {reply.receipt.seq} of provider {reply.provider[:16]}…, verified")


if __name__ == "__main__":
    try:
        asyncio.run(main(" ".join(sys.argv[1:]) or "Why is the sky blue?"))
    except CocoonError as error:
        sys.exit(f"{error.code}: {error}")
