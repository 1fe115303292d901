"""Every HTTP variable that nginx documents exists here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables import absent
from wsgi_proxy.variables.names import Names, compile_log, compile_text

INDEX = Path(__file__).with_name("nginx_variables.txt")


def documented() -> list[str]:
    """Return the names in the index, without comments and names of modules."""
    lines = [line for line in INDEX.read_text().splitlines() if not line.startswith("#")]
    return [word for line in lines for word in line.split() if not word.endswith(":")]


def test_the_index_is_complete_enough_to_be_one() -> None:
    names = documented()
    assert len(names) == len(set(names)) > 130


@pytest.mark.parametrize("name", documented())
def test_every_documented_variable_exists(name: str) -> None:
    names = Names()
    full = f"{name}x" if name.endswith("_") else name
    templates = [compile_text(f"<${full}>", names), compile_log(f"<${full}>", names)]
    if name.endswith("_"):
        templates.append(compile_text(f"<${name}>", names))
    names.check()  # an unknown name is a ConfigError
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    if name not in ("document_root", "limit_rate", "realpath_root", "request_filename", "server_name", "invalid_referer"):
        assert all(template(x).startswith("<") for template in templates)


@pytest.mark.parametrize("name", [name for name in absent.OPTIONAL if name != "ancient_browser"])
def test_variables_of_missing_features_are_not_found(name: str) -> None:
    names = Names()
    text, log = compile_text(f"<${name}>", names), compile_log(f"<${name}>", names)
    names.check()
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    assert (text(x), log(x)) == ("<>", "<->")


@pytest.mark.parametrize(
    ("agent", "wanted"),
    [
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows)", "1|1|"),
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows) Opera 7", "|1|"),
        ("Mozilla/5.0 Firefox/115.0", "|1|"),
        ("MSIE 6", "|1|"),
        ("", "|1|"),
    ],
)
def test_browsers(agent: str, wanted: str) -> None:
    x = Exchange.from_environ(environ("GET", "/", [("User-Agent", agent)], 80))
    assert compile_text("$msie|$ancient_browser|$modern_browser", Names())(x) == wanted
