"""Is an answer right? The measures of open-domain question answering, as pure functions of strings.

Normalisation, exact match and token F1 as in SQuAD (Rajpurkar et al. 2016, https://aclanthology.org/D16-1264): lower
case, no punctuation, no articles, single spaces. The long-context paper (arXiv 2410.05983) does not name its measure
where we could read it; containment is the usual one for long generations and is our first.
Containment counts whole tokens: "no" is not in "know". Several accepted answers: the best one counts.

Two kinds of answers are not SQuAD's. Of an answer of articles or punctuation alone ("The", "?") normalisation leaves
nothing: it is compared as it stands, as a whole. An answer of one letter ("A", "(I)") is a choice, not an article, and
is compared with the letter that the prediction chooses (``choices``). Nothing ever equals an empty prediction.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from data.scoring.choices import chosen_letter, letter_of, letters_in

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, ASCII punctuation deleted, articles deleted, white space collapsed; composed Unicode (NFC)."""
    text = unicodedata.normalize("NFC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", text).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the normalised prediction equals a normalised answer, else 0."""
    return float(any(_equal(prediction, answer) for answer in _given(answers)))


def answer_contained(prediction: str, answers: Sequence[str]) -> float:
    """1 if the tokens of an answer stand in the prediction, side by side and in order, else 0.

    A letter is contained where the prediction chooses it; an answer of articles or punctuation only as a whole.
    """
    return float(any(_contained(prediction, answer) for answer in _given(answers)))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Largest F1 of the bags of normalised tokens over the answers; an empty bag scores 0.

    A letter that the prediction chooses is one token in common.
    """
    return max(_token_f1(prediction, answer) for answer in _given(answers))


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """Largest ROUGE-L F-measure (Lin 2004, beta = 1) over the answers, on normalised tokens: for long answers."""
    return max(_rouge_l(prediction, answer) for answer in _given(answers))


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a passage holds an answer as a run of whole tokens: recall by answer string.

    It overstates recall where values recur (a year, "yes"); compare recall by gold ids wherever those are known. A
    letter must stand alone as a capital; an answer of articles or punctuation alone is in no passage.
    """
    letters = [letter for letter in map(letter_of, _given(answers)) if letter]
    padded = f" {normalise_answer(text)} "
    words = [normalise_answer(answer) for answer in answers if not letter_of(answer)]
    return any(wanted and f" {wanted} " in padded for wanted in words) or bool(letters_in(text) & set(letters))


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


def _equal(prediction: str, answer: str) -> bool:
    said, wanted = normalise_answer(prediction), normalise_answer(answer)
    if letter := letter_of(answer):
        return letter_of(prediction) == letter or said == letter.lower()
    return said == wanted if wanted else _verbatim(prediction) == _verbatim(answer) != ""


def _contained(prediction: str, answer: str) -> bool:
    if letter := letter_of(answer):
        return _equal(prediction, answer) or chosen_letter(prediction) == letter
    wanted = normalise_answer(answer)
    return f" {wanted} " in f" {normalise_answer(prediction)} " if wanted else _equal(prediction, answer)


def _token_f1(prediction: str, answer: str) -> float:
    said, wanted = Counter(normalise_answer(prediction).split()), Counter(normalise_answer(answer).split())
    if letter := letter_of(answer):
        # Normalisation takes the letter A for an article: it is counted by itself.
        others = said.total() - said[letter.lower()]
        return 2.0 / (others + 2) if _contained(prediction, answer) else 0.0
    if not wanted:
        return float(_equal(prediction, answer))
    # 2 P R / (P + R) with P = common / said and R = common / wanted.
    return 2.0 * (said & wanted).total() / (said.total() + wanted.total())


def _rouge_l(prediction: str, answer: str) -> float:
    said, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    if letter_of(answer) or not wanted:
        return _token_f1(prediction, answer)
    return 2.0 * _longest_common(said, wanted) / (len(said) + len(wanted))


def _verbatim(text: str) -> str:
    """The words of a text without punctuation, its articles kept; the text itself where it is punctuation alone."""
    text = unicodedata.normalize("NFC", text).casefold()
    return " ".join((text.translate(_PUNCTUATION).strip() or text).split())


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
