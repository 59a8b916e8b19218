"""One installation that the tests of this folder share; those that end or restart theirs make their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.installation import Installation, installed


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running installation that retries after a second."""
    with installed(tmp_path_factory.mktemp("local"), {"RETRY_BASE_S": "1"}) as installation:
        yield installation
