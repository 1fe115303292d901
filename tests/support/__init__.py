"""Helpers of all tests: real servers, a recording upstream, a raw client, free ports, deadlines.

    free_port, free_ports(n), wait_until(condition, what, deadline), unless_late(limit, attempt), connect(address)
    Recorder(script)                 an upstream that records exact bytes; reply(...) and chunked(...) make responses
    send_raw, Client, fetch          a client that sends exact bytes and returns exact responses (Response)
    run_nginx(conf_text, tmp_path)   real nginx          ┐
    run_gunicorn(app_spec, tmp_path) real gunicorn       ├ context managers that return a Running
    run_proxy(conf_text, tmp_path)   the wsgi-proxy command ┘

An `Address` is a port on 127.0.0.1, a (host, port), or the path of a unix socket. Every wait has a deadline, and
every process is stopped by its process ID.
"""

from .client import Client, Response, fetch, parse_response, request_bytes, send_raw
from .ports import Address, accepts, connect, free_port, free_ports, unless_late, wait_until
from .processes import (
    ROOT,
    Running,
    environment,
    full_nginx,
    listen_addresses,
    run_gunicorn,
    run_nginx,
    run_proxy,
    running,
    session_members,
)
from .recorder import Ended, Recorded, Recorder, Wire, chunked, reply, say_ok

__all__ = [
    "ROOT",
    "Address",
    "Client",
    "Ended",
    "Recorded",
    "Recorder",
    "Response",
    "Running",
    "Wire",
    "accepts",
    "chunked",
    "connect",
    "environment",
    "fetch",
    "free_port",
    "free_ports",
    "full_nginx",
    "listen_addresses",
    "parse_response",
    "reply",
    "request_bytes",
    "run_gunicorn",
    "run_nginx",
    "run_proxy",
    "running",
    "say_ok",
    "send_raw",
    "session_members",
    "unless_late",
    "wait_until",
]
