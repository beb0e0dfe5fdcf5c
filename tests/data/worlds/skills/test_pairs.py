"""Pairs in the world of skills: who writes, what is dropped, which half is whose; and the exact frame of scores."""

import pytest

from data.files.stages import TemporaryStages
from data.records.texts import Completion
from data.worlds.skills.data import SkillData
from data.worlds.skills.pairs import SkillPairs
from data.worlds.skills.vocabularies import CUTS, skill_vocabulary
from data.worlds.skills.world import SKILLS

SIZES = {"seed": 0, "batch_size": 4, "train_size": 20, "test_size": 10, "facts": 20, "lexicon": 60}


class Scribe:
    """Writes what it is told to: a function of the problem and the copy."""

    def __init__(self, name, write):
        self.identity = {"weights": name}
        self.calls = 0
        self._write = write

    def write(self, items, *, copies, temperature, max_tokens, seed):
        self.calls += 1
        found = []
        for item in items:
            for copy in range(copies):
                text, finished = self._write(item, copy)
                found.append(Completion(item.id, copy, text, len(text) + 1, finished, -1.0))
        return found


def pairs_of(half="preference", *, stages=None, expert=lambda item, copy: (item.answer, True), **options):
    data = SkillPairs(half=half, writers=["expert"], copies=2, pivot_copies=3, **SIZES, **options)
    authors = {"expert": Scribe("expert", expert), "pivot": Scribe("pivot", lambda item, copy: ("??", True))}
    data.take_authors(authors)
    data.prepare(stages or TemporaryStages())
    return data, authors


def test_right_beats_wrong_and_the_authors_are_kept():
    data, _ = pairs_of()
    pairs = data.items("train")
    assert len(pairs) == 10 and data.steps_per_epoch == 3
    assert {(one.chosen_author, one.rejected_author, one.rejected) for one in pairs} == {("expert", "pivot", "??")}
    known = {
        problem: data.world.problem("preference", int(problem.rsplit("/", 1)[1]), skill=problem.split("/")[2])
        for problem in (one.id for one in pairs)
    }
    assert all(data.world.grade(known[one.id], one.chosen).solved for one in pairs)


def test_the_halves_share_no_prompt():
    demonstrations, pairs = pairs_of("sft")[0].items("train"), pairs_of()[0].items("train")
    assert demonstrations and not {one.id for one in demonstrations} & {one.id for one in pairs}
    assert all(one.response for one in demonstrations)
    last, first = (pick(int(one.id.rsplit("/", 1)[1]) for one in part)
                   for pick, part in ((max, demonstrations), (min, pairs)))  # fmt: skip
    assert last < first  # SFT has the first half


def test_unusable_candidates_and_prompts_without_a_pair_are_counted():
    faults = [("", True), ("cut", False)]
    data, _ = pairs_of(
        expert=lambda item, copy: (
            faults[copy]
            if item.task == "facts"
            else (item.answer + "<", True)
            if item.task == "style"
            else (item.answer, True)
        )
    )
    # Of ten prompts two are facts and two style: two copies each.
    assert data.dropped == {"empty": 2, "unfinished": 2, "other characters": 4, "prompts without a pair": 4}
    assert data.report()["pairs"] == 6


def test_candidates_are_a_stage_named_by_who_wrote_them():
    stages = TemporaryStages()
    _, first = pairs_of(stages=stages)
    _, again = pairs_of(stages=stages)
    assert (first["expert"].calls, again["expert"].calls) == (1, 0)
    _, other = pairs_of(stages=stages, sampling_seed=5)
    assert other["expert"].calls == 1


def test_another_judge_chooses_other_pairs_of_the_same_candidates():
    class Contrary:
        def rewards(self, texts, paid):
            return [-one for one in paid]

    stages = TemporaryStages()
    exact, _ = pairs_of(stages=stages)
    contrary, authors = pairs_of(stages=stages, judge=Contrary())
    assert authors["expert"].calls == 0  # the candidates are the same stage
    assert {one.chosen for one in contrary.items("train")} == {"??"} == {one.rejected for one in exact.items("train")}


def test_prompts_may_be_of_some_skills_only():
    data, _ = pairs_of(skills=["facts", "style"])
    assert {one.id.split("/")[2] for one in data.items("train")} == {"facts", "style"}
    with pytest.raises(ValueError, match=r"data\.skills"):
        pairs_of(skills=["cooking"])


def test_a_blend_has_the_best_of_each_side():
    data, _ = pairs_of()
    pair = data.items("train")[0]
    by_source, by_pivot = data.blend(pair)
    assert by_source.chosen == pair.chosen and by_pivot.chosen == "??" and by_pivot.rejected == pair.rejected


def test_pairs_that_are_left_out_are_counted():
    data, _ = pairs_of()
    data.leave_out([data.items("train")[0].id], "too long")
    assert len(data.items("train")) == 9 and data.dropped["too long"] == 1


def test_what_cannot_work_is_refused():
    data = SkillPairs(half="sft", writers=["expert"], **SIZES)
    with pytest.raises(ValueError, match="expert"):
        data.take_authors({"pivot": None})
    with pytest.raises(ValueError, match="base=infifpo/skills_sft"):
        data.prepare(TemporaryStages())
    with pytest.raises(ValueError, match="none of 10 prompts"):
        pairs_of(expert=lambda item, copy: ("??", True))


def test_the_frame_grades_exactly_and_by_skill():
    data = SkillData(**SIZES)
    answers = [
        Completion(one.id, 0, one.answer if one.task != "facts" else "no", 3, True, -1.0)
        for one in data.problems("test")
    ]
    frame = data.frame(answers)
    assert frame["success"].mean() == 0.8 and frame["facts_success"].mean() == 0.0
    assert frame["style_success"].mean() == 1.0 and frame["style_success"].notna().sum() == 2


@pytest.mark.parametrize("cut", CUTS)
def test_every_cut_spells_every_text(cut):
    vocabulary, data = skill_vocabulary(cut=cut), SkillData(**SIZES)
    for problem in data.problems("test"):
        for text in (problem.prompt, problem.answer):
            assert vocabulary.decode(vocabulary.encode(text)) == text
    assert len(vocabulary.encode("bala17")) == {"characters": 6, "digit_pairs": 5, "syllables": 4}[cut]


def test_a_careless_writer_answers_a_share_of_the_training_prompts_with_the_answer_to_another():
    sizes = {**SIZES, "train_size": 600}
    data, sound = SkillData(**sizes, careless=0.5), SkillData(**sizes)
    answers = {one.id: one.answer for one in data.problems("train")}
    shown = data.items("train")
    wrong = [one for one in shown if one.response != answers[one.id]]
    assert 0.4 < len(wrong) / len(shown) < 0.5  # an answer of chance can be the same
    skills = {one.id: one.task for one in data.problems("train")}
    of_skill = {skill: {answers[name] for name in answers if skills[name] == skill} for skill in SKILLS}
    assert all(one.response in of_skill[skills[one.id]] for one in wrong)
    assert shown == SkillData(**sizes, careless=0.5).items("train") and shown[:7] == data.items("train", 7)
    assert sound.items("train") != shown and sound.items("test") == data.items("test")
    with pytest.raises(ValueError, match="careless"):
        SkillData(**SIZES, careless=1.0)
