"""Certificates and TLS contexts, for clients and for upstreams."""

from .check import certificates_of, faults_of, warnings_of
from .client import forget, upstream_context
from .server import listener_context

__all__ = ["certificates_of", "faults_of", "forget", "listener_context", "upstream_context", "warnings_of"]
