"""Verdicts about responses at a fixed time, for the tests of RFC 9111."""

from wsgi_proxy.cache import rfc9111 as fr
from wsgi_proxy.http.dates import format_date

NOW = 1_700_000_000.0
DATE = ("Date", format_date(int(NOW)))


def judge(*response, status=200, method="GET", request=(), sent=NOW, received=NOW, dated=True, **rules):
    pairs = [*response, DATE] if dated else list(response)
    return fr.judge(method, list(request), status, pairs, sent, received, fr.Rules(**rules))


def cc(value, *more, **keys):
    return judge(("Cache-Control", value), *more, **keys)


def expires(offset):
    return ("Expires", format_date(int(NOW + offset)))


ETAG = ("ETag", '"a"')
