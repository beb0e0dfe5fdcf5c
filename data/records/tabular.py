"""Records of tabular worlds."""

from typing import NamedTuple


class TabularPolicy(NamedTuple):
    """A policy over the R responses to one prompt of a tabular world, as log-probabilities in nats.

    Attributes:
        example_id: id of the prompt.
        logps: of the trained policy.
        dpo_logps: of the exact optimum of preference optimisation that starts from it.
        optimum_logps: of the exact optimum of the problem that the training stands for, with the expert itself in place
            of its demonstrations.
    """

    example_id: str
    logps: tuple[float, ...]
    dpo_logps: tuple[float, ...]
    optimum_logps: tuple[float, ...]
