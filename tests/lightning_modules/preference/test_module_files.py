"""InfiFPO on pairs from a file: recorded sources and references, held-out pairs."""

import json

import pytest
import torch

from data.files.stages import TemporaryStages
from data.preferences.pair_files import PreferenceFiles
from data.records.preferences import PreferenceReading
from data.worlds.vocabulary import Vocabulary
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.preference.module import PreferenceOptimisation, further_apart
from lightning_modules.preference.objective import PairValues
from lightning_modules.preference.reference import StaleReferenceError
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.objectives import objective
from tests.lightning_modules.tiny_world import tiny_model

VOCABULARY = Vocabulary((*"0123456789+=",), separator="")
ROWS = [{"prompt": f"{one}+10=", "chosen": f"{one + 10}", "rejected": f"{one}12"} for one in range(10)]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))

    def make(rows, *, name="ln_dpo", sources=(), reference="computed", **options):
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        data = PreferenceFiles(
            seed=0, batch_size=4, files={"train": "pairs.jsonl"}, held_out=0.4, sources=sources, reference=reference
        )
        data.prepare(TemporaryStages())
        method = PreferenceOptimisation(
            model=tiny_model(vocabulary=VOCABULARY),
            seed=0,
            sampler=Sampler(max_tokens=4),
            objective=objective(name),
            sources=sources,
            max_share=1.0,
            **options,
        )
        method.attach(data)
        method.prepare(data, TemporaryStages())
        return method, data

    return make


def with_reference(method, data, *, shift=0.0):
    """The rows with what the policy says of them now, as a file would bring it."""
    by_prompt = {pair.prompt: pair for pair in (*data.items("train"), *data.held_out_pairs("test"))}
    rows = []
    for row in ROWS:
        sums, lengths = method._reference[by_prompt[row["prompt"]]]
        added = {}
        for side, total, length in zip(("chosen", "rejected"), sums, lengths, strict=True):
            added |= {f"ref_{side}_logps": float(total) + shift, f"ref_mean_{side}_logps": float(total) / int(length)}
        rows.append({**row, **added})
    return rows


def test_a_recorded_reference_of_the_same_model_gives_the_same_losses(prepared):
    method, data = prepared(ROWS)
    again, same = prepared(with_reference(method, data), reference="recorded")
    losses = [one.losses(one.collate(items.items("train")))[0] for one, items in ((method, data), (again, same))]
    torch.testing.assert_close(*losses)


def test_a_recorded_reference_of_another_model_stops_the_run(prepared):
    method, data = prepared(ROWS)
    again, same = prepared(with_reference(method, data, shift=-0.2), reference="recorded")
    with pytest.raises(StaleReferenceError, match="differ by"):
        again.losses(again.collate(same.items("train")))


def test_recorded_sources_enter_the_fused_reference(prepared):
    rows = [
        {
            **row,
            "fuse_chosen_logps": [-2.0 - place, -30.0],
            "fuse_mean_chosen_logps": [-(2.0 + place) / 4, -7.5],
            "fuse_rejected_logps": [-9.0, -40.0 - place],
            "fuse_mean_rejected_logps": [-3.0, -(40.0 + place) / 5],
        }
        for place, row in enumerate(ROWS)
    ]
    method, data = prepared(rows, name="infifpo", sources=("near", "far"))
    pairs = data.items("train")
    losses, _ = method.losses(method.collate(pairs))
    init = torch.tensor([[sums[side] / lengths[side] for sums, lengths in map(method._reference.get, pairs)]
                         for side in (0, 1)])  # fmt: skip
    by_prompt = {row["prompt"]: row for row in rows}
    chosen, rejected = (
        torch.tensor([by_prompt[pair.prompt][f"fuse_mean_{side}_logps"] for pair in pairs]).double()
        for side in ("chosen", "rejected")
    )
    wanted = infifpo_loss(init[0], init[1], init[0], init[1], chosen, rejected, beta=2.5).losses
    torch.testing.assert_close(losses.detach().double(), wanted.double(), atol=1e-4, rtol=1e-4)
    assert wanted.std() > 0.01  # the rows differ, so a mixed-up order would show


def test_held_out_pairs_are_read_and_move_with_the_policy(prepared):
    method, data = prepared(ROWS, samples=2)
    readings = method.predict(data, split="test")
    assert [len(one.completions) for one in readings] == [2] * len(data.held_out_pairs("test"))
    assert all(isinstance(one, PreferenceReading) and abs(one.margin) < 1e-5 for one in readings)
    optimiser = torch.optim.Adam(method.network.parameters(), lr=3e-3)
    for _ in range(15):
        method._check_start = lambda batch, **options: None
        optimiser.zero_grad()
        method.losses(method.collate(data.items("train")))[0].mean().backward()
        optimiser.step()
    frame = data.frame(method.predict(data, split="test"))
    assert frame["success"].mean() == 1.0 and frame["reward"].min() > 0.1


def test_objectives_that_blend_are_refused_in_one_line(prepared):
    with pytest.raises(ValueError, match="does not tell who wrote a response"):
        prepared(ROWS, name="wrpo")


def test_the_margin_against_the_initial_pivot_by_hand():
    """Policy sets them -1 - -4 = 3 apart, the pivot -2 - -3 = 1: 2 further; the other way round for the second pair."""
    none = torch.zeros(2, 0)
    policy, pivot = torch.tensor([[-1.0, -3.0], [-4.0, -2.0]]), torch.tensor([[-2.0, -1.0], [-3.0, -2.0]])
    assert further_apart(PairValues(*policy, *pivot, none, none)).tolist() == [2.0, -2.0]
