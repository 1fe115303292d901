"""HTTP/2 to clients (RFC 9113): frames, HPACK, streams and flow control, for one connection of ProxyWorker."""

from .connection import Http2Connection
from .frames import PREFACE

__all__ = ["PREFACE", "Http2Connection"]
