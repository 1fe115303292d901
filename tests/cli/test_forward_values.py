"""Option values of `wsgi-proxy forward`. tests/cli/test_forward.py runs the configurations made of them."""

from __future__ import annotations

import pytest

from wsgi_proxy.cli.forward_values import Refused, quoted, span


def test_a_word_is_quoted_if_necessary() -> None:
    assert quoted("a.org") == "a.org"
    assert quoted('a "b"') == '"a \\"b\\""'
    with pytest.raises(Refused, match="remove it"):
        quoted("$host")


def test_ranges() -> None:
    assert span("22-2", 24, "--hours", str.isdigit) == [22, 23, 0, 1]
    with pytest.raises(Refused, match="use 8-18"):
        span("x", 24, "--hours", str.isdigit)
