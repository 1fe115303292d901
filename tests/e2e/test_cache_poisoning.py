"""A client's fields or a location's rewrite never show in the cached response to another request."""

from __future__ import annotations

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_proxy

CONF = """
worker_processes 2;
events {{}}
http {{
    proxy_cache_path cache keys_zone=z:10m;
    proxy_cache z;
    proxy_cache_valid 200 302 10m;
    server {{
        listen 127.0.0.1:{port};
        proxy_set_header Host $http_host;
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location /keyed/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache_key $uri$http_x_tenant; }}
        location /set/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_set_header Accept-Encoding "";
            proxy_set_header X-Device $arg_device;
            proxy_cache_key $uri;
        }}
        location /open/ {{
            proxy_pass http://127.0.0.1:{upstream}/;
            proxy_cache_key $proxy_host$arg_key;
            proxy_redirect http://internal/ http://$http_host/open/;
            proxy_cookie_path / /$arg_who;
            proxy_ignore_headers Set-Cookie;
            proxy_pass_header X-Pad;
            add_header X-Seen $upstream_http_x_secret;
        }}
        location /closed/ {{
            proxy_pass http://127.0.0.1:{upstream}/;
            proxy_cache_key $proxy_host$arg_key;
            proxy_redirect off;
            proxy_ignore_headers Set-Cookie;
            proxy_hide_header X-Secret;
        }}
        location /auth/ {{ auth_request /who/; auth_request_set $who $upstream_http_x_secret;
                           add_header X-Who $who; proxy_cache off;
                           proxy_pass http://127.0.0.1:{upstream}; }}
        location /who/ {{ internal; proxy_pass http://127.0.0.1:{upstream}; proxy_hide_header X-Secret; proxy_cache_key who; }}
        location /first/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_intercept_errors on;
            error_page 404 = /second/page;
        }}
        location /second/ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_cache off;
        }}
    }}
}}
"""


class Origin:
    """Reflects the fields that it varies by, and redirects to its own name."""

    def __init__(self):
        self.recorder = Recorder(self._script)

    def _script(self, request, wire):
        shown = [(name, request.get(name) or "none") for name in ("Origin", "X-Tenant", "X-Device", "Accept-Encoding")]
        body = ", ".join(f"{name}={value}" for name, value in shown).encode()
        if "redirect" in request.target:
            return reply(b"", 302, [("Location", "http://internal/there"), ("X-Secret", "s"), ("X-Pad", "origin")])
        if "cookie" in request.target:
            return reply(body, 200, [("Accept-Ranges", "bytes"), ("Set-Cookie", "a=b; path=/"), ("X-Secret", "s")])
        if "/first/" in request.target:
            return reply(b"", 404)
        if "/who/" in request.target:
            return reply(b"", 200, [("X-Secret", "alice")])
        return reply(body, 200, [("Vary", "Origin, X-Device, Accept-Encoding")])

    def asked(self, part):
        return sum(part in request.target for request in self.recorder.requests)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    origin, port = Origin(), free_port()
    with origin.recorder, run_proxy(CONF.format(port=port, upstream=origin.recorder.port), tmp_path_factory.mktemp("poison")):
        origin.port = port
        yield origin


def ask(site, target, *fields, host="h.test"):
    return fetch(site.port, target, headers=[("Host", host), *fields])


@pytest.mark.parametrize("name", ["Origin", "origin", "ORIGIN"])
def test_a_field_that_connection_takes_away_selects_nothing(site, name):
    target = f"/vary-{name}"
    evil = ask(site, target, ("Origin", "https://good"), ("Connection", f"{name}, close"))
    assert "Origin=none" in evil.text
    good = ask(site, target, ("Origin", "https://good"))
    assert "Origin=https://good" in good.text
    # The first is stored as the response to a request without the field.
    assert ask(site, target).text == evil.text
    assert ask(site, target, ("Origin", "https://good")).text == good.text
    assert site.asked(target) == 2


def test_a_key_made_of_a_field_that_connection_takes_away_is_not_filled(site):
    evil = ask(site, "/keyed/a", ("X-Tenant", "victim"), ("Connection", "X-Tenant, close"))
    assert "X-Tenant=none" in evil.text
    assert "X-Tenant=victim" in ask(site, "/keyed/a", ("X-Tenant", "victim")).text
    # Nor does such a request get the entries stored for others.
    assert "X-Tenant=none" in ask(site, "/keyed/a", ("X-Tenant", "victim"), ("Connection", "X-Tenant")).text
    # What Connection lists and no request has, changes nothing.
    asked = site.asked("/keyed/a")
    assert "X-Tenant=victim" in ask(site, "/keyed/a", ("X-Tenant", "victim"), ("Connection", "X-Other")).text
    assert site.asked("/keyed/a") == asked


def test_what_the_configuration_sets_selects(site):
    """A field by which the origin varies counts with the value that it was sent, whatever the client sent."""
    phone = ask(site, "/set/a?device=phone", ("X-Device", "x"), ("Accept-Encoding", "gzip"))
    assert "X-Device=phone" in phone.text and "Accept-Encoding=none" in phone.text
    assert "X-Device=desk" in ask(site, "/set/a?device=desk", ("X-Device", "x")).text
    assert ask(site, "/set/a?device=phone", ("Accept-Encoding", "br")).text == phone.text
    assert site.asked("/set/a") == 2


def test_a_redirect_is_rewritten_for_each_client(site):
    evil = ask(site, "/open/redirect?key=r", host="evil.test")
    assert evil.get("Location") == "http://evil.test/open/there"
    good = ask(site, "/open/redirect?key=r", host="good.test")
    assert good.get("Location") == "http://good.test/open/there"
    assert ask(site, "/closed/redirect?key=r").get("Location") == "http://internal/there"
    assert site.asked("redirect?key=r") == 1


def test_hidden_fields_are_hidden_by_the_location_that_answers(site):
    first = ask(site, "/closed/redirect?key=h")
    assert (first.get("X-Secret"), first.get("X-Pad")) == (None, None)
    open_ = ask(site, "/open/redirect?key=h")
    assert (open_.get("X-Secret"), open_.get("X-Pad"), open_.get("X-Seen")) == ("s", "origin", "s")
    closed = ask(site, "/closed/redirect?key=h")
    assert (closed.get("X-Secret"), closed.get("X-Pad")) == (None, None)
    assert "hit" in closed.get("Cache-Status")
    assert site.asked("redirect?key=h") == 1


def test_conditions_and_parts_are_rewritten_too(site):
    ask(site, "/closed/redirect?key=p&cookie")
    whole = ask(site, "/closed/cookie?key=part")
    part = ask(site, "/closed/cookie?key=part", ("Range", "bytes=0-5"))
    assert (whole.status, part.status, part.text) == (200, 206, "Origin")
    assert part.get("X-Secret") is None
    gone = ask(site, "/closed/cookie?key=part", ("Range", "bytes=9999-"))
    assert (gone.status, gone.get("X-Secret")) == (416, None)


def test_cookies_are_rewritten_for_each_client(site):
    assert ask(site, "/open/cookie?key=c&who=one").get("Set-Cookie") == "a=b; path=/one"
    assert ask(site, "/open/cookie?key=c&who=two").get("Set-Cookie") == "a=b; path=/two"
    assert ask(site, "/closed/cookie?key=c").get("Set-Cookie") == "a=b; path=/"
    assert site.asked("cookie?key=c&") == 1


def test_auth_request_set_reads_the_stored_answers_own_fields(site):
    assert [ask(site, "/auth/").get("X-Who") for _ in range(3)] == ["alice"] * 3
    assert site.asked("/who/") == 1


def test_the_answer_of_an_error_page_is_not_stored_under_the_first_key(site):
    for _ in range(3):
        assert ask(site, "/first/a").status == 200
    assert site.asked("/first/a") == 3
