"""One worker's connection to the cluster's Redis.

Rules:
- A worker has one connection, made at the first use. The requests of its greenlets or threads share it: each writes its command,
  and one of the waiting requests reads the replies in order.
- No request waits longer than the configured timeout for a reply. After a failure Redis is not asked for a second.
- A failure is an OSError for the caller, which decides alone. The log has one line a minute, and one when Redis answers again.
- A script is sent by its digest, and whole once if Redis does not know it (a restarted or flushed Redis).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..logs import errorlog

if TYPE_CHECKING:
    from ..config import Cluster

_REST: Final = 1.0
"""Seconds after a failure in which Redis is not asked."""
_LOG_EVERY: Final = 60.0
"""Seconds between two lines about the same failure."""
_MISSING: Final = 'the package "redis" is not installed: pip install "wsgi-proxy-nginx[redis]"'


def parse_address(address: str) -> dict[str, Any]:
    """Return the options of a Redis address (`redis://`, `rediss://`, `unix://`).

    OSError if it is not an address, or if the package is not installed.
    """
    try:
        import redis.connection
    except ImportError:
        raise OSError(_MISSING) from None
    try:
        parse: Any = redis.connection.parse_url
        options: dict[str, Any] = dict(parse(address))
    except ValueError as error:
        raise OSError(f'invalid address "{address}": {error}') from None
    return options


class Script:
    """A Lua script and the SHA-1 digest by which Redis knows it."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Reply:
    """The place of one command's reply."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None


class Link:
    """The connection of this process. `clock` returns the seconds of a monotonic clock."""

    def __init__(self, settings: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self.prefix = f"wsgi-proxy:{{{settings.name}}}"
        self._address = settings.address
        self._timeout = settings.timeout
        self._clock = clock
        self._connection: Any = None
        self._opening: threading.Event | None = None
        self._waiting: deque[_Reply] = deque()
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._resting_until = 0.0
        self._failing = False
        self._logged_at = -_LOG_EVERY

    def run(self, script: Script, keys: Sequence[bytes | str], arguments: Sequence[int | str]) -> Any:
        """Run a script and return its result. OSError if Redis fails, or rests after a failure."""
        try:
            return self._ask("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except _Unknown:
            return self._ask("EVAL", script.text, len(keys), *keys, *arguments)

    def _ask(self, *command: Any) -> Any:
        """Send one command and return its reply. OSError, or _Unknown for an unknown digest."""
        reply = _Reply()
        with self._sending:
            if self._clock() < self._resting_until:
                raise OSError("Redis did not answer a moment ago")
            connection = self._connected()
            try:
                self._waiting.append(reply)
                connection.send_packed_command(connection.pack_command(*command), check_health=False)
            except Exception as error:
                raise self._lost(error) from error
        with self._reading:
            while not reply.done:
                self._read()
        if reply.error is not None:
            raise reply.error
        if self._failing:
            self._failing = False
            errorlog.line("notice", "the cluster's Redis answers again")
        return reply.value

    # --- the connection -------------------------------------------------------------------------------------------------

    def _connected(self) -> Any:
        """Return the connection. OSError if it cannot be made in time; it is then made beside the requests."""
        if self._connection is None:
            opened = self._opening
            if opened is None:
                opened = self._opening = threading.Event()
                threading.Thread(target=self._open, args=(opened,), daemon=True).start()
            if not opened.wait(self._timeout):
                raise self._rest(OSError(f"no connection within {self._timeout * 1000:.0f} ms"))
            if self._connection is None:
                raise OSError("Redis cannot be reached")
        return self._connection

    def _open(self, opened: threading.Event) -> None:
        """Connect. It runs beside the requests, because resolving a name has no timeout."""
        try:
            options = {**parse_address(self._address), "socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}
            connection = _class_of(options)(**options)
            connection.connect()
        except Exception as error:
            self._rest(error)
        else:
            self._connection = connection
        finally:
            self._opening = None
            opened.set()

    def _read(self) -> None:
        """Read the next reply. A failure of the connection is the reply of all that wait."""
        import redis

        connection, value = self._connection, None
        error: Exception | None = None
        try:
            if connection is None:
                raise OSError("the connection was closed")
            value = connection.read_response()
        except redis.exceptions.NoScriptError:
            error = _Unknown()
        except redis.exceptions.ResponseError as refusal:
            # Redis is there, and refuses: it is full, or it is still loading.
            error = self._note(refusal)
        except (redis.RedisError, OSError) as failure:
            with self._sending:
                if connection is self._connection:
                    self._lost(failure)
            return
        with self._sending:
            if connection is self._connection:
                self._settle(value, error)

    def _settle(self, value: Any, error: Exception | None) -> None:
        reply = self._waiting.popleft()
        reply.value, reply.error, reply.done = value, error, True

    def _lost(self, error: Exception) -> OSError:
        """Close the connection, and return the error, which all waiting commands get. The caller holds `_sending`."""
        self.close()
        told = self._rest(error)
        while self._waiting:
            self._settle(None, told)
        return told

    def _rest(self, error: Exception) -> OSError:
        self._resting_until = self._clock() + _REST
        return self._note(error)

    def _note(self, error: Exception) -> OSError:
        """Log a failure unless that was done in the last minute, and return it as an OSError."""
        now = self._clock()
        self._failing = True
        if now - self._logged_at >= _LOG_EVERY:
            self._logged_at = now
            errorlog.line("error", f"the cluster's Redis fails, this machine decides alone: {error or type(error).__name__}")
        return OSError(f"Redis: {error}")

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


class _Unknown(Exception):
    """Redis does not know the digest of a script."""


def _class_of(options: dict[str, Any]) -> Any:
    """Take the class of connection out of the options of `parse_address`."""
    from redis.backoff import NoBackoff
    from redis.connection import Connection
    from redis.retry import Retry

    options["retry"] = Retry(NoBackoff(), 0)
    return options.pop("connection_class", Connection)
