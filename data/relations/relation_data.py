"""Lightning data modules: corpora, neighbours and prompts behind one object, built from a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning
import pandas as pd

from data.files.rows import Row, placed
from data.files.sources import read_hub, read_rows
from data.files.stages import Stages, TemporaryStages
from data.loading.step_loader import StepLoader
from data.records.relations import Neighbour, Prediction, Prompt, RelationExample
from data.relations.formats import READERS, carve, check, drop_recurring, subset
from data.relations.label_refinement import label_of
from data.relations.neighbours import NeighbourLists
from data.relations.prompts import PromptTemplate
from data.retrieval.base import Progress, Retriever

_HUB_FIELDS = {"id", "split", "revision", "first_id", "rows"}


class RelationData(lightning.LightningDataModule):
    """A relation extraction corpus with its neighbours and prompts. Nothing is read before it is asked for.

    Args:
        name: what the corpus is called in messages.
        files: data file by name; see ``sources.locate``.
        reader: row format, a key of ``formats.READERS``.
        labels: the inventory in its frozen order.
        none_label: the label that means "none of these relations", or ``None``.
        splits: names of the files that make up each split; ``None``: every file is a split of its name.
        carve: share of train that becomes a split of its own, by split; for corpora without dev or test.
        hub: splits that are loaded from a hub, as {split: {id, split, revision, first_id, rows}}; needs a network. Rows
            of a hub carry no ids: they are counted from ``first_id``, and must be ``rows`` in number.
        drop_train_in_test: also drop train sentences that recur in test. Train sentences that recur in dev always go.
            On by default: a retriever finds such a sentence at once and a labelled neighbour then hands over an answer
            about the test; it costs 5 of 7,000 sentences for SemEval's open test, 17 for the whole.
        train_limit: train on (and retrieve from) at most so many examples, the same for every seed.
        leak: let training prompts retrieve the example itself; a control that shows what this does.
        retriever: see ``retrieval.base.Retriever``.
        prompt: template that turns examples into prompts.
        batch_size: prompts per training step.
        bucket: batch prompts of similar length.
        seed: order of the training batches.

    Attributes:
        collate: turns a list of prompts into a training batch; set before ``train_dataloader``.
        count_tokens: tokens of a text, for ``prompt.budget`` and ``bucket``; a method sets it in ``attach``.
        start_step: first step that ``train_dataloader`` gives.
        dropped_neighbours: by split, how many neighbours the budget left out of its prompts.
        dropped: by split, ids of the train examples that were left out because their sentence recurs there.
    """

    scored_by: tuple[str, ...] = ("data.scoring.relations", "data.scoring.labels")

    def __init__(
        self,
        *,
        name: str,
        files: Mapping[str, str],
        reader: str,
        labels: Sequence[str],
        none_label: str | None,
        retriever: Retriever,
        prompt: PromptTemplate,
        batch_size: int,
        seed: int,
        splits: Mapping[str, Sequence[str]] | None = None,
        carve: Mapping[str, float] | None = None,
        hub: Mapping[str, Mapping[str, Any]] | None = None,
        drop_train_in_test: bool = True,
        train_limit: int | None = None,
        leak: bool = False,
        bucket: bool = True,
    ) -> None:
        super().__init__()
        if reader not in READERS:
            raise ValueError(f"data.reader must be one of {', '.join(READERS)}, got {reader!r}")
        if len(set(labels)) != len(labels) or len(labels) < 2:
            raise ValueError(f"data.labels must be at least two different labels, got {list(labels)}")
        if none_label is not None and none_label not in labels:
            raise ValueError(f"data.none_label {none_label!r} must be in data.labels or null")
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        if train_limit is not None and train_limit < 1:
            raise ValueError(f"data.train_limit must be at least 1 or null for all, got {train_limit}")
        self.name = name
        self.labels: tuple[str, ...] = tuple(labels)
        self.none_label = none_label
        self.retriever = retriever
        self.template = prompt
        self.batch_size = int(batch_size)
        self.seed = int(seed)
        self.drop_train_in_test = bool(drop_train_in_test)
        self.train_limit = train_limit
        self.leak = bool(leak)
        self.bucket = bool(bucket)
        self.collate: Callable[[list[Prompt]], Any] | None = None
        self.count_tokens: Callable[[str], int] | None = None
        self.start_step = 0
        self.dropped_neighbours: dict[str, int] = {}
        self.dropped: dict[str, list[str]] = {}
        self._files = dict(files)
        self._read = READERS[reader]
        self._hub = {split: dict(source) for split, source in (hub or {}).items()}
        self._carve = dict(carve or {})
        self._parts = {split: list(parts) for split, parts in (splits or {key: [key] for key in files}).items()}
        self._check_splits()
        self._examples: dict[str, list[RelationExample]] | None = None
        self._lists: NeighbourLists | None = None
        self._neighbours: dict[str, list[list[Neighbour]]] = {}
        self._by_id: dict[str, RelationExample] = {}

    def _check_splits(self) -> None:
        absent = sorted({part for parts in self._parts.values() for part in parts} - set(self._files))
        if absent:
            raise ValueError(f"data.splits names {absent}, which data.files lacks: it has {sorted(self._files)}")
        sources = [*self._parts, *self._hub, *self._carve]
        if "train" not in {*self._parts, *self._hub}:
            raise ValueError(f"data.files or data.hub must give a 'train' split, got {sources}")
        unusable = sorted(name for name, source in self._hub.items() if set(source) != _HUB_FIELDS)
        if unusable:
            raise ValueError(f"data.hub of {unusable} must give exactly {', '.join(sorted(_HUB_FIELDS))}")
        doubled = sorted({split for split in sources if sources.count(split) > 1})
        if doubled:
            raise ValueError(f"the splits {doubled} come from more than one of data.files, data.hub and data.carve")

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, train first."""
        names = {**dict.fromkeys(self._parts), **dict.fromkeys(self._hub), **dict.fromkeys(self._carve)}
        return ("train", *(name for name in names if name != "train"))

    def prepare(self, stages: Stages, progress: Progress | None = None) -> None:
        """Load the corpus and build, or fetch, the neighbour lists of every split.

        Args:
            stages: where shared products live.
            progress: called with (done, total) during embedding and search.
        """
        self._lists = NeighbourLists(self.retriever, self.examples("train"), stages)
        self._neighbours = {}
        for split in self.splits:
            exclude = split == "train" and not self.leak
            self._neighbours[split] = self._lists.of(
                self.examples(split), exclude_same_sentence=exclude, progress=progress
            )

    def require(self, split: str) -> None:
        """Raise ``ValueError`` unless a split can be judged; a run asks before it trains."""
        self.examples(split)

    def examples(self, split: str) -> list[RelationExample]:
        """Examples of a split in the order of its file; ``ValueError`` for an unknown split."""
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}: it has {', '.join(self.splits)}")
        if self._examples is None:
            self._examples = self._load()
            self._by_id = {example.id: example for example in self._examples["train"]}
        return self._examples[split]

    def _load(self) -> dict[str, list[RelationExample]]:
        loaded: dict[str, list[RelationExample]] = {}
        read: dict[str, list[Row]] = {}
        for split, parts in self._parts.items():
            read[split] = rows = [row for part in parts for row in read_rows(self._files[part])]
            loaded[split] = [self._read(row, index) for index, row in enumerate(rows)]
        for split, source in self._hub.items():
            found = read_hub(source["id"], split=source["split"], revision=source["revision"])
            read[split] = rows = placed(found, f"{source['id']} ({source['split']})")
            if len(rows) != source["rows"]:
                raise ValueError(
                    f"{source['id']} has {len(rows)} rows in {source['split']!r} where {source['rows']} are expected: "
                    f"pin the revision that has them, or correct data.hub.{split}.rows"
                )
            loaded[split] = [self._read(row, index) for index, row in enumerate(rows, start=source["first_id"] - 1)]
        for split, share in self._carve.items():
            loaded["train"], loaded[split] = carve(loaded["train"], share, name=split)
        for split, examples in loaded.items():
            # What was carved from train stands in train's rows.
            check(examples, self.labels, where=f"{self.name}, split {split!r}", rows=read.get(split, read["train"]))
        for split in ("dev", "test"):
            if split in loaded and (split == "dev" or self.drop_train_in_test):
                loaded["train"], self.dropped[split] = drop_recurring(loaded["train"], loaded[split])
        loaded["train"] = subset(loaded["train"], self.train_limit)
        if not loaded["train"]:
            raise ValueError(f"{self.name} has no training example left: give a larger file or a smaller data.carve")
        return loaded

    def neighbours(self, split: str) -> list[list[Neighbour]]:
        """Up to ten training neighbours of every example, nearest first, in the order of ``examples``."""
        if not self._neighbours:
            self.prepare(TemporaryStages())
        self.examples(split)
        return self._neighbours[split]

    def label_of(self, output: str) -> str:
        """The label that a generated text names by the refinement rule of ``label_refinement.py``, or ""."""
        return label_of(output, self.labels)

    def lookup(self, example_id: str) -> RelationExample:
        """The training example of that id (as neighbours name it); ``ValueError`` where there is none."""
        self.examples("train")
        if example_id not in self._by_id:
            raise ValueError(f"{self.name} has no training example with the id {example_id!r}")
        return self._by_id[example_id]

    def prompts(self, split: str, limit: int | None = None) -> list[Prompt]:
        """Prompts of a split in its order; with ``limit`` a fixed choice of so many, see ``relations.subset``."""
        examples = self.examples(split)
        lists = self.neighbours(split)
        position = {example.id: index for index, example in enumerate(examples)}
        prompts = []
        dropped = 0
        for example in subset(examples, limit):
            nearest = [self.lookup(hit.id) for hit in lists[position[example.id]][: self.template.k]]
            rendered = self.template.render(example, self.labels, nearest, self.count_tokens)
            prompts.append(rendered.prompt)
            dropped += rendered.dropped
        self.dropped_neighbours[split] = dropped
        return prompts

    @staticmethod
    def frame(predictions: Sequence[Prediction]) -> pd.DataFrame:
        """Predictions as a frame with the columns of ``Prediction``; ``retrieved`` joined by spaces."""
        rows = [(*prediction[:-1], " ".join(prediction.retrieved)) for prediction in predictions]
        return pd.DataFrame(rows, columns=list(Prediction._fields), dtype="str")

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in one pass over train; the last one may be smaller."""
        return -(-len(self.examples("train")) // self.batch_size)

    def _length(self, prompt: Prompt) -> int:
        """Tokens, where the method has said how they are counted: characters tell them too badly to pad little."""
        return self.count_tokens(prompt.text) if self.count_tokens else len(prompt.text)

    def train_dataloader(self) -> StepLoader:
        """Batches from ``start_step`` on; ``ValueError`` before ``collate`` is set."""
        if self.collate is None:
            raise ValueError("data.collate must be set to the method's collate before train_dataloader is called")
        return StepLoader(
            self.prompts("train"),
            batch_size=self.batch_size,
            seed=self.seed,
            collate=self.collate,
            length=self._length if self.bucket else None,
            start_step=self.start_step,
        )
