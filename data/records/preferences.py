"""Records of preference data that come from outside, and of what a policy makes of held-out pairs."""

from __future__ import annotations

from typing import NamedTuple

from data.records.texts import Completion, PreferencePair


class RecordedScore(NamedTuple):
    """A log-probability of a response that came with the data.

    Attributes:
        sum: over the scored tokens, nats.
        tokens: how many were scored, under the tokenizer of whoever scored; ``None`` where the data do not tell.
    """

    sum: float
    tokens: int | None


class PreferenceRow(NamedTuple):
    """A row of a preference file.

    Attributes:
        pair: the two responses as text.
        reference: scores of chosen and rejected under the initial pivot, or ``None``.
        sources: the same under each source, in the order of the file; empty where there are none.
        tied: whether the row itself scores both responses alike.
    """

    pair: PreferencePair
    reference: tuple[RecordedScore, RecordedScore] | None = None
    sources: tuple[tuple[RecordedScore, RecordedScore], ...] = ()
    tied: bool = False


class PreferenceReading(NamedTuple):
    """What a policy makes of a held-out pair.

    Attributes:
        completions: what it wrote after the prompt.
        margin: how much further than the initial pivot it sets the chosen response above the rejected one, in nats per
            the method's unit of length; above 0 it has the preference right.
    """

    completions: tuple[Completion, ...]
    margin: float
