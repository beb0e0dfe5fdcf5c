import pytest

from data.records import RelationExample
from data.sources import DataNotFoundError, locate

PARTS = ("The", "old", "engine", "caused", "a", "leak", "in", "harbour", "barrel", "of", "salt")


@pytest.fixture
def needs_file():
    """Skips where the shared corpora are not on this machine; the samples always are."""

    def check(file: str) -> str:
        try:
            locate(file)
        except DataNotFoundError:
            pytest.skip(f"{file} is not on this machine")
        return file

    return check


def example(index, text="The <e1>{0}</e1> is in the <e2>{1}</e2>.", head=None, tail="box", label="Other"):
    head = head or f"thing{index}"
    return RelationExample(str(index), text.format(head, tail), head, tail, label)
