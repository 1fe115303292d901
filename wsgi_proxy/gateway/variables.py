"""The CGI variables of one location for a FastCGI, uwsgi or SCGI server.

Rules (ngx_http_fastcgi_create_request and its kin):
- The variables are those of `fastcgi_param` in the order written, then `HTTP_NAME` for each of the client's fields that no
  `fastcgi_param` sets. Equal fields are joined.
- A `HTTP_NAME` that is "" in the file is not sent: it only keeps the client's field back.
- `Proxy` never becomes a variable (httpoxy, CVE-2016-5385), nor does a field that Connection lists.
- Most values are those of the request before: a variable whose value has not changed is sent in the form that it had then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..http import FieldLine, Pairs, headers
from .protocols import gateway_of

if TYPE_CHECKING:
    from ..config import GatewaySettings, Template
    from ..exchange import Exchange

_KNOWN: Final = 2048
"""Spellings of names that a location remembers; a client that invents names cannot exceed it."""
_JOINED: Final = {"HTTP_COOKIE": "; "}
"""The text between equal fields, where it is not a comma (RFC 6265, section 4.2.1)."""


_DIRECT: Final = {
    "query_string": 1, "request_method": 2, "request_uri": 3, "document_uri": 4, "uri": 4, "server_protocol": 5, "scheme": 6,
    "https": 7, "remote_addr": 8, "remote_port": 9, "host": 10,
}  # fmt: skip
"""The variables that `_read` reads from the exchange, and its code for each. No configuration can give them another meaning."""


def direct(text: str) -> int:
    """Return the code of a text that is one of the variables that are read from the exchange; 0 for another text.

    >>> direct("$request_uri") == direct("${REQUEST_URI}"), direct("/$uri")
    (True, 0)
    """
    name = text[2:-1] if text.startswith("${") and text.endswith("}") else text[1:] if text.startswith("$") else ""
    return _DIRECT.get(name.lower(), 0)


def _read(exchange: Exchange, code: int) -> str:
    """Return the value of a variable by its code in _DIRECT, as its expression in `wsgi_proxy.variables` gives it."""
    if code == 1:
        return exchange.args
    if code == 2:
        return exchange.method if exchange.main is None else exchange.main.method
    if code == 3:
        return exchange.target
    if code == 4:
        return exchange.uri
    if code == 5:
        return exchange.protocol
    if code == 6:
        return "https" if exchange.absolute == "https" else exchange.scheme
    if code == 7:
        return "on" if exchange.scheme == "https" else ""
    if code == 8:
        return exchange.remote_addr or "unix:"
    return exchange.remote_port if code == 9 else exchange.host


class _Name:
    """The variable of a field, one object for all spellings of the field's name. `key` is "" if the field is not passed on.

    `request` is the number of the latest request that had the field.
    """

    __slots__ = ("is_connection", "is_host", "key", "request")

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_connection = key == "HTTP_CONNECTION"
        self.is_host = key == "HTTP_HOST"
        self.request = 0


_NONE: Final = _Name("")


class _Form:
    """A value of one variable, and the variable with this value as the protocol sends it."""

    __slots__ = ("sent", "value")

    def __init__(self, value: str, sent: str) -> None:
        self.value = value
        self.sent = sent


class _Variable:
    """One `fastcgi_param`. `last` is its latest form, one object so that threads see a value with its own form."""

    __slots__ = ("code", "last", "name", "sparing", "template")

    def __init__(self, name: str, template: Template | None, code: int, sparing: bool, last: _Form) -> None:
        self.name = name
        self.template: Any = template
        """None for a constant."""
        self.code = code
        """The code of a value that is read directly (`direct`), else 0."""
        self.sparing = sparing
        self.last = last


class Variables:
    """The variables that a location sends."""

    __slots__ = ("_given", "_names", "_protocol", "_request", "_values", "_variables")

    def __init__(self, settings: GatewaySettings) -> None:
        self._protocol = gateway_of(settings)
        self._variables: list[_Variable] = []
        self._given: set[str] = set()
        for param in settings.param:
            constant: str | None = getattr(param.value, "constant", None)
            template = param.value if constant is None else None
            unsent = param.if_not_empty or (constant == "" and param.name.startswith("HTTP_"))
            form = self._form(param.name, constant or "", unsent)
            code = direct(getattr(template, "text", ""))
            self._variables.append(_Variable(param.name, template, code, param.if_not_empty, form))
            self._given.add(param.name)
        self._values: Any = settings.values
        self._names: dict[str, _Name] = {}
        self._request = 0
        """The number of the latest request whose fields came as lines."""

    def _form(self, name: str, value: str, sparing: bool) -> _Form:
        return _Form(value, "" if sparing and not value else self._protocol.parameter(name, value))

    def head(
        self, exchange: Exchange, pairs: Pairs, chosen: headers.RequestFilter, length: int | None, *, edited: bool = True
    ) -> bytes:
        """Return the bytes before the request's body, `length` bytes long.

        `pairs` are the client's fields, of which `chosen` selects those that are passed on. They are not `edited` if they are
        those of `exchange.fields`, where it has any. Raise ProxyError if the variables do not fit the protocol.
        """
        parameters: list[str] = []
        values: tuple[str, ...] | None = None if self._values is None else self._values(exchange)
        number = 0
        for variable in self._variables:
            form = variable.last
            if variable.template is not None:
                value: str
                if variable.code:
                    value = _read(exchange, variable.code)
                elif values is None:
                    value = variable.template(exchange)
                else:
                    value = values[number]
                    number += 1
                if value != form.value:
                    form = variable.last = self._form(variable.name, value, variable.sparing)
            if form.sent:
                parameters.append(form.sent)
        if pairs:
            self._add_fields(exchange, pairs, chosen, edited, parameters)
        return self._protocol.head(parameters, length)

    def _add_fields(
        self, exchange: Exchange, pairs: Pairs, chosen: headers.RequestFilter, edited: bool, parameters: list[str]
    ) -> None:
        """Add the client's fields as variables."""
        fields = None if edited else exchange.fields
        if fields is not None and self._remembered(exchange, fields, chosen, parameters):
            return
        connection = exchange.sent("HTTP_CONNECTION") or ""
        listed = headers.listed(connection) - headers.HOP_BY_HOP if connection else frozenset()
        found = self._fields(pairs, chosen, listed)
        if "HTTP_HOST" not in found and "HTTP_HOST" not in self._given:
            # HTTP/2 has the host in a pseudo-header.
            host = exchange.sent("HTTP_HOST")
            if host:
                found["HTTP_HOST"] = host
        for key, value in found.items():
            parameters.append(self._protocol.parameter(key, value))

    def _remembered(
        self, exchange: Exchange, fields: list[FieldLine], chosen: headers.RequestFilter, parameters: list[str]
    ) -> bool:
        """Add the fields in the forms that their lines hold.

        Return False, with no field added, if two fields are equal, Connection lists others, or Host is missing.
        """
        before = len(parameters)
        protocol, kind = self._protocol, self._protocol.name
        known = chosen.variables
        has_host = "HTTP_HOST" in self._given
        self._request = request = self._request + 1
        for field in fields:
            name: _Name | None = known.get(field.name)
            if name is None:
                name = self._name(field.name, chosen)
            if not name.key:
                continue
            # A full memory has a new object for each spelling.
            if (
                len(known) >= _KNOWN
                or name.request == request
                or (name.is_connection and headers.listed(field.value) - headers.HOP_BY_HOP)
            ):
                del parameters[before:]
                return False
            name.request = request
            has_host = has_host or name.is_host
            if field.parameter_of != kind:
                field.parameter = protocol.parameter(name.key, field.value)
                field.parameter_of = kind
            parameters.append(field.parameter)
        if not has_host:
            del parameters[before:]
        return has_host

    def _fields(self, pairs: Pairs, chosen: headers.RequestFilter, listed: frozenset[str]) -> dict[str, str]:
        """Return the client's fields but those `listed` as variables, equal ones joined."""
        found: dict[str, str] = {}
        known = chosen.variables
        for spelled, value in pairs:
            name: _Name | None = known.get(spelled)
            if name is None:
                name = self._name(spelled, chosen)
            key = name.key
            if not key or (listed and spelled.lower() in listed):
                continue
            if key in found:
                found[key] += _JOINED.get(key, ", ") + value
            else:
                found[key] = value
        return found

    def _name(self, spelled: str, chosen: headers.RequestFilter) -> _Name:
        """Return the variable of a field's name."""
        key = "HTTP_" + spelled.upper().replace("-", "_")
        if key in self._given or not chosen.passes(spelled):
            name = _NONE
        else:
            name = self._names.get(key) or _Name(key)
        if len(chosen.variables) < _KNOWN:
            chosen.variables[spelled] = name
            if name.key:
                self._names[key] = name
        return name
