"""Baseline: a linear support vector machine on sparse TF-IDF features of the sentence and its marked entities."""

from __future__ import annotations

import re
from typing import Any

from data.records.relations import Prediction, RelationExample
from lightning_modules.base import Progress, count_words

_PARTS = re.compile(r"(.*?)<(e[12])>(.*?)</e[12]>(.*?)<(e[12])>(.*?)</e[12]>(.*)", re.DOTALL)
_WORD = re.compile(r"\w+|[^\w\s]")
_CONTEXT = 3


class LinearSvm:
    """One-against-rest linear SVM (squared hinge, scikit-learn), fitted on train in ``attach``.

    Args:
        seed: order in which the solver visits the examples.
        penalty: weight of a training error against the size of the weights, ``C``.
        min_count: features of fewer training examples are left out.
    """

    trains = False

    def __init__(self, *, seed: int, penalty: float = 1.0, min_count: int = 2) -> None:
        if not penalty > 0:
            raise ValueError(f"method.penalty must be above 0, got {penalty}: 0.1 to 1 are usual")
        if min_count < 1:
            raise ValueError(f"method.min_count must be at least 1, got {min_count}")
        self.seed = seed
        self.penalty = penalty
        self.min_count = min_count
        self._model: Any = None

    def attach(self, data: Any) -> None:
        """Fit on the training examples."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC

        data.count_tokens = count_words
        examples = data.examples("train")
        vectoriser = TfidfVectorizer(analyzer=features, sublinear_tf=True, min_df=self.min_count)
        self._model = make_pipeline(vectoriser, LinearSVC(C=self.penalty, random_state=self.seed))
        self._model.fit(examples, [example.label for example in examples])

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Prediction]:
        """See ``base.Method.predict``."""
        by_id = {example.id: example for example in data.examples(split)}
        chosen = [by_id[prompt.example_id] for prompt in data.prompts(split, limit)]
        answers = self._model.predict(chosen) if chosen else []
        return [
            Prediction(example.id, example.label, str(answer), str(answer), ())
            for example, answer in zip(chosen, answers, strict=True)
        ]


def features(example: RelationExample) -> list[str]:
    """Features of an example, lower case, each naming where it comes from.

    Words of the sentence; n-grams (1 to 3), both ends, the whole and the length of the span between the entities; the
    entities' words and endings; which entity stands first; the three words on either side.

    Raises:
        ValueError: a text without two marked entities.
    """
    match = _PARTS.fullmatch(example.text)
    if match is None:
        raise ValueError(f"example {example.id} does not mark two entities: {example.text[:60]!r}")
    before, opening, first, between, _, second, after = match.groups()
    span = _words(between)
    found = [f"word={word}" for word in _words(f"{before} {first} {between} {second} {after}")]
    for size in (1, 2, 3):
        found += [f"between={' '.join(span[at : at + size])}" for at in range(len(span) - size + 1)]
    found += [f"opens={' '.join(span[:2])}", f"closes={' '.join(span[-2:])}", f"whole={' '.join(span)}"]
    found += [f"distance={min(len(span), 10)}", f"opening={opening}"]
    for name, entity in (("head", example.head), ("tail", example.tail)):
        words = _words(entity)
        last = words[-1] if words else ""
        found += [f"{name}={word}" for word in words]
        found += [f"{name}_last={last}", *(f"{name}_ending={last[-size:]}" for size in (2, 3, 4))]
    found += [f"before{at}={word}" for at, word in enumerate(reversed(_words(before)[-_CONTEXT:]))]
    found += [f"after{at}={word}" for at, word in enumerate(_words(after)[:_CONTEXT])]
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
