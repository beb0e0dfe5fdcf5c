"""Rollouts for training and evaluation: groups of own answers to problems, of one turn or of several.

The data object gives ``solved`` (an answer of one turn), and ``several_turns``, ``turns`` and ``play`` where problems
have them; see ``data.reasoning.verified_problems.VerifiedProblems``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from data.records.episodes import TURN
from data.records.texts import Demonstration
from lightning_modules.losses.logps import IGNORED, token_logps
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import TokenBatch, padded_batch
from lightning_modules.networks.turn_batch import TurnIds, turn_batch
from lightning_modules.sampling.sampler import Sampling, complete


class Sampled(NamedTuple):
    """N = P * G answers, the copies of a problem one after the other.

    Attributes:
        batch: their tokens, for the log-probabilities of training.
        logps: (N, L) of the sampler, nats, 0 behind the end.
        solved: 1 or 0 for each.
        texts: actions of several turns with ``TURN`` between them.
        lengths: tokens that each wrote.
        read: tokens that were read to write them.
    """

    batch: TokenBatch
    logps: Tensor
    solved: list[float]
    texts: list[str]
    lengths: list[int]
    read: int


class Scored(NamedTuple):
    """What training knows of a batch's response tokens.

    Attributes:
        logps: (N, L) log-probabilities, nats, with their graph; leaves of one where it was scored in ``pieces``.
        mask: (N, L), which of them are real.
        states: (N, L, H) that predict them, constants; ``None`` where no one wants them.
        pieces: parts of the batch through which gradients are taken one at a time; () for a graph in one piece.
    """

    logps: Tensor
    mask: Tensor
    states: Tensor | None
    pieces: tuple[TokenBatch, ...] = ()


def sample(
    model: LanguageModel,
    data: Any,
    items: Sequence[Demonstration],
    sampler: Sampling,
    *,
    copies: int,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Sampled:
    """``copies`` answers to every problem, graded; turn by turn where the problems have several."""
    if getattr(data, "several_turns", False):
        return _played(model, data, items, sampler, copies, generator, progress)
    codec = model.codec
    prompts = codec.prompt_ids([item.prompt for item in items])
    found = sampler.sample(model, prompts, copies=copies, generator=generator, progress=progress)
    rows = found.rows()
    texts = codec.texts(rows)
    solved = [float(data.solved(items[row // copies].id, text)) for row, text in enumerate(texts)]
    repeated = [prompt for prompt in prompts for _ in range(copies)]
    model.check_lengths(repeated, rows)
    batch = padded_batch(repeated, rows, padding=codec.padding)
    return Sampled(batch, found.logps, solved, texts, found.lengths.tolist(), sum(map(len, prompts)))


def answers(
    model: LanguageModel,
    data: Any,
    items: Sequence[Demonstration],
    sampler: Sampling,
    *,
    copies: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, int]]:
    """Texts and lengths in tokens of ``copies`` answers to every problem, not graded; on a GPU if there is any."""
    if not getattr(data, "several_turns", False):
        found = complete(model, items, sampler, copies=copies, seed=seed, progress=progress)
        return [(one.response, one.tokens) for one in found]
    if torch.cuda.is_available():
        model.to("cuda")
    generator = torch.Generator().manual_seed(seed)
    played = _played(model, data, items, sampler, copies, generator, progress)
    return list(zip(played.texts, played.lengths, strict=True))


def demonstrated(model: LanguageModel, data: Any, items: Sequence[Demonstration]) -> TokenBatch:
    """Demonstrations as the rows that training scores."""
    codec = model.codec
    missing = next((item.id for item in items if not item.response), None)
    if missing is not None:
        raise ValueError(f"{missing} has no demonstration: imitation needs data with worked solutions, or use mu = 0")
    prompts = codec.prompt_ids([item.prompt for item in items])
    if not getattr(data, "several_turns", False):
        responses = codec.response_ids([item.response for item in items])
        model.check_lengths(prompts, responses)
        return padded_batch(prompts, responses, padding=codec.padding)
    episodes = []
    for item in items:
        turns = data.turns(item)
        actions = codec.response_ids([turn.action for turn in turns])
        shown = [*codec.further_ids([turn.shown for turn in turns[:-1]]), []]
        episodes.append([TurnIds(*pair) for pair in zip(actions, shown, strict=True)])
    return _turn_batch(model, prompts, episodes)


def score(
    model: LanguageModel, batch: TokenBatch, *, with_states: bool = False, micro_batch: int | None = None
) -> Scored:
    """Log-probabilities of a batch's response tokens, from one forward pass or from one for every ``micro_batch`` rows.

    Of the latter no graph is kept: ``gradients`` computes every piece again, so that memory is that of one piece.
    """
    if micro_batch is not None and micro_batch < len(batch.ids):
        pieces = split_rows(batch, micro_batch)
        with torch.no_grad():
            scored = [score(model, piece, with_states=with_states) for piece in pieces]
        states = torch.cat([one.states for one in scored if one.states is not None]) if with_states else None
        leaf = torch.cat([one.logps for one in scored]).requires_grad_()
        return Scored(leaf, torch.cat([one.mask for one in scored]), states, tuple(pieces))
    if not with_states:
        return Scored(*model.response_logps(batch), None)
    states = model.response_states(batch)
    # As in ``response_logps``, whose pass is not repeated for the states.
    labels = F.pad(batch.targets, (1, 0), value=IGNORED)
    logps = token_logps(model.network.lm_head(F.pad(states, (0, 0, 0, 1))), labels)
    return Scored(logps, batch.targets != IGNORED, states.detach())


def split_rows(batch: TokenBatch, size: int) -> list[TokenBatch]:
    """Parts of at most ``size`` rows of a batch with one response in each row, nothing packed or shared."""
    assert batch.segments is None and batch.branches is None and len(batch.ids) == len(batch.sources)
    width, found = batch.ids.shape[1], []
    for start in range(0, len(batch.ids), size):
        part = slice(start, start + size)
        targets = batch.targets[part]
        sources = (batch.sources[part] - start * width).masked_fill(targets == IGNORED, 0)
        found.append(TokenBatch(batch.ids[part], None, None, None, sources, targets, batch.read))
    return found


def take_rows(batch: TokenBatch, rows: Tensor) -> TokenBatch:
    """The given rows (K,) of a batch with one sequence in each row, nothing packed or shared; as wide as it was."""
    assert batch.segments is None and batch.branches is None and len(batch.ids) == len(batch.sources)
    width, targets = batch.ids.shape[1], batch.targets[rows]
    columns = (batch.sources[rows] - rows[:, None] * width).masked_fill(targets == IGNORED, 0)
    sources = (columns + torch.arange(len(rows))[:, None] * width).masked_fill(targets == IGNORED, 0)
    read = (columns.max(1).values + 2).sum()  # a row ends with the token that its last state predicts
    return TokenBatch(batch.ids[rows], None, None, None, sources, targets, read)


def gradients(model: LanguageModel, value: Tensor, weights: Sequence[Tensor], scored: Sequence[Scored]) -> list[Tensor]:
    """Gradient of a scalar by the weights, zeros where it does not depend on them; its graph is kept.

    Args:
        scored: what it was computed from, as far as that was scored in pieces.
    """
    leaves = [one.logps for one in scored]
    found = torch.autograd.grad(value, [*weights, *leaves], retain_graph=True, allow_unused=True)
    direct, slopes = found[: len(weights)], found[len(weights) :]
    total = [torch.zeros_like(weight) if one is None else one for one, weight in zip(direct, weights, strict=True)]
    for one, slope in zip(scored, slopes, strict=True):
        if slope is None:
            continue
        for piece, part in zip(one.pieces, slope.split(len(one.pieces[0].ids)), strict=True):
            logps, _ = model.response_logps(piece)
            added = torch.autograd.grad(logps, weights, grad_outputs=part.to(logps.dtype), allow_unused=True)
            total = [before if new is None else before + new for before, new in zip(total, added, strict=True)]
    return total


def _played(
    model: LanguageModel,
    data: Any,
    items: Sequence[Demonstration],
    sampler: Sampling,
    copies: int,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None,
) -> Sampled:
    """Every turn, all unfinished episodes write together; what they were shown before is read again."""
    codec = model.codec
    prompts = codec.prompt_ids([item.prompt for item in items])
    contexts = [list(prompt) for prompt in prompts for _ in range(copies)]
    actions: list[list[list[int]]] = [[] for _ in contexts]
    between: list[list[list[int]]] = [[] for _ in contexts]
    logps: list[list[Tensor]] = [[] for _ in contexts]
    read = 0

    def write(rows: Sequence[int], shown: Sequence[str]) -> list[str]:
        nonlocal read
        if not actions[rows[0]]:
            found = sampler.sample(model, prompts, copies=copies, generator=generator)
            read += sum(map(len, prompts))
        else:
            for row, ids in zip(rows, codec.further_ids(shown), strict=True):
                between[row].append(ids)
                contexts[row] += [*codec.read_back(actions[row][-1]), *ids]
            found = sampler.sample(model, [contexts[row] for row in rows], copies=1, generator=generator)
            read += sum(len(contexts[row]) for row in rows)
        written = found.rows()
        for row, ids, values in zip(rows, written, found.logps, strict=True):
            actions[row].append(ids)
            logps[row].append(values[: len(ids)])
        if progress is not None:
            progress(len(contexts) - len(rows), len(contexts))
        return codec.texts(written)

    episodes = data.play([item.id for item in items for _ in range(copies)], write)
    turns = [
        [TurnIds(*pair) for pair in zip(own, [*after, []], strict=True)]
        for own, after in zip(actions, between, strict=True)
    ]
    joined = [torch.cat(values) for values in logps]
    lengths = [len(values) for values in joined]
    rows = torch.nn.utils.rnn.pad_sequence(joined, batch_first=True)
    repeated = [prompt for prompt in prompts for _ in range(copies)]
    return Sampled(
        _turn_batch(model, repeated, turns),
        rows,
        [float(episode.solved) for episode in episodes],
        [TURN.join(episode.actions) for episode in episodes],
        lengths,
        read,
    )


def _turn_batch(
    model: LanguageModel, prompts: Sequence[Sequence[int]], episodes: Sequence[Sequence[TurnIds]]
) -> TokenBatch:
    codec = model.codec
    limit = model.network.limit
    return turn_batch(prompts, episodes, padding=codec.padding, read_back=codec.read_back, limit=limit)
