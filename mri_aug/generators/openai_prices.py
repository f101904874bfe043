"""What images from OpenAI cost: from the tokens of an answer, and at most before there is one.

It knows one tariff and converts no currency; a server that bills otherwise, or not at all, is given other prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE_PIXELS = 1024 * 1024  # the size that the published prices per image are for
_MARGIN = 1.1  # those prices are rounded


@dataclass(frozen=True)
class Prices:
    """A tariff in US dollars; the defaults are OpenAI's for its current GPT image models, read in November 2026.

    Parameters
    ----------
    text_in, image_in, image_out : float
        Per million tokens. Discounts, as for cached input, are not counted.
    per_image : tuple of (str or None, float)
        By quality (None where a request has none), the output of one image of 1024 x 1024; for the bound only.
    image_in_tokens : int
        Bound for an input image of 1024 x 1024. No tariff states it; models that look at the input closely took
        some 4,600 tokens before.
    """

    text_in: float = 5.0
    image_in: float = 8.0
    image_out: float = 30.0
    per_image: tuple[tuple[str | None, float], ...] = (("low", 0.006), ("medium", 0.053), ("high", 0.211))
    image_in_tokens: int = 5000

    def per_million(self) -> dict[str, float]:
        """Return the prices of a million tokens by kind, for a record."""
        return {"text_in": self.text_in, "image_in": self.image_in, "image_out": self.image_out}

    def usd(self, usage: Mapping | None) -> float:
        """Return what an answer cost by its ``usage``; 0 where the server states none.

        Input that is not divided into text and image counts as image, the dearer of the two.
        """
        if not usage:
            return 0.0
        text = _count(_details(usage), "text_tokens")
        image = max(_count(usage, "input_tokens") - text, _count(_details(usage), "image_tokens"))
        tokens = text * self.text_in + image * self.image_in + _count(usage, "output_tokens") * self.image_out
        return tokens / 1e6

    def at_most(self, quality: str | None, *, size: int, n_characters: int) -> float:
        """Return a bound of one answer's cost: a token per character of prompt, images in proportion to pixels.

        Raises
        ------
        ValueError
            If no price is known for that quality.
        """
        if self == FREE:
            return 0.0
        known = dict(self.per_image)
        if quality not in known:
            raise ValueError(
                f"no price is known for quality {quality!r} (known: {', '.join(map(str, known))}); "
                "pass prices=Prices(per_image=...) that has it, or prices=FREE for a server of your own"
            )
        share = size * size / _REFERENCE_PIXELS
        tokens_in = (n_characters * self.text_in + self.image_in_tokens * share * self.image_in) / 1e6
        return _MARGIN * known[quality] * share + tokens_in


FREE = Prices(0.0, 0.0, 0.0, ())  # a server of one's own


def _details(usage: Mapping) -> Mapping:
    return usage.get("input_tokens_details") or {}


def _count(usage: Mapping, name: str) -> int:
    value = usage.get(name)
    return max(value, 0) if isinstance(value, int) else 0
