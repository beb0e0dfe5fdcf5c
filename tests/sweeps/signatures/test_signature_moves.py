"""Tidying this repository names no run anew, and a change of a loss names those anew that use it: on a copy of it."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from sweeps.planning import definition
from sweeps.planning.plan import Planner
from sweeps.signatures import closure, readings, signature
from sweeps.signatures.modules import ROOT
from sweeps.signatures.signature import Signer

TABLES = ("re/main", "longrag/main", "amft/main", "infifpo/objectives", "implicit_reward/divergences")
MOVED = (
    "data.files.sources", "data.relations.relation_data", "data.scoring.registry", "data.scoring.rag",
    "data.scoring.relations", "data.records.texts",
    "data.retrieval.base", "data.verifiers.expressions", "data.rag.fact_rag", "lightning_modules.base",
    "lightning_modules.training.fit", "lightning_modules.preference.source_models", "lightning_modules.sampling.sampler",  # noqa: E501
    "lightning_modules.sampling.cuda_graphs", "lightning_modules.preference.objective", "lightning_modules.losses.dpo",
    "lightning_modules.losses.divergences", "lightning_modules.losses.f_divergences",
    "lightning_modules.preference.objectives", "lightning_modules.networks.language_model",
)  # fmt: skip


@pytest.fixture(autouse=True)
def memory_of_its_own(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(readings, "_CACHE", tmp_path_factory.getbasetemp() / "code.json")
    monkeypatch.setattr(closure, "_loaded", {})


@pytest.fixture(scope="module")
def cells():
    """Cells of every paper: all rows of two tables, a few of the others."""
    planner = Planner(lenient=True)
    found = {name: planner.sweep(definition.load(name), "tiny", (), (0,)) for name in TABLES}
    return {name: several if name in TABLES[-2:] else several[:3] for name, several in found.items()}


@pytest.fixture
def root(tmp_path):
    for name in ("data", "lightning_modules"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc", "__pycache__", "*.gz"))
    return tmp_path


def names(cells, root, changed=lambda config: config):
    """By table and row: the names of weights and run."""
    signer = Signer(lenient=True, root=root)
    found = {}
    for table, several in cells.items():
        for cell in several:
            training = signer.training(changed(cell.blanked))
            found[table, cell.row] = training, signer.evaluation(changed(cell.config), training)
    return found


def edit(path, before, after):
    text = path.read_text()
    assert text.count(before) >= 1, f"{path} has no {before!r}"
    path.write_text(text.replace(before, after))


def differing(one, other):
    return {key for key in one if one[key] != other[key]}


def test_a_copy_elsewhere_gives_the_names_of_the_plan(cells, root):
    planned = {(table, cell.row): (cell.training, cell.signature) for table in cells for cell in cells[table]}
    assert names(cells, root) == planned and len(set(planned.values())) == len(planned)


def move(root, name, monkeypatch):
    """Moves a module or package into a new package under a new name, and mends all that speaks of it."""
    package, _, last = name.rpartition(".")
    new = f"{package}.tidy.the_{last}"
    old = root.joinpath(*name.split("."))
    into = root.joinpath(*package.split("."), "tidy")
    into.mkdir()
    (into / "__init__.py").touch()
    source = old if old.is_dir() else old.with_suffix(".py")
    source.rename(into / f"the_{source.name}")

    def mended(text):
        text = re.sub(rf"\bfrom {re.escape(package)} import {last}\b", f"from {package}.tidy import the_{last}", text)
        return re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", new, text)

    for path in (path for top in ("data", "lightning_modules") for path in (root / top).rglob("*.py")):
        text = path.read_text()
        imported = re.search(rf"\bfrom {re.escape(package)} import {last}\b", text)
        text = mended(text)
        path.write_text(re.sub(rf"(?<![\w.]){last}\.", f"the_{last}.", text) if imported else text)
    for entry in ("TRAINING_ENTRY_POINTS", "SOURCES_ENTRY_POINTS", "EVALUATION_ENTRY_POINTS"):
        monkeypatch.setattr(signature, entry, tuple(map(mended, getattr(signature, entry))))
    return lambda config: json.loads(mended(json.dumps(config)))


@pytest.mark.parametrize("name", MOVED)
def test_a_moved_and_renamed_file_names_no_run_anew(cells, root, monkeypatch, name):
    before = names(cells, root)
    changed = move(root, name, monkeypatch)
    assert names(cells, root, changed) == before


def test_a_reformatted_file_names_no_run_anew(cells, root):
    before = names(cells, root)
    for path in [*(root / "data").rglob("*.py"), *(root / "lightning_modules").rglob("*.py")]:
        # No comment, no line as it was, other quotes and brackets; and a docstring that says something else.
        tree = ast.parse(path.read_text())
        if tree.body and ast.get_docstring(tree) is not None:
            tree.body[0].value.value = "Other words."
        path.write_text(ast.unparse(tree))
    assert names(cells, root) == before


@pytest.mark.parametrize("file", ["data/files/sources.py", "lightning_modules/base.py"])
def test_a_line_that_computes_something_names_every_run_anew(cells, root, file):
    before = names(cells, root)
    (root / file).write_text((root / file).read_text() + "\nimport math\nmath.pi = 3\n")
    after = names(cells, root)
    trained = {key for key in before if key[1] != "Constant"}
    assert differing(before, after) >= {key for key in trained if "infifpo" in key[0] or "amft" in key[0]}


@pytest.mark.parametrize(
    ("file", "before", "after", "rows"),
    [
        ("losses/f_divergences/neyman.py", "2 * (1 + r).sqrt()", "3 * (1 + r).sqrt()", r"neyman"),
        ("losses/f_divergences/pearson_clamped.py", "curvature=2.0", "curvature=2.5", r"pearson_clamped"),
        ("losses/f_divergences/kl_policy_expert.py", "-1 - math.log", "-2 - math.log", r"kl_policy_expert"),
        ("losses/simpo.py", "gamma", "gamma_", r"SimPO"),
        ("preference/objectives/infifpo_wrpo.py", "alpha=self.alpha", "alpha=1 - self.alpha", r"InfiFPO-WRPO"),
        ("losses/wrpo.py", "alpha", "alpha_", r"WRPO"),
        ("losses/reference_controls.py", "margin", "margin_", r"nothing"),
        ("sft/neftune.py", "noise_alpha", "noise", r"NEFTune"),
    ],
)
def test_a_changed_constant_of_a_loss_names_exactly_the_rows_anew_that_use_it(cells, root, file, before, after, rows):
    whole = names(cells, root)
    edit(root / "lightning_modules" / file, before, after)
    found = differing(whole, names(cells, root))
    assert found == {key for key in whole if re.search(rows, key[1])}


NEW = {
    "losses/f_divergences/chi.py": "losses/f_divergences/neyman.py",
    "preference/objectives/robust_dpo.py": "preference/objectives/simpo.py",
    "losses/robust_dpo.py": "losses/simpo.py",
}


@pytest.mark.parametrize("file", NEW)
def test_a_new_divergence_or_objective_names_no_run_anew(cells, root, file):
    before = names(cells, root)
    shutil.copy(root / "lightning_modules" / NEW[file], root / "lightning_modules" / file)
    assert names(cells, root) == before


FITTING, CHECKPOINTS = "lightning_modules/training/fit.py", "lightning_modules/training/checkpoints.py"

SCORED = {
    "policies": "amft", "rag": "longrag", "relations": "re", "skills": "infifpo",
    "probes": "implicit_reward", "tabular": "implicit_reward", "values": "nothing",
}  # fmt: skip


@pytest.mark.parametrize("file", SCORED)
def test_one_papers_scores_name_no_run_of_another_anew_and_no_weights(cells, root, file):
    before = names(cells, root)
    path = root / "data" / "scoring" / f"{file}.py"
    path.write_text(path.read_text() + '\nSCORES = (*SCORES, SCORES[0]._replace(name="one_more"))\n')
    after = names(cells, root)
    assert {key[0].split("/")[0] for key in differing(before, after)} == {SCORED[file]} - {"nothing"}
    assert {key: pair[0] for key, pair in before.items()} == {key: pair[0] for key, pair in after.items()}


@pytest.mark.parametrize(
    ("file", "before", "after", "same"),
    [
        (FITTING, "if step % self._log_every == 0", "if step % 7 == 0", True),
        (FITTING, "self._progress(trainer.global_step, self._total)", "self._progress(self._total, 1)", True),
        (CHECKPOINTS, "os.fsync(descriptor)", "os.fdatasync(descriptor)", True),
        (CHECKPOINTS, "KEPT = 2", "KEPT = 3", True),
        (FITTING, "self._next += 1", "self._next += 2", False),
        (FITTING, "gradient_clip_val=gradient_clip", "gradient_clip_val=None", False),
    ],
)
def test_logging_progress_and_checkpoint_writing_name_no_training_anew(cells, root, file, before, after, same):
    whole = names(cells, root)
    edit(root / file, before, after)
    found = differing(whole, names(cells, root))
    assert found == (set() if same else set(whole))


@pytest.mark.parametrize("name", definition.names())
def test_the_columns_of_a_table_are_scores_that_its_data_name(name):
    from importlib import import_module

    from data.scoring.registry import by_name

    table, planner = definition.load(name), Planner(lenient=True)
    for scale in table.scales:
        for cell in planner.sweep(table, scale, (), (0,))[:1]:
            lists = [import_module(one) for one in Signer(lenient=True).scores(cell.config)]
            assert set(table.columns) <= set(by_name(lists)), scale


def test_where_code_lies_is_asked_of_no_file():
    """A file that reckons from its own place would change when it moves."""
    for top in ("data", "lightning_modules"):
        for path in (ROOT / top).rglob("*.py"):
            assert "__file__).resolve().parent." not in Path(path).read_text(), path
