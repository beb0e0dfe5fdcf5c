import pytest

from data.files.stages import TemporaryStages
from data.records.relations import RelationExample, without_tags
from data.relations.neighbours import NeighbourLists
from data.relations.prompts import MAX_NEIGHBOURS
from data.retrieval.none import NoRetriever
from data.retrieval.random import RandomRetriever
from data.retrieval.tfidf import TfidfRetriever


def example(index, text="The <e1>{0}</e1> left the <e2>{1}</e2>.", head=None, tail="box"):
    head = head or f"thing{index}"
    return RelationExample(str(index), text.format(head, tail), head, tail, "Other")


POOL = [
    example(1, "The <e1>{0}</e1> left the <e2>{1}</e2>.", "tide", "harbour"),
    example(2, "The tide <e1>left</e1> the <e2>harbour</e2>.", "left", "harbour"),
    example(3, "The <e1>{0}</e1> left the <e2>{1}</e2>.", "boat", "harbour"),
    example(4, "A <e1>{0}</e1> is salt <e2>{1}</e2>.", "barrel", "wood"),
]


def ids(lists):
    return [[hit.id for hit in hits] for hits in lists]


def lists_of(retriever, stages=None):
    return NeighbourLists(retriever, POOL, stages or TemporaryStages())


def test_training_queries_never_get_themselves_or_their_sentence():
    # 1 and 2 are one sentence with other marks.
    found = ids(lists_of(TfidfRetriever()).of(POOL, exclude_same_sentence=True))
    assert found[:3] == [["3", "4"], ["3", "4"], ["1", "2", "4"]] and sorted(found[3]) == ["1", "2", "3"]
    for query, names in zip(POOL, found, strict=True):
        by_id = {item.id: without_tags(item.text) for item in POOL}
        assert without_tags(query.text) not in [by_id[name] for name in names]


def test_with_the_leak_a_training_query_gets_itself_first():
    found = ids(lists_of(TfidfRetriever()).of(POOL, exclude_same_sentence=False))
    assert [names[0] for names in found] == ["1", "1", "3", "4"]
    assert all(len(names) == 4 for names in found)


def test_every_retriever_and_view_obeys_the_exclusion():
    for retriever in (RandomRetriever(seed=1), TfidfRetriever(view="between"), TfidfRetriever(view="masked")):
        found = ids(lists_of(retriever).of(POOL, exclude_same_sentence=True))
        assert sorted(found[0]) == sorted(found[1]) == ["3", "4"]


def test_lists_are_a_stage_that_settings_pool_queries_and_rule_decide():
    built = []

    class Counting(TemporaryStages):
        def get(self, kind, key, build):
            return super().get(kind, key, lambda folder: built.append(kind) or build(folder))

    stages = Counting()
    first = lists_of(TfidfRetriever(), stages).of(POOL, exclude_same_sentence=True)
    assert lists_of(TfidfRetriever(), stages).of(POOL, exclude_same_sentence=True) == first
    assert built == ["neighbours"]
    lists_of(TfidfRetriever(), stages).of(POOL, exclude_same_sentence=False)
    lists_of(TfidfRetriever(), stages).of(POOL[:2], exclude_same_sentence=True)
    lists_of(TfidfRetriever(max_ngram=1), stages).of(POOL, exclude_same_sentence=True)
    NeighbourLists(TfidfRetriever(), POOL[:3], stages).of(POOL, exclude_same_sentence=True)
    assert built == ["neighbours"] * 5


def test_equal_texts_under_other_ids_share_a_list_but_not_the_ids():
    renamed = [item._replace(id=f"x{item.id}") for item in POOL]
    stages = TemporaryStages()
    first = lists_of(TfidfRetriever(), stages).of(POOL, exclude_same_sentence=True)
    second = NeighbourLists(TfidfRetriever(), renamed, stages).of(POOL, exclude_same_sentence=True)
    assert [[f"x{hit.id}" for hit in hits] for hits in first] == ids(second)


def test_lists_are_ten_long_where_the_pool_allows_it_and_empty_without_retrieval():
    pool = [example(index) for index in range(30)]
    found = NeighbourLists(RandomRetriever(seed=0), pool, TemporaryStages()).of(POOL, exclude_same_sentence=False)
    assert [len(hits) for hits in found] == [MAX_NEIGHBOURS] * 4
    assert ids(lists_of(NoRetriever()).of(POOL, exclude_same_sentence=True)) == [[], [], [], []]


def test_a_view_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="view must be one of"):
        lists_of(RandomRetriever(seed=0, view="span"))
