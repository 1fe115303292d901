"""One worker's connection to the cluster's Redis.

Rules:
- A worker has one connection, made at the first use. The requests of its greenlets or threads share it: each writes its command,
  and one of the waiting requests reads the replies in order.
- No request waits longer than the configured timeout for its reply. A late reply is read and dropped by a later request; until
  then Redis is not asked. A connection without a reply for a second is closed, and Redis is asked again a second later.
- A failure is an OSError for the caller, which decides alone. A machine logs one line a minute, and one when Redis answers again.
- Commands reach Redis in the order of `begin` and `post`, and each counts in `failures` if its effect is unknown.
- A server that is no longer the one with the data (a replica after a failover, a node of Redis Cluster that has given the keys
  away) counts as a failed connection, so that the next connection finds the right one.
- A script is sent whole at its first use on a connection, and by its digest afterwards.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..logs import errorlog
from .address import Address

if TYPE_CHECKING:
    from ..config import Cluster

_REST: Final = 1.0
"""Seconds without a reply after which a connection is closed, and seconds after a failure in which no new one is made."""
_HANDSHAKE: Final = 1.0
"""Seconds for a step of the handshake, which no request waits for."""
_LOG_EVERY: Final = 60.0
"""Seconds between two lines about the same failure."""


class Script:
    """A Lua script and the SHA-1 digest by which Redis knows it."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Reply:
    """The place of one command's reply. `sent` is the time of the command, by the link's clock."""

    __slots__ = ("done", "error", "sent", "value")

    def __init__(self, sent: float) -> None:
        self.sent = sent
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None


class UnknownScript(OSError):
    """Redis has forgotten a script (a restart, SCRIPT FLUSH) and has not run it."""


class Link:
    """The connection of this process. `clock` returns the seconds of a monotonic clock."""

    def __init__(
        self, settings: Cluster, clock: Callable[[], float] = time.monotonic, logged_at: memoryview[int] | list[int] | None = None
    ) -> None:
        """`logged_at` has one number, the second of the last line about a failure, which the workers of a machine may share."""
        self.prefix = f"wsgi-proxy:{{{settings.name}}}"
        self.failures = 0
        """The number of failures so far. State in Redis that a worker keeps current is in doubt after each."""
        self._address = Address(settings.address, self.prefix)
        self._timeout = settings.timeout
        self._clock = clock
        self._connection: Any = None
        self._opening: threading.Event | None = None
        self._opening_since = 0.0
        self._known: set[str] = set()
        """The digests of the scripts that this connection has sent whole."""
        self._waiting: deque[Reply] = deque()
        self._late_since: float | None = None
        """The time since which a reply is late; None if none is."""
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._resting_until = 0.0
        self._logged = False
        self._logged_at: memoryview[int] | list[int] = [0] if logged_at is None else logged_at

    def run(self, script: Script, keys: Sequence[bytes | str], arguments: Sequence[int | str]) -> Any:
        """Run a script and return its result. OSError if Redis fails, or rests after a failure."""
        try:
            return self.finish(self.begin(script, keys, arguments))
        except UnknownScript:
            return self.finish(self.begin(script, keys, arguments))

    def begin(self, script: Script, keys: Sequence[bytes | str], arguments: Sequence[int | str]) -> Reply:
        """Send a script and return the place of its reply, for `finish`. OSError as for `run`."""
        with self._sending:
            connection = self._ready()
            digest = script.digest
            known = digest in self._known
            how: list[bytes | str | int] = ["EVALSHA", digest] if known else ["EVAL", script.text]
            reply = Reply(self._clock())
            self._waiting.append(reply)
            try:
                connection.send_packed_command([_packed([*how, len(keys), *keys, *arguments])], check_health=False)
            except Exception as error:
                raise self._lost(error) from error
            self._known.add(digest)
        return reply

    def post(self, script: Script, keys: Sequence[bytes | str], arguments: Sequence[int | str]) -> None:
        """Send a script and do not wait for its result. A failure increments `failures`."""
        try:
            self.begin(script, keys, arguments)
        except OSError:
            # `begin` has counted a failed connection; a command that was not sent leaves Redis out of date as well.
            self.failures += 1

    def finish(self, reply: Reply) -> Any:
        """Wait for a reply and return its value. OSError if it fails or is late; UnknownScript if the script was not run."""
        with self._reading:
            while not reply.done:
                self._read(reply)
        if reply.error is not None:
            raise reply.error
        if self._logged:
            self._logged = False
            errorlog.line("notice", "the cluster's Redis answers again")
        return reply.value

    # --- the connection -------------------------------------------------------------------------------------------------

    def _ready(self) -> Any:
        """Return the connection if a command may be sent now, else raise OSError. The caller holds `_sending`."""
        if self._late_since is not None:
            self._drain()
        if self._connection is None:
            now = self._clock()
            if now < self._resting_until:
                raise OSError("Redis did not answer a moment ago")
            opened = self._opening
            if opened is None:
                opened = self._opening = threading.Event()
                self._opening_since = now
                threading.Thread(target=self._open, args=(opened,), daemon=True).start()
            opened.wait(max(0.0, self._opening_since + self._timeout - now))
            if self._connection is None:
                raise self._note(OSError(f"no connection within {self._timeout * 1000:.0f} ms"))
        return self._connection

    def _open(self, opened: threading.Event) -> None:
        """Connect. It runs beside the requests, because resolving a name has no timeout."""
        try:
            patience = max(self._timeout, _HANDSHAKE)
            connection = self._address.connect(patience)
        except Exception as error:
            self._rest(error)
        else:
            self._known = set()
            self._connection = connection
        finally:
            self._opening = None
            opened.set()

    def _read(self, wanted: Reply) -> None:
        """Read the next reply, until `wanted` is late. A failure is the reply of all that wait. The caller holds `_reading`."""
        import redis

        connection = self._connection
        try:
            if connection is None:
                raise OSError("the connection was closed")
            left = wanted.sent + self._timeout - self._clock()
            # A busy process may find its timeout and the reply together.
            if not connection.can_read(max(left, 0.0)) and not connection.can_read(0):
                self._be_late()
                return
            value, error = self._receive(connection)
        except (redis.RedisError, OSError, ValueError) as failure:  # ValueError: a socket that was closed meanwhile
            with self._sending:
                if connection is self._connection:
                    self._lost(failure)
            return
        with self._sending:
            if connection is self._connection:
                _settle(self._waiting.popleft(), value, error)

    def _receive(self, connection: Any) -> tuple[Any, Exception | None]:
        """Read one reply: its value, or Redis's refusal. Raise the errors of the connection."""
        import redis

        try:
            return connection.read_response(disconnect_on_error=False), None
        except redis.exceptions.NoScriptError:
            self._known.clear()
            self.failures += 1
            return None, UnknownScript("Redis does not know the script")
        except (redis.exceptions.ReadOnlyError, redis.exceptions.AskError, redis.exceptions.ClusterDownError):
            # The data is at another server now: the connection is closed, and the next one finds it.
            raise
        except redis.exceptions.ResponseError as refusal:
            # Redis is there, and refuses: it is full, or it is still loading.
            return None, self._note(refusal)

    def _be_late(self) -> None:
        """Let all requests that wait decide alone. Their replies will be dropped when they come."""
        with self._sending:
            self._late_since = self._clock()
            error = self._note(OSError(f"no reply within {self._timeout * 1000:.0f} ms"))
            for reply in self._waiting:
                _settle(reply, None, error)

    def _drain(self) -> None:
        """Drop late replies that have come. OSError while one is missing. The caller holds `_sending`."""
        import redis

        if not self._reading.acquire(blocking=False):
            raise OSError("Redis is late")
        try:
            connection = self._connection
            while self._waiting and connection.can_read(0):
                self._receive(connection)
                self._waiting.popleft()
        except (redis.RedisError, OSError, ValueError) as failure:  # ValueError: a socket that was closed meanwhile
            raise self._lost(failure) from failure
        finally:
            self._reading.release()
        if not self._waiting:
            self._late_since = None
        elif self._late_since is not None and self._clock() - self._late_since >= _REST:
            raise self._lost(OSError(f"no reply within {_REST:.0f} s"))
        else:
            raise OSError("Redis is late")

    def _lost(self, error: Exception) -> OSError:
        """Close the connection, and return the error, which all waiting commands get. The caller holds `_sending`."""
        self.close()
        self._late_since = None
        told = self._rest(error)
        while self._waiting:
            _settle(self._waiting.popleft(), None, told)
        return told

    def _rest(self, error: Exception) -> OSError:
        self._resting_until = self._clock() + _REST
        return self._note(error)

    def _note(self, error: Exception) -> OSError:
        """Count a failure, log it unless that was done in the last minute, and return it as an OSError."""
        now = self._clock()
        self.failures += 1
        last = self._logged_at[0]
        if not last or now - last >= _LOG_EVERY:
            self._logged_at[0] = max(1, int(now))
            self._logged = True
            errorlog.line("error", f"the cluster's Redis fails, this machine decides alone: {error or type(error).__name__}")
        return OSError(f"Redis: {error}")

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


def _packed(parts: Sequence[bytes | str | int]) -> bytes:
    """Return a command in Redis's protocol, an array of bulk strings. redis-py's method takes three times as long."""
    packed = [b"*%d\r\n" % len(parts)]
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        packed.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(packed)


def _settle(reply: Reply, value: Any, error: Exception | None) -> None:
    reply.value, reply.error, reply.done = value, error, True
