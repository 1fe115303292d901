"""Line breaks and control characters in the values of a configuration: one space, and neither an error nor another field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Recorder, fetch, free_port, run_proxy, say_ok

CONF = """
error_log stderr crit; events {}
http {
    access_log off;
    map $arg_v $long { default "default-src 'self';
            img-src *;
\t\tscript-src 'none'"; }
    server {
        listen 127.0.0.1:PORT;
        location /constant/ {
            add_header Content-Security-Policy "default-src 'self';
                img-src *;
\t\tscript-src 'none'" always;
            proxy_set_header X-Long "one
                two"; proxy_pass http://127.0.0.1:UP;
        }
        location /variable/ {
            add_header X-Long $long always; proxy_set_header X-Long "$long"; add_trailer X-End $long; proxy_pass http://127.0.0.1:UP;
        }
        location /client/ { add_header X-Uri $uri always; proxy_set_header X-Uri $uri; proxy_pass http://127.0.0.1:UP; }
        location /realm/ { auth_basic "a
            b"; auth_basic_user_file /dev/null; }
        location /away/ { error_page 404 http://e.test$uri; return 404; }
        location /charset/ { charset "u
            8"; default_type text/html; return 200 x; }
        location /rewritten/ { proxy_redirect http://up.test/ http://e.test$uri/; proxy_pass http://127.0.0.1:UP; }
    }
}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Recorder]]:
    port = free_port()
    with (
        Recorder(say_ok) as up,
        run_proxy(CONF.replace("PORT", str(port)).replace("UP", str(up.port)), tmp_path_factory.mktemp("breaks")),
    ):
        yield port, up


def test_a_long_value_is_one_line(proxy: tuple[int, Recorder]) -> None:
    port, up = proxy
    response = fetch(port, "/constant/")
    assert response.status == 200
    assert response.get("content-security-policy") == "default-src 'self'; img-src *; script-src 'none'"
    assert up.requests[-1].get("x-long") == "one two"


def test_the_value_of_a_variable_is_one_line(proxy: tuple[int, Recorder]) -> None:
    port, up = proxy
    response = fetch(port, "/variable/")
    assert response.status == 200
    assert response.get("x-long") == up.requests[-1].get("x-long") == "default-src 'self'; img-src *; script-src 'none'"


@pytest.mark.ours_alone("gunicorn's own workers send no trailers")
def test_a_trailer_is_one_line(proxy: tuple[int, Recorder]) -> None:
    assert fetch(proxy[0], "/variable/").trailers == [("X-End", "default-src 'self'; img-src *; script-src 'none'")]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("%0d%0aEvil:%201", " Evil: 1"), ("%01", ""), ("%0a%0a%20%20z", " z"), ("%7fz", " z"), ("%09z", "\tz"), ("%ff", "\xff")],
)
def test_a_client_adds_no_field(proxy: tuple[int, Recorder], sent: str, shown: str) -> None:
    port, up = proxy
    response = fetch(port, f"/client/{sent}")
    assert response.status == 200
    assert response.get("x-uri") == up.requests[-1].get("x-uri") == f"/client/{shown}".rstrip()
    assert response.get("evil") is None
    assert not up.requests[-1].get_all("evil")


def test_a_realm_and_a_charset_are_one_line(proxy: tuple[int, Recorder]) -> None:
    response = fetch(proxy[0], "/realm/")
    assert (response.status, response.get("www-authenticate")) == (401, 'Basic realm="a b"')
    assert fetch(proxy[0], "/charset/").get("content-type") == "text/html; charset=u 8"


def test_a_location_is_escaped(proxy: tuple[int, Recorder]) -> None:
    response = fetch(proxy[0], "/away/%0d%0aEvil:%201")
    assert (response.status, response.get("location")) == (302, "http://e.test/away/%0D%0AEvil: 1")
