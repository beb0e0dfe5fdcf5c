"""Log-probabilities of given texts under source models with tokenizers of their own (InfiFPO, arXiv 2505.13878).

A source reads a text as it would as a policy, by its chat template or with what its wrapper adds. The scored tokens
must spell the response, byte for byte. Whether the end is scored is one choice for all models. Sums, token counts and
byte counts are kept apart (fp64 and integers), so that the unit of length stays a late choice. A stage holds the scores
of one model in shards: interrupted scoring goes on from its last whole shard.

Departure: the authors scored with vLLM, turn-end token included; here the terminator is a choice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from data.records.builders import MadeBy
from lightning_modules.losses.infifpo import FusedReference, winner_shares
from lightning_modules.losses.logps import IGNORED, response_mask, sequence_logps, token_logps
from lightning_modules.networks.token_batch import TokenBatch, shared_prompt_batch

SHARD = 1024
"""Texts of a shard: what an interruption loses at most."""


class SourceAlarmError(ValueError):
    """A source's scores are not fit for use; the message names the source."""


class Codec(Protocol):
    """What scoring needs of ``language_model.Codec``: the ids that the model has as a policy are those of a source."""

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts; never empty."""
        ...

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of responses, each closed by the end token."""
        ...

    def spelt(self, response: str) -> str:
        """What the ids of a response must spell, the end left out: a chat template may strip it."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Bytes of every id. ``ValueError`` for a tokenizer that loses text."""
        ...


@dataclass(frozen=True)
class Source:
    """A model that scores.

    Attributes:
        name: what alarms and tables call it.
        network: ids (B, T), padded on the right -> logits (B, T, V).
        codec: its own.
        positions: longest text in tokens, start and end included.
        identity: digests of weights and tokenizer; names the scores, so it must change when they could.
        responses: a batch whose responses share prompts (E of at most L tokens) -> log-probabilities (E, L), nats; for
            networks that read a prompt once for two responses. ``None``: every text is read by itself.
    """

    name: str
    network: Callable[[Tensor], Tensor]
    codec: Codec
    positions: int
    identity: Mapping[str, str]
    responses: Callable[[TokenBatch], Tensor] | None = None


@dataclass(frozen=True)
class ScoringPolicy:
    """What all models' scores have in common.

    Attributes:
        terminator: "one" scores the end token of a response and counts it as a token; "none" does neither.
    """

    terminator: Literal["one", "none"] = "none"

    def __post_init__(self) -> None:
        if self.terminator not in ("one", "none"):
            raise ValueError(f"terminator is {self.terminator!r}: give one of one, none")


class SourceScores(NamedTuple):
    """Scores of N texts under one model.

    Attributes:
        sums: (N,) fp64, nats; NaN where the text is over the model's budget.
        tokens: (N,) scored tokens, the terminator included where the policy scores one.
        bytes: (N,) UTF-8 bytes of the response.
    """

    sums: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray


def encode_scored(
    source: Source, texts: Sequence[tuple[str, str]], policy: ScoringPolicy
) -> list[tuple[list[int], int]]:
    """Ids of (prompt, response) texts under a source, and the place of the first scored one; all from there are scored.

    Raises:
        ValueError: a text whose scored tokens do not spell the response, or that has none.
    """
    heads = source.codec.prompt_ids([prompt for prompt, _ in texts])
    tails = source.codec.response_ids([response for _, response in texts])
    found = []
    for (_, response), head, tail in zip(texts, heads, tails, strict=True):
        spelt = b"".join(source.codec.pieces(tail[:-1]))
        if spelt != source.codec.spelt(response).encode() or not response:
            raise ValueError(
                f"{source.name} spells the response {response[:60]!r} as {spelt[:60]!r}: nothing may be lost"
            )
        found.append(([*head, *(tail if policy.terminator == "one" else tail[:-1])], len(head)))
    return found


@torch.no_grad()
def score_texts(
    source: Source, texts: Sequence[tuple[str, str]], policy: ScoringPolicy, *, batch: int = 16
) -> SourceScores:
    """Scores of (prompt, response) texts. The network must be in evaluation mode.

    Log-softmax in fp32 (fp64 for fp64 logits), sums in fp64. Texts of like length share a batch.

    Raises:
        SourceAlarmError: a score that is not finite.
    """
    encoded = encode_scored(source, texts, policy)
    tokens = np.array([len(ids) - first for ids, first in encoded], dtype=np.int64)
    sizes = np.array([len(response.encode()) for _, response in texts], dtype=np.int64)
    sums = np.full(len(texts), np.nan)
    within = [index for index, (ids, _) in enumerate(encoded) if len(ids) <= source.positions]
    couples = _couples(encoded, within) if source.responses is not None else []
    coupled = {index for couple in couples for index in couple}
    for begin in range(0, len(couples), batch):
        chosen = couples[begin : begin + batch]
        sums[np.array(chosen).T.ravel()] = _shared(source, [[encoded[index] for index in couple] for couple in chosen])
    order = sorted(set(within) - coupled, key=lambda index: len(encoded[index][0]))
    for begin in range(0, len(order), batch):
        rows = order[begin : begin + batch]
        width = max(len(encoded[index][0]) for index in rows)
        ids = torch.tensor([encoded[index][0] + [0] * (width - len(encoded[index][0])) for index in rows])
        labels = torch.full_like(ids, IGNORED)
        for row, index in enumerate(rows):
            scored = slice(encoded[index][1], len(encoded[index][0]))
            labels[row, scored] = ids[row, scored]
        logps = token_logps(source.network(ids), labels).double()
        sums[rows] = sequence_logps(logps, response_mask(labels)).sums.cpu().numpy()
    bad = [index for index in within if not np.isfinite(sums[index])]
    if bad:
        raise SourceAlarmError(
            f"source {source.name} gives {len(bad)} of {len(texts)} texts a score that is not finite, the first is "
            f"{texts[bad[0]][1][:60]!r}: check its weights, precision and template, or leave it out"
        )
    return SourceScores(sums, tokens, sizes)


def _couples(encoded: Sequence[tuple[list[int], int]], within: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours that are two responses to one prompt, the shortest first; a text is in one couple at most."""
    found, place = [], 0
    while place + 1 < len(within):
        one, other = within[place], within[place + 1]
        heads = [encoded[index][0][: encoded[index][1]] for index in (one, other)]
        if heads[0] == heads[1]:
            found.append((one, other))
        place += 1 + (heads[0] == heads[1])
    return sorted(found, key=lambda couple: len(encoded[couple[0]][0]) + len(encoded[couple[1]][0]))


def _shared(source: Source, couples: Sequence[Sequence[tuple[list[int], int]]]) -> np.ndarray:
    """Sums of all first texts, then of all second ones; a couple's prompt is read once."""
    assert source.responses is not None
    heads = [one[0][: one[1]] for one, _ in couples]
    first, second = ([ids[begun:] for ids, begun in side] for side in zip(*couples, strict=True))
    batch = shared_prompt_batch(heads, first, second, padding=0)
    sums: np.ndarray = source.responses(batch).double().sum(1).cpu().numpy()
    return sums


class Stages(Protocol):
    """Where shared products live; see ``data.files.stages.Stages``."""

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """Folder of a product, built when it is missing."""
        ...


def source_scores(
    stages: Stages,
    source: Source,
    texts: Sequence[tuple[str, str]],
    policy: ScoringPolicy,
    *,
    progress: Callable[[int, int], None] | None = None,
    batch: int = 16,
) -> SourceScores:
    """Scores of texts from a stage, which is built where it is missing. The order of ``texts`` is part of its name."""
    spelt = json.dumps([list(text) for text in texts], ensure_ascii=True).encode()
    key = {
        "identity": dict(source.identity),
        "positions": source.positions,
        "policy": asdict(policy),
        "texts": hashlib.sha256(spelt).hexdigest(),
        "count": len(texts),
    }

    def build(folder: Path) -> None:
        for begin in range(0, len(texts), SHARD):
            path = folder / f"shard-{begin:08d}.npz"
            if not path.is_file():
                scores = score_texts(source, texts[begin : begin + SHARD], policy, batch=batch)
                temporary = folder / f"writing-{os.getpid()}.part"
                with temporary.open("wb") as stream:
                    np.savez(stream, **scores._asdict())
                os.replace(temporary, path)
            if progress is not None:
                progress(min(begin + SHARD, len(texts)), len(texts))
        for left in folder.glob("writing-*.part"):
            left.unlink()

    folder = stages.get("source_logps", key, MadeBy(build, (source.network, source.responses, source.codec)))
    shards = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("shard-*.npz"))]
    parts = (np.concatenate([shard[name] for shard in shards]) for name in SourceScores._fields)
    return SourceScores(*parts)


def within_budget(scores: Mapping[str, SourceScores]) -> tuple[np.ndarray, dict[str, int]]:
    """Which of N texts every model could read, (N,) booleans, and by model how many it could not.

    A text that only some models can read is dropped for all: a cut text is another text under every tokenizer.
    """
    readable = {name: ~np.isnan(score.sums) for name, score in scores.items()}
    return np.logical_and.reduce(list(readable.values())), {name: int((~kept).sum()) for name, kept in readable.items()}


def check_winners(fused: FusedReference, names: Sequence[str], *, max_share: float) -> dict[str, dict[str, float]]:
    """Shares of the pairs that each source won, by side.

    Args:
        fused: of max-margin fusion over all training pairs.
        names: of the sources, by column.
        max_share: largest share that is taken for healthy, in (0, 1]; on the rejected side the worst scorer wins, so
            a source with a wrong template, or off its domain, sets nearly every margin.

    Raises:
        SourceAlarmError: a source that wins more of the chosen or of the rejected responses.
    """
    if not 0 < max_share <= 1:
        raise ValueError(f"max_share is {max_share}: give a share above 0 and at most 1")
    sides = {"chosen": fused.chosen_winner, "rejected": fused.rejected_winner}
    shares = {
        side: dict(zip(names, winner_shares(winner, sources=len(names)).tolist(), strict=True))
        for side, winner in sides.items()
    }
    for side, by_name in shares.items():
        name, share = max(by_name.items(), key=lambda item: item[1])
        if share > max_share:
            raise SourceAlarmError(
                f"source {name} wins {share:.0%} of the {side} responses, more than {max_share:.0%}: check its "
                "template and domain, leave it out, or raise max_share"
            )
    return shares
