"""Rows of preference files as records: TRL's formats and the rows that InfiFPO's authors released.

| columns | what they are |
|---|---|
| ``prompt``, ``chosen``, ``rejected`` as text | TRL, standard |
| ``chosen``, ``rejected`` as text alone | TRL, implicit prompt: what both begin with, up to the last space |
| the three as lists of ``{role, content}`` | TRL, conversational |
| ``chosen``, ``rejected`` as whole conversations, ``prompt`` as text or none | UltraFeedback, InfiFPO |
| ``score_chosen``, ``score_rejected`` | UltraFeedback: a row that scores both alike is a tie |
| ``ref_chosen_logps``, ``ref_rejected_logps`` | sums under the initial pivot (InfiFPO, TRL up to 0.15) |
| ``ref_mean_chosen_logps``, ``ref_mean_rejected_logps`` | the same per token, which tells the tokens |
| ``fuse_chosen_logps``, ``fuse_mean_chosen_logps``, ... | the same as lists over sources (InfiFPO) |

Torch-free. A fault is a ``BadRowError``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from data.files.rows import BadRowError, alike, anything, columns, maybe, number, shown
from data.records.preferences import PreferenceRow, RecordedScore
from data.records.texts import Conversation, PreferencePair

TURN = "{role}: {content}\n"
"""How a message is set in a prompt of several, unless told otherwise."""

_SIDES = ("chosen", "rejected")


_SCORES = [f"score_{side}" for side in _SIDES]
_LOGPS = [f"{who}_{mean}{side}_logps" for who in ("ref", "fuse") for side in _SIDES for mean in ("", "mean_")]


@columns(
    chosen=anything,
    rejected=anything,
    prompt=maybe(anything),
    **dict.fromkeys(_SCORES, maybe(number)),
    **dict.fromkeys(_LOGPS, maybe(anything)),
)
def preference_row(row: dict[str, Any], identifier: str, *, turn: str = TURN) -> PreferenceRow:
    """A row of any of the formats above.

    Args:
        row: columns by name; a missing one may be ``None``.
        identifier: of the pair.
        turn: how a message is set in a prompt of several, for models that have no turns for them: text with {role} and
            {content}. A single message of the user is the prompt as it is; what a model wants around it is
            ``model.prompt_wrapper``.

    Raises:
        BadRowError: what is wrong.
    """
    prompt, chosen, rejected = _texts(row, turn)
    scores = [row[name] for name in _SCORES]
    return PreferenceRow(
        PreferencePair(identifier, prompt, chosen, rejected),
        _reference(row),
        _sources(row),
        scores[0] is not None and scores[0] == scores[1],
    )


def _texts(row: Mapping[str, Any], turn: str) -> tuple[str, str, str]:
    """Prompt, chosen and rejected."""
    prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is None:
            meant = alike("prompt", row, cutoff=0.85)
            if meant:
                raise BadRowError(f"prompt is missing (did you mean {meant[0]}?): the responses alone would be split")
            return _common_prompt(chosen, rejected)
        if not isinstance(prompt, str):
            raise BadRowError(f"the responses are text and prompt is {shown(prompt)}: give all of them alike")
        return prompt, chosen, rejected
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise BadRowError("one of chosen and rejected is text and the other is not: give both alike")
    heads, replies = [], []
    for side, value in zip(_SIDES, (chosen, rejected), strict=True):
        messages = _messages(value, side)
        if messages[-1][0] != "assistant":
            raise BadRowError(f"{side} ends with a message of {messages[-1][0]!r}: the assistant's is wanted last")
        heads.append(messages[:-1])
        replies.append(messages[-1][1])
    if heads[0] != heads[1]:
        raise BadRowError("chosen and rejected differ before their last message: they must answer the same")
    return _prompt(prompt, heads[0], turn), replies[0], replies[1]


def _prompt(prompt: Any, head: list[tuple[str, str]], turn: str) -> str:
    """The prompt of a row whose responses are conversations that begin with the messages of ``head``.

    Of several messages it is a ``Conversation``.
    """
    if isinstance(prompt, str):
        if not head:
            return prompt
        if prompt not in [content for role, content in head if role == "user"]:
            raise BadRowError("prompt is none of the user's messages in chosen: which of the two is meant?")
    elif prompt is not None:
        asked = _messages(prompt, "prompt")
        if head and head != asked:
            raise BadRowError("chosen has other messages before its reply than prompt: one reply is wanted")
        head = asked
    if not head:
        raise BadRowError("prompt is missing: neither a column nor messages before the reply hold it")
    if len(head) == 1 and head[0][0] == "user":
        return head[0][1]
    opener = turn.partition("{content}")[0].replace("{role}", "assistant")
    text = "".join(turn.replace("{role}", role).replace("{content}", content) for role, content in head) + opener
    return Conversation(text, head)


def _messages(value: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise BadRowError(f"{name} must be a list of messages as the other columns are, got {str(value)[:40]!r}")
    found = []
    for place, message in enumerate(value, start=1):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadRowError(f"message {place} of {name} needs role and content as text, got {str(message)[:60]}")
        found.append((role, content))
    return found


def _common_prompt(chosen: str, rejected: str) -> tuple[str, str, str]:
    """What both texts begin with, cut after its last white space, and what is left of them.

    Departure from TRL, which cuts inside a word where both responses begin with the same letters.
    """
    length = next(
        (place for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other),
        min(len(chosen), len(rejected)),
    )
    while length and not chosen[length - 1].isspace():
        length -= 1
    if not chosen[:length].strip():
        raise BadRowError("prompt is missing, and chosen and rejected have no beginning in common")
    return chosen[:length], chosen[length:], rejected[length:]


def _logp(value: Any, name: str) -> float:
    found = number(value, name)
    if not math.isfinite(found):
        raise BadRowError(f"{name} is {found}: a log-probability must be finite")
    if found > 0:
        raise BadRowError(f"{name} is {found:g}: a log-probability is at most 0")
    return found


def _score(total: float, mean: float | None, name: str) -> RecordedScore:
    """Sum and mean together tell the tokens, which must come out whole but for the rounding of printed means."""
    if mean is None:
        return RecordedScore(total, None)
    tokens = total / mean if mean else 0.0
    if round(tokens) < 1 or abs(tokens - round(tokens)) > 0.25:
        raise BadRowError(
            f"{name}_logps is {total:g} and its mean {mean:g}: that is {tokens:.2f} tokens, a whole number is wanted"
        )
    return RecordedScore(total, round(tokens))


def _reference(row: Mapping[str, Any]) -> tuple[RecordedScore, RecordedScore] | None:
    names = [f"ref_{side}_logps" for side in _SIDES]
    present = [row[name] is not None for name in names]
    if not any(present):
        return None
    if not all(present):
        raise BadRowError(f"{names[present.index(False)]} is missing beside {names[present.index(True)]}")
    found = []
    for side in _SIDES:
        mean = row[f"ref_mean_{side}_logps"]
        total = _logp(row[f"ref_{side}_logps"], f"ref_{side}_logps")
        found.append(_score(total, None if mean is None else _logp(mean, f"ref_mean_{side}_logps"), f"ref_{side}"))
    return found[0], found[1]


def _sources(row: Mapping[str, Any]) -> tuple[tuple[RecordedScore, RecordedScore], ...]:
    names = [f"fuse_{mean}{side}_logps" for side in _SIDES for mean in ("", "mean_")]
    values = [row[name] for name in names]
    if all(value is None for value in values):
        return ()
    for name, value in zip(names, values, strict=True):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise BadRowError(f"{name} must be a list with one number per source, got {str(value)[:40]!r}")
        if len(value) != len(values[0]):  # type: ignore[arg-type]  # checked one line above, the first one first
            raise BadRowError(f"{name} has {len(value)} sources, {names[0]} has {len(values[0])}")  # type: ignore[arg-type]
    sides = []
    for at in (0, 2):
        sums, means = values[at], values[at + 1]
        sides.append(
            [
                _score(_logp(total, names[at]), _logp(mean, names[at + 1]), names[at].removesuffix("_logps"))
                for total, mean in zip(sums, means, strict=True)  # type: ignore[arg-type]
            ]
        )
    return tuple(zip(*sides, strict=True))
