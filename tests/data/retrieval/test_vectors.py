import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from data.retrieval.vectors import Vectors, write_vectors

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [str(number) for number in range(10)]


def encode(texts):
    return np.array([[float(text), -float(text), 1.0] for text in texts])


def write(folder, texts=TEXTS, encoder=encode, **settings):
    write_vectors(texts, encoder, folder, **{"width": 3, "shard_size": 4, **settings})
    return Vectors(folder)


def test_vectors_come_back_in_order_by_block_and_by_position(tmp_path):
    vectors = write(tmp_path)
    assert len(vectors) == 10 and vectors.width == 3
    assert len(list(tmp_path.glob("shard-*.npy"))) == 3
    blocks = list(vectors.blocks(3))
    assert [start for start, _ in blocks] == [0, 3, 4, 7, 8]  # no block spans two shards
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), encode(TEXTS))
    assert all(block.dtype == np.float32 for _, block in blocks)
    np.testing.assert_array_equal(vectors.take(np.array([9, 0, 4, 4])), encode(["9", "0", "4", "4"]))


def test_half_precision_halves_the_files(tmp_path):
    for storage in ("float32", "float16"):
        (tmp_path / storage).mkdir()
        made = write(tmp_path / storage, [str(n / 3) for n in range(1000)], shard_size=1000, storage=storage)
        assert made.take(np.array([1]))[0, 0] == pytest.approx(1 / 3, abs=1e-3)
    sizes = [(tmp_path / storage / "shard-00000.npy").stat().st_size for storage in ("float32", "float16")]
    assert sizes[0] - 128 == 2 * (sizes[1] - 128)  # 128 bytes of header


def test_nothing_is_embedded_twice_after_a_failure(tmp_path):
    asked = []

    def failing(texts):
        asked.extend(texts)
        if "5" in texts and len(asked) <= 8:
            raise RuntimeError("killed")
        return encode(texts)

    with pytest.raises(RuntimeError):
        write(tmp_path, encoder=failing)
    seen = []
    vectors = write(tmp_path, encoder=failing, progress=lambda done, total: seen.append((done, total)))
    # The first shard was whole and stays; the second is done again from its beginning.
    assert asked == TEXTS[:8] + TEXTS[4:] and seen == [(4, 10), (8, 10), (10, 10)]
    np.testing.assert_array_equal(vectors.take(np.arange(10)), encode(TEXTS))


def test_shards_of_another_division_are_not_taken_over(tmp_path):
    def failing(texts):
        if "9" in texts:
            raise RuntimeError("killed")
        return encode(texts)

    for size in (2, 4, 8):
        with pytest.raises(RuntimeError):
            write(tmp_path, encoder=failing, shard_size=size)
    # The second shard of two and that of eight have as many rows, but not the same ones.
    np.testing.assert_array_equal(write(tmp_path, shard_size=8).take(np.arange(10)), encode(TEXTS))


BUILDER = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from sweeps.execution.stages import StageStore
    from data.retrieval.vectors import write_vectors

    folder, slow = Path(sys.argv[1]), sys.argv[2] == "slow"

    def encode(texts):
        for text in texts:
            print(text, flush=True)
        if slow and "5" in texts:
            time.sleep(60)
        return np.array([[float(text), 1.0] for text in texts])

    texts = [str(number) for number in range(10)]
    StageStore(folder).get("vectors", {"a": 1}, lambda into: write_vectors(texts, encode, into, width=2, shard_size=4))
"""


def test_a_killed_embedding_goes_on_where_it_stopped(tmp_path):
    words = [sys.executable, "-c", textwrap.dedent(BUILDER), str(tmp_path)]
    killed = subprocess.Popen([*words, "slow"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    done = [killed.stdout.readline().strip() for _ in range(8)]
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdout.close()
    again = subprocess.run([*words, "fast"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    # Four texts were safe on disk; those of the shard that was being made come again, and nothing else.
    assert done == TEXTS[:8] and again.stdout.split() == TEXTS[4:]
    (folder,) = (path.parent for path in tmp_path.glob("vectors/*/stage.json"))
    np.testing.assert_array_equal(Vectors(folder).take(np.arange(10))[:, 0], np.arange(10))


@pytest.mark.parametrize("bad", [{"storage": "int8"}, {"shard_size": 0}])
def test_bad_settings_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="vectors"):
        write(tmp_path, **bad)
