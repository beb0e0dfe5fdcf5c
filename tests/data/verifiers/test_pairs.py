"""Gold answers and what was answered, in pairs.jsonl, with verdicts that were written by hand."""

import collections

import pytest

from benchmarks.grader_vs_math_verify import compared, main, ours, read_pairs
from data.verifiers.final_answer import equivalent

NOT_READ = "not read"
PAIRS = [pair for pair in read_pairs() if pair.kind != NOT_READ]
KINDS = sorted({pair.kind for pair in PAIRS})


def test_there_are_many_pairs_of_both_verdicts_and_of_every_kind():
    counts = collections.Counter((pair.kind, pair.right) for pair in PAIRS)
    assert len(PAIRS) >= 800 and sum(not pair.right for pair in PAIRS) >= 300
    assert len(KINDS) >= 17 and all(counts[kind, right] >= 4 for kind in KINDS for right in (True, False))
    assert len({pair[1:4] for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair_is_wrongly_accepted(kind):
    pairs = [pair for pair in PAIRS if pair.kind == kind and not pair.right]
    assert [pair for pair in pairs if ours(pair)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_that_says_the_same_is_accepted(kind):
    pairs = [pair for pair in PAIRS if pair.kind == kind and pair.right]
    assert [pair for pair in pairs if not ours(pair)] == []


def test_what_is_not_read_is_refused_and_known():
    """Pairs that say the same, which the grader refuses: whoever mends one moves it to its kind."""
    pairs = [pair for pair in read_pairs() if pair.kind == NOT_READ]
    assert len(pairs) >= 10 and all(pair.right and not ours(pair) for pair in pairs)


def test_answers_compare_alike_from_both_sides():
    pairs = [pair for pair in PAIRS if not pair.whole]
    assert [pair for pair in pairs if equivalent(pair.said, pair.gold) != pair.right] == []


def test_where_math_verify_differs_the_verdicts_are_ours():
    """The verdicts are no echo of one grader: on most pairs another, independent one gives them too."""
    pytest.importorskip("math_verify")
    pairs = [pair for pair in PAIRS if pair.kind in ("number", "fraction", "equation", "relation", "response")]
    found = compared(pairs)
    differ = [one for one in found if one.ours != one.theirs]
    assert 0 < len(differ) < len(found) / 4 and all(one.ours == one.pair.right for one in differ)
    # Where neither follows a convention of its own, no pair is one on which both contradict the verdict.
    assert not [one for one in found if one.ours == one.theirs != one.pair.right]


def test_the_command_prints_each_difference(capsys):
    pytest.importorskip("math_verify")
    assert main(["--kind", "matrix"]) == 0 and "| all | 9 |" in capsys.readouterr().out
    assert main(["--kind", "words"]) == 0
    assert "| `` 5000000 `` | `` 5 million `` | equal | differ | ours |" in capsys.readouterr().out
