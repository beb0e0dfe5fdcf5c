import numpy as np
import pytest

from data.worlds.tabular.token_tree import TokenTree


def test_two_leaves_by_hand():
    """pi0 = (1/4, 3/4), rewards ln 2 and 0, beta 1: V = ln(2/4 + 3/4) = ln 1.25, optimal policy (0.4, 0.6)."""
    tree = TokenTree(depth=1, tokens=2)
    tree.base_logps, tree.rewards = [np.log([[0.25, 0.75]])], np.array([np.log(2), 0.0])
    values, policy = tree.soft_values(1.0)
    assert values[0] == pytest.approx([np.log(1.25)])
    assert np.exp(policy[0][0]) == pytest.approx([0.4, 0.6])


@pytest.mark.parametrize("beta", [0.1, 1.0, 10.0])
def test_the_recursion_is_the_tilt_of_whole_texts(beta):
    """log pi*(y) = log pi0(y) + r(y) / beta - V(root) / beta, for every leaf."""
    tree = TokenTree(depth=4, tokens=3)
    values, policy = tree.soft_values(beta)
    leaves = tree.leaves()
    assert len(leaves) == 81 and leaves[5].tolist() == [0, 0, 1, 2]
    base, optimal, prefix = np.zeros(81), np.zeros(81), np.zeros(81, dtype=int)
    for level in range(4):
        base += tree.base_logps[level][prefix, leaves[:, level]]
        optimal += policy[level][prefix, leaves[:, level]]
        prefix = prefix * 3 + leaves[:, level]
    assert np.array_equal(prefix, np.arange(81))
    assert optimal == pytest.approx(base + (tree.rewards - values[0][0]) / beta)
    assert np.exp(optimal).sum() == pytest.approx(1.0)


def test_entry_checks():
    with pytest.raises(ValueError, match="depth 0"):
        TokenTree(depth=0)
    with pytest.raises(ValueError, match="beta is 0"):
        TokenTree(depth=2).soft_values(0)
