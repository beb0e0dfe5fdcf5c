"""Fixtures of the model tests."""

import pytest

from tests.lightning_modules.tiny_models import Corpus, write_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "bert")


@pytest.fixture
def corpus():
    return Corpus()
