"""dates: the three formats are read, any other text is None."""

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.http.dates import format_cookie_date, format_date, parse_date

NOW = 1_700_000_000.0
MOMENT = 784111777.0


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 nov 1994 08:49:37 gmt",
    ],
)
def test_the_three_forms_of_a_date(text):
    assert parse_date(text, NOW) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "",
        "foo",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 AEST",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 0\u0666 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date(text):
    assert parse_date(text, NOW) is None


def test_a_two_digit_year_lies_at_most_fifty_years_ahead():
    assert parse_date("Friday, 01-Jan-99 00:00:00 GMT", NOW) == calendar.timegm((1999, 1, 1, 0, 0, 0))
    assert parse_date("Friday, 01-Jan-40 00:00:00 GMT", NOW) == calendar.timegm((2040, 1, 1, 0, 0, 0))


@given(st.integers(0, 7_000_000_000))
def test_a_written_date_reads_back(seconds):
    text = format_date(seconds)
    assert parse_date(text, NOW) == seconds
    assert text == time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


@given(st.integers(0, 7_000_000_000))
def test_a_cookies_date_has_four_digits_of_a_year_from_2038_on(seconds):
    moment = time.gmtime(seconds)
    year = "%Y" if moment.tm_year >= 2038 else "%y"
    assert format_cookie_date(seconds) == time.strftime(f"%a, %d-%b-{year} %H:%M:%S GMT", moment)


@given(st.text())
def test_no_text_breaks_it(text):
    parse_date(text, NOW)
