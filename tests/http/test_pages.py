"""pages: the default pages."""

from __future__ import annotations

from wsgi_proxy.http import pages


def test_nginxs_words() -> None:
    assert b"<title>504 Gateway Time-out</title>" in pages.page(504)
    assert b"<center>No required SSL certificate was sent</center>" in pages.page(496)
    assert pages.page(204) == pages.page(304) == pages.page(200) == b""


def test_status_lines() -> None:
    assert pages.status_line(200) == "200 OK"
    assert pages.status_line(200, "Fine") == "200 Fine"
    assert pages.status_line(299) == "299 "
    assert pages.status_line(405) == "405 Not Allowed"
    assert [pages.shown_status(status) for status in (494, 497, 404)] == [400, 400, 404]
