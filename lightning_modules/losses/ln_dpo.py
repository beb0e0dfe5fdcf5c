"""Length-normalised DPO: `dpo_loss` on log-probabilities per unit of length, policy and reference each by its own.

It is what InfiFPO becomes when the pivot is its own only source, and the baseline that InfiFPO's tables leave out.
beta about 2.5 to 10: means are smaller than sums by the length.
"""

from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss
from lightning_modules.losses.lengths import LengthUnit, TextScores, normalised_logps


def ln_dpo_loss(
    policy_chosen: TextScores,
    policy_rejected: TextScores,
    ref_chosen: TextScores,
    ref_rejected: TextScores,
    *,
    beta: float,
    length_unit: LengthUnit = "token",
    label_smoothing: float = 0.0,
) -> PreferenceLoss:
    """-log sigmoid of beta times the difference of the normalised log-ratios.

    Args:
        policy_chosen, policy_rejected, ref_chosen, ref_rejected: (B,) each. The reference may have another tokenizer,
            and then has other token counts.
        beta: above 0.
        length_unit: "sequence" is DPO.
        label_smoothing: as in `dpo_loss`.
    """
    normalised = [
        normalised_logps(scores, length_unit=length_unit)
        for scores in (policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    ]
    return dpo_loss(*normalised, beta=beta, label_smoothing=label_smoothing)
