"""Items found by their titles."""

import polars as pl
import pytest

from tfrecall.core.titles import item_of_title
from tfrecall.errors import DataError


def test_an_item_is_found_by_its_title_its_beginning_or_a_part() -> None:
    names = pl.Series(["Toy Story (1995)", "Alien", "Aliens  (1986)", "ALIEN ", "Straße"])
    ids = ["1", "2", "3", "4", "5"]
    assert item_of_title(" toy  story", names, ids) == "1"
    assert item_of_title("story", names, ids) == "1"
    assert item_of_title("aliens", names, ids) == "3"
    assert item_of_title("STRASSE", names, ids) == "5", "case folds beyond ASCII"


def test_accents_do_not_count_but_the_exact_title_comes_first() -> None:
    ids = ["1", "2", "3"]
    assert item_of_title("amelie", pl.Series(["Amélie (2001)", "Alien", "Emilia"]), ids) == "1"
    names = pl.Series(["Résumé", "Resume", "Resume Writing"])
    assert item_of_title("resume", names, ids) == "2"
    assert item_of_title("RÉSUMÉ", names, ids) == "1"
    # One letter, or a letter and its accent: both are one title.
    assert item_of_title("re\u0301sume\u0301 w", names, ids) == "3"
    with pytest.raises(DataError, match="2 items fit the title"):
        item_of_title("résume", names, ids)


def test_a_title_of_several_or_of_none_is_refused_with_what_there_is() -> None:
    names, ids = pl.Series(["Toy Story", "Alien", "ALIEN "]), ["1", "2", "3"]
    with pytest.raises(
        DataError, match=r'2 items fit the title .alien.: "Alien" \(2\); "ALIEN " \(3\)'
    ):
        item_of_title("alien", names, ids)
    with pytest.raises(DataError, match=r'No item has the title .Toy Stroy.. Did you mean "Toy Story"'):
        item_of_title("Toy Stroy", names, ids)
    with pytest.raises(DataError, match="No item has the title"):
        item_of_title("  ", names, ids)
    many = pl.Series([f"Alien {i}" for i in range(12)])
    with pytest.raises(DataError, match="and 2 more"):
        item_of_title("alien", many, [str(i) for i in range(12)])
