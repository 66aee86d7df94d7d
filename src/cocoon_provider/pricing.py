"""What each model costs here, and whether the price in a REQUEST is enough (payments.md §3)."""

from __future__ import annotations

from collections.abc import Mapping

from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import ConfigError, WireCode
from cocoon_sdk.payments.meter import Price


class PriceList:
    """Prices by model id, nano per million tokens."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    def __getitem__(self, model: str) -> Price:
        """The price of a model.

        Raises:
            ConfigError: the operator set none.
        """
        try:
            return self._prices[model]
        except KeyError:
            raise ConfigError(f"no price for the model {model!r}; add it under [models]") from None

    def accept(self, model: str, offered: tuple[int, int, int]) -> Price:
        """The price that governs a request: the one it carries, if it is not below ours in any part.

        Raises:
            Refusal: `price_changed` with our price, or a cached price above the prompt price.
        """
        ours = self[model]
        price = Price(*offered)
        if price.cached > price.prompt:
            raise Refusal(
                WireCode.INVALID_REQUEST,
                f"the price of cached tokens ({price.cached}) is above that of prompt tokens "
                f"({price.prompt}); it may not be",
            )
        if any(theirs < own for theirs, own in zip(price, ours, strict=True)):
            raise Refusal(
                WireCode.PRICE_CHANGED,
                f"the price of {model} is {list(ours)} nano per million prompt, cached and "
                f"completion tokens, the request offers {list(price)}; fetch the registry again",
                price=list(ours),
            )
        return price
