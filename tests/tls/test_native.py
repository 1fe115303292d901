"""OpenSSL's functions behind Python's contexts."""

from __future__ import annotations

import ssl

import pytest

from wsgi_proxy.tls import native


def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_the_library_of_this_python_is_found() -> None:
    assert native.available()


def test_a_context_that_openssl_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ssl.SSLContext):
        """A context whose options are not those that OpenSSL reports."""

        @property  # type: ignore[misc]
        def options(self) -> int:
            return 12345

    with pytest.raises(ValueError, match="gives no access"):
        native.set_groups(Other(ssl.PROTOCOL_TLS_SERVER), "X25519")
    monkeypatch.setattr("sys.implementation.name", "other")
    assert not native.available()
    with pytest.raises(ValueError, match="gives no access"):
        native.configure(context(), (("MinProtocol", "TLSv1.3"),), server=True)
    native.configure(context(), (), server=True)


def test_groups() -> None:
    native.set_groups(context(), "X25519:prime256v1")
    with pytest.raises(ValueError, match="unknown curve"):
        native.set_groups(context(), "nosuch")


@pytest.mark.parametrize("names", ["?Nonsense", "?Nonsense:Other", "Nonsense:?X25519", ""])
def test_a_list_without_a_known_group_is_refused(names: str) -> None:
    with pytest.raises(ValueError, match="unknown curve"):
        native.set_groups(context(), names)
