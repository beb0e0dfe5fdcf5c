"""Baseline: the linear SVM that also sees how its neighbours are labelled, and the clearest probe of a leak.

Its features are those of ``linear_svm`` and the share of each label among the neighbours in the prompt (``prompt.k`` of
them). Where a training sentence may retrieve itself (``data.leak``), its own label is among the votes: the machine
learns to trust votes that are never so good in the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.records.relations import Prediction, Prompt
from lightning_modules.base import Progress, count_words
from lightning_modules.relations.linear_svm import features


class LinearSvmVotes:
    """One-against-rest linear SVM (squared hinge, scikit-learn), fitted on train in ``attach``.

    Args:
        seed: order in which the solver visits the examples.
        penalty: weight of a training error against the size of the weights, ``C``.
        min_count: textual features of fewer training examples are left out.
        vote_weight: length of a vote vector whose neighbours all agree; textual features have length 1.
    """

    trains = False

    def __init__(self, *, seed: int, penalty: float = 1.0, min_count: int = 2, vote_weight: float = 1.0) -> None:
        if not penalty > 0:
            raise ValueError(f"method.penalty must be above 0, got {penalty}: 0.1 to 1 are usual")
        if min_count < 1:
            raise ValueError(f"method.min_count must be at least 1, got {min_count}")
        if not vote_weight >= 0:
            raise ValueError(f"method.vote_weight must be at least 0 (0 ignores the votes), got {vote_weight}")
        self.seed = seed
        self.penalty = penalty
        self.min_count = min_count
        self.vote_weight = vote_weight
        self._words: Any = None
        self._model: Any = None

    def attach(self, data: Any) -> None:
        """Fit on the training examples. ``ValueError`` where no training prompt shows a neighbour."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC

        data.count_tokens = count_words
        examples = data.examples("train")
        self._words = TfidfVectorizer(analyzer=features, sublinear_tf=True, min_df=self.min_count).fit(examples)
        self._model = LinearSVC(C=self.penalty, random_state=self.seed)
        self._model.fit(self._matrix(data, "train", data.prompts("train")), [example.label for example in examples])

    def _matrix(self, data: Any, split: str, prompts: list[Prompt]) -> Any:
        """Features (N, words + labels) of the prompts' examples."""
        from scipy.sparse import csr_matrix, hstack

        by_id = {example.id: example for example in data.examples(split)}
        position = {label: index for index, label in enumerate(data.labels)}
        votes = np.zeros((len(prompts), len(position)))
        for row, prompt in enumerate(prompts):
            for name in prompt.neighbours:
                votes[row, position[data.lookup(name).label]] += self.vote_weight / len(prompt.neighbours)
        if split == "train" and not votes.any() and self.vote_weight:
            raise ValueError(
                "no training prompt has a neighbour to count: choose a retriever (retriever=tfidf_between), a prompt "
                "that shows neighbours (prompt=labelled) and prompt.k of at least 1"
            )
        words = self._words.transform([by_id[prompt.example_id] for prompt in prompts])
        return hstack([words, csr_matrix(votes)]).tocsr()

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Prediction]:
        """See ``base.Method.predict``."""
        prompts = data.prompts(split, limit)
        answers = self._model.predict(self._matrix(data, split, prompts)) if prompts else []
        return [
            Prediction(prompt.example_id, prompt.target, str(answer), str(answer), prompt.neighbours)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
