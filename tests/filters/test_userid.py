"""`userid`: the cookie and its variables, compared with nginx's."""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Response, fetch, free_port, run_nginx, run_proxy

COOKIES = [
    "", "uid=fwAAAWkp4gJ3WIZTAwMDAg==", "uid=fwAAAWkp4gJ3WIZTAwMDAgA=", "UID=fwAAAWkp4gJ3WIZTAwMDAg", "uid=fwAAAWkp4gJ3WIZTAwMDA",
    "uid=!!AAAWkp4gJ3WIZTAwMDAg==", "uid=AAAAAAAAAAAAAAAAAAAAAA==", "a=b; uid=fwAAAWkp4gJ3WIZTAwMDAg==; c=d",
    "uid=", "u_2=fwAAAWkp4gJ3WIZTAwMDAg==", "xuid=fwAAAWkp4gJ3WIZTAwMDAg==",
]  # fmt: skip
TARGETS = [
    "/", "/v1", "/v1/service", "/log", "/off", "/all", "/mark", "/named", "/missing", "/reset?r=1", "/reset?r=0", "/reset?r=log",
    "/expires", "/static",
]  # fmt: skip


def conf(port: int, folder: Path) -> str:
    return f"""
error_log stderr notice;
events {{}}
http {{
    access_log off;
    server {{
        listen {port};
        add_header X-Got "[$uid_got]" always; add_header X-Set "[$uid_set]" always;
        userid on;
        location / {{ return 200 "$uid_got"; }}
        location /v1 {{ userid v1; return 200; location /v1/service {{ userid_service 77; return 200; }} }}
        location /log {{ userid log; return 200; }}
        location /off {{ userid off; return 200; }}
        location /all {{
            userid_service 258; userid_domain a.b; userid_path /x; userid_expires max; userid_p3p "CP='x'";
            userid_flags samesite=none HttpOnly secure;
            return 200;
        }}
        location /mark {{ userid_mark A; userid_flags samesite=lax; return 200; }}
        location /named {{ userid_name u_2; userid_domain none; userid_p3p none; return 301 /x; }}
        location /missing {{ root {folder}; }}
        location /static {{ root {folder}; }}
        location /reset {{ set $uid_reset $arg_r; return 200; }}
        location /expires {{ userid_expires 3650d; return 204; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The ports of (nginx, ours)."""
    folder = tmp_path_factory.mktemp("userid")
    (folder / "static").write_text("x")
    theirs, ours = free_port(), free_port()
    with run_nginx(conf(theirs, folder), folder), run_proxy(conf(ours, folder), folder):
        yield theirs, ours


def shown(response: Response) -> dict[str, object]:
    """Return the parts that are compared: the time, the process and the counter of a new identifier are replaced."""
    fields: dict[str, object] = {"status": response.status, "got": response.get("x-got"), "p3p": response.get("p3p")}
    cookies, chosen = response.get_all("set-cookie"), response.get("x-set")
    if cookies:
        name, value, rest = re.fullmatch(r"(\w+)=([^;]*)(.*)", cookies[0]).groups()  # type: ignore[union-attr]
        numbers = struct.unpack("=4I", b64decode(value[:22] + "=="))
        assert chosen == f"[{name}={''.join(f'{number:08X}' for number in numbers)}]"
        fresh = numbers[1] != 0x02E22969
        fields["cookie"] = (len(cookies), name, numbers[0] if fresh else numbers, value[22:], _dateless(rest))
    else:
        fields["set"] = chosen
    return fields


def _dateless(text: str) -> str:
    return re.sub(r"\w{3}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT", lambda found: "MAX" if "37 23" in found[0] else "DATE", text)


@pytest.mark.parametrize("cookie", COOKIES)
@pytest.mark.parametrize("target", TARGETS)
def test_the_cookie_is_nginxs(ports: tuple[int, int], target: str, cookie: str) -> None:
    headers = [("Cookie", cookie)] if cookie else []
    theirs, ours = (shown(fetch(port, target, headers=headers)) for port in ports)
    assert ours == theirs


def test_two_clients_get_two_identifiers(ports: tuple[int, int]) -> None:
    seen = {fetch(ports[1], target).get("set-cookie") for target in ("/", "/", "/v1", "/v1")}
    assert len(seen) == 4
