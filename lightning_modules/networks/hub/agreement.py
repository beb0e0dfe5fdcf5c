"""Does a model of the transformers library say here what it says there? Asked once, when it is built.

One short conversation is read in every way that training, scoring and sampling read one, and its log-probabilities are
compared with those of the library's own forward pass on one plain row. Windows of attention are made short meanwhile,
for both, so that the conversation passes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.networks.answerer.transformer import TransformerAnswerer
from lightning_modules.networks.hub.causal_lm import WITHOUT, HubCausal
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import Ids, packed_batch, padded_batch, shared_prompt_batch

PLUMBING = ("check_agreement", "check_answers")
"""What here can change no result: it refuses."""

TOLERANCE = 1e-3
"""Largest difference of a token's log-probability, in nats, of weights that are kept in 32 bits."""

HALF_TOLERANCE = {torch.bfloat16: 0.1, torch.float16: 0.02}
"""Mean difference over the tokens, in nats, of weights that are kept in 16 bits.

There every logit is rounded, between 16 and 32 by up to 0.06 in bfloat16, and differently for every shape of a batch:
SmolLM2 differs from itself by 0.13 nats at most and by 0.007 on average (float16: 0.02 and 0.0004).
"""

_TEXT = (
    "The largest planet of our solar system is Jupiter. It has ninety-five known moons, and Saturn has more of them "
    "still, the largest being Titan."
)
_STEPS = 2  # tokens that are written
_WINDOW = 4
_WINDOWS = ("sliding_window", "attention_chunk_size")
"""What the library's masks read from a model's configuration (transformers.masking_utils)."""

_agreed: dict[Hashable, dict[str, str]] = {}


class Difference(NamedTuple):
    """Of log-probabilities of the same tokens, in nats; infinite where they cannot be had."""

    largest: float
    mean: float


def check_agreement(model: LanguageModel, *, name: str, kept: torch.dtype, key: Hashable = None) -> None:
    """Compare, and let the network refuse the ways of reading in which it differs.

    Args:
        model: whose network is a ``HubCausal``.
        name: what errors call it.
        kept: the dtype of its weights, or that of their products where they are quantised.
        key: of its weights and configuration: what has been compared in this process is not compared again. ``None``
            compares in any case.

    Raises:
        ValueError: it differs in padded rows, which everything needs.
    """
    network = model.causal
    assert isinstance(network, HubCausal)
    if key is None or key not in _agreed:
        _agreed[key] = _refusals(differences(model), name, kept)
    network.refused = dict(_agreed[key])


def _refusals(apart: Mapping[str, Difference], name: str, kept: torch.dtype) -> dict[str, str]:
    """By way of reading, why it is refused."""
    allowed = HALF_TOLERANCE.get(kept, TOLERANCE)
    found = {}
    for way, difference in apart.items():
        told, without = _WAYS[way]
        value = difference.mean if kept in HALF_TOLERANCE else difference.largest
        if not value <= allowed:
            by = f"differs by {value:.2g} nats a token from" if math.isfinite(value) else "cannot do what is done in"
            reason = f"{name} {told} {by} the transformers library's own forward pass: {without}"
            if way in _NEEDED:
                raise ValueError(reason)
            found[way] = reason
    return found


_WAYS = {
    "padded": ("read here", "choose another model"),
    "chunked": ("with its head asked in pieces", "choose another model"),
    "packed": ("in packed rows", WITHOUT["packed"]),
    "shared": ("with a shared prompt", WITHOUT["shared"]),
    "written": ("written token by token", WITHOUT["written"]),
    "answers": ("read here", "choose another model"),
    "scored": ("with prompts kept for several answers", "set evaluation.decoding=free"),
}
_NEEDED = ("padded", "chunked", "answers")


def check_answers(answerer: TransformerAnswerer, *, name: str, kept: torch.dtype, key: Hashable) -> None:
    """As ``check_agreement``, of a model that answers prompts; one that cannot score given answers refuses to."""
    if key not in _agreed:
        _agreed[key] = _refusals(answer_differences(answerer), name, kept)
    answerer.refused = _agreed[key].get("scored", "")


@torch.no_grad()
def answer_differences(answerer: TransformerAnswerer) -> dict[str, Difference]:
    """By way of reading prompts and answers, how far it is from the library's own forward pass."""
    prompt, *answers = _cut(answerer.form.response_ids([_TEXT])[0][:-1], 20)
    prompts = [prompt, prompt[3:]]

    def own(begun: Ids, answer: Ids) -> Tensor:
        logps = answerer.plain_logits(begun, answer).float().log_softmax(-1)
        return logps.gather(-1, torch.tensor(answer, device=logps.device)[:, None])[:, 0]

    def read() -> list[Tensor]:
        batch = answerer.collate_ids(prompts, answers)
        logps, mask = answerer.answer_logps({key: value.to(answerer.device) for key, value in batch.items()})
        return [row[real] for row, real in zip(logps, mask, strict=True)]

    def scored() -> list[Tensor]:
        found = answerer.score_ids(prompts, answers)
        return list((found.sums / found.lengths).diagonal()[:, None])

    with _short_windows(answerer.model), _evaluated(answerer.model):
        wanted = [own(*pair) for pair in zip(prompts, answers, strict=True)]
        means = [one.mean()[None] for one in wanted]
        return {"answers": _apart("answers", read, wanted), "scored": _apart("scored", scored, means)}


@torch.no_grad()
def differences(model: LanguageModel) -> dict[str, Difference]:
    """By way of reading, how far it is from the library's own forward pass."""
    network = model.causal
    assert isinstance(network, HubCausal)
    prompt, first, second = _conversation(model)
    prompts, responses = [prompt, prompt], [first, second]
    padding = model.codec.padding
    with _short_windows(network.inner), _evaluated(network.inner):
        device = next(network.parameters()).device
        wanted = [_own(network, prompt, response) for response in responses]
        padded = padded_batch(prompts, responses, padding=padding).to(device)
        packed = packed_batch(prompts, responses, row_length=64, padding=padding).to(device)
        shared = shared_prompt_batch([prompt], [first], [second], padding=padding).to(device)
        states = model.response_states(padded)
        ways: dict[str, Callable[[], list[Tensor]]] = {
            "padded": lambda: _rows(model.logps_of(states, padded), responses),
            "chunked": lambda: _rows(model.logps_of(states, padded, chunk=3), responses),
            "packed": lambda: _rows(model.response_logps(packed), responses),
            "shared": lambda: _rows(model.response_logps(shared), responses),
            "written": lambda: _written(network, prompt, responses),
        }
        return {way: _apart(way, read, wanted) for way, read in ways.items()}


def _conversation(model: LanguageModel) -> tuple[list[int], list[int], list[int]]:
    """A prompt and two responses of unequal lengths, within what the network reads."""
    return _cut(model.codec.response_ids([_TEXT])[0][:-1], max(3, min(20, model.network.limit - _STEPS)))


def _cut(ids: list[int], length: int) -> tuple[list[int], list[int], list[int]]:
    ids = (ids * length)[:length]
    begun, middle = length // 2, max(length // 2 + 1, length * 4 // 5)
    return ids[:begun], ids[begun:middle], ids[middle:]


def _own(network: HubCausal, prompt: Ids, response: Ids) -> Tensor:
    """The library's own log-probabilities of a response: one row, no mask, no positions."""
    ids = torch.tensor([[*prompt, *response]], device=next(network.parameters()).device)
    logps = network.model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    places = torch.arange(len(prompt), ids.shape[1], device=ids.device)
    return logps[places - 1, ids[0, places]]


def _rows(found: tuple[Tensor, Tensor], responses: Sequence[Ids]) -> list[Tensor]:
    return [row[: len(response)] for row, response in zip(found[0], responses, strict=True)]


def _written(network: HubCausal, prompt: Ids, responses: Sequence[Ids]) -> list[Tensor]:
    """Log-probabilities of the responses' first tokens as they are written, beside a longer prompt that leaves."""
    decoding = network.open([prompt, [*prompt, *responses[0]]], copies=2, room=_STEPS)
    logits = decoding.logits.repeat_interleave(2, dim=0)
    tokens = torch.tensor([[*row, *row][: _STEPS + 1] for row in (*responses, *responses)], device=logits.device)
    found = [logits.float().log_softmax(-1)[:2]]
    for time in range(_STEPS):
        logits = decoding.step(tokens[: len(logits), time])
        found.append(logits.float().log_softmax(-1)[:2])
        if time == 0:
            decoding.keep(torch.tensor([0, 1], device=logits.device))
            logits = logits[:2]
    logps = torch.stack(found, dim=1).gather(-1, tokens[:2, :, None])[:, :, 0]
    return [row[: len(response)] for row, response in zip(logps, responses, strict=True)]


def _apart(way: str, read: Callable[[], list[Tensor]], wanted: Sequence[Tensor]) -> Difference:
    """Infinite for what is not finite, and for what the library cannot do with this model, whatever it raises then."""
    try:
        found = read()
    except Exception:
        if way in _NEEDED:
            raise
        return Difference(math.inf, math.inf)
    apart = torch.cat([(one.float() - other[: len(one)]).abs() for one, other in zip(found, wanted, strict=True)])
    if not bool(apart.isfinite().all()):
        return Difference(math.inf, math.inf)
    return Difference(float(apart.max()), float(apart.mean()))


@contextmanager
def _short_windows(model: Any) -> Iterator[None]:
    """Windows of attention that a short conversation passes, in all parts of a model, for a while."""
    parts = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    kept = [
        (config, key, getattr(config, key))
        for config in parts.values()
        for key in _WINDOWS
        if isinstance(getattr(config, key, None), int) and getattr(config, key) > _WINDOW
    ]
    for config, key, _ in kept:
        setattr(config, key, _WINDOW)
    try:
        yield
    finally:
        for config, key, value in kept:
            setattr(config, key, value)


@contextmanager
def _evaluated(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
