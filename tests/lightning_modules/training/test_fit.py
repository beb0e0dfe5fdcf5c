"""Training that is killed at any step and resumed ends in the same bits, and sees every batch exactly once."""

import errno
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightning_modules.base import NonFiniteLossError
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.training import checkpoints, stopping
from lightning_modules.training.checkpoints import newest_checkpoint
from lightning_modules.training.fit import check_options, fit
from tests.lightning_modules.resume_process import EPOCHS, train
from tests.lightning_modules.tiny_models import Corpus, optimiser, tiny

ROOT = Path(__file__).resolve().parents[3]
STEPS = EPOCHS * Corpus().steps_per_epoch


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def last_rows(path):
    """The newest row of every step: a killed run logs the steps after its last checkpoint again."""
    return {row["step"]: row for row in lines(path)}


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def undisturbed(tokenizer, tmp_path_factory):
    done = {}

    def of(kind):
        if kind not in done:
            done[kind] = tmp_path_factory.mktemp(f"undisturbed-{kind}")
            train(done[kind], tokenizer, kind)
        return done[kind]

    return of


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["marked", "seq2seq", "causal"])
@pytest.mark.parametrize("at", [1, 3, 4, STEPS - 1], ids=lambda at: f"step{at}")
def test_a_training_that_broke_off_ends_in_the_same_bits(kind, at, tokenizer, tmp_path, undisturbed):
    """Broken off in the middle of an epoch (1, 4), at its end (3) and just before the end of all."""
    whole = undisturbed(kind)

    def stop(done, total):
        assert total == STEPS
        if done == at + 1:
            raise Stop

    if at == STEPS - 1:
        train(tmp_path, tokenizer, kind)
        (tmp_path / "model.safetensors").unlink()
        (tmp_path / "steps.jsonl").write_text(
            "\n".join((tmp_path / "steps.jsonl").read_text().splitlines()[:-1]) + "\n"
        )
    else:
        with pytest.raises(Stop):
            train(tmp_path, tokenizer, kind, progress=stop)
        kept = (tmp_path / "steps.jsonl").read_text().splitlines()[:at]
        (tmp_path / "steps.jsonl").write_text("\n".join(kept) + "\n")
    assert newest_checkpoint(tmp_path).step == at
    train(tmp_path, tokenizer, kind)
    assert lines(tmp_path / "steps.jsonl") == lines(whole / "steps.jsonl")
    assert last_rows(tmp_path / "log.jsonl") == last_rows(whole / "log.jsonl")
    assert same(weights(tmp_path), weights(whole))


def test_every_epoch_sees_every_example_once(undisturbed):
    steps = lines(undisturbed("marked") / "steps.jsonl")
    assert len(steps) == STEPS
    size = STEPS // EPOCHS
    for epoch in range(EPOCHS):
        seen = [name for step in steps[epoch * size : (epoch + 1) * size] for name in step]
        assert sorted(seen) == sorted(example.id for example in Corpus().train)


def test_a_killed_process_resumes_to_the_same_weights_and_metrics(tokenizer, tmp_path, undisturbed):
    whole = undisturbed("marked")
    command = [
        sys.executable,
        "-m",
        "tests.lightning_modules.resume_process",
        str(tmp_path),
        str(tokenizer[0]),
        str(tokenizer[1]),
        "marked",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    target = random.randrange(2, STEPS - 4)
    while process.poll() is None:
        log = tmp_path / "log.jsonl"
        if log.exists() and len(log.read_text().splitlines()) >= target:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()[-2000:]
    process.stderr.close()
    start = newest_checkpoint(tmp_path)
    assert start is not None and 0 < start.step < STEPS
    (tmp_path / "steps.jsonl").unlink()
    train(tmp_path, tokenizer, "marked")
    assert lines(tmp_path / "steps.jsonl") == lines(whole / "steps.jsonl")[start.step :], f"killed near step {target}"
    assert last_rows(tmp_path / "log.jsonl") == last_rows(whole / "log.jsonl")
    assert same(weights(tmp_path), weights(whole))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(damage, tokenizer, tmp_path, undisturbed):
    train(tmp_path, tokenizer, "marked")
    paths = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    assert [path.name for path in paths] == [f"step-{step:08d}.ckpt" for step in (STEPS - 2, STEPS - 1)]
    content = bytearray(paths[-1].read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content = bytearray()
    paths[-1].write_bytes(content)
    with pytest.warns(UserWarning, match="damaged .* skipped"):
        assert newest_checkpoint(tmp_path) == (paths[0], STEPS - 2)
    paths[0].unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert newest_checkpoint(tmp_path) is None
        train(tmp_path, tokenizer, "marked")
    assert same(weights(tmp_path), weights(undisturbed("marked")))


def test_nothing_is_left_but_what_was_asked_for(tokenizer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "training"
    folder.mkdir()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(folder, tokenizer, "marked", checkpoint_every=None)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "steps.jsonl", "log.jsonl"}
    assert [path.name for path in tmp_path.iterdir()] == ["training"]
    assert capsys.readouterr().out == ""
    assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_metrics_of_the_log(undisturbed):
    rows = lines(undisturbed("marked") / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert set(rows[0]) >= {"train/loss", "train/learning_rate", "train/gradient_norm", "train/tokens"}
    peak = max(row["train/learning_rate"] for row in rows)
    assert peak == pytest.approx(3e-3) and rows[0]["train/learning_rate"] < peak / 2
    assert rows[-1]["train/learning_rate"] < peak / 10
    assert all(later["train/tokens"] > row["train/tokens"] for row, later in itertools.pairwise(rows))
    assert rows[-1]["train/loss"] < rows[0]["train/loss"] / 2


def module_of(tokenizer, **options):
    module = RelationGenerator(model=tiny("marked", tokenizer, **options), seed=0)
    data = Corpus()
    module.attach(data)
    return module, data


def test_a_loss_that_is_not_finite_stops_the_training(tokenizer, tmp_path):
    module, data = module_of(tokenizer)
    with torch.no_grad():
        module.network.decoder.head.bias[5] = math.nan
    with pytest.raises(NonFiniteLossError, match="nan at step 0"):
        fit(module, data, folder=tmp_path, max_steps=2, accelerator="cpu")
    assert not (tmp_path / "model.safetensors").exists()


def test_max_steps_and_fractions_of_epochs(tokenizer, tmp_path):
    module, data = module_of(tokenizer)
    seen = []
    fit(
        module,
        data,
        folder=tmp_path,
        max_steps=5,
        accelerator="cpu",
        checkpoint_every=None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(step, 5) for step in range(1, 6)]
    module, data = module_of(tokenizer)
    seen.clear()
    fit(
        module,
        data,
        folder=tmp_path / "other",
        max_epochs=0.67,
        accelerator="cpu",
        checkpoint_every=None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (2, 2)


def test_a_checkpoint_beyond_the_end_is_refused(tokenizer, tmp_path):
    module, data = module_of(tokenizer)
    fit(module, data, folder=tmp_path, max_steps=5, accelerator="cpu", checkpoint_every=0.0001)
    module, data = module_of(tokenizer)
    with pytest.raises(ValueError, match="has done 4 steps but the training ends at 3"):
        fit(module, data, folder=tmp_path, max_steps=3, accelerator="cpu")


def test_only_trained_weights_are_saved_and_loaded_back(tokenizer, tmp_path):
    module, data = module_of(tokenizer, frozen_layers=1)
    fit(module, data, folder=tmp_path, max_steps=3, accelerator="cpu", checkpoint_every=0.0001)
    saved = weights(tmp_path)
    trained = {name for name, value in module.network.named_parameters() if value.requires_grad}
    assert set(saved) == trained and not any("embeddings.word" in name or "layer.0" in name for name in saved)
    checkpoint = torch.load(newest_checkpoint(tmp_path).path, weights_only=False)
    assert not any("embeddings.word" in name for name in checkpoint["state_dict"])
    fresh, _ = module_of(tokenizer, frozen_layers=1)
    prompts = [prompt.text for prompt in data.prompts("train")]
    module.network.eval(), fresh.network.eval()
    assert not torch.equal(
        fresh.network.score(prompts, data.labels).sums, module.network.score(prompts, data.labels).sums
    )
    fresh.load_weights(tmp_path)
    assert torch.equal(fresh.network.score(prompts, data.labels).sums, module.network.score(prompts, data.labels).sums)


def test_weights_of_another_network_are_refused(tokenizer, tmp_path):
    module, data = module_of(tokenizer)
    fit(module, data, folder=tmp_path, max_steps=1, accelerator="cpu", checkpoint_every=None)
    wide = RelationGenerator(model=tiny("seq2seq", tokenizer), seed=0)
    wide.attach(Corpus())
    with pytest.raises(ValueError, match="weights of another network"):
        wide.load_weights(tmp_path)
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        wide.load_weights(tmp_path / "nowhere")


def test_gradient_clipping_bounds_the_step_and_logs_the_norm_before(tokenizer, tmp_path):
    norms = {}
    for clip in (None, 1e-6):
        module, data = module_of(tokenizer, optimiser=optimiser(schedule="constant", warmup=0.0))
        fit(
            module,
            data,
            folder=tmp_path / str(clip),
            max_steps=1,
            accelerator="cpu",
            gradient_clip=clip,
            checkpoint_every=None,
        )
        norms[clip] = float(module.step_metrics["train/gradient_norm"])
    assert norms[None] == norms[1e-6] > 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_epochs": None}, "max_epochs"),
        ({"max_steps": 3}, "max_epochs"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"max_epochs": -1}, "max_epochs"),
        ({"max_epochs": None, "max_steps": 0}, "max_steps"),
        ({"devices": 0}, "devices"),
        ({"strategy": "ddp_spawn"}, "auto, ddp, fsdp2"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
        ({"checkpoint_every": -1.0}, "checkpoint_every"),
        ({"log_every": 0}, "log_every"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        check_options(**{"max_epochs": 2, **options})


def asks(at):
    """Asks the training to stop while it does its step ``at``."""

    def progress(done, total):
        if done == at:
            assert stopping.ask()

    return progress


@pytest.mark.parametrize("kind", ["marked", "seq2seq", "causal"])
@pytest.mark.parametrize("at", [1, 4, STEPS - 1], ids=lambda at: f"step{at}")
def test_a_training_that_is_asked_to_stop_writes_a_checkpoint_and_goes_on_in_the_same_bits(
    kind, at, tokenizer, tmp_path, undisturbed
):
    """Also where it would write none of itself. Weights, optimiser, dropout and the data stand where they were."""
    whole = undisturbed(kind)
    with pytest.raises(stopping.Stopped) as stopped:
        train(tmp_path, tokenizer, kind, checkpoint_every=None, progress=asks(at))
    assert (stopped.value.step, stopped.value.total) == (at, STEPS) and newest_checkpoint(tmp_path).step == at
    assert not (tmp_path / "model.safetensors").exists() and not stopping.ask(), "nobody is left to ask"
    (tmp_path / "steps.jsonl").write_text("".join((tmp_path / "steps.jsonl").read_text().splitlines(True)[:at]))
    train(tmp_path, tokenizer, kind, checkpoint_every=None)
    assert lines(tmp_path / "steps.jsonl") == lines(whole / "steps.jsonl")
    assert lines(tmp_path / "log.jsonl") == lines(whole / "log.jsonl"), "no row was to be logged twice"
    assert same(weights(tmp_path), weights(whole))


def test_a_training_that_is_asked_during_its_last_step_just_ends(tokenizer, tmp_path, undisturbed):
    train(tmp_path, tokenizer, "marked", checkpoint_every=None, progress=asks(STEPS))
    assert same(weights(tmp_path), weights(undisturbed("marked")))


def test_a_sigterm_that_is_handled_breaks_no_training_off(tokenizer, tmp_path, undisturbed):
    """Lightning's own handler would, at its next look, also after the last step."""
    seen = []
    handler = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))

    def tell(done, total):
        if done in (2, total):
            signal.raise_signal(signal.SIGTERM)

    try:
        train(tmp_path, tokenizer, "marked", progress=tell)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert len(seen) == 2 and same(weights(tmp_path), weights(undisturbed("marked")))


def test_a_checkpoint_is_written_in_its_own_folder_alone(tokenizer, tmp_path, monkeypatch):
    """A folder of temporary files may be small, and what a killed process leaves there stays."""
    for name in ("mkstemp", "TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, lambda *_, **__: pytest.fail("a temporary file was asked for"))
    train(tmp_path, tokenizer, "marked")
    assert newest_checkpoint(tmp_path).step == STEPS - 1


def test_a_full_disk_costs_the_checkpoint_that_met_it_and_no_other(tokenizer, tmp_path, monkeypatch, undisturbed):
    plain = checkpoints._flush

    def full(path):
        if path.name == "step-00000005.part":
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(path)

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000099.part").write_bytes(b"of a process that was killed")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_flush", full)
        with pytest.raises(OSError, match="No space"):
            train(tmp_path, tokenizer, "marked")
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {f"step-0000000{step}.{kind}" for step in (3, 4) for kind in ("ckpt", "crc32")}
    train(tmp_path, tokenizer, "marked")
    assert same(weights(tmp_path), weights(undisturbed("marked")))


@pytest.mark.parametrize("place", ["anywhere", "checksum", "no checksum"])
def test_no_damaged_byte_of_a_checkpoint_is_read(place, tokenizer, tmp_path):
    """Nor does it end the training: a zip file's own directory is not covered by the sums that it holds."""
    train(tmp_path, tokenizer, "marked")
    paths = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    good, note = paths[-1].read_bytes(), paths[-1].with_suffix(".crc32")
    assert newest_checkpoint(tmp_path).path == paths[-1]
    chance = random.Random(0)
    places = [*chance.sample(range(len(good)), 50), *range(len(good) - 300, len(good), 7)]
    for at in places if place == "anywhere" else [0]:
        if place == "anywhere":
            paths[-1].write_bytes(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
        elif place == "checksum":
            note.write_text("\udcff".encode(errors="surrogateescape").decode("latin-1"))
        else:
            note.unlink()
        with pytest.warns(UserWarning, match="damaged .* skipped"):
            assert newest_checkpoint(tmp_path) == (paths[0], STEPS - 2)
