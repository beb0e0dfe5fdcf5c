"""Is an answer right? The measures of open-domain question answering, as pure functions of strings.

Normalisation, exact match and token F1 as in SQuAD (Rajpurkar et al. 2016, https://aclanthology.org/D16-1264): lower
case, no punctuation, no articles, single spaces. The long-context paper (arXiv 2410.05983) does not name its measure
where we could read it; containment is the usual one for long generations and is our first.
Containment counts whole tokens: "no" is not in "know". Several accepted answers: the best one counts.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, ASCII punctuation deleted, articles deleted, white space collapsed; composed Unicode (NFC)."""
    text = unicodedata.normalize("NFC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", text).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the normalised prediction equals a normalised answer, else 0."""
    said = normalise_answer(prediction)
    return float(any(said == normalise_answer(answer) for answer in _given(answers)))


def answer_contained(prediction: str, answers: Sequence[str]) -> float:
    """1 if the tokens of an answer stand in the prediction, side by side and in order, else 0.

    An answer of which normalisation leaves nothing ("The", "?") is compared literally, as a whole.
    """
    said = normalise_answer(prediction)
    for answer in _given(answers):
        wanted = normalise_answer(answer)
        if (wanted and f" {wanted} " in f" {said} ") or (not wanted and answer.strip() == prediction.strip()):
            return 1.0
    return 0.0


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Largest F1 of the bags of normalised tokens over the answers; two empty bags agree, one empty bag scores 0."""
    said = Counter(normalise_answer(prediction).split())
    return max(_f1(said, Counter(normalise_answer(answer).split())) for answer in _given(answers))


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """Largest ROUGE-L F-measure (Lin 2004, beta = 1) over the answers, on normalised tokens: for long answers."""
    said = normalise_answer(prediction).split()
    best = 0.0
    for answer in _given(answers):
        wanted = normalise_answer(answer).split()
        if said and wanted:
            best = max(best, 2.0 * _longest_common(said, wanted) / (len(said) + len(wanted)))
    return best


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a passage holds an answer as a run of whole tokens: recall by answer string.

    It overstates recall where values recur (a year, "yes"); compare recall by gold ids wherever those are known.
    """
    padded = f" {normalise_answer(text)} "
    return any(f" {wanted} " in padded for wanted in map(normalise_answer, _given(answers)) if wanted)


MEASURES = {
    "answer_contained": answer_contained,
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
}
"""Measures in [0, 1] by the name of their column in a frame of examples; the first is the primary one."""


def measure(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """All of ``MEASURES`` for one prediction."""
    return {name: score(prediction, answers) for name, score in MEASURES.items()}


def _given(answers: Sequence[str]) -> Sequence[str]:
    if isinstance(answers, str) or not answers:
        raise ValueError(f"answers must be a sequence with at least one accepted answer, got {answers!r}")
    return answers


def _f1(said: Counter[str], wanted: Counter[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    common = (said & wanted).total()
    # 2 P R / (P + R) with P = common / said and R = common / wanted.
    return 2.0 * common / (said.total() + wanted.total())


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for item in one:
        diagonal = 0
        for column, against in enumerate(other, start=1):
            above = row[column]
            row[column] = diagonal + 1 if item == against else max(above, row[column - 1])
            diagonal = above
    return row[-1]
