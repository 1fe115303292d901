"""The fixture of a cache with an origin of three fresh responses."""

import pytest

from tests.support.caching import FRESH, Site


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "cache")
    site.responses((200, FRESH, b"one"), (200, FRESH, b"two"), (200, FRESH, b"three"))
    yield site
    site.cache.close()
