import ast
import json
import random

import pytest

from data.verifiers.expressions import evaluate, worked
from data.worlds.cards.general_points import GeneralPoints, _random_formula, values_under
from data.worlds.cards.solver import solutions
from data.worlds.environment import replay


@pytest.fixture(scope="module")
def world():
    return GeneralPoints(seed=0)


@pytest.fixture(scope="module")
def sentences():
    return GeneralPoints(seed=0, style="json")


@pytest.fixture(scope="module")
def workings():
    return GeneralPoints(seed=0, style="worked")


def given(world, *values):
    return world.problem("test", 0)._replace(hidden=(values, values))


def small_and_whole(lines):
    results = [line.partition("=")[2] for line in lines]
    return all(result.isdigit() and int(result) <= 100 for result in results)


def test_values_of_face_cards():
    assert values_under("ten", (1, 10, 11, 13)) == (1, 10, 10, 10)
    assert values_under("face", (1, 10, 11, 13)) == (1, 10, 11, 13)
    with pytest.raises(ValueError, match="rule must be"):
        values_under("eleven", (1,))


def test_sizes(world):
    assert sum(len(world.hands[split]) for split in ("train", "validation", "test")) == 566
    assert len(world.hands["lessons"]) + len(world.hands["ood"]) == 796


def test_splits_share_no_multiset_and_every_hand_can_be_won(world):
    hands = {
        split: {tuple(sorted(world.problem(split, index).hidden[0])) for index in range(2000)} for split in world.splits
    }
    assert sum(map(len, hands.values())) == len(set().union(*hands.values()))
    for split, found in hands.items():
        assert found <= world.hands[split]


def test_out_of_distribution_hands_hold_a_face_card_at_its_own_value(world):
    for index in range(300):
        problem = world.problem("ood", index)
        values, ranks = problem.hidden
        assert values == ranks and max(ranks) > 10 and problem.prompt.startswith("face|")
        assert max(world.problem("test", index).hidden[0]) <= 10


def test_problems_are_a_function_of_seed_split_and_index(world):
    assert world.problem("test", 5) == GeneralPoints(seed=0).problem("test", 5)
    assert world.problem("test", 5) != GeneralPoints(seed=1).problem("test", 5)


@pytest.mark.parametrize("split", GeneralPoints.splits)
def test_demonstrations_win_at_the_first_try(world, sentences, workings, split):
    for style in (world, sentences, workings):
        for index in range(40):
            problem = style.problem(split, index)
            episode = replay(style.environment(), problem, [style.demonstrations(problem)[0].response])
            assert episode.solved and episode.rewards == (5.0,)


@pytest.mark.parametrize(
    ("formula", "reward"),
    [
        ("(2+4)*(5-1)", 5),
        ("(2+4)*(5-1)=24", 5),
        ("(2+4)*(5-1)=999", 5),  # only what stands left of "=" is graded
        ("(5-1)*(2+4", 1),
        ("5*4+(2*(1", -3),  # closing the brackets gives 22
        ("1+2+4+5", -1),
        ("4*5+2*2", -2),  # 24, with 2 twice and no 1
        ("4*5+4", -2),
        ("24", -2),
        ("1+1", -1 - 2),
        ("(2+4)*(5-1", 1),
        ("(2+4)*(5-", -3 - 2),
        ("1/(2-2)+45", -3 - 2),
        ("5/(4-2-1-1)", -3 - 2),
        ("2*4/(5-5)", -3 - 2),
        ("", -3 - 2),
        ("(2+4)(5-1)", -3),
        ("2.4*10*1", -3),
        ("5**2-1**8", -3),
        ("4!", -3),
        ("-1+5*5", -3 - 2),
    ],
)
def test_rewards(world, formula, reward):
    grade = world.grade(given(world, 1, 2, 4, 5), f"1,2,4,5;{formula}")
    assert grade.reward == reward and grade.solved == (reward == 5)
    assert bool(grade.feedback) == (reward != 5)


def test_division_by_zero_with_the_right_numbers(world):
    grade = world.grade(given(world, 1, 2, 2, 5), "1,2,2,5;1*5/(2-2)")
    assert (grade.reward, grade.feedback) == (-3, "zero")


def test_the_hand_that_floats_lose_is_won(world):
    assert world.grade(given(world, 3, 3, 8, 8), ";8/(3-8/3)").solved


def test_a_reply_without_a_formula(world, sentences):
    assert world.grade(given(world, 1, 2, 4, 5), "1,2,4,5").reward == -3
    assert sentences.grade(given(sentences, 1, 2, 4, 5), "I give up").feedback == "the reply holds no formula"


@pytest.mark.parametrize(
    "reply",
    [
        '{"cards": ["1"], "number": [1], "formula": "(2+4)*(5-1)=24"}',
        '{"number": [1], "formula": "(2+4)*(5-1)=24",}',
        'Sure:\n{\n "formula" : "(2+4)*(5-1)"\n}',
    ],
)
def test_json_replies_are_read_with_their_usual_faults(sentences, reply):
    assert sentences.grade(given(sentences, 1, 2, 4, 5), reply).solved


@pytest.mark.parametrize("reply", ["[" * 3000, '{"formula": ["(2+4)*(5-1)"]}', '{"formula": 24}', "[1]", "24", "null"])
def test_json_that_is_not_a_reply(sentences, reply):
    assert sentences.grade(given(sentences, 1, 2, 4, 5), reply).reward == -3


def test_success_rewards(world):
    plain = GeneralPoints(seed=0, reward="success")
    assert plain.grade(given(plain, 1, 2, 4, 5), ";(2+4)*(5-1)").reward == 1
    assert plain.grade(given(plain, 1, 2, 4, 5), ";1+1").reward == 0
    assert plain.truncation() == 0


def test_a_failed_try_is_answered_by_its_reason_and_may_be_mended(sentences):
    problem = given(sentences, 1, 2, 4, 5)
    env = sentences.environment()
    env.reset(problem)
    step = env.step('{"formula": "1+2+4+5=24"}')
    assert not step.done and step.observation.text == "the formula equals 12, not 24"
    step = env.step('{"formula": "5*4+4=24"}')
    assert not step.done and "1, 2, 4, 5 must be used once" in step.observation.text
    step = env.step('{"formula": "(2+4)*(5-1)=24"}')
    assert step.done and step.reward == 5 and env.solved


@pytest.mark.parametrize(("ungraded_call", "rewards"), [(True, [-1, -1, -1, -1]), (False, [-1, -1, -1])])
def test_tries_run_out(ungraded_call, rewards):
    world = GeneralPoints(seed=0, verify_steps=3, ungraded_call=ungraded_call)
    env = world.environment()
    env.reset(given(world, 1, 2, 4, 5))
    steps = [env.step(";1+2+4+5") for _ in rewards]
    assert [step.reward for step in steps] == rewards
    assert [step.done for step in steps] == [False] * (len(rewards) - 1) + [True]
    with pytest.raises(ValueError, match="call reset first"):
        env.step(";1+2+4+5")


def test_the_ungraded_call_cannot_win():
    world = GeneralPoints(seed=0, verify_steps=1)
    env = world.environment()
    env.reset(given(world, 1, 2, 4, 5))
    env.step(";1")
    assert env.step(";(2+4)*(5-1)").reward == -1 and not env.solved


def test_lessons_are_right_show_no_asked_hand_and_never_make_the_target(world):
    asked = world.hands["validation"] | world.hands["test"] | world.hands["ood"]
    kinds, taught = {}, set()
    for index in range(3000):
        lesson = world.lesson(index)
        kind = lesson.id.split("/")[2]
        kinds[kind] = kinds.get(kind, 0) + 1
        prompt, answer = lesson.prompt, lesson.response
        if kind == "values":
            assert prompt.endswith("=")  # no problem's prompt
            rule, _, cards = prompt.rstrip("=").partition("|")
            ranks = tuple({"J": 11, "Q": 12, "K": 13}.get(card) or int(card) for card in cards.split(","))
            assert answer == ",".join(map(str, values_under(rule, ranks))) + ";"
            assert tuple(sorted(values_under(rule, ranks))) not in asked
            taught |= {(rule, rank) for rank in ranks}
        else:
            formula = evaluate(prompt.rstrip("="))
            assert answer == str(formula.value) and formula.value != 24
            assert tuple(sorted(formula.numbers)) not in asked
    assert all(900 < count < 1100 for count in kinds.values()) and len(kinds) == 3
    assert taught == {(rule, rank) for rule in ("ten", "face") for rank in range(1, 14)}


@pytest.mark.parametrize("split", GeneralPoints.splits)
def test_worked_demonstrations_show_every_operation_and_small_whole_results_where_there_are_any(workings, split):
    for index in range(100):
        problem = workings.problem(split, index)
        values, *lines, formula = workings.demonstrations(problem)[0].response.split(";")
        assert values == ",".join(map(str, problem.hidden[0]))
        assert lines == worked(formula) and len(lines) == 3 and lines[-1].endswith("=24")
        could_be = any(small_and_whole(worked(solution)) for solution in solutions(problem.hidden[0], 24))
        assert small_and_whole(lines) == could_be


def test_only_the_formula_of_a_worked_reply_counts(workings):
    problem = given(workings, 1, 2, 4, 5)
    assert workings.grade(problem, "9;1+1=3;(2+4)*(5-1)").solved
    assert not workings.grade(problem, "1,2,4,5;2+4=6;5-1=4;6*4=24;2+4*5-1").solved
    assert not workings.grade(problem, "1,2,4,5;2+4=6;5-1=4;6*4=24").solved


def test_worked_lessons_are_right_show_no_asked_hand_and_never_make_the_target(workings):
    asked = workings.hands["validation"] | workings.hands["test"] | workings.hands["ood"]
    hands = 0
    for index in range(2000):
        lesson = workings.pretraining(index)
        prompt, answer = lesson.prompt, lesson.response
        if lesson.id.split("/")[2] == "values":
            assert prompt.endswith("=")
            continue
        hands += 1
        rule, _, cards = prompt.removesuffix("?").partition("|")
        values, *lines, formula = answer.split(";")
        ranks = tuple({"J": 11, "Q": 12, "K": 13}.get(card) or int(card) for card in cards.split(","))
        assert prompt.endswith("?") and values == ",".join(map(str, values_under(rule, ranks)))
        assert tuple(sorted(values_under(rule, ranks))) not in asked
        found = evaluate(formula)
        assert sorted(found.numbers) == sorted(values_under(rule, ranks)) and found.value != 24
        assert lines == worked(formula) and lines[-1].endswith(f"={found.value}")
        assert small_and_whole(lines)
    assert 900 < hands < 1100


def test_worked_second_tries_follow_operations_as_lessons_have_them(workings):
    for index in range(60):
        retry = workings.retry(workings.problem("train", index), index)
        _, wrong, feedback = retry.prompt.split("\n")
        _, *lines, formula = wrong.split(";")
        assert lines == worked(formula) and small_and_whole(lines)
        assert feedback == lines[-1][lines[-1].index("=") :] != "=24"


def test_the_vocabulary_of_the_worked_style_spells_its_lessons(workings):
    letters = set(workings.vocabulary())
    lessons = [workings.pretraining(index) for index in range(300)]
    assert set("".join(lesson.prompt + lesson.response for lesson in lessons)) <= letters
    assert "?" in letters and "?" not in GeneralPoints(seed=0).vocabulary()


def test_random_formulas_have_no_bracket_that_they_do_not_need():
    rng = random.Random(0)
    formulas = {_random_formula(rng, [7, 5, 3, 2]) for _ in range(1000)}
    assert len(formulas) > 200 and any("(" in formula for formula in formulas)
    for formula in formulas:
        assert evaluate(formula).numbers == (7, 5, 3, 2)
        assert ast.unparse(ast.parse(formula, mode="eval")).replace(" ", "") == formula


def test_a_second_try_follows_a_wrong_one_and_wins(world):
    for index in range(60):
        problem = world.problem("train", index)
        retry = world.retry(problem, index)
        prompt, wrong, feedback = retry.prompt.split("\n")
        assert prompt == problem.prompt and not world.grade(problem, wrong).solved
        assert feedback == world.grade(problem, wrong).feedback and world.grade(problem, retry.response).solved
        assert {world.fact(index).prompt.split("|")[0]} <= {"ten", "face"}


def test_the_vocabulary_spells_prompts_replies_lessons_and_feedback(world):
    letters = set(world.vocabulary())
    problem = world.problem("ood", 0)
    texts = [world.joint, *(world.lesson(index).prompt + world.lesson(index).response for index in range(300))]
    for reply in ("x", ";1+1", ";(1", ";1.5", ";1/0", "x" * 5000, world.demonstrations(problem)[0].response):
        texts += [problem.prompt, world.grade(problem, reply).feedback]
    assert set("".join(texts)) <= letters and len(letters) == len(world.vocabulary())


def test_a_demonstration_of_the_json_style_is_json(sentences):
    problem = sentences.problem("train", 0)
    reply = json.loads(sentences.demonstrations(problem)[0].response)
    assert set(reply) == {"cards", "number", "formula"} and tuple(reply["number"]) == problem.hidden[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": "xml"}, "style must be"),
        ({"reward": "dense"}, "reward must be"),
        ({"verify_steps": 0}, "verify_steps"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        GeneralPoints(seed=0, **change)
