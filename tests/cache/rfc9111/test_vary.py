"""Vary: the requests that share a stored response."""

from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.cache.rfc9111.vary import selection_of, spec_of


def test_a_spec_has_each_name_once_whatever_the_lines_and_case():
    assert spec_of([("vary", "B, a"), ("Vary", ",A,,")]) == ("a", "b")
    assert spec_of([("X", "a")]) == ()


def test_absent_and_empty_differ():
    assert selection_of([("A", "")], ("a",)) == ("",)
    assert selection_of([], ("a",)) == (None,)


def test_lines_count_together_in_their_order():
    both = selection_of([("A", "1"), ("a", " 2 ")], ("a",))
    assert both == selection_of([("a", "1, 2")], ("a",))
    assert both != selection_of([("a", "2, 1")], ("a",))


def test_only_what_means_the_same_counts_as_the_same():
    def of(name, value):
        return selection_of([(name, value)], (name.lower(),))

    assert of("Accept-Language", "EN, de ;q=1") != of("Accept-Language", "en,de;q=1")
    assert of("Accept-Language", "EN,de") == of("Accept-Language", "en ,  de,")
    assert of("Accept-Language", "en, de") != of("Accept-Language", "de, en")
    assert of("Accept-Encoding", "gzip, br") == of("Accept-Encoding", "br,GZIP")
    assert of("Foo", "A") != of("Foo", "a")
    assert of("Foo", "a,b") != of("Foo", "a, b")


names = st.sampled_from(["A", "b", "Accept-Encoding", "Accept-Language", "Cookie"])
pairs = st.lists(st.tuples(names, st.text("abcAB,; =", max_size=8)), max_size=6)


@given(pairs, st.lists(names))
def test_a_selection_depends_on_the_named_fields_alone(request, vary):
    spec = spec_of([("Vary", ", ".join(vary))])
    selection = selection_of(request, spec)
    assert len(selection) == len(spec)
    named = [pair for pair in request if pair[0].lower() in spec]
    assert selection == selection_of([("X", "1"), *named, ("Y", "2")], spec)
    # The order of fields of different names does not matter.
    assert selection == selection_of(sorted(named, key=lambda pair: pair[0].lower()), spec)


@given(pairs)
def test_a_selection_is_stable_under_itself(request):
    spec = spec_of([("Vary", "a, b, accept-encoding, accept-language, cookie")])
    selection = selection_of(request, spec)
    again = [(name, value) for name, value in zip(spec, selection, strict=True) if value is not None]
    assert selection_of(again, spec) == selection
