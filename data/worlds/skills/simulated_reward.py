"""A stand-in for a reward model, which errs and has tastes; without either, the exact check."""

from __future__ import annotations

from collections.abc import Sequence

from data.loading.seeding import generator


class SimulatedReward:
    """Pays what the exact check pays, plus an error and a taste for length, both its own and always the same.

    A reward model in miniature: which of two texts it likes better is right only so often. Between a right answer
    (paid 1) and a wrong one (0) an error of 0.5 decides wrongly in 8 of 100 cases, one of 1.0 in 24; the best of many
    candidates is where errors gather.

    Args:
        noise: standard deviation of the error; it depends on prompt and response alone.
        length_bonus: added for each character of the response.
        seed: another seed is another judge.
    """

    def __init__(self, *, noise: float = 0.0, length_bonus: float = 0.0, seed: int = 0) -> None:
        if noise < 0:
            raise ValueError(f"judge.noise is a standard deviation, at least 0, got {noise}")
        self.noise = float(noise)
        self.length_bonus = float(length_bonus)
        self.seed = int(seed)

    def rewards(self, texts: Sequence[tuple[str, str]], paid: Sequence[float]) -> list[float]:
        """Rewards of (prompt, response) texts that the exact check pays ``paid``."""
        return [
            exact + self._error(*text) + self.length_bonus * len(text[1])
            for text, exact in zip(texts, paid, strict=True)
        ]

    def _error(self, prompt: str, response: str) -> float:
        if not self.noise:
            return 0.0
        return self.noise * generator(self.seed, "judge", prompt, response).gauss(0.0, 1.0)
