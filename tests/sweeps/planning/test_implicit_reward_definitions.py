"""What the sweeps of the implicit-reward paper promise: seeds, shared trainings, controls that are what they say."""

import pytest

from sweeps.planning import definition, plan

PLANNER = plan.Planner(lenient=True)
NAMES = ["learning_rate", "divergences", "value", "q", "pairs", "tabular"]


def cells(name, seeds=(0,)):
    return PLANNER.sweep(definition.load(f"implicit_reward/{name}"), "tiny", seeds=seeds)


def of_row(name, row):
    (cell,) = [cell for cell in cells(name) if cell.row == row]
    return cell


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_five_seeds_and_claims_with_a_source(name):
    loaded = definition.load(f"implicit_reward/{name}")
    assert loaded.seeds == (0, 1, 2, 3, 4) and loaded.claims
    assert all(claim["published"].startswith(("arXiv", "ours")) for claim in loaded.claims)


@pytest.mark.parametrize("name", ["learning_rate", "divergences", "value", "q"])
def test_all_rows_and_seeds_start_from_one_base_model(name):
    assert len({cell.needs[0] for cell in cells(name, seeds=(0, 1))}) == 1


def test_trainings_are_shared_between_tables():
    trained = [{need for cell in cells(name) for need in cell.needs[:2]} for name in ("learning_rate", "divergences")]
    assert len(set.intersection(*trained)) >= 2  # the base model, and SFT at the rate 0.001


def test_preference_training_starts_from_the_row_of_the_same_name():
    """ "X, then DPO" must begin with the very weights that the row X reads, or its columns explain nothing."""
    made = {cell.row: cell for name in ("learning_rate", "divergences", "value") for cell in cells(name)}
    starts = {
        row: row.partition(", then ")[0] for row in made if ", then " in row and row.partition(", then ")[0] in made
    }
    assert len(starts) > 20
    for row, start in starts.items():
        # The last signature is the reading's own.
        assert made[row].needs[1] == made[start].needs[1], row


def rates(cell, steps):
    """Learning rate of every step of the SFT that a row reads; three passes over 2,000 demonstrations are 189 steps."""
    chosen = {key: value for key, value in cell.config["base"]["model"]["optimiser"].items() if key != "_target_"}
    total = cell.config["base"]["trainer"]["max_steps"] or 189
    base = pytest.importorskip("lightning_modules.base", exc_type=ImportError)  # make test-versions has no torch
    optimiser = base.Optimiser(**chosen)
    return [optimiser.learning_rate * optimiser.factor(step, total) for step in range(min(steps, total))]


@pytest.mark.parametrize("stop", [11, 5])
def test_a_stopped_training_is_the_long_one_cut_short(stop):
    long = of_row("learning_rate", "SFT, rate 0.001")
    short = of_row("learning_rate", f"SFT, rate 0.001, stopped at {stop} steps")
    assert short.config["base"]["trainer"]["max_steps"] == stop
    assert rates(short, stop) == pytest.approx(rates(long, stop), rel=2e-3)
    for part in ("data", "seed"):
        assert short.config["base"][part] == long.config["base"][part]
    methods = [{**cell.config["base"]["method"], "model": None} for cell in (short, long)]
    assert methods[0] == methods[1]


def test_tuning_uses_dev_and_a_seed_of_its_own():
    loaded = definition.load("implicit_reward/tuning")
    tuned = cells("tuning", seeds=loaded.seeds)
    assert {cell.config["evaluation"]["split"] for cell in tuned} == {"dev"}
    assert not set(loaded.seeds) & set(definition.load("implicit_reward/learning_rate").seeds)
    grids = {}
    for cell in tuned:
        dpo = cell.config["base"]
        setting = dpo["objective"]["beta"], dpo["model"]["optimiser"]["learning_rate"]
        grids.setdefault(cell.needs[1], set()).add(setting)
    (offered,) = {frozenset(settings) for settings in grids.values()}
    assert len(grids) == 5 and len(offered) == 16, "every SFT policy is given the same choice"
    used = [cell for cell in cells("learning_rate") if "tuned DPO" in cell.row]
    assert len(used) == 5
    for cell in used:
        dpo = cell.config["base"]
        assert (dpo["objective"]["beta"], dpo["model"]["optimiser"]["learning_rate"]) in offered
