"""`ssl_*` of servers and `proxy_ssl_*` of locations. The package `tls` reads the files."""

from __future__ import annotations

import os
import re
from typing import Any

from ...config import TLS, Listen, SettingPlace, Template
from ...http import file_name
from . import values
from .row import ALL, Bad, BadValue, Level, Row, Statement, accepted, listed, special, summed, value

_SERVER = "http, server"
_PROTOCOLS = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_TOO_OLD = frozenset({"SSLv2", "SSLv3"})


def _protocols(level: Level, args: list[str]) -> tuple[str, ...]:
    found = values.words(*_PROTOCOLS, case=True)(level, args)
    for old in sorted(found & _TOO_OLD):
        level.reading.warn(f'"{old}" has no effect: OpenSSL no longer supports it', level.reading.names.place)
    return tuple(name for name in _PROTOCOLS if name in found - _TOO_OLD)


def _both_protocols(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in _PROTOCOLS if name in first + second)


_FILE_COMMAND = re.compile(r"Certificate|PrivateKey|DHParameters|(Chain|Verify|Request|Client)CA(File|Path)", re.IGNORECASE)
"""The commands whose value OpenSSL calls a file or a directory (SSL_CONF_cmd_value_type)."""


def _file(level: Level, args: list[str]) -> str:
    return values.conf_path(level, args)


def _command(level: Level, args: list[str]) -> tuple[str, str]:
    """Return a command of SSL_CONF_cmd(3) and its value; a file is relative to the directory of the configuration."""
    name, text = args
    return name, values.conf_path(level, [text]) if _FILE_COMMAND.fullmatch(name) else text


def _file_template(level: Level, args: list[str]) -> Template:
    """Return the path of a certificate, which may have variables, relative to the directory of the configuration."""
    text = args[0]
    if text.startswith(("engine:", "store:")):
        raise Bad(f'"{text.partition(":")[0]}:" is not supported by wsgi_proxy')
    if text.startswith("data:"):
        return level.template(text)
    return values.path_template(level, text, beside_configuration=True)


def _upstream_file(level: Level, args: list[str]) -> str | Template:
    """Return the path of a certificate for upstreams; a template if it has variables, which gives "" for no certificate."""
    if "$" not in args[0]:
        return _file(level, args)
    found = _file_template(level, args)
    name = level.template(args[0])
    return lambda exchange: found(exchange) if name(exchange) else ""


def _session_cache(level: Level, statement: Statement) -> None:
    if "tls.session_cache" in level.own:
        raise BadValue("is duplicate")
    found = ""
    for text in statement.args:
        if text in ("off", "none"):
            found = text
        elif re.fullmatch(r"builtin(:[0-9]+)?", text):
            found = found or "builtin"
        else:
            shared = re.fullmatch(r"shared:([^:]+):(.+)", text)
            size = values.parse_size(shared[2]) if shared else None
            if size is None:
                raise Bad(f'invalid session cache "{text}"')
            if size < 8 * 4096:
                raise Bad(f'session cache "{shared[1] if shared else ""}" is too small')
            found = text
    level.own["tls.session_cache"] = found


def _stapling(level: Level, args: list[str]) -> bool:
    if values.flag_value("ssl_stapling", args[0]):
        level.reading.warn('"ssl_stapling on" has no effect: no OCSP response is stapled', level.reading.names.place)
    return False


def _ocsp(level: Level, args: list[str]) -> None:
    if values.word("off", "on", "leaf")(level, args) != "off":
        raise Bad('directive "ssl_ocsp" is not supported by wsgi_proxy: use "ssl_crl"')


def _early_data(level: Level, args: list[str]) -> None:
    if values.flag_value("ssl_early_data", args[0]):
        message = '"ssl_early_data on" has no effect: clients send their data after the handshake'
        level.reading.warn(message, level.reading.names.place)


def _flag(name: str, target: str, contexts: str = _SERVER) -> Row:
    return value(name, contexts, "FLAG", target, values.flag(name))


def server_tls(level: Level, in_force: dict[str, Any], listens: tuple[Listen, ...]) -> TLS | None:
    """Return a server's TLS settings, None if it has neither a certificate nor a TLS listener. Faults are noted."""
    settings = {target[4:]: found for target, found in in_force.items() if target.startswith("tls.")}
    certificates = settings.pop("certificate", ())
    keys = settings.pop("certificate_key", ())
    if not certificates:
        statement = _enabled_by(level, in_force)
        if statement is not None:
            level.reading.fault('no "ssl_certificate" is defined for the "ssl" directive', statement.place)
        return TLS(**settings, places=places_of(level, "tls")) if any(listen.ssl for listen in listens) else None
    if len(keys) < len(certificates):
        statement = level.seen.get("tls.certificate")
        folder = os.path.dirname(level.reading.path) + "/"
        name = _shown(certificates[len(keys)]).removeprefix(folder)
        place = statement.place if statement else level.place
        level.reading.fault(f'no "ssl_certificate_key" is defined for certificate "{name}"', place)
    if settings.get("verify_client", "off") in ("on", "optional") and not settings.get("client_certificate"):
        if not settings.get("trusted_certificate"):
            level.reading.fault("no ssl_client_certificate for ssl_verify_client", level.place)
    return TLS(certificates=tuple(zip(certificates, keys, strict=False)), **settings, places=places_of(level, "tls"))


_FILES = ("certificate", "certificate_key", "password_file", "dhparam", "session_ticket_key", "client_certificate") + (
    "trusted_certificate",
    "crl",
)


def places_of(level: Level, group: str) -> tuple[SettingPlace, ...]:
    """Return the lines of the directives of a group ("tls", "proxy_tls", "uwsgi_tls") that are in force at a level."""
    found: list[SettingPlace] = []
    listed_group, mirrored = (group, "") if group != "uwsgi_tls" else ("proxy_tls", "uwsgi_")
    for row in ROWS:
        of, _, setting_name = row.target.partition(".")
        target = f"{group}.{setting_name}"
        setting = level.in_force(target) if of == listed_group else None
        if setting is None:
            continue
        name = mirrored + row.name.removeprefix("proxy_") if mirrored else row.name
        in_force = setting.own[target]
        several = isinstance(in_force, list) and name in setting.lines
        lines = setting.lines[name] if several else [setting.seen[target].place] if target in setting.seen else []
        for each, line in zip(in_force if several else [in_force], lines, strict=False):
            found.append(SettingPlace(name, _named_file(each) if setting_name in _FILES else "", line))
    return tuple(found)


def _named_file(setting: str | Template) -> str:
    if isinstance(setting, str):
        return setting
    return file_name(getattr(setting, "constant", None) or "")


def _enabled_by(level: Level, in_force: dict[str, Any]) -> Statement | None:
    """Return the `ssl on` in force in a server block, None without one."""
    if not in_force.get("enable.ssl"):
        return None
    return level.seen.get("enable.ssl") or (level.parent.seen.get("enable.ssl") if level.parent is not None else None)


def _enable(level: Level, args: list[str]) -> bool:
    """Read `ssl`, which nginx had until 1.25.1."""
    found = values.flag_value("ssl", args[0])
    message = 'the "ssl" directive is deprecated, use the "listen ... ssl" directive instead'
    level.reading.warn(message, level.reading.names.place)
    return found


def _shown(template: Template) -> str:
    return str(getattr(template, "constant", None) or "")


ROWS: tuple[Row, ...] = (
    value("ssl", _SERVER, "FLAG", "enable.ssl", _enable),
    listed("ssl_certificate", _SERVER, "TAKE1", "tls.certificate", _file_template),
    listed("ssl_certificate_key", _SERVER, "TAKE1", "tls.certificate_key", _file_template),
    value("ssl_password_file", _SERVER, "TAKE1", "tls.password_file", _file),
    summed("ssl_protocols", _SERVER, "tls.protocols", _protocols, _both_protocols),
    value("ssl_ciphers", _SERVER, "TAKE1", "tls.ciphers", values.text),
    _flag("ssl_prefer_server_ciphers", "tls.prefer_server_ciphers"),
    value("ssl_ecdh_curve", _SERVER, "TAKE1", "tls.ecdh_curve", values.text),
    value("ssl_dhparam", _SERVER, "TAKE1", "tls.dhparam", _file),
    special(
        "ssl_session_cache",
        _SERVER,
        "TAKE12",
        _session_cache,
        "tls.session_cache",
    ),
    value("ssl_session_timeout", _SERVER, "TAKE1", "tls.session_timeout", values.whole_seconds),
    _flag("ssl_session_tickets", "tls.session_tickets"),
    listed("ssl_session_ticket_key", _SERVER, "TAKE1", "tls.session_ticket_key", _file),
    listed("ssl_conf_command", _SERVER, "TAKE2", "tls.conf_command", _command),
    value("ssl_verify_client", _SERVER, "TAKE1", "tls.verify_client", values.word("off", "on", "optional", "optional_no_ca")),
    value("ssl_verify_depth", _SERVER, "TAKE1", "tls.verify_depth", values.number),
    value("ssl_client_certificate", _SERVER, "TAKE1", "tls.client_certificate", _file),
    value("ssl_trusted_certificate", _SERVER, "TAKE1", "tls.trusted_certificate", _file),
    value("ssl_crl", _SERVER, "TAKE1", "tls.crl", _file),
    _flag("ssl_reject_handshake", "tls.reject_handshake"),
    value("ssl_stapling", _SERVER, "FLAG", "tls.stapling", _stapling),
    accepted("ssl_early_data", _SERVER, "FLAG", "no early data is accepted; `on` gives a warning", _early_data),
    accepted("ssl_ocsp", _SERVER, "TAKE1", "no OCSP server is asked about client certificates; only `off` is accepted", _ocsp),
    accepted("ssl_ocsp_cache", _SERVER, "TAKE1", "no OCSP server is asked"),
    accepted("ssl_ocsp_responder", _SERVER, "TAKE1", "no OCSP server is asked"),
    accepted("ssl_stapling_file", _SERVER, "TAKE1", "nothing is stapled"),
    accepted("ssl_stapling_responder", _SERVER, "TAKE1", "nothing is stapled"),
    accepted("ssl_stapling_verify", _SERVER, "FLAG", "nothing is stapled", values.flag("ssl_stapling_verify")),
    _flag("proxy_ssl_verify", "proxy_tls.verify", ALL),
    value("proxy_ssl_trusted_certificate", ALL, "TAKE1", "proxy_tls.trusted_certificate", _file),
    value("proxy_ssl_crl", ALL, "TAKE1", "proxy_tls.crl", _file),
    value("proxy_ssl_verify_depth", ALL, "TAKE1", "proxy_tls.verify_depth", values.number),
    value("proxy_ssl_name", ALL, "TAKE1", "proxy_tls.name", values.template),
    _flag("proxy_ssl_server_name", "proxy_tls.server_name", ALL),
    value("proxy_ssl_certificate", ALL, "TAKE1", "proxy_tls.certificate", _upstream_file),
    value("proxy_ssl_certificate_key", ALL, "TAKE1", "proxy_tls.certificate_key", _upstream_file),
    listed("proxy_ssl_conf_command", ALL, "TAKE2", "proxy_tls.conf_command", _command),
    value("proxy_ssl_password_file", ALL, "TAKE1", "proxy_tls.password_file", _file),
    summed("proxy_ssl_protocols", ALL, "proxy_tls.protocols", _protocols, _both_protocols),
    value("proxy_ssl_ciphers", ALL, "TAKE1", "proxy_tls.ciphers", values.text),
    _flag("proxy_ssl_session_reuse", "proxy_tls.session_reuse", ALL),
)
