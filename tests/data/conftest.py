import pytest
from hypothesis import settings

from data.sources import DataNotFoundError, locate

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
