"""settings: the defaults, nginx's buffers, and the changes by a location."""

from __future__ import annotations

from dataclasses import replace

from gunicorn.config import Config

from wsgi_proxy.config import CoreSettings
from wsgi_proxy.http import HeadRules
from wsgi_proxy.worker.settings import ListenerSettings, buffer_limits


def test_the_defaults_are_nginxs() -> None:
    settings = ListenerSettings()
    assert (settings.keepalive_timeout, settings.keepalive_requests) == (75.0, 1000)
    assert (settings.max_line, settings.max_head) == buffer_limits((4, 8192), 1024) == (8190, 1024 + 4 * 8192)
    assert settings.max_field == settings.max_line
    assert buffer_limits((2, 512), 1024) == (1022, 2048)


def test_a_location_that_changes_nothing_has_the_same_object() -> None:
    settings = ListenerSettings(max_line=100, tls=None)
    core = CoreSettings()
    assert settings.of(core) is settings
    assert settings.of(replace(core, root="/srv")) is settings


def test_a_location_changes_what_it_names() -> None:
    rules = HeadRules(Config())
    settings = ListenerSettings(max_line=100, response_plain=True, rules=rules, lingering_time=1.0)
    core = replace(CoreSettings(), send_timeout=3.0, keepalive_timeout_header=9.0, chunked_transfer_encoding=False)
    changed = settings.of(core)
    assert (changed.send_timeout, changed.chunks) == (3.0, False)
    assert changed.keep_line == "Connection: keep-alive\r\nKeep-Alive: timeout=9\r\n"
    assert (changed.max_line, changed.response_plain, changed.lingering_time) == (100, True, 1.0)
    assert changed.rules is rules and changed.methods is rules.methods and changed.scheme_keys == rules.scheme_keys
    assert settings.send_timeout == 60.0 and settings.chunks
