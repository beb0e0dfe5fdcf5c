"""What retrieval costs as a corpus grows: build, memory, recall and speed, beside plain faiss and rank_bm25.

    python -m benchmarks.retrieval_scale                                    10 thousand to 100 thousand passages
    python -m benchmarks.retrieval_scale --sizes 1000000 --kinds flat,ivf_pq     one million (1.5 GB of vectors)
    python -m benchmarks.retrieval_scale --lexical-only

Dense: embeddings of the real corpus; above its size every vector recurs with noise of half its length in a random
direction (cosine about 0.89 to its original), so that lists and graphs meet the real distribution, only denser. Queries
are embeddings of real questions. Lexical: real passages; above the corpus's size they recur with a fifth of their words
drawn anew from the corpus. Peers get the same data, the same settings and the same queries in the same run: plain faiss
keeps everything in memory, ours builds from and reads mapped files. Every measurement is a process of its own with one
thread; seconds are seconds of processor time, because they mean the same on a busy machine. The last lines extrapolate
to the 21,015,324 passages of the paper's Wikipedia by the growth of each kind, printed beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.files.stages import TemporaryStages
from data.retrieval.base import top_hits
from data.retrieval.bm25 import BM25Retriever
from data.retrieval.vector_index import Settings, VectorIndex
from data.retrieval.vectors import Vectors, write_vectors
from sweeps.execution.stages import StageStore
from sweeps.signatures.signature import ROOT

# What builds objects from configs is imported where it is needed: a measurement must not wait for it.

K = 10
QUERIES = 500
PAPER = 21_015_324
NOISE = 0.5
GROWTH: dict[str, tuple[str, Callable[[float], float], str, Callable[[float], float]]] = {
    "flat": ("none", lambda n: 0.0, "1/N", lambda n: 1 / n),
    "ivf_flat": ("N^1.5", lambda n: n**1.5, "1/N", lambda n: 1 / n),
    "ivf_pq": ("N^1.5", lambda n: n**1.5, "1/N", lambda n: 1 / n),
    "hnsw": ("N log N", lambda n: n * math.log(n), "1/log N", lambda n: 1 / math.log(n)),
}
"""Growth of build time and of queries per second with the number of vectors, by kind. Lists grow with the square root
of N and a fixed share of them is probed, so that inverted lists save a constant factor."""


def peak() -> float:
    """Most memory that this process has held, MiB; pages of mapped files that it touched count."""
    # Not getrusage, whose maximum may be that of the process that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    made = work()
    return time.process_time() - begun, made


def plain_faiss(settings: Settings, width: int) -> Any:
    """The same index by faiss' own factory."""
    import faiss

    metric = faiss.METRIC_INNER_PRODUCT
    if settings.kind == "flat":
        return faiss.IndexFlatIP(width)
    if settings.kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, settings.links, metric)
        index.hnsw.efConstruction = settings.build_breadth
        index.hnsw.efSearch = settings.search_breadth
        return index
    # "np": codes without the polysemous training, which is long and which nothing here uses.
    code = "Flat" if settings.kind == "ivf_flat" else f"PQ{settings.code_bytes}np"
    index = faiss.index_factory(width, f"IVF{settings.lists},{code}", metric)
    index.nprobe = settings.probes
    return index


def dense_part(task: dict[str, Any]) -> dict[str, Any]:
    """One measurement of one process: build or search, ours or plain faiss'."""
    import faiss

    faiss.omp_set_num_threads(1)
    folder, built = Path(task["vectors"]), Path(task["built"])
    built.mkdir(exist_ok=True)
    vectors = Vectors(folder)
    index = VectorIndex(kind=task["kind"], gpu=False)
    settings = index.settings(len(vectors), vectors.width)
    queries = np.load(task["queries"])
    before = peak()
    if task["part"] == "build":
        if task["ours"]:
            seconds, _ = timed(lambda: index.build(vectors, built))
        else:
            matrix = vectors.take(np.arange(len(vectors)))
            made = plain_faiss(settings, vectors.width)

            def fill() -> None:
                if not made.is_trained:
                    made.train(matrix)
                made.add(matrix)

            seconds, _ = timed(fill)
            faiss.write_index(made, str(built / "plain.faiss"))
        size = sum(path.stat().st_size for path in built.iterdir() if path.name != "settings.json") / 2**20
        return {"seconds": seconds, "peak": peak() - before, "file": size}
    if task["ours"]:
        searcher = index.open(built, vectors)
        search = lambda: searcher.search(queries, K).indices  # noqa: E731
    else:
        made = faiss.read_index(str(built / "plain.faiss"))
        if hasattr(made, "nprobe"):
            made.nprobe = settings.probes
        search = lambda: made.search(queries, K)[1]  # noqa: E731
    search()  # the first time pays for reading the files
    seconds, found = timed(search)
    np.save(task["found"], found)
    return {"rate": len(queries) / max(seconds, 1e-9), "peak": peak() - before}


def enlarged(real: list[str], size: int) -> list[str]:
    """Real passages; above their number with a fifth of their words drawn anew."""
    pool = [word for text in real[::10] for word in text.split()]
    generator = np.random.default_rng(0)
    texts = real[:size]
    while len(texts) < size:
        words = real[len(texts) % len(real)].split()
        for place in generator.choice(len(words), len(words) // 5, replace=False):
            words[place] = pool[generator.integers(len(pool))]
        texts.append(" ".join(words))
    return texts


def lexical_part(task: dict[str, Any]) -> dict[str, Any]:
    """Index and search by ours or by rank_bm25, over the same words."""
    texts, queries = json.loads(Path(task["texts"]).read_text())
    retriever = BM25Retriever(k1=0.9, b=0.4, stopwords=True)
    before = peak()
    if task["ours"]:
        built, _ = timed(lambda: retriever.index(texts, TemporaryStages()))
        seconds, hits = timed(lambda: retriever.search(queries, K))
    else:
        from rank_bm25 import BM25Okapi

        built, made = timed(lambda: BM25Okapi(retriever._words(texts), k1=0.9, b=0.4))

        def search() -> Any:
            scores = [made.get_scores(words) for words in retriever._words(queries)]
            return top_hits(np.stack(scores), K)

        seconds, hits = timed(search)
    np.save(task["found"], hits.indices)
    return {"seconds": built, "rate": len(queries) / max(seconds, 1e-9), "peak": peak() - before}


def apart(**task: Any) -> dict[str, Any]:
    """Runs one measurement in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.retrieval_scale", "--task", json.dumps(task)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def jittered(base: Vectors, size: int, folder: Path) -> None:
    """``size`` vectors: the real ones, then copies with noise; a vector depends on its number alone."""

    def made(numbers: Any) -> np.ndarray:
        places = np.array(list(numbers))
        rows = base.take(places % len(base))
        copies = places >= len(base)
        for row, place in zip(np.flatnonzero(copies), places[copies], strict=True):
            noise = np.random.default_rng(int(place)).standard_normal(base.width, dtype=np.float32)
            rows[row] += NOISE * noise / np.linalg.norm(noise)
            rows[row] /= np.linalg.norm(rows[row])
        return rows

    folder.mkdir(parents=True, exist_ok=True)
    write_vectors(range(size), made, folder, width=base.width, shard_size=50_000)  # type: ignore[arg-type]


def recall(found: Path, flat: Path) -> float:
    """Share of the exact K nearest that were found, percent."""
    pairs = zip(np.load(found), np.load(flat), strict=True)
    return 100 * float(np.mean([len(set(row) & set(wanted)) / K for row, wanted in pairs]))


def dense(sizes: list[int], kinds: list[str], name: str, stages: StageStore, scratch: Path, peer: bool) -> None:
    from benchmarks.retriever_strength import configured
    from data.rag.corpus import PassageTexts

    retriever = configured("retriever", name)
    texts = PassageTexts(configured("data/corpus", "qa").passages(stages))
    retriever.index(texts, stages)
    questions = configured("data/questions", "nq_gold").examples("train")[:QUERIES]
    np.save(scratch / "queries.npy", retriever.encoder.encode_queries([example.question for example in questions]))
    base = retriever._searcher._vectors
    print(f"dense, {name}: {len(base)} real vectors of {base.width}, {QUERIES} questions, recall@{K} against flat\n")
    print("| vectors | kind | who | build s | build MiB | file MiB | search MiB | recall % | queries/s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    last: dict[str, dict[str, float]] = {}
    for size in sizes:
        vectors = scratch / f"vectors-{size}"
        jittered(base, size, vectors)
        task = {"vectors": str(vectors), "queries": str(scratch / "queries.npy")}
        exact = scratch / f"found-{size}-flat-True.npy"
        for kind in ["flat", *(kind for kind in kinds if kind != "flat")]:
            for ours in (True, False) if peer else (True,):
                found = scratch / f"found-{size}-{kind}-{ours}.npy"
                task |= {"kind": kind, "ours": ours, "built": str(scratch / f"built-{size}-{kind}-{ours}")}
                task |= {"found": str(found)}
                built, searched = apart(part="build", **task), apart(part="search", **task)
                shared = recall(found, exact)
                cells = [f"{size:,}", kind, "ours" if ours else "plain faiss", f"{built['seconds']:.1f}"]
                cells += [f"{built['peak']:.0f}", f"{built['file']:.0f}", f"{searched['peak']:.0f}"]
                cells += [f"{shared:.1f}", f"{searched['rate']:.0f}"]
                print(f"| {' | '.join(cells)} |", flush=True)
                if ours:
                    last[kind] = {"size": size, **built, "rate": searched["rate"]}
    print(f"\nextrapolated to {PAPER:,} vectors of {base.width} dimensions, one thread\n")
    print("| kind | from | build hours (growth) | GiB of index | queries/s (growth) |\n|---|---|---|---|---|")
    for kind, at in last.items():
        grown, build, slowed, rate = GROWTH[kind]
        hours = at["seconds"] * build(PAPER) / build(at["size"]) / 3600 if build(PAPER) else 0.0
        size = at["file"] / 1024 if kind != "flat" else at["size"] * base.width * 4 / 2**30
        speed = at["rate"] * rate(PAPER) / rate(at["size"])
        print(f"| {kind} | {at['size']:,.0f} | {hours:.1f} ({grown}) | {size * PAPER / at['size']:.1f} | "
              f"{speed:.2f} ({slowed}) |")  # fmt: skip


def lexical(sizes: list[int], stages: StageStore, scratch: Path) -> None:
    from benchmarks.retriever_strength import configured
    from data.rag.corpus import PassageTexts

    real = list(PassageTexts(configured("data/corpus", "qa").passages(stages)))
    queries = [example.question for example in configured("data/questions", "nq_gold").examples("dev")[::10]]
    peer = importlib.util.find_spec("rank_bm25") is not None
    print(f"\nlexical: BM25, k1 0.9, b 0.4{'' if peer else '; rank_bm25 is not installed (extra: benchmarks)'}\n")
    print("| passages | who | index s | MiB | queries/s | same top 10 % |\n|---|---|---|---|---|---|", flush=True)
    for size in sizes:
        exact = scratch / f"lexical-{size}-True.npy"
        (scratch / "texts.json").write_text(json.dumps([enlarged(real, size), queries]))
        for ours in (True, False) if peer and size <= 100_000 else (True,):
            found = scratch / f"lexical-{size}-{ours}.npy"
            got = apart(part="lexical", ours=ours, texts=str(scratch / "texts.json"), found=str(found))
            cells = [f"{size:,}", "ours (bm25s)" if ours else "rank_bm25", f"{got['seconds']:.1f}"]
            cells += [f"{got['peak']:.0f}", f"{got['rate']:.1f}", f"{recall(found, exact):.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default="10000,30000,100000")
    parser.add_argument("--kinds", default="flat,ivf_flat,ivf_pq,hnsw")
    parser.add_argument("--retriever", default="minilm", help="whose embeddings")
    parser.add_argument("--stages", type=Path, default=ROOT / "outputs" / "stages")
    parser.add_argument("--scratch", type=Path, default=None, help="where vectors and indices go; a temporary folder")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--lexical-only", action="store_true")
    parser.add_argument("--dense-only", action="store_true")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task = json.loads(options.task)
        print(json.dumps(lexical_part(task) if task["part"] == "lexical" else dense_part(task)))
        return 0
    sizes = [int(size) for size in options.sizes.split(",")]
    stages = StageStore(options.stages)
    with tempfile.TemporaryDirectory(prefix="retrieval-scale-") as temporary:
        scratch = options.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        if not options.lexical_only:
            dense(sizes, options.kinds.split(","), options.retriever, stages, scratch, not options.no_peer)
        if not options.dense_only:
            lexical(sizes, stages, scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
