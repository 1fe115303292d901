"""Warnings about valid settings that are probably not intended."""

from __future__ import annotations

from tests.support.directive import http
from wsgi_proxy.nginx import reader as nginx

SERVERS = "server 127.0.0.1:1; server 127.0.0.1:2;"


def told(text: str, workers: int = 2) -> list[str]:
    config = nginx.loads(f"worker_processes {workers}; events {{}} http {{ {text} }}")
    return [warning.partition(" in ")[0] for warning in config.warnings]


def test_state_that_nginx_keeps_per_worker() -> None:
    assert 'upstream "u" has no "zone"' in told(f"upstream u {{ {SERVERS} }}")[0]
    assert told(f"upstream u {{ {SERVERS} }}", workers=1) == []
    assert told(f"upstream u {{ zone z 64k; {SERVERS} }}") == []
    assert told("upstream u { server 127.0.0.1:1; }") == []


def test_a_fixed_upgrade() -> None:
    def told_of(value: str) -> list[str]:
        return told(f"server {{ location / {{ proxy_pass http://127.0.0.1:1; proxy_set_header Connection {value}; }} }}")

    assert "sync workers" in told_of("Upgrade")[0]
    assert told_of("close") == told_of("$http_connection") == []


def test_caching_without_a_cache() -> None:
    location = "location / { proxy_pass http://127.0.0.1:1; proxy_no_cache $arg_x; }"
    assert told(f"server {{ {location} }}") == ['"proxy_no_cache" has no effect without "proxy_cache"']
    assert told(f"proxy_cache_path memory keys_zone=a:1m; proxy_cache a; server {{ {location} }}") == []


def test_places_inside_others_are_looked_at() -> None:
    inner = "location /a/b { proxy_pass http://127.0.0.1:1; proxy_cache_bypass 1; }"
    assert len(http(f"server {{ location /a {{ {inner} }} }}").warnings) == 1
    assert len(http(f"server {{ location @a {{ {inner.replace('location /a/b { ', '').replace('}', '')} }} }}").warnings) == 1


def test_a_warning_names_the_directives_own_line_and_is_given_once() -> None:
    text = """worker_processes 1;
        master_process off;
        events {}
        http {
            proxy_set_header Host $host;
            proxy_set_header Connection upgrade;
            proxy_cache_bypass
                $arg_x;
            server {
                server_name a
                    a;
                location /a { proxy_pass http://127.0.0.1:1; }
                location /b { proxy_pass http://127.0.0.1:1; location /b/c { proxy_no_cache 1; proxy_pass http://127.0.0.1:1; } }
                location /c {
                    proxy_set_header Connection upgrade;
                    proxy_pass http://127.0.0.1:1;
                }
                location /d { proxy_set_header Connection upgrade; return 204; }
            }
            server { listen 80;
                server_name b;
                server_name a; }
        }
    """
    config = nginx.loads(text, path="/n.conf")
    lines = [(warning.split('"')[1], int(warning.rpartition("n.conf:")[2])) for warning in config.warnings]
    assert lines == [
        ("master_process off", 2),
        ("a", 10),
        ("a", 22),
        ("proxy_set_header Connection 'upgrade'", 6),
        ("proxy_cache_bypass", 7),
        ("proxy_no_cache", 13),
        ("proxy_set_header Connection 'upgrade'", 15),
    ]


def test_a_health_check_without_a_request() -> None:
    text = "proxy_pass http://127.0.0.1:1; health_check;"
    assert told(f"server {{ location / {{ {text} proxy_set_header X-A a; }} }}") == []
    for setting in ("proxy_set_header X-A $host", "proxy_bind $arg_b", "proxy_ssl_name $host"):
        name = setting.rpartition(" ")[0]
        message = f'health checks are made without "{name}", which has variables'
        assert [line.partition(" in ")[0] for line in told(f"server {{ location / {{ {text} {setting}; }} }}")] == [message]
