"""How many completion tokens a request may have, given its prompt and the model's context."""

from __future__ import annotations

from cocoon_sdk.errors import ContextLengthError, InvalidRequestError


def completion_limit(*, asked: int | None, prompt_tokens: int, resumed: int, context: int) -> int:
    """Completion tokens that may still be delivered.

    `asked` is for the whole answer: ids given for a resume count towards it, although they are billed as
    prompt and are part of `prompt_tokens`. Without it the answer may fill the context.

    Raises:
        ContextLengthError: prompt and answer exceed the context.
        InvalidRequestError: the resume already holds more than was asked for.
    """
    left = context - prompt_tokens
    if asked is None:
        limit = left
    else:
        limit = asked - resumed
        if limit < 0:
            raise InvalidRequestError(
                f"resume.ids holds {resumed} tokens, more than max_tokens = {asked}"
            )
    if limit > left or (asked is None and left < 1):
        raise ContextLengthError(
            f"{prompt_tokens} prompt tokens and {max(limit, 1)} completion tokens exceed the context of "
            f"{context}; shorten the messages or lower max_tokens"
        )
    return limit
