"""Records of what is read from a trained policy beside the texts that it writes."""

from typing import NamedTuple

from data.records.texts import Completion, Demonstration


class Probe(NamedTuple):
    """What one test example asks of a policy.

    Attributes:
        id: of the example.
        prompt: what the policy reads.
        demonstration: a response whose likelihood is measured.
        knowledge: something that only the base training taught; measures forgetting.
    """

    id: str
    prompt: str
    demonstration: str
    knowledge: Demonstration


class PolicyReading(NamedTuple):
    """What a policy did with one probe. All logarithms are in nats.

    Attributes:
        example_id: of the probe.
        completions: what it wrote.
        kl_to_base: KL(policy || base) of a response, by the exact divergence of the next token at every state that the
            policy's own texts passed through; mean over the completions.
        entropy: of the next token at the same states, per token.
        demonstration_nll: of the demonstration, per token, its end included.
        demonstration_log_ratio: log policy - log base of the whole demonstration.
        knowledge_nll: of the knowledge item, per token.
    """

    example_id: str
    completions: tuple[Completion, ...]
    kl_to_base: float
    entropy: float
    demonstration_nll: float
    demonstration_log_ratio: float
    knowledge_nll: float
