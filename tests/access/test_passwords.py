"""Password files and hashes, compared with nginx and openssl."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest

from tests.support import fetch, free_port, run_nginx
from wsgi_proxy import nginx
from wsgi_proxy.access import passwords
from wsgi_proxy.access.passwords import PasswordFile, apr1, crypt, read_users, verify
from wsgi_proxy.errors import ConfigError


def ssha(password: bytes, salt: bytes) -> str:
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password + salt).digest() + salt).decode()


def hashes(password: bytes) -> dict[str, str]:
    """A hash of the password in every form, by the user's name."""
    made = {
        "plain": "{PLAIN}" + password.decode(),
        "sha": "{SHA}" + base64.b64encode(hashlib.sha1(password).digest()).decode(),
        "ssha": ssha(password, b"salt"),
        "apr1": apr1(password, b"saltsalt").decode(),
        "bcrypt": bcrypt.hashpw(password, bcrypt.gensalt(4)).decode(),
        "bcrypt-a": bcrypt.hashpw(password, bcrypt.gensalt(4, prefix=b"2a")).decode(),
    }
    for name, setting in (("des", "ab"), ("md5", "$1$saltsalt"), ("sha256", "$5$saltsalt"), ("sha512", "$6$saltsalt")):
        found = crypt(password, setting.encode())
        if found is not None:
            made[name] = found.decode()
    return made


@pytest.mark.parametrize("name", sorted(hashes(b"x")))
def test_every_scheme(name: str) -> None:
    hashed = hashes(b"open sesame")[name].encode()
    assert verify(b"open sesame", hashed)
    for wrong in (b"", b"open", b"Open sesame", b"open sesame\0"):
        assert not verify(wrong, hashed)


def test_the_system_knows_the_usual_schemes() -> None:
    assert {"des", "sha512"} <= set(hashes(b"x")), "crypt(3) was not found"


@pytest.mark.parametrize("length", [0, 1, 8, 15, 16, 17, 33, 64])
def test_apr1_is_apaches(length: int) -> None:
    password = b"p" * length
    command = ["openssl", "passwd", "-apr1", "-salt", "r31.....", "-stdin"]
    made = subprocess.run(command, input=password + b"\n", capture_output=True, timeout=120, check=True).stdout
    assert apr1(password, b"r31.....") == made.strip()


@pytest.mark.parametrize(
    "hashed", ["", "plain text", "*", "!", "{SHA}", "{SHA}!!", "{SSHA}AAAA", "$apr1$", "$apr1$salt", "$2b$", "$2b$04$x", "$9$x$y"]
)
def test_a_hash_of_no_known_form_matches_nothing(hashed: str) -> None:
    for password in (b"", b"plain text", hashed.encode()):
        assert not verify(password, hashed.encode())


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_bytes(b"# comment:x\n\nalice:one:a comment\r\nbob:two\nalice:other\nnocolon\n:empty\njos\xe9:three")
    assert read_users(str(path)) == {"alice": "one", "bob": "two", "jos\xe9": "three"}


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text("a:{PLAIN}one\n")
    file = PasswordFile(str(path))
    assert file.hash_of("a") == "{PLAIN}one"
    new = tmp_path / "new"
    new.write_text("a:{PLAIN}two\n")
    os.replace(new, path)
    assert file.hash_of("a") == "{PLAIN}two"
    assert not file.matches("a", "one", "{PLAIN}two")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.hash_of("a")


def test_a_slow_hash_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsgi_proxy.access import passwords

    calls = []
    monkeypatch.setattr(passwords, "verify", lambda password, hashed: calls.append(password) or password == b"good")
    file = PasswordFile("unused")
    assert [file.matches("u", "good", "$6$h") for _ in range(3)] == [True] * 3
    assert calls == [b"good"]
    assert [file.matches("u", "bad", "$6$h") for _ in range(2)] == [False] * 2
    assert not file.matches("u", "bad\0", "$6$h")
    assert file.matches("v", "good", "$6$h") and file.matches("u", "good", "$6$other")
    assert calls.count(b"good") == 3, "remembered for this user and this hash only"


def test_under_gevent_others_go_on_meanwhile() -> None:
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, time\n"
        "from wsgi_proxy.access.passwords import PasswordFile, crypt\n"
        "hashed = crypt(b'x', b'$6$rounds=400000$salt').decode()\n"
        "ticks = []\n"
        "ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.001)) for _ in range(10000)])\n"
        "gevent.sleep(0.005)\n"
        "before = len(ticks)\n"
        "assert PasswordFile('unused').matches('u', 'x', hashed)\n"
        "print(len(ticks) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3


def test_nginx_accepts_the_same(tmp_path: Path) -> None:
    password = b"open sesame"
    users = hashes(password)
    (tmp_path / "htpasswd").write_text("".join(f"{user}:{hashed}\n" for user, hashed in users.items()))
    (tmp_path / "index.html").write_text("in")
    port = free_port()
    conf = f"""events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port};
        auth_basic r; auth_basic_user_file {tmp_path}/htpasswd; root {tmp_path}; }} }}"""
    with run_nginx(conf, tmp_path):
        for user, hashed in users.items():
            for given in (password, b"wrong", b""):
                word = base64.b64encode(user.encode() + b":" + given).decode()
                status = fetch(port, headers=[("Authorization", f"Basic {word}")]).status
                assert (status == 200) == verify(given, hashed.encode()), (user, given, status)


@pytest.mark.parametrize("hashed", ["$2y$05$abc", "$apr1$salt$abc"])
def test_bcrypt_without_a_library_is_a_fault_of_the_configuration(
    hashed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users").write_text(f"# $2y$\nann:{{PLAIN}}x\nbob:{hashed}\n")
    (tmp_path / "nginx.conf").write_text("events {} http { auth_basic_user_file users; server { } }")
    nginx.load(str(tmp_path / "nginx.conf"))
    monkeypatch.setattr(passwords, "_found", [None])
    nginx.load(str(tmp_path / "nginx.conf"))  # the package has bcrypt
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    if hashed.startswith("$2"):
        with pytest.raises(ConfigError) as caught:
            nginx.load(str(tmp_path / "nginx.conf"))
        wanted = 'nginx.conf:1: "users" has bcrypt hashes, which need the package bcrypt: pip install "wsgi-proxy-nginx[bcrypt]"'
        assert str(caught.value) == f"{tmp_path}/{wanted}"
    else:
        nginx.load(str(tmp_path / "nginx.conf"))


def test_a_file_that_cannot_be_read_lacks_nothing(tmp_path: Path) -> None:
    assert not passwords.lacks_bcrypt(str(tmp_path / "none"))
