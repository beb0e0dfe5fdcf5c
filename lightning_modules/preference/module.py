"""Preference optimisation: InfiFPO (arXiv 2505.13878), DPO and the family that its tables compare, on one footing.

The policy starts as the SFT checkpoint; that checkpoint is the initial pivot. Log-probabilities of both responses under
it and under every source, each with its own tokenizer, are computed once and kept as stages (sums, tokens, bytes);
normalising, clipping and fusing happen in the step, so that grids over them share the stages.

Departures: the policy counts its end token and the sources count theirs (one policy for all; the authors' is unknown).
Derived from ``ReferencedPairs``, which holds the cached reference and its checks, to keep both files short.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.files.sources import digest_of
from data.records.preferences import PreferenceReading, RecordedScore
from data.records.texts import PreferencePair
from lightning_modules.base import Progress
from lightning_modules.losses.infifpo import Anchor, Distance, Scope, Strategy, fusion_margin
from lightning_modules.losses.lengths import LengthUnit, TextScores, normalised_logps
from lightning_modules.losses.logps import SequenceLogps
from lightning_modules.networks.fingerprint import parameters_digest
from lightning_modules.networks.language_model import LanguageModelConfig
from lightning_modules.networks.token_batch import TokenBatch
from lightning_modules.preference.fusion_report import fusion_report
from lightning_modules.preference.objective import Fusion, Objective, PairValues, fused
from lightning_modules.preference.reference import PairBatch, ReferencedPairs
from lightning_modules.preference.source_scores import ScoringPolicy, SourceScores, check_winners, within_budget
from lightning_modules.sampling.sampler import Sampling, evaluating

REPORT_FILE = "fusion.json"
POLICY = ScoringPolicy(terminator="one")
"""As the policy is scored: with the token that ends a response."""


class SourcedBatch(NamedTuple):
    """2B responses, chosen first: tokens, the initial pivot's scores (2B,), bytes (2B,), the sources' (2B, N)."""

    tokens: TokenBatch
    reference: SequenceLogps
    bytes: Tensor
    sources: TextScores


class PreferenceOptimisation(ReferencedPairs):
    """Learns from pairs of responses against an initial pivot and, if the objective reads them, source models.

    The data object gives what ``ReferencedPairs`` asks for; for objectives that read sources ``authors``
    (``source_models.Author`` or another with ``identity`` and ``scores``, by name), ``leave_out`` and ``report``; for
    blended ones ``blend``. One with ``recorded_reference`` may bring the initial pivot's scores; one with
    ``held_out_pairs`` gets its pairs of the test read.

    Args:
        model, seed, sampler, share_prompt, chunk, score_batch, start_tolerance, samples: as in ``ReferencedPairs``.
        objective: one of ``conf/objective``.
        sources: names of the authors that are fused, or whose scores the objective reads otherwise.
        length_unit: what log-probabilities are divided by, for objectives that do not take sums.
        strategy, clip, scope, anchor, distance: of the fusion, see ``losses.infifpo``.
        include_pivot: the initial pivot is one of the sources (Eq. 5). Without clipping it may win; with it only the
            weights of average and confidence change.
        max_share: a source that wins more of the chosen or of the rejected responses stops the run; 1 allows all.
    """

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        objective: Objective,
        sources: Sequence[str] = (),
        length_unit: LengthUnit = "token",
        strategy: Strategy = "max_margin",
        clip: bool = True,
        scope: Scope = "per_response",
        anchor: Anchor = "initial",
        distance: Distance = "probability",
        include_pivot: bool = False,
        max_share: float = 0.95,
        share_prompt: bool = True,
        chunk: int | None = None,
        score_batch: int = 64,
        start_tolerance: float = 1e-4,
        samples: int = 1,
    ) -> None:
        if not isinstance(objective, Objective):
            raise ValueError(f"method.objective is {objective!r}: choose one by its name, as in objective=dpo")
        objective.check_sources(sources)
        if scope == "per_pair" and strategy != "max_margin":
            raise ValueError(f"method.scope=per_pair selects one source, method.strategy={strategy} selects none")
        if not 0 < max_share <= 1:
            raise ValueError(f"method.max_share must be above 0 and at most 1, got {max_share}")
        super().__init__(
            model=model,
            seed=seed,
            sampler=sampler,
            share_prompt=share_prompt,
            chunk=chunk,
            score_batch=score_batch,
            start_tolerance=start_tolerance,
            samples=samples,
        )
        self.objective = objective
        self.sources = tuple(sources) if objective.reads_sources else ()
        self.unit: LengthUnit = "sequence" if objective.summed else length_unit
        self.include_pivot = include_pivot
        self.max_share = max_share
        options = {"strategy": strategy, "clip": clip, "scope": scope, "anchor": anchor, "distance": distance}
        self.fusion = Fusion(options, self.sources)
        self.fusion_metrics: dict[str, float] = {}
        self._scores: dict[tuple[str, str], tuple[np.ndarray, np.ndarray, int]] = {}
        self._blend: dict[PreferencePair, tuple[PreferencePair, PreferencePair]] = {}

    def scored_pairs(self, data: Any) -> Sequence[PreferencePair]:
        """The pairs of train, for blended objectives what they are made of, and those of the test where there are."""
        pairs: Sequence[PreferencePair] = data.items("train")
        if self.objective.blended:
            self._blend = {pair: data.blend(pair) for pair in pairs}
        held_out = data.held_out_pairs("test") if hasattr(data, "held_out_pairs") else []
        return [*pairs, *(part for parts in self._blend.values() for part in parts), *held_out]

    def prepare(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Score the training pairs under every source and under the weights as they are now, or take both from stages.

        Raises:
            ValueError: a source that the data have no author for, or that is not fit for use (``SourceAlarmError``).
        """
        missing = [name for name in self.sources if name not in data.authors]
        if missing:
            raise ValueError(f"method.sources names {missing}, the data have {', '.join(data.authors)}")
        self.draw_pairs(data, stages, progress)  # before anybody reads the pairs
        self._score_sources(data, stages, progress)
        recorded = data.recorded_reference() if hasattr(data, "recorded_reference") else None
        if recorded is None:
            self.score_reference(data, stages, progress)
        else:
            self._reference = {pair: self._recorded(pair, scores) for pair, scores in recorded.items()}
        if self.sources:
            self._report(data, stages)

    def _recorded(self, pair: PreferencePair, scores: Sequence[RecordedScore]) -> tuple[np.ndarray, np.ndarray]:
        """Sums (2,) and lengths (2,) that came with a pair; lengths that did not come are the policy's own."""
        own = self.network.codec.response_ids([pair.chosen, pair.rejected])
        lengths = [len(ids) if one.tokens is None else one.tokens for one, ids in zip(scores, own, strict=True)]
        return np.array([one.sum for one in scores]), np.array(lengths)

    def _score_sources(self, data: Any, stages: Any, progress: Progress | None) -> None:
        pairs = self.scored_pairs(data)
        texts = sorted({(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)})
        scores: dict[str, SourceScores] = {
            name: data.authors[name].scores(stages, texts, POLICY, progress=progress) for name in self.sources
        }
        sizes = np.array([len(text.encode()) for _, text in texts])
        shape = (len(texts), 0)
        sums = np.stack([one.sums for one in scores.values()], axis=1) if scores else np.zeros(shape)
        tokens = np.stack([one.tokens for one in scores.values()], axis=1) if scores else np.zeros(shape, np.int64)
        if scores:
            readable, _ = within_budget(scores)
            over = {text for text, kept in zip(texts, readable, strict=True) if not kept}
            lost = [pair.id for pair in pairs if {(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)} & over]
            if lost:
                data.leave_out(sorted(set(lost)), "pairs longer than a source reads")
        self._scores = {text: (sums[row], tokens[row], int(sizes[row])) for row, text in enumerate(texts)}

    def _report(self, data: Any, stages: Any) -> None:
        """Margins and winners over all training pairs: an alarm, a stage to read, a few numbers for the log."""
        pairs = list(data.items("train"))
        reference = self._reference_of(pairs)
        values = self._pair_values(reference, reference, *self._cached(pairs))
        # Winners tell of the sources' health whatever the objective does with them.
        watched = {**self.fusion.options, "strategy": "max_margin"}
        winners = fused(values, watched)
        names = [*self.sources, *(["pivot"] if self.include_pivot else [])]
        if len(self.sources) > 1:
            check_winners(winners, names, max_share=self.max_share)
        blended = fused(values, self.fusion.options)
        margins = fusion_margin(blended, values.init_chosen, values.init_rejected)
        self.fusion = self.fusion._replace(margin=max(0.0, float(margins.mean())))
        report = {**fusion_report(pairs, winners, margins, names=names), "data": data.report()}
        self.fusion_metrics = {f"fusion/{key}": value for key, value in report["numbers"].items()}
        key = {
            "weights": parameters_digest(self.network),
            "sources": {name: dict(data.authors[name].identity) for name in self.sources},
            "pairs": digest_of([list(pair) for pair in pairs]),
            "fusion": self.fusion.options,
            "unit": self.unit,
            "include_pivot": self.include_pivot,
        }

        def build(folder: Path) -> None:
            (folder / REPORT_FILE).write_text(json.dumps(report, indent=1), encoding="utf-8")

        stages.get("fusion_report", key, build)

    def collate(self, items: list[PreferencePair]) -> SourcedBatch:  # type: ignore[override]
        """Pairs as rows with all cached scores; for a blended objective those by sources first, then by the pivot."""
        if self.objective.blended:
            blends = [self._blend[item] for item in items]
            items = [one for one, _ in blends] + [other for _, other in blends]
        return self._batch(items)

    def _batch(self, items: list[PreferencePair]) -> SourcedBatch:
        base = super().collate(items)
        return SourcedBatch(base.tokens, base.reference, *self._cached(items))

    def _cached(self, items: Sequence[PreferencePair]) -> tuple[Tensor, TextScores]:
        """Bytes (2B,) of the responses, chosen first, and the sources' scores (2B, N)."""
        texts = [(item.prompt, item.chosen) for item in items] + [(item.prompt, item.rejected) for item in items]
        sums, tokens, sizes = zip(*(self._scores[text] for text in texts), strict=True)
        lengths = torch.tensor(sizes)
        # fp64 until means are taken: the sums of a stage lose nothing on the way.
        sources = TextScores(
            torch.from_numpy(np.stack(sums)),
            torch.from_numpy(np.stack(tokens)),
            lengths[:, None].expand(-1, len(self.sources)),
        )
        return lengths, sources

    def losses(self, batch: SourcedBatch) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """See ``GridModule.losses``: (B,), and the tokens read. Raises StaleReferenceError before the first step."""
        if self.global_step == 0:
            summed = self.unit == "sequence"
            self._check_start(PairBatch(batch.tokens, batch.reference), beta=self.objective.beta, summed=summed)
        policy = self._sums(batch.tokens)
        values = self._pair_values(policy, batch.reference, batch.bytes, batch.sources)
        result = self.objective.loss(values, self.fusion)
        moved = self.objective.beta * further_apart(values)
        own = result.chosen_rewards - result.rejected_rewards
        self.step_metrics |= self.fusion_metrics
        self.step_metrics |= {
            "train/accuracy_own_reference": (own > 0).float().mean(),
            "train/margin_own_reference": own.mean(),
            "train/accuracy_initial_reference": (moved > 0).float().mean().detach(),
            "train/margin_initial_reference": moved.mean().detach(),
            "train/chosen_reward": result.chosen_rewards.mean(),
            "train/rejected_reward": result.rejected_rewards.mean(),
            "train/chosen_logp": values.policy_chosen.mean().detach(),
            "train/rejected_logp": values.policy_rejected.mean().detach(),
        }
        return result.losses, batch.tokens.read

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Any]:
        """As ``ReferencedPairs``; of data with held-out pairs ``PreferenceReading`` records, one for each pair."""
        written = super().predict(data, split=split, limit=limit, progress=progress)
        if not hasattr(data, "held_out_pairs"):
            return written
        pairs = data.held_out_pairs(split, limit)
        return [
            PreferenceReading(tuple(written[row * self.samples : (row + 1) * self.samples]), margin)
            for row, margin in enumerate(self.margins(pairs))
        ]

    @torch.no_grad()
    def margins(self, pairs: Sequence[PreferencePair]) -> list[float]:
        """How much further than the initial pivot the policy sets chosen above rejected, nats per unit of length."""
        found: list[float] = []
        with evaluating(self.network):
            for start in range(0, len(pairs), self.score_batch):
                batch = self._batch(list(pairs[start : start + self.score_batch]))
                policy = self._sums(batch.tokens.to(self.network.device))
                policy = SequenceLogps(policy.sums.cpu(), policy.lengths.cpu())
                values = self._pair_values(policy, batch.reference, batch.bytes, batch.sources)
                found += further_apart(values).tolist()
        return found

    def _pair_values(
        self, policy: SequenceLogps, reference: SequenceLogps, sizes: Tensor, scores: TextScores
    ) -> PairValues:
        """All scores in the objective's unit; arguments as the fields of ``SourcedBatch``."""

        def by_unit(one: TextScores) -> tuple[Tensor, Tensor]:
            # Means are taken in the scores' own precision; losses come in that of the policy.
            chosen, rejected = normalised_logps(one, length_unit=self.unit).float().chunk(2)
            return chosen, rejected

        init = by_unit(TextScores(*reference, sizes))
        sources = by_unit(scores) if self.sources else (init[0][:, None][:, :0], init[1][:, None][:, :0])
        if self.include_pivot:
            sources = tuple(  # type: ignore[assignment]
                torch.cat([several, one[:, None].to(several.dtype)], dim=1)
                for several, one in zip(sources, init, strict=True)
            )
        return PairValues(*by_unit(TextScores(*policy, sizes)), *init, *sources)


def further_apart(values: PairValues) -> Tensor:
    """How much further than the initial pivot the policy sets chosen above rejected, (B,)."""
    return (values.policy_chosen - values.policy_rejected) - (values.init_chosen - values.init_rejected)
