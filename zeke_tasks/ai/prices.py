"""Costs of tokens, by the list prices in ``prices.json`` and an optional file of the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zeke_queue.errors import SettingsError

# Answers name the model's snapshot: gpt-5-nano-2025-08-07.
_SNAPSHOT: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$", re.ASCII)


class Price(BaseModel):
    """Prices of a million tokens in US dollars.

    Attributes:
        input: of prompt and text.
        cached_input: of input that the server had cached from an earlier request; None for the price of
            ``input``.
        output: of the answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, allow_inf_nan=False)
    cached_input: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    output: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class _File(BaseModel):
    models: dict[str, Price]


def load_prices(path: Path | None = None) -> dict[str, Price]:
    """Return the list prices by model, overridden by those of a file.

    Raises:
        SettingsError: the file can't be read or has another form.
    """
    listed = _File.model_validate_json((resources.files("zeke_tasks.ai") / "prices.json").read_bytes())
    if path is None:
        return listed.models
    try:
        own = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"ZEKE_AI_PRICES: {path} can't be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(
            f"ZEKE_AI_PRICES: must be a list of prices, got {path}: {place}: {first['msg']}; write"
            ' {"models": {"NAME": {"input": 0.05, "cached_input": 0.005, "output": 0.4}}},'
            " in US dollars for a million tokens"
        ) from error
    return {**listed.models, **own.models}


def cost(
    prices: Mapping[str, Price], models: tuple[str, ...], *, fresh: int, cached: int = 0, output: int = 0
) -> float | None:
    """Return the cost of a call in US dollars, or None if no price is known.

    Args:
        prices: by model.
        models: names of the model; the first that has a price counts.
        fresh: input tokens that were not cached.
        cached: input tokens that were cached.
        output: output tokens.

    >>> prices = {"m": Price(input=0.05, cached_input=0.005, output=0.4)}
    >>> cost(prices, ("m-2025-08-07",), fresh=1000, output=500)
    0.00025
    """
    names = [name for model in models for name in (model, _SNAPSHOT.sub("", model))]
    price = next((prices[name] for name in names if name in prices), None)
    if price is None:
        return None
    again = price.input if price.cached_input is None else price.cached_input
    dollars = (fresh * price.input + cached * again + output * price.output) / 1e6
    # The rounding error of the division is far below the price of one token.
    return round(dollars, 10)


def most(prices: Mapping[str, Price], model: str, read: int, written: int) -> float | None:
    """Return the most that a call with so many tokens can cost; None if no price is known."""
    fresh = cost(prices, (model,), fresh=read, output=written)
    cached = cost(prices, (model,), fresh=0, cached=read, output=written)
    return None if fresh is None or cached is None else max(fresh, cached)
