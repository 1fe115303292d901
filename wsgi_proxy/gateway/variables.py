"""The CGI variables of one location for a FastCGI, uwsgi or SCGI server.

Rules (ngx_http_fastcgi_create_request and its kin):
- The variables are those of `fastcgi_param` in the order written, then `HTTP_NAME` for each of the client's fields that no
  `fastcgi_param` sets. Equal fields are joined.
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


class _Form:
    """A value of one variable, and the variable with this value as the protocol sends it."""

    __slots__ = ("sent", "value")

    def __init__(self, value: str, sent: str) -> None:
        self.value = value
        self.sent = sent


class _Variable:
    """One `fastcgi_param`. `last` is its latest form, one object so that threads see a value with its own form."""

    __slots__ = ("last", "name", "sparing", "template")

    def __init__(self, name: str, template: Template | None, sparing: bool, last: _Form) -> None:
        self.name = name
        self.template: Any = template
        """None for a constant."""
        self.sparing = sparing
        self.last = last


class Variables:
    """The variables that a location sends."""

    __slots__ = ("_given", "_protocol", "_values", "_variables")

    def __init__(self, settings: GatewaySettings) -> None:
        self._protocol = gateway_of(settings)
        self._variables: list[_Variable] = []
        self._given: set[str] = set()
        for param in settings.param:
            constant: str | None = getattr(param.value, "constant", None)
            template = param.value if constant is None else None
            form = self._form(param.name, constant or "", param.if_not_empty)
            self._variables.append(_Variable(param.name, template, param.if_not_empty, form))
            self._given.add(param.name)
        self._values: Any = settings.values

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
                value: str = variable.template(exchange) if values is None else values[number]
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
        connection = exchange.sent("HTTP_CONNECTION") or ""
        listed = headers.listed(connection) - headers.HOP_BY_HOP if connection else frozenset()
        fields = None if edited or listed else exchange.fields
        names = self._remembered(fields, chosen, parameters) if fields is not None else None
        if names is None:
            protocol = self._protocol
            found = self._fields(pairs, chosen, listed)
            for key, value in found.items():
                parameters.append(protocol.parameter(key, value))
            names = set(found)
        if "HTTP_HOST" not in names and "HTTP_HOST" not in self._given:
            # HTTP/2 has the host in a pseudo-header.
            host = exchange.sent("HTTP_HOST")
            if host:
                parameters.append(self._protocol.parameter("HTTP_HOST", host))

    def _remembered(self, fields: list[FieldLine], chosen: headers.RequestFilter, parameters: list[str]) -> set[str] | None:
        """Add the fields in the forms that their lines hold, and return the names; None, and no field added, if two are equal."""
        before = len(parameters)
        protocol, kind = self._protocol, self._protocol.name
        known = chosen.variables
        names: set[str] = set()
        for field in fields:
            key = known.get(field.name)
            if key is None:
                key = self._key(field.name, chosen)
            if not key:
                continue
            if key in names:
                del parameters[before:]
                return None
            names.add(key)
            if field.parameter_of != kind:
                field.parameter = protocol.parameter(key, field.value)
                field.parameter_of = kind
            parameters.append(field.parameter)
        return names

    def _fields(self, pairs: Pairs, chosen: headers.RequestFilter, listed: frozenset[str]) -> dict[str, str]:
        """Return the client's fields but those `listed` as variables, equal ones joined."""
        found: dict[str, str] = {}
        names = chosen.variables
        for name, value in pairs:
            key = names.get(name)
            if key is None:
                key = self._key(name, chosen)
            if not key or (listed and name.lower() in listed):
                continue
            if key in found:
                found[key] += _JOINED.get(key, ", ") + value
            else:
                found[key] = value
        return found

    def _key(self, name: str, chosen: headers.RequestFilter) -> str:
        """Return the variable of a field's name, "" for a field that is not passed on."""
        key = "HTTP_" + name.upper().replace("-", "_")
        if key in self._given or not chosen.passes(name):
            key = ""
        if len(chosen.variables) < _KNOWN:
            chosen.variables[name] = key
        return key
