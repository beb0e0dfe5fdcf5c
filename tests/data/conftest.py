from pathlib import Path

import pytest
from hypothesis import settings

from data.files.sources import DataNotFoundError, locate

CONF = Path(__file__).parents[2] / "conf"

# A busy machine takes longer than hypothesis' 200 ms for an example; that says nothing about the code.
settings.register_profile("data", deadline=None)
settings.load_profile("data")


@pytest.fixture
def needs_file():
    """Skips where the shared corpora are not on this machine; the samples always are."""

    def check(file: str) -> str:
        try:
            locate(file)
        except DataNotFoundError:
            pytest.skip(f"{file} is not on this machine")
        return file

    return check


@pytest.fixture
def relation_config():
    """Settings of a data config with the simple prompt and no retriever, as its constructor takes them."""
    # Here and not above: tests of records, verifiers and worlds need no Hydra.
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    def composed(*overrides: str) -> dict:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            chosen = ["seed=0", "retriever=none", "prompt=simple", *overrides]
            whole = compose(overrides=[f"+{one}" for one in chosen])
        settings = OmegaConf.to_container(whole.data, resolve=True)
        settings.pop("cost", None)  # a prior for the plan: no constructor gets it
        return settings

    return composed
