"""Sums, token counts and byte counts of scored texts: what a length is, is chosen when a loss is computed, not before.

Shapes: (B,), or (B, N) for N models. Means per token depend on the tokenizer: the same sequence probability gives a
less negative mean where the text is cut finer (17% in a row that InfiFPO's authors released: 283 tokens against 241).
Bytes of the text are the same for every model.
"""

from typing import Literal, NamedTuple

from torch import Tensor

from lightning_modules.losses.checks import check_choice, full_precision
from lightning_modules.losses.logps import normalise

LengthUnit = Literal["token", "byte", "sequence"]


class TextScores(NamedTuple):
    """Summed log-probabilities in nats, and the two lengths of the texts that they run over; three like shapes.

    Attributes:
        sums: of all scored tokens.
        tokens: scored tokens under the tokenizer of the model that scored, terminator included if it was scored.
        bytes: UTF-8 bytes of the scored text; no terminator has any.
    """

    sums: Tensor
    tokens: Tensor
    bytes: Tensor


def normalised_logps(scores: TextScores, *, length_unit: LengthUnit = "token") -> Tensor:
    """Log-probabilities per token (InfiFPO, Eq. 10), per byte, or of the whole sequence; the shape of the sums."""
    check_choice("length_unit", length_unit, ("token", "byte", "sequence"))
    if length_unit == "sequence":
        return full_precision(scores.sums)
    return normalise(scores.sums, scores.tokens if length_unit == "token" else scores.bytes)
