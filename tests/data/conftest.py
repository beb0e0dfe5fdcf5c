import pytest

from data.sources import DataNotFoundError, locate


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
