from collections import Counter

import pytest

from data.worlds.facts.world import FAMILIES, KINDS, FactWorld

SMALL = {"entities": 90, "first_names": 15, "surnames": 9}


@pytest.fixture(scope="module")
def world():
    return FactWorld(seed=0, **SMALL)


@pytest.fixture(scope="module")
def corpus(world):
    return {passage.id: passage for passage in world.passages()}


def fact_of(passage):
    """(person, attribute) from an id, whatever the telling."""
    person, attribute = passage.id.partition("@")[0].split(".")
    return int(person[1:]), int(attribute[1:])


def value_of(world, text):
    (found,) = set(text.split()) & set(world.values)
    return found


def test_the_corpus_tells_every_fact_once(world, corpus):
    assert len(corpus) == 90 * (12 + 2)
    for passage in corpus.values():
        person, attribute = fact_of(passage)
        assert world.name(person) in passage.text
        phrase = [*world.attributes, *world.relations][attribute]
        assert phrase in passage.text
        if attribute < 12:
            value_of(world, passage.text)


def test_any_size_is_asked_for_by_its_arguments():
    large = FactWorld(seed=3, entities=400, first_names=40, surnames=20, attributes=24, relations=4)
    assert len({passage.id for passage in large.passages()}) == 400 * 28


def test_splits_share_no_person_and_their_questions_ask_their_own(world, corpus):
    members = world.members
    assert sorted(person for people in members.values() for person in people) == list(range(90))
    for split in world.splits:
        for family in world.families(split):
            for index in range(100):
                example = world.question(split, family, index)
                for gold in example.gold:
                    assert fact_of(corpus[gold])[0] in members[split]


def test_training_contexts_show_no_fact_of_another_split(world):
    for split in ("base", "tune"):
        for index in range(100):
            reading = world.reading(split, "lookup", index, k=8, negatives={kind: 1 / 6 for kind in KINDS})
            assert all(fact_of(passage)[0] in world.members[split] for passage in reading.example.passages)


@pytest.mark.parametrize("family", ["lookup", "choice", "slot", "dialogue", "two_hop"])
@pytest.mark.parametrize("split", FactWorld.splits)
def test_the_last_gold_passage_holds_the_answer(world, split, family):
    for index in range(60):
        reading = world.reading(split, family, index, k=5)
        shown = {passage.id: passage for passage in reading.example.passages}
        assert set(reading.example.gold) <= set(shown)
        assert value_of(world, shown[reading.example.gold[-1]].text) == reading.example.answers[0]


def test_two_hops_lead_from_the_first_passage_to_the_second(world, corpus):
    for index in range(100):
        example = world.question("test", "two_hop", index)
        first, second = (corpus[gold] for gold in example.gold)
        asked, bridge = fact_of(first)[0], fact_of(second)[0]
        assert world.name(asked) in example.question and asked != bridge
        assert world.name(bridge) in first.text and world.name(bridge) not in example.question
        assert bridge in world.members["test"]


def test_verification_is_yes_when_the_value_is_right(world, corpus):
    answers = Counter()
    for index in range(400):
        example = world.question("test", "verify", index)
        said = example.question.split()[1]
        right = value_of(world, corpus[example.gold[0]].text)
        assert example.answers == ("yes" if said == right else "no",)
        answers[example.answers[0]] += 1
    assert 150 < answers["yes"] < 250


def test_choices_hold_the_answer_at_every_place(world):
    places = Counter()
    for index in range(300):
        example = world.question("test", "choice", index)
        options = example.question.rstrip(" ?").partition(" : ")[2].split(" or ")
        assert len(set(options)) == 3
        places[options.index(example.answers[0])] += 1
    assert set(places) == {0, 1, 2} and min(places.values()) > 70


def test_held_out_attributes_are_asked_by_the_test_slots_alone(world):
    heldout = world.attributes[-2:]

    def asks_heldout(split, family):
        questions = [world.question(split, family, index).question for index in range(200)]
        return {any(phrase in question for phrase in heldout) for question in questions}

    assert asks_heldout("test", "slot") == {True}
    for split, family in [("test", "lookup"), ("tune", "lookup"), ("tune", "slot")]:
        assert asks_heldout(split, family) == {False}
    assert asks_heldout("base", "lookup") == {True, False}


@pytest.mark.parametrize("split", ["base", "test"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_what_they_say(world, split, kind):
    for index in range(80):
        reading = world.reading(split, "lookup", index, k=3, negatives={kind: 1.0})
        answer = reading.example.answers[0]
        facts = [fact_of(passage) for passage in reading.example.passages]
        assert len(set(facts)) == 3
        person, attribute = facts[reading.kinds.index("gold")]
        names = set(world.people[person][:1]), set(world.people[person][1:])
        for passage, found, (other, theirs) in zip(reading.example.passages, reading.kinds, facts, strict=True):
            if found == "gold":
                continue
            twin = other != person and (world.people[other][0] in names[0] or world.people[other][1] in names[1])
            stranger = other != person and not twin
            expected = {
                "random": stranger and theirs // 2 != attribute // 2,
                "same_value": stranger and theirs // 2 != attribute // 2,
                "same_attribute": stranger and theirs == attribute,
                "same_entity": other == person and theirs // 2 != attribute // 2,
                "near_miss": other == person and theirs == attribute ^ 1,
                "shared_name": twin and theirs == attribute,
            }
            assert expected[found], (found, facts)
            assert (value_of(world, passage.text) == answer) == (found == "same_value")


def test_a_kind_that_is_used_up_is_replaced_and_said_so(world):
    reading = world.reading("test", "lookup", 0, k=4, negatives={"near_miss": 1.0})
    assert sorted(reading.kinds) == ["gold", "near_miss", "same_entity", "same_entity"]
    reading = world.reading("test", "lookup", 0, k=16, negatives={"same_entity": 1.0})
    counts = Counter(reading.kinds)
    # Ten attributes with another head; those that happen to have the gold value are left out.
    assert 7 <= counts["same_entity"] <= 10 and counts["same_attribute"] == 15 - counts["same_entity"]


def test_the_gold_position_is_balanced_or_as_told(world):
    for k in (1, 4, 7):
        places = Counter(world.reading("test", "lookup", index, k=k).kinds.index("gold") for index in range(10 * k))
        assert places == Counter({place: 10 for place in range(k)})
    for position in range(5):
        for family in ("lookup", "two_hop"):
            reading = world.reading("test", family, 3, k=5, gold_position=position)
            assert reading.example.passages[position].id == reading.example.gold[0]


def test_without_gold_there_are_as_many_passages_and_none_of_them_answers(world):
    for index in range(50):
        reading = world.reading("test", "two_hop", index, k=6, gold_present=False)
        assert len(reading.example.passages) == 6 and "gold" not in reading.kinds
        assert not {passage.id for passage in reading.example.passages} & set(reading.example.gold)


def test_base_facts_are_told_anew_and_corpus_facts_are_not(world, corpus):
    told = {}
    for index in range(400):
        for passage in world.reading("base", "lookup", index, k=4).example.passages:
            told.setdefault(fact_of(passage), set()).add(value_of(world, passage.text))
            assert passage.id not in corpus
    often = [values for values in told.values() if len(values) > 1]
    assert len(often) > 50
    for index in range(50):
        for passage in world.reading("tune", "lookup", index, k=4).example.passages:
            assert corpus[passage.id] == passage


def test_relations_of_the_base_are_told_anew_too(world):
    bridges = {}
    for index in range(600):
        reading = world.reading("base", "two_hop", index, k=2)
        shown = {passage.id: fact_of(passage) for passage in reading.example.passages}
        first, second = (shown[gold] for gold in reading.example.gold)
        bridges.setdefault(first, set()).add(second[0])
    assert any(len(people) > 2 for people in bridges.values())


def test_values_are_shared_by_all_attributes(world, corpus):
    pools = {}
    for passage in corpus.values():
        if fact_of(passage)[1] < 12:
            pools.setdefault(fact_of(passage)[1], set()).add(value_of(world, passage.text))
    # 90 draws from 60 values miss one with probability 0.22: two attributes share 36 of them on average.
    assert min(len(a & b) for a in pools.values() for b in pools.values()) > 20


def test_near_twins_share_one_name(world):
    for person, twins in enumerate(world.namesakes):
        for other in twins:
            assert sum(a == b for a, b in zip(world.people[person], world.people[other], strict=True)) == 1
    assert sum(map(bool, world.namesakes)) > 80


def test_everything_is_a_function_of_the_arguments(world):
    again = FactWorld(seed=0, **SMALL)
    for split in world.splits:
        assert world.reading(split, "lookup", 7, k=6) == again.reading(split, "lookup", 7, k=6)
    assert list(world.passages("test")) == list(again.passages("test"))
    assert world.question("test", "lookup", 7) != FactWorld(seed=1, **SMALL).question("test", "lookup", 7)


def test_the_vocabulary_holds_every_word(world):
    words = set(world.vocabulary())
    assert len(words) == len(world.vocabulary())
    full = FactWorld(seed=0, **SMALL, filler=4, unseen_phrasings=True)
    texts = [passage.text for passage in full.passages()]
    for split in full.splits:
        for family in full.families(split):
            for index in range(30):
                example = full.question(split, family, index)
                texts += [example.question, *example.answers]
    assert set(" ".join(texts).split()) <= set(full.vocabulary())


def test_unseen_phrasings_are_the_tests_alone():
    world = FactWorld(seed=0, **SMALL, unseen_phrasings=True)
    for split in world.splits:
        found = [passage.text.startswith(("ask about", "people know")) for passage in world.passages(split)]
        assert all(found) if split == "test" else not any(found)


def test_filler_lengthens_passages(world):
    longer = FactWorld(seed=0, **SMALL, filler=3)
    assert sum(map(str.count, [next(longer.passages()).text], ["."])) == 4
    assert next(longer.passages()).text.startswith(next(world.passages()).text)


def test_families_without_what_they_need_are_left_out():
    assert "two_hop" not in FactWorld(seed=0, **SMALL, relations=0).families("test")
    assert "slot" not in FactWorld(seed=0, **SMALL, heldout_attributes=0).families("test")
    assert FactWorld(seed=0, **SMALL).families("test") == FAMILIES


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"negatives": {"random": 0.5}}, "add up to 1"),
        ({"negatives": {"easy": 1.0}}, "negatives must be shares of"),
        ({"negatives": {"random": 1.5, "near_miss": -0.5}}, "negatives must be"),
        ({"gold_position": 4}, "gold_position must lie in 0..3"),
        ({"k": 0}, "k must leave room"),
        ({"k": 4000}, "raise entities"),
    ],
)
def test_calls_are_checked(world, call, message):
    with pytest.raises(ValueError, match=message):
        world.reading("test", "lookup", 0, **{"k": 4, **call})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entities": 136}, "raise first_names or surnames"),
        ({"attributes": 7}, "attributes must be even"),
        ({"relations": 5}, "relations must lie"),
        ({"heldout_attributes": 11}, "heldout_attributes must lie"),
        ({"values": 3}, "values must exceed"),
        ({"phrasings": 0}, "phrasings must lie"),
        ({"filler": 5}, "filler must lie"),
        ({"entities": 4}, "fewer than two people"),
        ({"shares": {"base": 1.0}}, "shares name"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        FactWorld(seed=0, **{**SMALL, **change})
