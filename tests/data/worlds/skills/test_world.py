import re
from collections import Counter

import pytest

from data.records.episodes import Problem
from data.worlds.environment import replay
from data.worlds.skills.kinds import Facts
from data.worlds.skills.world import SKILLS, SkillWorld


@pytest.fixture(scope="module")
def world():
    return SkillWorld(seed=0)


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("split", SkillWorld.splits)
def test_demonstrations_solve_their_problem_in_short_texts(world, split, skill):
    for index in range(100):
        problem = world.problem(split, index, skill=skill)
        (demonstration,) = world.demonstrations(problem)
        assert replay(world.environment(), problem, [demonstration.response]).solved
        assert set(problem.prompt + problem.answer) <= set(world.vocabulary())
        assert len(problem.prompt) <= 40 and len(problem.answer) <= 40


@pytest.mark.parametrize("skill", SKILLS)
def test_splits_share_no_prompt(world, skill):
    prompts = {
        split: {world.problem(split, index, skill=skill).prompt for index in range(800)} for split in world.splits
    }
    assert sum(map(len, prompts.values())) == len(set().union(*prompts.values()))


def test_products_are_held_out_in_both_orders(world):
    pairs = {}
    for split in world.splits:
        for index in range(700):
            prompt = world.problem(split, index, skill="arithmetic").prompt
            if "*" in prompt:
                pairs.setdefault(frozenset(prompt.rstrip("=").split("*")), set()).add(split)
    assert len(pairs) > 50 and all(len(splits) == 1 for splits in pairs.values())


def test_arithmetic_may_be_made_easier():
    easy = SkillWorld(seed=0, arithmetic={"largest": 20, "terms": 2, "products": 0.0})
    prompts = [easy.problem("train", index, skill="arithmetic").prompt for index in range(200)]
    numbers = [re.fullmatch(r"(\d+)[+-](\d+)=", prompt).groups() for prompt in prompts]
    assert max(int(one) for pair in numbers for one in pair) == 20
    with pytest.raises(ValueError, match="terms"):
        SkillWorld(seed=0, arithmetic={"terms": 1})


def test_arithmetic_and_programs_are_right_by_python(world):
    for index in range(300):
        problem = world.problem("train", index, skill="arithmetic")
        assert int(problem.answer) == eval(problem.prompt.rstrip("="))
        problem = world.problem("train", index, skill="programs")
        program, _, asked = problem.prompt.rstrip("?").rpartition(";")
        values = {}
        exec(program, {}, values)
        assert values[asked] == int(problem.answer) and all(0 <= value <= 99 for value in values.values())


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("flip mola", "alom"),
        ("twice mo", "momo"),
        ("novowel molan", "mln"),
        ("ends molan", "mn"),
        ("turn mola", "olam"),
        ("sorted mola", "almo"),
    ],
)
def test_strings_by_hand(world, prompt, answer):
    change, word = prompt.split()
    assert world.skills["strings"]._CHANGES[change](word) == answer


def test_every_fact_is_asked_in_every_split_but_in_other_words():
    world = SkillWorld(seed=0, facts=20)
    facts = world.skills["facts"]
    seen = {split: {} for split in world.splits}
    for split in world.splits:
        for index in range(1200):
            problem = world.problem(split, index, skill="facts")
            (town,) = [
                town
                for town in facts.towns
                if f" {town} " in f" {problem.prompt.rstrip('?:').replace(':', ' ').replace('?', ' ')} "
            ]
            seen[split].setdefault(town, set()).add(problem.prompt.replace(town, "_"))
            assert problem.answer == f"in {facts.land_of[town]}"
    assert all(len(seen[split]) == 20 for split in world.splits)
    for town in facts.towns:
        wordings = [seen[split][town] for split in world.splits]
        assert [len(found) for found in wordings] == [5, 3, 1, 1]
        assert len(set.union(*wordings)) == 10


def test_facts_are_the_seeds(world):
    assert Facts(seed=0, count=200).land_of == world.skills["facts"].land_of != Facts(seed=1, count=200).land_of


def styled(hidden):
    return Problem("skills/test/style/0", "style", "", "", hidden)


@pytest.mark.parametrize(
    ("form", "reward"),
    [
        ("{A} {B}!", 1.0),
        ("{B} {A}!", 1.0),
        (" {A} {B}! ", 1.0),
        ("{A} {B} {C}!", 3 / 8),
        ("{A} {A}!", 3 / 8),
        ("{A} XYZZY!", 3 / 8),
        ("{a} {b}!", 3 / 8),
        ("{A} {B}.", 3 / 8),
        ("{A} {B}!!", 3 / 8),
        ("{A} {B}", 3 / 8),
        ("{a}.", 1 / 8),
        ("{A}  {B}!", 2 / 8),
        ("", 0.0),
        ("!" * 81, 0.0),
    ],
)
def test_style_is_graded_by_its_four_conditions(world, form, reward):
    letter, words = next((letter, words) for letter, words in world.skills["style"].initials.items() if len(words) > 2)
    a, b, c = words[:3]
    given = form.format(a=a, b=b, A=a.upper(), B=b.upper(), C=c.upper())
    grade = world.grade(styled(("2", letter, "capitals", "!")), given)
    assert grade.reward == pytest.approx(reward) and grade.solved == (reward == 1)


def test_only_the_exact_answer_counts_elsewhere(world):
    problem = world.problem("test", 0, skill="arithmetic")
    for given, right in [
        (problem.answer, True),
        (f" {problem.answer} ", True),
        (problem.answer + "0", False),
        (problem.answer + ".0", False),
        ("+" + problem.answer, False),
        ("", False),
        (" " * (1 << 20) + problem.answer, False),
    ]:
        assert world.grade(problem, given).solved == right


def test_the_mix_is_obeyed():
    world = SkillWorld(seed=0, mix={"facts": 0.75, "style": 0.25})
    counts = Counter(world.problem("train", index).task for index in range(1000))
    assert set(counts) == {"facts", "style"} and counts["facts"] / 1000 == pytest.approx(0.75, abs=0.05)


def test_problems_are_a_function_of_the_arguments(world):
    assert world.problem("test", 3) == SkillWorld(seed=0).problem("test", 3) != SkillWorld(seed=1).problem("test", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": 0}, "facts must be at least 1"),
        ({"mix": {"facts": 0.5}}, "mix must be shares"),
        ({"mix": {"poetry": 1.0}}, "mix must be shares"),
        ({"shares": {"train": 1.0}}, "shares must be positive"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        SkillWorld(seed=0, **change)


def test_an_unknown_skill_is_refused(world):
    with pytest.raises(ValueError, match="skill must be one of"):
        world.problem("train", 0, skill="poetry")
