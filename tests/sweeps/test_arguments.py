"""What a command line may say; the rest of the CLI is tested by what it does."""

import pytest

from sweeps import cli
from sweeps.errors import UserError


def test_seeds_are_read_as_a_list():
    assert cli.parse(["sweep=amft/main", "scale=tiny", "seeds=[0,3]"]).seeds == (0, 3)


@pytest.mark.parametrize("seeds", ["a", "0,", "1.5", "-1", "0,-1"])
def test_seeds_that_no_generator_takes_are_refused(seeds):
    with pytest.raises(UserError, match="write seeds=0,1,2"):
        cli.parse(["sweep=amft/main", f"seeds={seeds}"])
