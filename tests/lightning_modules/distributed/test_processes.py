"""Two processes train as one does: the same batches, the same mean, the same weights, also after a break."""

import json
import os

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import load_file

from lightning_modules.base import NonFiniteLossError
from lightning_modules.distributed import processes as ranks
from lightning_modules.distributed.processes import Group, batch_mean, environment, placement
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.training.fit import fit, newest_checkpoint
from tests.lightning_modules.rank_process import STEPS, Broken, SecondRank, train
from tests.lightning_modules.tiny_models import Corpus, tiny
from tests.lightning_modules.tiny_world import SumData


@pytest.fixture(scope="module")
def second():
    # Both ranks live through several trainings here, and gloo now and then hangs in the clean-up of one that broke off.
    # A cell's ranks live for one (sweeps.execution.ranks): tests/sweeps/execution/test_cell_ranks.py runs those for
    # real in any case.
    if not os.environ.get("PAPERGRID_TEST_RANKS"):
        pytest.skip("set PAPERGRID_TEST_RANKS=1 to run trainings that share their processes")
    rank = SecondRank()
    yield rank
    rank.close()


def rows(folder):
    """The newest row of every step."""
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row for _, row in sorted({row["step"]: row for row in found}.items())]


def weights(folder):
    return load_file(folder / "model.safetensors")


def check_equal(one, two, tolerance=2e-5):
    assert [row["step"] for row in rows(two)] == list(range(1, STEPS + 1))
    for first, other in zip(rows(one), rows(two), strict=True):
        assert other == pytest.approx(first, rel=tolerance), first["step"]
        assert other["train/tokens"] == first["train/tokens"]
    first, other = weights(one), weights(two)
    assert first.keys() == other.keys()
    # Three hundredths of the learning rate, of which twelve steps of Adam move a weight by up to about ten.
    assert max(float((first[name] - other[name]).abs().max()) for name in first) < 1e-4


def test_two_processes_train_as_one_with_the_same_batches(second, tokenizer, tmp_path):
    train(tmp_path_of(tmp_path, "one"), tokenizer, "marked")
    outcome, answer = second.train(tmp_path / "two", tokenizer, "marked", strategy="ddp")
    assert isinstance(outcome, RelationGenerator) and answer == "done"
    check_equal(tmp_path / "one", tmp_path / "two")
    assert rows(tmp_path / "two")[-1]["train/loss"] < 0.9 * rows(tmp_path / "two")[0]["train/loss"]
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"model.safetensors", "log.jsonl", "checkpoints"}
    assert not torch.distributed.is_initialized()


def tmp_path_of(folder, name):
    (folder / name).mkdir()
    return folder / name


def test_two_processes_that_broke_off_end_in_the_same_bits(second, tokenizer, tmp_path):
    second.train(tmp_path / "whole", tokenizer, "marked", strategy="ddp")
    outcome, answer = second.train(tmp_path / "broken", tokenizer, "marked", strategy="ddp", break_at=6)
    assert isinstance(outcome, Broken) and answer.startswith("Broken")
    assert newest_checkpoint(tmp_path / "broken").step == 6
    _, answer = second.train(tmp_path / "broken", tokenizer, "marked", strategy="ddp")
    assert answer == "done"
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_loss_that_is_not_finite_in_one_process_ends_both(second, tokenizer, tmp_path):
    for rank in (0, 1):
        outcome, answer = second.train(
            tmp_path / str(rank), tokenizer, "marked", strategy="ddp", spoilt_rank=rank, break_at=1
        )
        assert isinstance(outcome, NonFiniteLossError) and answer.startswith("NonFiniteLossError")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "lora"), [("causal", False), ("seq2seq", False), ("causal", True)])
def test_sharded_weights_train_as_whole_ones(kind, lora, second, tokenizer, tmp_path):
    one = train(tmp_path_of(tmp_path, "one"), tokenizer, kind, lora=lora)
    two, answer = second.train(tmp_path / "two", tokenizer, kind, strategy="fsdp2", lora=lora)
    assert isinstance(two, RelationGenerator), two
    assert answer == "done"
    check_equal(tmp_path / "one", tmp_path / "two")
    # What rank 0 is left with is a whole network again, its frozen weights included.
    prompts = [prompt.text for prompt in Corpus().prompts("train")]
    one.network.eval(), two.network.eval()
    expected = one.network.score(prompts, one.labels).sums
    assert two.network.score(prompts, two.labels).sums == pytest.approx(expected.numpy(), rel=1e-4)
    assert two.network.generate(prompts[:2], max_tokens=3) == one.network.generate(prompts[:2], max_tokens=3)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_language_models_are_sharded_with_their_head(kind, lora, second, tokenizer, tmp_path):
    """Packed rows and shared prompts; the head is asked apart from the layers, in pieces for preferences."""
    one = train(tmp_path_of(tmp_path, "one"), tokenizer, kind, lora=lora)
    two, answer = second.train(tmp_path / "two", tokenizer, kind, strategy="fsdp2", lora=lora)
    assert answer == "done" and isinstance(two, type(one)), (two, answer)
    for first, other in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert other["train/loss"] == pytest.approx(first["train/loss"], rel=1e-4, abs=1e-6)
        assert other["train/gradient_norm"] == pytest.approx(first["train/gradient_norm"], rel=1e-3)
    first, other = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max(float((first[name] - other[name]).abs().max()) for name in first) < 2e-4
    # What is left is a whole network again: it writes.
    found, wanted = (module.predict(SumData(), split="test", limit=2) for module in (two, one))
    assert [answer.response for answer in found] == [answer.response for answer in wanted]
    assert found[0].logp == pytest.approx(wanted[0].logp, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_weights_stored_in_16_bits_train_in_32_on_two_devices(strategy, precision, second, tokenizer, tmp_path):
    """All weights, and adapters on frozen ones, which stay as they are stored in the shards as well."""
    for lora in (False, True):
        folder = tmp_path / f"{lora}"
        options = {"strategy": strategy, "half": True, "precision": precision, "lora": lora}
        found, answer = second.train(folder, tokenizer, "causal", **options)
        assert isinstance(found, RelationGenerator) and answer == "done", (found, answer)
        assert all(value.dtype == torch.float32 for value in weights(folder).values())
        for name, value in found.network.named_parameters():
            assert value.dtype == (torch.float32 if value.requires_grad else torch.bfloat16), name
        assert rows(folder)[-1]["train/loss"] < rows(folder)[0]["train/loss"]
        one = train(tmp_path_of(tmp_path, f"one-{lora}"), tokenizer, "causal", **{**options, "strategy": "auto"})
        assert one.network.device == found.network.device
        for first, other in zip(rows(tmp_path / f"one-{lora}"), rows(folder), strict=True):
            close = {"rel": 2e-5} if precision == "32-true" and not lora else {"rel": 0.05, "abs": 0.02}
            assert other["train/loss"] == pytest.approx(first["train/loss"], **close)


@pytest.mark.slow
def test_a_sharded_training_resumes_from_its_newest_whole_checkpoint(second, tokenizer, tmp_path):
    second.train(tmp_path / "whole", tokenizer, "causal", strategy="fsdp2")
    broken = tmp_path / "broken"
    outcome, _ = second.train(broken, tokenizer, "causal", strategy="fsdp2", break_at=6)
    assert isinstance(outcome, Broken)
    newest = newest_checkpoint(broken)
    assert newest.step == 6 and newest.path.is_dir()
    with pytest.raises(ValueError, match="strategy=fsdp2"):
        train(broken, tokenizer, "causal")
    shard = sorted(newest.path.glob("*.distcp"))[-1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    with pytest.warns(UserWarning, match="wrong checksum"):
        assert newest_checkpoint(broken).step == 5
    shard.unlink()
    with pytest.warns(UserWarning, match="is missing"):
        assert newest_checkpoint(broken).step == 5
    outcome, answer = second.train(broken, tokenizer, "causal", strategy="fsdp2")
    assert isinstance(outcome, RelationGenerator) and answer == "done", outcome
    assert rows(broken) == rows(tmp_path / "whole")
    whole, resumed = weights(tmp_path / "whole"), weights(broken)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_mean_over_shares_of_unequal_size(monkeypatch):
    """Losses 1, 2 here and 6 there: the mean is 3, its gradient on each loss 1/3; the mean of means would be 3.75.

    Gradients are averaged over the two processes, so each must be twice what the mean's is: 2/3 here.
    """
    monkeypatch.setattr(ranks.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.distributed, "get_world_size", lambda: 2)
    seen = []

    def add_the_other(totals):
        seen.append(totals.tolist())
        totals += torch.tensor([6.0, 1.0, 10.0])

    monkeypatch.setattr(ranks.distributed, "all_reduce", add_the_other)
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    found = batch_mean(losses, torch.tensor(7))
    found.loss.backward()
    assert (found.mean.item(), found.tokens.item()) == (3.0, 17)
    assert losses.grad.tolist() == pytest.approx([2 / 3, 2 / 3])
    spare = torch.tensor([5.0], requires_grad=True)
    found = batch_mean(spare, torch.tensor(7), spare=True)
    found.loss.backward()
    assert (found.mean.item(), found.tokens.item(), spare.grad.item()) == (6.0, 10, 0.0)
    assert seen == [[3.0, 2.0, 7.0], [0.0, 0.0, 0.0]]


def test_mean_in_one_process():
    losses = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    found = batch_mean(losses, torch.tensor(5))
    found.loss.backward()
    assert found.mean.item() == 3.0 and not found.mean.requires_grad and found.tokens.item() == 5
    assert losses.grad.tolist() == pytest.approx([1 / 3] * 3)


def test_what_lightning_is_told(tmp_path, monkeypatch):
    # Lightning keeps the rank for the whole process, which other tests share.
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    assert placement("ddp", 1) == placement("fsdp2", 1) == "auto"
    assert isinstance(placement("auto", 2), DDPStrategy) and isinstance(placement("ddp", 4), DDPStrategy)
    sharded = placement("fsdp2", 4)
    assert isinstance(sharded, ModelParallelStrategy)
    assert (sharded._data_parallel_size, sharded._tensor_parallel_size) == (4, 1)
    told = environment(Group(1, tmp_path / "meeting"), 2)
    assert told.creates_processes_externally
    assert (told.global_rank(), told.local_rank(), told.world_size(), told.node_rank()) == (1, 1, 2, 0)


def test_devices_and_group_belong_together(tokenizer, tmp_path):
    module, data = RelationGenerator(model=tiny("marked", tokenizer), seed=0), Corpus()
    module.attach(data)
    for devices, group in ((2, None), (1, Group(0, tmp_path / "meeting"))):
        with pytest.raises(ValueError, match="a group is for two devices or more"):
            fit(module, data, folder=tmp_path, max_steps=1, devices=devices, group=group, accelerator="cpu")
    with pytest.raises(ValueError, match=r"MarkedAnswerer is not: set trainer.strategy=ddp"):
        group = Group(0, tmp_path / "meeting")
        fit(module, data, folder=tmp_path, max_steps=1, devices=2, group=group, strategy="fsdp2", accelerator="cpu")
    assert not list(tmp_path.iterdir())
