import pytest

from data.retrieval.views import VIEWS, between, masked, view_of

TEXT = "In <e1>old Rome</e1> the <e2>senate</e2> ruled <e3>."


def test_views_by_hand():
    assert view_of("sentence")(TEXT) == "In old Rome the senate ruled <e3>."
    assert between(TEXT) == "old Rome the senate"
    assert masked(TEXT) == "In headentity the tailentity ruled <e3>."


def test_the_tail_may_stand_first():
    text = "A <e2>b</e2> c <e1>d</e1> e"
    assert between(text) == "b c d"
    assert masked(text) == "A tailentity c headentity e"


@pytest.mark.parametrize("view", [between, masked])
def test_views_that_need_entities_refuse_texts_without(view):
    with pytest.raises(ValueError, match="needs <e1> and <e2>"):
        view("no entities here")


def test_an_unknown_view_lists_the_known_ones():
    with pytest.raises(ValueError, match=f"{', '.join(VIEWS)}, got 'spans'"):
        view_of("spans")
