import pytest

from data.records.relations import RelationExample
from data.relations.scierc import BracketedRows


def read(text, label="USED-FOR"):
    return BracketedRows().examples([{"text": text, "label": label, "metadata": [0, 0, 1, 1]}], "dev")


def test_brackets_become_tags_and_their_order_stays():
    found = read("We give << parsing >> a [[ fast chart ]] .")
    text = "We give <e2>parsing</e2> a <e1>fast chart</e1> ."
    assert found == [RelationExample("dev-0", text, "fast chart", "parsing", "USED-FOR")]


@pytest.mark.parametrize("text", ["no marks", "[[ a ]] and b", "[[ a ]] << b >> << c >>", "[[ a << b >> ]]"])
def test_rows_without_one_marked_pair_are_refused(text):
    with pytest.raises(ValueError, match="text: "):
        read(text)
