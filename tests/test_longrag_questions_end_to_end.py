"""Real questions at smoke scale through the real command: retrieval, prompts, fine-tuning, free answers, table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.data.chat_stub import chat_endpoint

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_longrag_questions_at_smoke_scale(tmp_path):
    outputs = tmp_path / "outputs"
    command = ["sweep", "sweep=longrag/questions", "scale=smoke", "engine.workers=1", f"paths.outputs={outputs}"]
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    receipt = json.loads((outputs / "sweeps" / "longrag-questions-smoke" / "receipt.json").read_text())
    frames = {
        row: pd.read_parquet(outputs / "runs" / next(iter(seeds.values())) / "examples.parquet")
        for row, seeds in receipt["rows"].items()
    }
    assert all(len(frame) == 12 and frame["example_id"].is_unique for frame in frames.values())
    own = frames["Samples, prompting, own passages, k=1"]
    assert own["gold_in_context"].eq(1).all() and own["passages"].eq(1).all()
    retrieved = frames["Samples, prompting, k=3"]
    assert retrieved["passages"].eq(3).all() and retrieved["gold_in_context"].mean() > 0.8
    assert frames["Samples, prompting, k=0"]["passages"].eq(0).all()
    # Training changed the reader: the same prompts get other answers.
    assert not retrieved["response"].equals(frames["Samples, implicit"]["response"])


@pytest.mark.slow
def test_a_reader_is_trained_on_the_labels_of_a_teacher(tmp_path, monkeypatch):
    sets = ("train", "evaluation")
    command = [
        "data=real_questions_reasoning", "method=rag_sft_reasoning", "model=tiny_llama", "evaluation=questions",
        "base=none", "method.optimiser=null", "evaluation.max_tokens=8",
        "data/questions@data.train.asked=samples_questions", "data/questions@evaluation.asked=samples_questions",
        *(f"{'data.' if name == 'train' else ''}{name}.corpus=null" for name in sets),
        *(f"{'data.' if name == 'train' else ''}{name}.retriever=null" for name in sets),
        "data.train.k=4", "data.train.k_least=null", "evaluation.k=4",
        "data.batch_size=4", "trainer.max_epochs=1", "logger=none", f"paths.outputs={tmp_path}",
    ]  # fmt: skip

    def run(*more):
        return subprocess.run(
            [sys.executable, "-m", "sweeps.run", *command, *more],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    off = run()
    assert off.returncode and "there is no teacher: give its address" in off.stdout
    told = {"choices": [{"message": {"content": "Relevant: [1], [2], [3], [4]. They do."}}]}
    with chat_endpoint(monkeypatch, told) as endpoint:
        done = run(f"data.teacher.address={endpoint.address}")
        # Four passages are cited and one is gold: nothing that could be learnt from.
        assert done.returncode and "no label that can be used (a passage without support: 12)" in done.stdout
        assert len(endpoint.asked) == 12
        endpoint.reply = lambda body: (200, {"choices": [{"message": {"content": f"Relevant: [{place(body)}]. So."}}]})
        done = run(f"data.teacher.address={endpoint.address}", "data.teacher.model=another")
        assert done.returncode == 0, done.stdout[-3000:]
    (frame,) = [pd.read_parquet(path) for path in tmp_path.glob("runs/*/examples.parquet")]
    assert len(frame) == 12 and {"citation_precision", "citation_recall"} <= set(frame.columns)


def place(body):
    """Number of the passage that answers the question of a request, as a reader of the samples would say."""
    asked = body["messages"][0]["content"]
    answer = asked.split("The accepted answer is: ")[1].splitlines()[0]
    passages = [line for line in asked.splitlines() if line.startswith("[")]
    return next(number for number, line in enumerate(passages, start=1) if answer.lower() in line.lower())
