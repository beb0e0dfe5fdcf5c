"""Mistakes put into losses, packing, statistics and retrieval one at a time: each has to be caught by its tests.

    python -m benchmarks.mutations            every mistake, a line each: which test caught it
    python -m benchmarks.mutations dpo bm25   those whose file has such a word in its path

Works on a copy of the tracked files in a temporary folder; this tree stays as it is. Exit status 1 where one lives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FAILED = re.compile(r"^(?:FAILED|ERROR) \S+?::(\S+)", re.MULTILINE)


class Mutation(NamedTuple):
    """``right`` becomes ``wrong`` in ``file``, where it stands once; ``tests`` should notice."""

    file: str
    right: str
    wrong: str
    tests: str


LOSSES, TESTS = "lightning_modules/losses", "tests/losses"
MUTATIONS = [
    Mutation(f"{LOSSES}/dpo.py", "beta * (chosen - rejected)", "beta * (rejected - chosen)", f"{TESTS}/test_dpo.py"),
    Mutation(f"{LOSSES}/dpo.py", "1 / (2 * beta)", "1 / beta", f"{TESTS}/test_dpo.py"),
    Mutation(f"{LOSSES}/dpo.py", "return chosen, rejected", "return rejected, chosen", f"{TESTS}/test_dpo.py"),
    Mutation(f"{LOSSES}/infifpo.py", "clip, torch.maximum", "clip, torch.minimum", f"{TESTS}/test_infifpo.py"),
    Mutation(f"{LOSSES}/infifpo.py", "(chosen - rejected).argmax(1)", "chosen.argmax(1)", f"{TESTS}/test_infifpo.py"),
    Mutation(f"{LOSSES}/infifpo.py", "return gap.argmax(1)", "return gap.argmin(1)", f"{TESTS}/test_infifpo.py"),
    Mutation(
        f"{LOSSES}/amft.py", "(1 - mu) * rl_loss + mu * sft_loss", "mu * rl_loss + (1 - mu) * sft_loss",
        f"{TESTS}/test_amft.py",
    ),
    Mutation(f"{LOSSES}/amft.py", "step_size * (rl - sft)", "step_size * (sft - rl)", f"{TESTS}/test_amft.py"),
    Mutation(
        f"{LOSSES}/amft.py", 'if entropy_sign == "eq6"', 'if entropy_sign != "eq6"', f"{TESTS}/test_amft.py"
    ),
    Mutation(
        f"{LOSSES}/policy_gradient.py", "torch.minimum(ratio * gains", "torch.maximum(ratio * gains",
        f"{TESTS}/test_policy_gradient.py",
    ),
    Mutation(
        f"{LOSSES}/policy_gradient.py", "return d.square() / 2", "return d.square()", f"{TESTS}/test_policy_gradient.py"
    ),
    Mutation(
        f"{LOSSES}/policy_gradient.py", "- full_precision(old_logps)", "+ full_precision(old_logps)",
        f"{TESTS}/test_policy_gradient.py",
    ),
    Mutation(f"{LOSSES}/logps.py", "labels[:, 1:], (0, 1)", "labels[:, :-1], (0, 1)", f"{TESTS}/test_logps.py"),
    Mutation(f"{LOSSES}/logps.py", "return -_expectation", "return _expectation", f"{TESTS}/test_logps.py"),
    Mutation(
        f"{LOSSES}/logps.py", "torch.where(kept, values, torch.zeros_like(values)).sum(-1)", "values.sum(-1)",
        f"{TESTS}/test_logps.py",
    ),
    Mutation(f"{LOSSES}/contrastive.py", ".diagonal()", "[:, 0]", f"{TESTS}/test_contrastive.py"),
    Mutation("data/rag/order.py", "reversed(ranked[1::2])", "ranked[1::2]", "tests/data/rag/test_order.py"),
    Mutation(
        "data/retrieval/base.py", "values[barred] = -np.inf", "values[barred] = values[barred]",
        "tests/data/retrieval/test_retrieval.py",
    ),
    Mutation(
        "data/retrieval/base.py", "np.argsort(-values[found]", "np.argsort(values[found]",
        "tests/data/retrieval/test_retrieval.py",
    ),
    Mutation(
        "data/retrieval/hybrid.py", "1.0 / (self.constant + rank)", "1.0 / self.constant",
        "tests/data/retrieval/test_passages.py",
    ),
    Mutation(
        "lightning_modules/networks/token_batch.py", "[1] * len(one) + [2] * len(other)",
        "[1] * len(one) + [1] * len(other)", "tests/lightning_modules/networks/test_token_batch.py",
    ),
    Mutation(
        "lightning_modules/networks/token_batch.py", "*range(begun, begun + len(other))",
        "*range(begun + len(one), begun + len(one) + len(other))",
        "tests/lightning_modules/networks/test_token_batch.py",
    ),
    Mutation(
        "sweeps/inference/significance.py", "np.arange(len(given), 0, -1)", "len(given)",
        "tests/sweeps/inference/test_significance.py",
    ),
    Mutation(
        "sweeps/inference/significance.py", "np.maximum.accumulate(", "np.array(",
        "tests/sweeps/inference/test_significance.py",
    ),
    Mutation(
        "sweeps/inference/significance.py", "abs(result.value) < margin if", "abs(result.value) > margin if",
        "tests/sweeps/inference/test_significance.py",
    ),
    Mutation(
        "sweeps/inference/random_effects.py", "/ (examples - 1)\n    if seeds == 1", "/ examples\n    if seeds == 1",
        "tests/sweeps/inference/test_significance.py",
    ),
]  # fmt: skip


def copied(into: Path) -> Path:
    """The files that git tracks here, copied."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)
    return into


def caught(tree: Path, one: Mutation) -> str | None:
    """Name of the first test that notices the mistake; None where all pass."""
    path = tree / one.file
    plain = path.read_text(encoding="utf-8")
    path.write_text(plain.replace(one.right, one.wrong), encoding="utf-8")
    try:
        command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", one.tests]
        environment = os.environ | {"PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    finally:
        path.write_text(plain, encoding="utf-8")
    if done.returncode == 0:
        return None
    found = FAILED.search(done.stdout)
    if not found:
        raise SystemExit(f"the tests {one.tests} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found[1]


def main() -> int:
    """Prints a line a mistake; see the module."""
    words = sys.argv[1:]
    for one in MUTATIONS:
        if (ROOT / one.file).read_text(encoding="utf-8").count(one.right) != 1:
            print(f"{one.file} has not {one.right!r} exactly once: mend the list in benchmarks/mutations.py")
            return 2
    chosen = [one for one in MUTATIONS if not words or any(word in one.file for word in words)]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for one in chosen:
            name = caught(tree, one)
            alive += name is None
            print(
                f"{'caught' if name else 'LIVES '} {one.file}: {one.right!r} -> {one.wrong!r}: {name or '-'}",
                flush=True,
            )
    print(f"{len(chosen) - alive} of {len(chosen)} caught")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
