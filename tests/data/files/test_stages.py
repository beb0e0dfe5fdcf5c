import pytest

from data.files.stages import TemporaryStages


def test_a_product_is_built_once_per_key_whatever_the_order_of_its_fields():
    stages = TemporaryStages()
    built = []

    def build(folder):
        assert list(folder.iterdir()) == []
        built.append(folder)
        (folder / "x").write_text("made")

    first = stages.get("embeddings", {"a": 1, "b": [2]}, build)
    assert stages.get("embeddings", {"b": [2], "a": 1}, build) == first
    assert (first / "x").read_text() == "made"
    other = stages.get("embeddings", {"a": 2, "b": [2]}, build)
    third = stages.get("neighbours", {"a": 1, "b": [2]}, build)
    assert len(built) == 3 and len({first, other, third}) == 3


def test_a_build_that_fails_is_tried_again():
    stages = TemporaryStages()

    def fail(folder):
        (folder / "half").write_text("")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        stages.get("index", {}, fail)
    assert list(stages.get("index", {}, lambda folder: None).iterdir()) == []


def test_a_key_that_json_cannot_spell_is_refused_by_name():
    with pytest.raises(ValueError, match=r"stage 'index'.*plain JSON"):
        TemporaryStages().get("index", {"model": object()}, lambda folder: None)


def test_the_folder_goes_with_the_object():
    stages = TemporaryStages()
    folder = stages.get("index", {}, lambda folder: None)
    del stages
    assert not folder.exists()
