"""A whole cell at smoke scale: models of random weights write pairs, a reward model of random weights pays them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.planning import plan

ROOT = Path(__file__).resolve().parents[3]
PAPER = ("scale=paper", "experiment=preferences_sampled", "data=infinity_prompts")


def models(folder):
    """Overrides that put small models of the library, in folders as the hub has them, in the place of large ones."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaForCausalLM

    from tests.data.tiny_reward_model import byte_tokenizer, config, write_random_reward_model

    tokenizer = byte_tokenizer()
    sizes = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 1024,
    }  # fmt: skip
    for seed, name in enumerate(("pivot", "llama", "qwen")):
        torch.manual_seed(seed)
        LlamaForCausalLM(config(tokenizer, **sizes)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    write_random_reward_model(folder / "judge", max_position_embeddings=1024)
    yield "model=tiny_llama"
    yield from (f"model@sources.{name}.model=tiny_llama" for name in ("pivot", "llama", "qwen"))
    for node, name in (("model", "pivot"), *((f"sources.{name}.model", name) for name in ("pivot", "llama", "qwen"))):
        yield from (f"{node}.weights={folder / name}", f"{node}.tokenizer=null")
        for key, value in {
            "vocab_size": len(tokenizer),
            "pad_token_id": 2,
            "bos_token_id": 0,
            "eos_token_id": 1,
        }.items():
            yield f"{node}.architecture.{key}={value}"
    yield from (f"data.judge.weights={folder / 'judge'}", "data.judge.weights_dtype=float32")


def test_the_sft_stage_has_the_cells_own_model_prompts_authors_and_judge():
    config, _ = plan.resolve(plan.Composer().compose((*PAPER, "data.sampling_seed=3", "data.judge.revision=abc")))
    base = config["base"]
    assert base["model"] == config["model"] and base["sources"] == config["sources"]
    apart = {key for key, value in base["data"].items() if value != config["data"][key]}
    assert apart == {"half"} and set(base["data"]) == set(config["data"])
    assert base["data"]["half"] == "sft" and config["data"]["half"] == "preference"
    assert set(config["sources"]) == {config["data"]["pivot"], *config["data"]["writers"]}
    for model in (config["model"], *(source["model"] for source in config["sources"].values())):
        assert model["prompt_wrapper"] is None  # chat models, each by its own template


def test_models_write_a_judge_pays_and_a_policy_learns(tmp_path):
    command = [
        sys.executable, "-m", "sweeps.run", "scale=smoke", "experiment=preferences_sampled", *models(tmp_path),
        "data.rows=30", "data.held_out=0.2", "data.copies=2", "data.pivot_copies=3", "data.sampling_tokens=128",
        "data.sampling_shard=8", "method.max_share=1.0", "trainer.max_epochs=1", "base.trainer.max_epochs=1",
        "evaluation.max_tokens=8", "logger=none", f"paths.outputs={tmp_path}/outputs",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "outputs/runs").iterdir()
    kinds = [stage.split("/")[0] for stage in json.loads((folder / "done.json").read_text())["stages"]]
    # Three authors and one judge for each half and for the held-out prompts; two of the authors are fused.
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "preference_candidates": 9, "rewards": 3, "training": 2, "source_logps": 2, "reference_logps": 1,
        "fusion_report": 1,
    }  # fmt: skip
    (report,) = (tmp_path / "outputs/stages/fusion_report").glob("*/fusion.json")
    told = json.loads(report.read_text())["data"]
    assert told["pairs"] > 3 and told["held_out"] > 0 and told["dropped"]["unfinished"] > 0
    assert set(told["authors"]["chosen"]) <= {"pivot", "llama", "qwen"}
    scores = json.loads((folder / "summary.json").read_text())
    assert 0 <= scores["success"] <= 100 and 1 <= scores["response_tokens"] <= 8
