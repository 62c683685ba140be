import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from made_runs import made_metric

from ssl_runner.results.address import Address, address, read_address

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
VALUES = WORDS | st.integers(-99, 99) | st.floats(0, 1) | st.booleans() | st.none()
PLAIN = st.text("abcdefghij_", min_size=1, max_size=8)
APART = st.dictionaries(WORDS, VALUES | st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=3)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("linear.accuracy", Address("linear", "accuracy")),
        ("few_label.accuracy[labels=0.01]", Address("few_label", "accuracy", {"labels": 0.01})),
        ("layers.accuracy[layer=-2,split=val]", Address("layers", "accuracy", {"layer": -2, "split": "val"})),
        ("knn.accuracy{k=20}", Address("knn", "accuracy", {}, {"k": 20})),
        ("a.b[c=d]{on=stl10,views=[1,2]}", Address("a", "b", {"c": "d"}, {"on": "stl10", "views": (1, 2)})),
        ('a.b{path="x,y=[z]"}', Address("a", "b", {}, {"path": "x,y=[z]"})),
        ("pretext.mean error", Address("pretext", "mean error")),
    ],
)
def test_an_address_reads_back(written: str, meant: Address) -> None:
    assert read_address(written) == meant
    assert str(meant) == written


@example("_", "_", {'"0': None}, {'"0': '"'})  # a quote that begins a word, and none that ends it
@given(PLAIN, PLAIN, st.dictionaries(WORDS, VALUES, max_size=2), APART)
def test_any_address_reads_back(evaluator: str, metric: str, condition: dict, apart: dict) -> None:
    meant = Address(evaluator, metric, condition, apart)
    assert read_address(str(meant)) == meant


@pytest.mark.parametrize(
    "written", ["", "linear", "linear.accuracy[labels]", "linear.accuracy[a=1", "a.b{c}", "a.b[=1]"]
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a column"):
        read_address(written)


def test_the_split_is_part_of_the_condition_unless_it_is_test() -> None:
    assert str(address("linear", made_metric())) == "linear.accuracy"
    assert str(address("linear", made_metric(split="val", condition={"k": 1}))) == "linear.accuracy[k=1,split=val]"


def test_an_address_covers_those_that_are_told_apart_by_more() -> None:
    whole = Address("knn", "accuracy", {}, {"k": 20, "on": "stl10"})
    assert Address("knn", "accuracy").covers(whole)
    assert Address("knn", "accuracy", {}, {"k": 20}).covers(whole)
    assert not Address("knn", "accuracy", {}, {"k": 5}).covers(whole)
    assert not Address("knn", "accuracy", {"split": "val"}).covers(whole)
