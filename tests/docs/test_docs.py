"""docs/python.md: every block runs, and its applications respond. The configuration of docs/monitoring.md loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from tests.support import Recorder
from wsgi_proxy.nginx import reader as nginx

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
ADDRESSES = re.compile(r"http://127\.0\.0\.1:300\d")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_makes_an_application(number: int) -> None:
    with Recorder() as upstream:
        names: dict[str, Any] = {"__name__": "page"}
        exec(compile(ADDRESSES.sub(upstream.url, BLOCKS[number]), f"docs/python.md block {number}", "exec"), names)
        try:
            target = "/legacy/x" if "ProxyMiddleware" in names else "/x"
            response = Client(names["app"]).get(target, headers={"Host": "example.org"})
            assert response.status_code == 200
            asked = [request for request in upstream.requests if request.target.endswith("/x")]
            assert len(asked) == 1 and asked[0].get("Host") == "example.org"
            if "ProxyMiddleware" in names:
                assert (asked[0].target, asked[0].get("X-From")) == ("/old/x", "us")
                assert Client(names["app"]).get("/other").data == b"mine"
        finally:
            names["app"].close()


def test_the_configuration_of_the_operators_page() -> None:
    blocks = re.findall(r"```nginx\n(.*?)```", (DOCS / "monitoring.md").read_text(), re.S)
    assert len(blocks) == 5
    for block in blocks:
        text = block if block.startswith(("server", "otel_exporter")) else f"server {{ {block} }}"
        assert nginx.loads(f"events {{}} http {{ {text} }}").warnings == ()
