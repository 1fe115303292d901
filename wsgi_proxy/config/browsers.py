"""Modern and ancient browsers by the field User-Agent.

Rules:
- The first listed browser whose mark the field contains decides by its version. Opera is tried first, because it may claim to be
  another one; it counts as ancient if other browsers are listed and Opera is not.
- A browser that is neither listed nor known as ancient is modern with `unlisted`, else ancient.
Source: ngx_http_browser_module.
"""

from __future__ import annotations

BROWSERS: dict[str, tuple[int, str]] = {
    "opera": (0, "Opera"),
    "msie": (len("Mozilla/4.0 (compatible; "), "MSIE "),
    "gecko": (len("Mozilla/5.0 ("), "rv:"),
    "safari": (len("Mozilla/5.0 ("), "Safari/"),
    "konqueror": (len("Mozilla/5.0 (compatible; "), "Konqueror/"),
}
"""The browsers in the order in which they are tried: the position from which a mark is looked for, and the mark."""
UNLISTED = "unlisted"
NETSCAPE4 = "netscape4"
_UNREACHABLE = 4_001_000_000
_FIRST_SCALE = 1_000_000


def version_number(text: str) -> int:
    """Return a version such as `5.1` as a number in which each part has two digits. Raises ValueError for other characters.

    >>> version_number("5.1")
    5010000
    """
    scale, number = _FIRST_SCALE, 0
    for part in text.split("."):
        if part.strip("0123456789"):
            raise ValueError(text)
        number += int(part or 0) * scale
        scale //= 100
    return number


def is_modern(agent: str | None, modern: tuple[tuple[str, int], ...], ancient: tuple[str, ...]) -> bool:
    """Return True for a modern browser. `agent` is its User-Agent, None without one.

    `modern` has a name of BROWSERS and a version number for each listed browser, or UNLISTED with any number. `ancient` has the
    texts that mark an ancient browser, or NETSCAPE4.
    """
    listed = [browser for browser in modern if browser[0] != UNLISTED]
    unlisted = len(listed) != len(modern)
    if agent is None:
        return unlisted
    if listed:
        found = _by_version(agent, listed)
        if found is not None:
            return found
        if not unlisted:
            return False
    if NETSCAPE4 in ancient and len(agent) > len("Mozilla/4.72 ") and agent.startswith("Mozilla/") and agent[8] in "1234":
        return False
    return unlisted and not any(text in agent for text in ancient if text != NETSCAPE4)


def _by_version(agent: str, listed: list[tuple[str, int]]) -> bool | None:
    """Return True if a listed browser has at least the listed version, False if it is older, None for a browser not listed."""
    names = list(BROWSERS)
    if all(name != "opera" for name, _ in listed):
        listed = [*listed, ("opera", _UNREACHABLE)]
    for name, least in sorted(listed, key=lambda browser: names.index(browser[0])):
        start, mark = BROWSERS[name]
        at = agent.find(mark, start)
        # A character follows the name of Opera: "Opera/7.50", "Opera 7.50".
        begin = at + (len("Opera ") if name == "opera" else len(mark))
        if at >= 0 and begin < len(agent):
            end = begin
            while end < len(agent) and agent[end] in "0123456789.":
                end += 1
            return version_number(agent[begin:end]) >= least
    return None
