"""The second request: the responses that may continue a broken first one."""

import pytest

from wsgi_proxy.cache.second_request import same_response


@pytest.mark.parametrize(
    ("second", "same"),
    [
        ([("ETag", '"a"'), ("Content-Length", "5"), ("X", "2")], True),
        ([("etag", '"b"'), ("Content-Length", "5")], False),
        ([("Content-Length", "5")], False),
        ([("ETag", '"a"'), ("Content-Length", "6")], False),
    ],
)
def test_which_answers_are_the_same(second, same):
    assert same_response([("ETag", '"a"'), ("Content-Length", "5"), ("X", "1")], second) is same
