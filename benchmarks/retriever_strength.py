"""How strong each retriever is: recall and precision of its first k passages on real questions over the real corpus.

    python -m benchmarks.retriever_strength                                  all retrievers, nq_gold dev over corpus qa
    python -m benchmarks.retriever_strength --questions hotpotqa --split test --retrievers bm25_passages,minilm

Recall@k by gold ids (share of the questions with a gold passage among the first k, the paper's), by answer string
(with a passage that holds an answer), and precision@k by both. A retriever whose weights are not on this machine is
reported as not run. Indices and lists are stages below outputs/, so that a second call is quick.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from data.files.sources import DataNotFoundError
from data.rag.corpus import PassageFile
from data.rag.passage_lists import PassageLists
from data.records.passages import RagExample
from data.retrieval.base import Learner
from data.retrieval.strength import strength
from data.scoring.answers import has_answer
from sweeps.execution.stages import StageStore
from sweeps.signatures.signature import ROOT

RETRIEVERS = ("random", "oracle", "bm25", "bm25_passages", "tfidf", "tfidf_svd", "trained", "minilm", "contriever",
              "bge", "e5", "mixed_trained", "mixed", "hybrid_trained", "hybrid_minilm", "hybrid")  # fmt: skip


def configured(group: str, name: str) -> Any:
    """The object of one config option."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        if group == "retriever":
            return instantiate(compose("config", overrides=[f"retriever={name}"]).retriever)
        config = compose(f"{group}/{name}")
    for part in group.split("/"):
        config = config[part]
    return instantiate(config)


def answer_ids(corpus: PassageFile, found: list[list[str]], examples: list[RagExample]) -> list[set[str]]:
    """For every question the retrieved passages that hold one of its answers."""
    places = corpus.positions({name for row in found for name in row})
    texts = {name: corpus[place].text for name, place in places.items()}
    return [
        {name for name in row if has_answer(texts[name], example.answers)}
        for row, example in zip(found, examples, strict=True)
    ]


def row(name: str, corpus: PassageFile, stages: StageStore, questions: Any, split: str, ks: list[int]) -> list[str]:
    """One line of the table."""
    retriever = configured("retriever", name)
    examples = questions.examples(split)
    # Never the evaluated questions: a set without a training split trains nothing, and is then reported as not run.
    training = questions.examples("train") if "train" in questions.splits and split != "train" else []
    training = training if isinstance(retriever, Learner) else []
    begun = time.perf_counter()
    lists = PassageLists(retriever, corpus, stages, training=training)
    examples = lists.located(examples, name="these questions over this corpus")
    ranked = lists.of(examples, max(ks))
    seconds = time.perf_counter() - begun
    found = [[hit.id for hit in hits] for hits in ranked]
    held = answer_ids(corpus, found, examples)
    cells = []
    for k in ks:
        gold = strength(found, [example.gold for example in examples], k)
        shown = [set(row[:k]) & right for row, right in zip(found, held, strict=True)]
        by_string = sum(map(bool, shown)) / len(shown)
        precise = sum(map(len, shown)) / (k * len(shown))
        cells.append(f"{100 * gold.hit:.1f} / {100 * gold.precision:.1f} ({100 * by_string:.1f} / {100 * precise:.1f})")
    return [name, *cells, f"{seconds:.0f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--retrievers", default=",".join(RETRIEVERS))
    parser.add_argument("--questions", default="nq_gold")
    parser.add_argument("--corpus", default="qa")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--k", default="1,5,10,20,40")
    parser.add_argument("--stages", type=Path, default=ROOT / "outputs" / "stages")
    options = parser.parse_args()
    ks = [int(k) for k in options.k.split(",")]
    stages = StageStore(options.stages)
    questions = configured("data/questions", options.questions)
    corpus = configured("data/corpus", options.corpus).passages(stages)
    print(f"{options.questions}, {options.split}: {len(questions.examples(options.split))} questions; {corpus.report}")
    print("recall / precision in percent by gold ids (by answer string)\n")
    header = ["retriever", *(f"k={k}" for k in ks), "seconds"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for name in options.retrievers.split(","):
        try:
            cells = row(name, corpus, stages, questions, options.split, ks)
        except DataNotFoundError as error:
            cells = [name, f"not run: weights absent ({str(error).split(':')[0]})", *[""] * len(ks)]
        except ValueError as error:
            if "no pair to train on" not in str(error):
                raise
            cells = [name, f"not run: {error}", *[""] * len(ks)]
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
