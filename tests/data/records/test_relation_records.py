from hypothesis import given
from hypothesis import strategies as st

from data.records.relations import without_tags


def test_only_the_four_tags_go():
    assert without_tags("A <e1>b</e1> <e3>c</e3> <e2>d</e2>  e<br>") == "A b <e3>c</e3> d  e<br>"


@given(st.text(alphabet="ab <>/e12", max_size=40))
def test_text_without_tags_has_no_tag_unless_deletion_makes_one(text):
    # Deleting may join "<e" and "1>" around a deleted tag, so only plain texts are a fixed point.
    once = without_tags(text)
    assert len(once) <= len(text)
    if "<e" not in text and "</e" not in text:
        assert once == text
