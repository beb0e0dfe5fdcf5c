import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.retrieval import vector_index
from data.retrieval.vector_index import BY_SIZE, Settings, VectorIndex
from data.retrieval.vectors import Vectors, write_vectors

faiss = pytest.importorskip("faiss")
SIZE, WIDTH = 900, 8


def unit(seed, rows, width=WIDTH):
    made = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def stored(folder, matrix, shard_size=250):
    folder.mkdir(exist_ok=True)
    rows = range(len(matrix))
    write_vectors(rows, lambda some: matrix[list(some)], folder, width=matrix.shape[1], shard_size=shard_size)
    return Vectors(folder)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("vectors"), unit(0, SIZE))


@pytest.fixture(scope="module")
def queries():
    # Near stored vectors, as questions are near passages.
    near = unit(0, SIZE)[::18] + 0.3 * unit(1, 50)
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def opened(index, vectors, folder):
    seen = []
    index.build(vectors, folder, lambda done, total: seen.append((done, total)))
    return index.open(folder, vectors), seen


def exact(queries, k):
    scores = queries @ unit(0, SIZE).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k], -np.sort(-scores, axis=1)[:, :k]


def test_flat_equals_a_full_sort_whatever_the_blocks(vectors, queries, tmp_path, monkeypatch):
    positions, scores = exact(queries, 10)
    for block in (65_536, 97):
        monkeypatch.setattr(vector_index, "_BLOCK", block)
        searcher, seen = opened(VectorIndex(kind="flat"), vectors, tmp_path)
        hits = searcher.search(queries, 10)
        np.testing.assert_array_equal(hits.indices, positions)
        np.testing.assert_allclose(hits.scores, scores, atol=1e-5)
        assert seen == [] and not (tmp_path / "index.faiss").exists()


@pytest.mark.parametrize(
    ("kind", "options", "least"),
    [
        ("ivf_flat", {"lists": 32, "probes": 32}, 1.0),  # every list probed: nothing is missed
        ("ivf_flat", {"lists": 32, "probes": 8}, 0.8),
        ("ivf_pq", {"lists": 4, "probes": 4, "code_bytes": 4}, 0.95),
        ("hnsw", {}, 0.95),
    ],
)
def test_the_others_find_most_of_it_and_score_it_exactly(kind, options, least, vectors, queries, tmp_path):
    searcher, seen = opened(VectorIndex(kind=kind, **options), vectors, tmp_path)
    hits = searcher.search(queries, 10)
    positions, _ = exact(queries, 10)
    shared = [len(set(row) & set(wanted)) / 10 for row, wanted in zip(hits.indices, positions, strict=True)]
    assert np.mean(shared) >= least and seen[-1] == (SIZE, SIZE)
    wanted = np.einsum("qd,qkd->qk", queries, unit(0, SIZE)[hits.indices])
    np.testing.assert_allclose(hits.scores, wanted, atol=1e-5)
    assert (np.diff(hits.scores, axis=1) <= 1e-6).all()


def test_ranking_candidates_again_is_what_makes_codes_usable(vectors, queries, tmp_path):
    positions, _ = exact(queries, 10)
    shared = []
    for refine in (0, 10):
        folder = tmp_path / str(refine)
        folder.mkdir()
        index = VectorIndex(kind="ivf_pq", lists=4, probes=4, code_bytes=2, refine=refine)
        hits = opened(index, vectors, folder)[0].search(queries, 10)
        rows = zip(hits.indices, positions, strict=True)
        shared.append(np.mean([len(set(row) & set(wanted)) / 10 for row, wanted in rows]))
    assert shared[1] > shared[0] + 0.2


def test_fewer_probes_and_a_narrower_walk_find_less(vectors, queries, tmp_path):
    positions, _ = exact(queries, 10)

    def recall(number, **options):
        folder = tmp_path / str(number)
        folder.mkdir()
        hits = opened(VectorIndex(**options), vectors, folder)[0].search(queries, 10)
        rows = zip(hits.indices, positions, strict=True)
        return np.mean([len(set(row) & set(wanted)) / 10 for row, wanted in rows])

    assert recall(0, kind="ivf_flat", lists=64, probes=1) < recall(1, kind="ivf_flat", lists=64, probes=32)
    narrow = {"kind": "hnsw", "links": 2, "build_breadth": 4}
    assert recall(2, **narrow, search_breadth=10) < recall(3, **narrow, search_breadth=300)


def test_batches_report_progress_and_change_nothing(vectors, queries, tmp_path, monkeypatch):
    searcher, _ = opened(VectorIndex(kind="flat"), vectors, tmp_path)
    whole = searcher.search(queries, 5)
    monkeypatch.setattr(vector_index, "_QUERIES", 7)
    seen = []
    parts = searcher.search(queries, 5, lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(whole.indices, parts.indices)
    assert seen[0] == (7, 50) and seen[-1] == (50, 50)


@pytest.mark.parametrize("kind", ["flat", "ivf_flat", "hnsw"])
def test_a_corpus_smaller_than_k_fills_up_with_nothing(kind, tmp_path):
    vectors = stored(tmp_path / "vectors", unit(2, 5), shard_size=3)
    searcher, _ = opened(VectorIndex(kind=kind), vectors, tmp_path)
    hits = searcher.search(unit(3, 2), 8)
    assert hits.indices.shape == (2, 8) and (hits.indices[:, 5:] == -1).all() and np.isneginf(hits.scores[:, 5:]).all()
    assert all(set(row[:5]) == set(range(5)) for row in hits.indices)


def test_an_empty_corpus_gives_nothing(tmp_path):
    searcher, _ = opened(VectorIndex(kind="hnsw"), stored(tmp_path / "v", unit(0, 0)), tmp_path)
    assert (searcher.search(unit(3, 2), 3).indices == -1).all()


def test_the_kind_follows_the_size_unless_told():
    for most, kind in BY_SIZE[:-1]:
        assert VectorIndex().settings(int(most), 64).kind == kind != VectorIndex().settings(int(most) + 1, 64).kind
    assert VectorIndex().settings(21_015_324, 768) == Settings("ivf_pq", 18337, 1146, 96, 10)
    assert VectorIndex(kind="hnsw").settings(10, 64).kind == "hnsw"


@given(st.integers(256, 10**8), st.sampled_from([384, 768]), st.sampled_from(["auto", "ivf_flat", "ivf_pq", "hnsw"]))
@settings(deadline=None)
def test_settings_are_possible_for_every_size(rows, width, kind):
    made = VectorIndex(kind=kind).settings(rows, width)
    assert made.probes <= made.lists <= rows and (not made.code_bytes or width % made.code_bytes == 0)


def test_a_gpu_is_used_where_faiss_finds_one(vectors, queries, tmp_path, monkeypatch):
    moved = []

    class Options:
        shard = False

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index, co: moved.append((index, co)) or index)
    wanted, _ = exact(queries, 5)
    for number, kind in enumerate(("flat", "ivf_flat", "ivf_pq", "hnsw")):
        folder = tmp_path / kind
        folder.mkdir()
        index = VectorIndex(kind=kind, lists=4, probes=4, code_bytes=4)
        hits = opened(index, vectors, folder)[0].search(queries, 5)
        assert len(moved) == min(number + 1, 3)  # the graph stays where it is
        assert np.mean(hits.indices == wanted) > 0.9
    assert moved[0][0].ntotal == SIZE and moved[0][1].shard and moved[1][0].nprobe == moved[2][0].nprobe == 4
    opened(VectorIndex(kind="flat", gpu=False), vectors, tmp_path)
    assert len(moved) == 3


@pytest.mark.parametrize("bad", [{"kind": "annoy"}, {"lists": 0}, {"probes": 0}, {"refine": -1}, {"links": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="index"):
        VectorIndex(**bad)


def test_codes_that_do_not_divide_the_dimensions_are_refused():
    with pytest.raises(ValueError, match="code_bytes must divide"):
        VectorIndex(kind="ivf_pq", code_bytes=5).settings(1000, 16)
    with pytest.raises(ValueError, match="256 vectors"):
        VectorIndex(kind="ivf_pq").settings(255, 16)
