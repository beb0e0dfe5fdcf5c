"""Rollouts: groups of responses sampled in batches.

Each prompt is read once for all its copies, finished rows leave the batch, and a row's random numbers are its own: what
it writes depends neither on the batch it is in nor on which rows left before. Log-probabilities are those that training
computes of the same tokens (``LanguageModel.response_logps``), at the temperature of the sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from data.records.texts import Completion
from lightning_modules.networks.causal_network import Decoding
from lightning_modules.networks.language_model import Codec, LanguageModel
from lightning_modules.networks.precision import computing
from lightning_modules.sampling import cuda_graphs

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_LARGEST = 1 - 2**-22
"""Uniform numbers stay below this, so that rounding cannot carry one past the end of a distribution."""


class Rollouts(NamedTuple):
    """N = P * G responses of at most T tokens, the copies of a prompt one after the other.

    Attributes:
        tokens: (N, T) ids, what ended them included; what stands behind ``lengths`` is padding.
        lengths: (N,) tokens written, what ended them included.
        finished: (N,) whether one of the codec's ``ends`` was written.
        logps: (N, T) of the tokens in nats, fp32, 0 behind the end; at the sampling temperature, over the whole
            vocabulary even where ``top_p`` narrowed the choice; greedy decoding has temperature 1.
    """

    tokens: Tensor
    lengths: Tensor
    finished: Tensor
    logps: Tensor

    @property
    def mask(self) -> Tensor:
        """(N, T) booleans: which tokens were written."""
        return torch.arange(self.tokens.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def rows(self) -> list[list[int]]:
        """The ids of every response, without padding."""
        lengths = self.lengths.tolist()
        return [row[:length] for row, length in zip(self.tokens.tolist(), lengths, strict=True)]


class Sampling(Protocol):
    """What methods ask for rollouts: ``Sampler``, or another engine behind the same call."""

    def sample(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        *,
        copies: int,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Rollouts:
        """``copies`` responses to every prompt (ids), which depend on weights, arguments and the generator alone."""
        ...


class Sampler:
    """Our own sampler, for every ``CausalNetwork``.

    Args:
        max_tokens: most tokens of a response, the end token included.
        temperature: logits are divided by it; 0 takes the most probable token (greedy).
        top_p: choose among the fewest tokens that together have at least this probability; 1 is all.
        batch: rows that are written together.
        leave_share: finished rows leave the batch as soon as they are this share of it; leaving copies the others' keys
            and values. 1 lets nobody leave before all have finished.
        fixed: keep every shape as it is, so that on a GPU a token is one replay of a CUDA graph (``cuda_graphs``):
            nobody leaves. ``None``: on a GPU, where the network can.
        compiled: compile that step first: some ten seconds for every size of batch, for long trainings.
    """

    def __init__(
        self,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        batch: int = 512,
        leave_share: float = 0.125,
        fixed: bool | None = None,
        compiled: bool = False,
    ) -> None:
        if max_tokens < 1 or batch < 1:
            raise ValueError(f"sampler.max_tokens and batch must be at least 1, got {max_tokens} and {batch}")
        if not temperature >= 0:
            raise ValueError(f"sampler.temperature must be at least 0 (0: greedy), got {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"sampler.top_p must be above 0 and at most 1, got {top_p}")
        if not 0 < leave_share <= 1:
            raise ValueError(f"sampler.leave_share must be above 0 and at most 1, got {leave_share}")
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.top_p = top_p
        self.batch = batch
        self.leave_share = leave_share
        self.fixed = fixed
        self.compiled = compiled

    def sample(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        *,
        copies: int = 1,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Rollouts:
        """See ``Sampling``. The network is in evaluation mode meanwhile; nothing here has a gradient.

        Raises:
            ValueError: no prompt, an empty one, one that leaves no room below the network's limit, or no copy.
        """
        if copies < 1 or not prompts:
            raise ValueError(f"at least one prompt and one copy are wanted, got {len(prompts)} and {copies}")
        # Drawn for all rows at once, so that how they are batched has no influence.
        uniforms = torch.rand(len(prompts) * copies, self.max_tokens, generator=generator, device=generator.device)
        with evaluating(model):
            pieces = self._batches(model, prompts, copies, uniforms.clamp_(max=_LARGEST), progress)
        return _joined(pieces, len(prompts) * copies, model.codec)

    def _batches(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        copies: int,
        uniforms: Tensor,
        progress: Progress | None,
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(rows, tokens, logps) of every batch; prompts of similar length are read together."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        size = max(1, self.batch // copies)
        pieces = []
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            rows = (torch.tensor(chosen)[:, None] * copies + torch.arange(copies)).flatten()
            begun, drawn = [prompts[index] for index in chosen], uniforms[rows.to(uniforms.device)]
            if self._is_fixed(model):
                written = self._write_fixed(model, begun, copies, drawn)
            else:
                decoding = model.network.open(begun, copies=copies, room=self.max_tokens)
                written = self._write(decoding, copies, drawn, model.codec)
            pieces.append((rows, *written))
            if progress is not None:
                progress(min(start + size, len(order)), len(order))
        return pieces

    def _is_fixed(self, model: LanguageModel) -> bool:
        able = hasattr(model.network, "fixed")
        if self.fixed and not able:
            raise ValueError("sampler.fixed is true, but this model cannot decode in fixed shapes: set it to null")
        return able and (model.device.type == "cuda" if self.fixed is None else self.fixed)

    def _write_fixed(
        self, model: LanguageModel, prompts: Sequence[Sequence[int]], copies: int, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``_write``, from the prompts."""
        return cuda_graphs.write(
            model.network,
            prompts,
            uniforms,
            copies=copies,
            end=model.codec.end,
            ends=model.codec.ends,
            choose=self.choose,
            rules=(self.temperature, self.top_p),
            compiled=self.compiled,
        )

    @torch.inference_mode()
    def _write(self, decoding: Decoding, copies: int, uniforms: Tensor, codec: Codec) -> tuple[Tensor, Tensor]:
        """Tokens (S, T) and their log-probabilities (S, T); rows go on behind their end until they leave."""
        logits = decoding.logits.repeat_interleave(copies, dim=0)
        uniforms = uniforms.to(logits.device)
        tokens = torch.full(uniforms.shape, codec.end, device=logits.device)
        ends = torch.tensor(sorted(codec.ends), device=logits.device)
        logps = torch.zeros(uniforms.shape, device=logits.device)
        rows = torch.arange(len(tokens), device=logits.device)
        done = torch.zeros(len(tokens), dtype=torch.bool, device=logits.device)
        for time in range(self.max_tokens):
            chosen, found = self.choose(logits, uniforms[rows, time])
            tokens[rows, time], logps[rows, time] = chosen, found
            done |= torch.isin(chosen, ends)
            finished = int(done.sum())
            if finished == len(rows) or time + 1 == self.max_tokens:
                break
            if finished >= self.leave_share * len(rows):
                staying = torch.nonzero(~done).flatten()
                decoding.keep(staying)
                rows, chosen, done = rows[staying], chosen[staying], done[staying]
            logits = decoding.step(chosen)
        return tokens, logps

    def choose(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (S,) by inverse transform of (S,) uniform numbers, and their log-probabilities (S,), from (S, V)."""
        logits = logits.float()
        if self.temperature not in (0.0, 1.0):
            logits = logits / self.temperature
        probabilities = logits.softmax(-1)
        if self.temperature == 0.0:
            tokens = logits.argmax(-1, keepdim=True)
        else:
            mass = (probabilities if self.top_p == 1.0 else _nucleus(probabilities, self.top_p)).cumsum(-1)
            tokens = torch.searchsorted(mass, uniforms[:, None] * mass[:, -1:], right=True)
        return tokens[:, 0], probabilities.gather(-1, tokens)[:, 0].log()


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Probabilities (S, V), 0 outside the fewest tokens that have ``top_p`` together; not normalised."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))


def _joined(pieces: list[tuple[Tensor, Tensor, Tensor]], count: int, codec: Codec) -> Rollouts:
    """Batches in the order of the prompts, cut to the longest response."""
    room = pieces[0][1].shape[1]
    tokens, logps = pieces[0][1].new_full((count, room), codec.end), pieces[0][2].new_zeros(count, room)
    for rows, written, found in pieces:
        place = rows.to(tokens.device)
        tokens[place], logps[place] = written, found
    ends = torch.isin(tokens, torch.tensor(sorted(codec.ends), device=tokens.device))
    finished = ends.any(-1)
    lengths = torch.where(finished, ends.int().argmax(-1) + 1, room)
    longest = int(lengths.max())
    unwritten = torch.arange(longest, device=lengths.device) >= lengths[:, None]
    return Rollouts(
        tokens[:, :longest].masked_fill(unwritten, codec.padding),
        lengths,
        finished,
        logps[:, :longest].masked_fill(unwritten, 0.0),
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, in the precision that the module computes in."""
    training = module.training
    module.eval()
    try:
        with computing(module):
            yield
    finally:
        module.train(training)


def complete(
    model: LanguageModel,
    items: Sequence[Any],
    sampler: Sampling,
    *,
    copies: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Completion]:
    """Responses to the prompts of some examples, ``copies`` for each, in the order of the examples; on a GPU if any.

    Args:
        model: what writes.
        items: records with ``id`` and ``prompt``.
        sampler: how it writes.
        copies: responses to each prompt.
        seed: of the random numbers; the same for every batch size.
        progress: called with (prompts done, prompts in all).
    """
    if not items:
        return []
    if torch.cuda.is_available():
        model.to("cuda")
    generator = torch.Generator().manual_seed(seed)
    prompts = model.codec.prompt_ids([item.prompt for item in items])
    rollouts = sampler.sample(model, prompts, copies=copies, generator=generator, progress=progress)
    texts = model.codec.texts(rollouts.rows())
    lengths, finished = rollouts.lengths.tolist(), rollouts.finished.tolist()
    logps = rollouts.logps.double().sum(-1).tolist()
    return [
        Completion(items[row // copies].id, row % copies, texts[row], lengths[row], finished[row], logps[row])
        for row in range(len(texts))
    ]
