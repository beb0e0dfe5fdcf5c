import shutil

import pytest

from sweeps.errors import UserError
from sweeps.planning.plan import Planner
from sweeps.signatures import closure, readings, signature
from sweeps.signatures.closure import Closures
from sweeps.signatures.modules import ROOT

SMOKE = ("scale=smoke", "experiment=re_smoke")


@pytest.fixture(autouse=True)
def memory_of_its_own(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(readings, "_CACHE", tmp_path_factory.getbasetemp() / "code.json")
    monkeypatch.setattr(closure, "_loaded", {})


def copied(folder):
    """The code of the repository in another place."""
    for name in ("data", "lightning_modules"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc", "__pycache__", "*.gz"))
    return folder


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def signed(config, root):
    return signature.Signer(lenient=True, root=root).training(config)


def test_order_of_keys_and_infrastructure_do_not_matter():
    one = signature.science({"a": 1, "b": {"c": 2.0, "cost": {"x": 9}}, "engine": {"name": "local"}, "logger": {}})
    two = signature.science({"b": {"c": 2.0}, "a": 1, "engine": {"name": "slurm"}})
    assert signature.hash_of(one) == signature.hash_of(two)


def test_placement_is_left_out_of_trainers_only():
    placed = {"trainer": {"devices": 2, "strategy": "ddp", "max_steps": 3}, "base": {"trainer": {"strategy": "auto"}}}
    assert signature.science(placed) == {"trainer": {"max_steps": 3}, "base": {"trainer": {}}}
    # InfiFPO's strategy of fusion decides results; that it went missing made three rows of a table one cell.
    method = {"method": {"strategy": "average", "label": "x"}, "trainer": {}}
    assert signature.science(method) == {"method": {"strategy": "average"}, "trainer": {}}


@pytest.mark.parametrize("other", [{"a": 1.5}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {"b": 1}])
def test_every_change_of_value_or_type_shows(other):
    assert signature.hash_of({"a": 1}) != signature.hash_of(other)


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "config.a.b"), (object(), "object"), ({1: 2}, "key 1")])
def test_what_cannot_be_serialised_stably_is_refused_by_name(value, name):
    with pytest.raises(UserError, match=name):
        signature.hash_of({"a": {"b": value}})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True), (0, -0.0, True), (1e3, 1000, True), ([1, 2.0], [1.0, 2], True), (0.1, 0.10, True),
        (1, True, False), (0, False, False), (1.0, True, False), (1, "1", False), (1.0, "1.0", False), (1, 1.5, False),
        (2**53 + 1, float(2**53 + 1), False), (None, 0, False),
    ],
)  # fmt: skip
def test_equal_numbers_are_one_value_and_nothing_else_is(one, other, same):
    assert (signature.hash_of({"a": one}) == signature.hash_of({"a": other})) is same


def test_gradient_clip_1_and_1_0_are_one_cell():
    cells = [Planner().cell((*SMOKE, f"trainer.gradient_clip={value}")) for value in ("1", "1.0", "1.00", "0.5")]
    assert len({cell.signature for cell in cells}) == len({cell.training for cell in cells}) == 2


def test_how_often_is_logged_names_no_run():
    assert len({Planner().cell((*SMOKE, f"+trainer.log_every={value}")).signature for value in (1, 10)}) == 1


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes modules of a package of a person's own, beside the repository."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "__init__.py").touch()

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / "person" / f"{name}.py").write_text(text)

    return write


def named(node, **more):
    return signature.training_signature({"method": node, **more})


def test_a_parameter_that_takes_whole_numbers_and_others_tells_1_from_1_0(own):
    """As a size may be a number of rows, or a share of them."""
    own(base="class Base:\n    def __init__(self, size: 'int | float', rate: float): ...\n",
        cls="from person.base import Base\nclass Own(Base): ...\n"
            "class Other(Base):\n    def __init__(self, size, **k): ...\n",
        fields="from dataclasses import dataclass\n@dataclass\nclass Own:\n    size: int | float\n    rate: float\n",
        function="def own(x, *, size: int | float, rate: float = 1.0): ...\n")  # fmt: skip
    for target in ("base.Base", "cls.Own", "fields.Own", "function.own"):
        node = {"_target_": f"person.{target}", "rate": 1.0, "size": [1.0]}
        assert named(node) == named({**node, "rate": 1}) != named({**node, "size": [1]}), target
    node = {"_target_": "person.cls.Other", "size": 1}
    assert named(node) == named({**node, "size": 1.0}), "its own constructor says nothing"


def test_an_edited_loss_of_a_persons_own_names_other_runs(own):
    own(loss="from person.inner import scale\ndef loss(x):\n    return scale(x)\n")
    own(inner="def scale(x):\n    return x\n")
    node = {"loss": {"_target_": "person.loss.loss", "_partial_": True}}
    before = named(node)
    own(inner="def scale(x):\n    return 2 * x\n")
    assert named(node) != before
    own(inner='"""Doc."""\ndef scale(x):\n    return x  # as it was\n')
    assert named(node) == before


@pytest.mark.parametrize("place", ["_target_", "path", "reader"])
def test_code_counts_wherever_a_config_names_it_and_by_its_last_name(own, place):
    own(one="class Own:\n    def made(): ...\nx = 1\n", two="class Own:\n    def made(): ...\nx = 1\n")
    node = {place: "person.one.Own"}
    before = named(node)
    assert before == named({place: "person.two.Own"}), "where a file lies names no run"
    own(two="class Own:\n    def made(): ...\nx = 2\n")
    assert before != named({place: "person.two.Own"})
    assert before != named({place: "person.one.Own.made"})


def test_what_is_not_own_counts_by_its_whole_name():
    names = ("torch.nn.GELU", "torch.optim.GELU", "person.nowhere.GELU")
    assert len({signature.science_signature({"m": {"_target_": name}}) for name in names}) == 3
    assert len({named({"_target_": name}) for name in names}) == 3


def test_two_classes_of_one_name_are_told_apart_by_their_places(own):
    own(one="class Reader:\n    x = 1\n", two="class Reader:\n    x = 2\n")
    one, two = {"_target_": "person.one.Reader"}, {"_target_": "person.two.Reader"}
    assert named({"train": one, "test": two}) != named({"train": two, "test": one})


def test_module_that_is_no_python_is_refused_in_one_line(own):
    own(broken="def loss(x)\n")
    with pytest.raises(UserError, match=r"the module person\.broken cannot be read, line 1 \(expected ':'\)"):
        named({"_target_": "person.broken.loss"})


def test_entry_points_are_there():
    """They are told by their names, which must move with the files."""
    closures = Closures()
    entries = (signature.TRAINING_ENTRY_POINTS, signature.SOURCES_ENTRY_POINTS, signature.EVALUATION_ENTRY_POINTS)
    assert all(closures.modules.place(name) for names in entries for name in names)


def test_what_turns_trainings_into_sources_counts_where_there_are_some(tmp_path):
    config = {"method": {"lr": 1}, "sources": {"a": {"method": {"lr": 1}}}}
    root = copied(tmp_path)
    sources, plain = signed(config, root), signed({**config, "sources": None}, root)
    edit(root / "lightning_modules" / "preference" / "source_models.py", "temperature", "warmth")
    assert signed(config, root) != sources and signed({**config, "sources": None}, root) == plain


def test_evaluation_never_reaches_the_training_signature(tmp_path):
    config = {"data": {"a": 1}, "method": {"lr": 0.1}, "evaluation": {"split": "test"}}
    other = {**config, "evaluation": {"split": "dev"}}
    training = signature.training_signature(config)
    assert training == signature.training_signature(other)
    assert signature.evaluation_signature(config, training) != signature.evaluation_signature(other, training)
