"""What the tests of scoring share."""

import pytest

from tests.support.tiny import TOKENIZERS


@pytest.fixture(scope="session")
def tokenizers():
    """One tokenizer of each family, for tests that change none."""
    return {name: make() for name, make in TOKENIZERS.items()}
