import gzip
import json

import pytest
from hydra.utils import instantiate

from data.relations.tacred import Patches, TacredRows

TOKENS = ["Ada", "Byron", ",", "36", ",", "died", "in", "London", "."]


def row(name, relation, subject=(0, 1), object_=(3, 3)):
    """As in TACRED: positions with the end included, and fields that nothing here reads."""
    return {
        "id": name, "docid": "d", "relation": relation, "token": TOKENS,
        "subj_start": subject[0], "subj_end": subject[1], "obj_start": object_[0], "obj_end": object_[1],
        "subj_type": "PERSON", "obj_type": "NUMBER", "stanford_pos": ["NNP"] * len(TOKENS),
    }  # fmt: skip


ROWS = [row("a", "per:age"), row("b", "per:title", (7, 7), (0, 1)), row("c", "no_relation", object_=(7, 7))]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    return tmp_path


def test_ends_are_included_and_the_object_may_stand_first():
    age, title, _ = TacredRows().examples(ROWS, "test")
    assert age.text == "<e1>Ada Byron</e1> , <e2>36</e2> , died in London ."
    assert age[0] == "a" and age[2:] == ("Ada Byron", "36", "per:age")
    assert title.text == "<e2>Ada Byron</e2> , 36 , died in <e1>London</e1> ."
    assert title[2:] == ("London", "Ada Byron", "per:title")


def patched(others, split="test"):
    reader = TacredRows(patches=Patches(files={"test": "patch.json"}, others=others))
    return {example.id: example.label for example in reader.examples(ROWS, split)}


def test_tacrev_changes_the_labels_it_names_and_keeps_the_others(root):
    rows = [{"id": "b", "relation": "no_relation"}, {"id": "c", "relation": "per:city_of_death"}]
    (root / "patch.json").write_text("\n".join(map(json.dumps, rows)))
    wanted = {"a": "per:age", "b": "no_relation", "c": "per:city_of_death"}
    assert patched("keep") == wanted
    assert patched("keep", "dev") == {"a": "per:age", "b": "per:title", "c": "no_relation"}
    (root / "patch.json").write_text(json.dumps(rows))
    assert patched("keep") == wanted


def test_retacred_says_which_examples_there_are(root):
    (root / "patch.json").write_text(json.dumps({"c": "per:city_of_death", "a": "per:age"}))
    assert patched("drop") == {"a": "per:age", "c": "per:city_of_death"}


def test_patches_may_be_compressed(root):
    reader = TacredRows(patches=Patches(files={"test": "p.jsonl.gz"}, others="keep"))
    with gzip.open(root / "p.jsonl.gz", "wt") as stream:
        stream.write(json.dumps({"id": "a", "relation": "no_relation"}) + "\n")
    assert reader.examples(ROWS, "test")[0].label == "no_relation"


def test_patches_from_a_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "data.relations.tacred.read_hub",
        lambda *what, **how: asked.append((what, how)) or [{"id": "a", "relation": "per:title"}],
    )
    hub = {"test": {"id": "some/patch", "split": "eval", "revision": "v1"}}
    found = TacredRows(patches=Patches(files={}, hub=hub, others="drop")).examples(ROWS, "test")
    assert [(one.id, one.label) for one in found] == [("a", "per:title")]
    assert asked == [(("some/patch",), {"split": "eval", "revision": "v1"})]


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ('{"id": "z", "relation": "per:age"}', "1 ids that TACRED's test lacks.*'z'"),
        ('[{"id": "a", "relation": "x"}, {"id": "a", "relation": "y"}]', "'a' has two labels"),
        ('[{"id": "a", "label": "x"}]', "relation is missing"),
    ],
)
def test_patches_that_do_not_fit_are_refused(root, patch, said):
    (root / "patch.json").write_text(patch)
    with pytest.raises(ValueError, match=said):
        patched("keep")


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="keep or drop"):
        Patches(files={}, others="forget")
    with pytest.raises(ValueError, match="both"):
        Patches(files={"test": "a"}, hub={"test": {}}, others="keep")


@pytest.mark.parametrize("name", ["tacred", "tacrev", "retacred"])
def test_the_three_configs_read_a_file_in_tacreds_format(name, root, relation_config):
    settings = relation_config(f"data={name}")
    (root / "tacred").mkdir()
    for split in ("train", "dev", "test"):
        rows = [{**one, "id": f"{split}-{one['id']}", "token": [*TOKENS, split]} for one in ROWS]
        (root / "tacred" / f"{split}.json").write_text(json.dumps(rows))
    patches = (settings["reader"].get("patches") or {}).get("files", {})
    for split, file in patches.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        opened = gzip.open if file.endswith(".gz") else open
        patch = {"id": f"{split}-a", "relation": "no_relation"} if name == "tacrev" else {f"{split}-a": "no_relation"}
        with opened(root / file, "wt") as stream:
            stream.write(json.dumps(patch) + "\n")
    data = instantiate(settings)
    assert data.name == name and data.none_label == "no_relation"
    test = {example.id: example.label for example in data.examples("test")}
    assert (
        test
        == {
            "tacred": {"test-a": "per:age", "test-b": "per:title", "test-c": "no_relation"},
            "tacrev": {"test-a": "no_relation", "test-b": "per:title", "test-c": "no_relation"},
            "retacred": {"test-a": "no_relation"},
        }[name]
    )
    assert len(data.examples("train")) == (1 if name == "retacred" else 3)
    assert len(data.prompts("test")) == len(test)


def test_the_inventories_have_the_published_sizes(relation_config):
    sizes = {name: set(relation_config(f"data={name}")["labels"]) for name in ("tacred", "tacrev", "retacred")}
    assert {name: len(labels) for name, labels in sizes.items()} == {"tacred": 42, "tacrev": 42, "retacred": 40}
    assert sizes["tacred"] == sizes["tacrev"]
    assert len(sizes["tacred"] - sizes["retacred"]) == 6 and len(sizes["retacred"] - sizes["tacred"]) == 4


def test_tacrev_patches_as_they_are_shared(needs_file):
    for split, count in (("dev", 1590), ("test", 936)):
        patches = Patches(files={split: needs_file(f"re/tacrev_labels_only/{split}.jsonl.gz")}, others="keep")
        found = patches.labels(split)
        assert len(found) == count and patches.labels("train") is None
