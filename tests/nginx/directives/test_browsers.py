"""The directives about browsers."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, location


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modern_browser gecko 1.x;", 'invalid browser version "1.x"'),
        ("modern_browser netscape 1;", 'unknown browser name "netscape"'),
        ("modern_browser listed;", '"modern_browser" directive invalid value'),
        ("keepalive_disable opera;", 'invalid value "opera"'),
    ],
)
def test_the_faults_are_nginxs(text: str, message: str) -> None:
    assert faults(text) == [message]


def test_browsers_of_a_level_replace_those_of_the_level_around_it() -> None:
    core = location("modern_browser Gecko 1.5; modern_browser unlisted;", "modern_browser msie 5; ancient_browser a; ").core
    assert core.modern_browsers == (("gecko", 1_050_000), ("unlisted", 0))
    assert core.ancient_browsers == ("a",)
    assert location("keepalive_disable none;").core.keepalive_disable == {"none"}
