"""Feature specifications: plain forms, refusals, columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.errors import ConfigError, MissingColumnError
from tfrecall.schema.features import (
    Bucketized,
    Categorical,
    Custom,
    Day,
    History,
    MultiCategorical,
    Numeric,
    Schema,
    Text,
    Vector,
    feature_from_dict,
    feature_to_dict,
    schema_from_dict,
    schema_to_dict,
)

columns = st.from_regex("[A-Za-z][A-Za-z0-9_]{0,5}", fullmatch=True)
counts = st.integers(3, 1000)
FEATURES = st.one_of(
    st.builds(
        Categorical,
        columns,
        counts,
        unknown_rate=st.floats(0, 0.9),
        max_tokens=counts,
        prefix=st.none() | counts,
    ),
    st.builds(MultiCategorical, columns, counts),
    st.builds(Numeric, columns),
    st.builds(Bucketized, columns, counts, method=st.sampled_from(["quantile", "equal_width"])),
    st.builds(Day, columns, counts, per=st.none() | columns),
    st.builds(Text, columns, counts, counts),
    st.builds(Vector, columns, counts, st.none() | counts, normalize=st.booleans()),
    st.builds(
        Custom,
        columns,
        st.just("shop>Layer"),
        counts,
        form=st.sampled_from(["string", "strings", "number", "vector"]),
        settings=st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.text(max_size=2))),
    ),
)


@given(FEATURES)
def test_a_feature_survives_its_plain_form(feature):
    copy = feature_from_dict(feature_to_dict(feature))
    assert copy == feature
    assert hash(copy) == hash(feature)


def test_a_schema_survives_its_plain_form():
    schema = Schema(
        query=[Categorical("user_id"), Bucketized("timestamp", 10), Numeric("timestamp")],
        candidate=[Categorical("title", max_tokens=5), Text("title")],
        candidate_id="title",
    )
    assert schema_from_dict(schema_to_dict(schema)) == schema
    assert schema_from_dict(schema) is schema


def test_columns_are_listed_once_in_order():
    schema = Schema(
        query=[Numeric("b"), Categorical("a"), Bucketized("b")], candidate=[Categorical("c")]
    )
    assert schema.query_columns == ["b", "a"]
    assert schema.candidate_columns == ["c"]


@pytest.mark.parametrize(
    "construct",
    [
        lambda: Categorical("user_id", embeding_dim=3),
        lambda: feature_from_dict({"type": "categorical", "column": "a", "embeding_dim": 3}),
        lambda: schema_from_dict(
            {
                "query": [{"type": "categorical", "column": "a", "embeding_dim": 3}],
                "candidate": [{"type": "text", "column": "a"}],
            }
        ),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(construct):
    with pytest.raises(ConfigError, match=r'no setting "embeding_dim". Did you mean "embedding_dim"'):
        construct()


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: Categorical("a", 0), "embedding_dim|1.*greater than 0. Received: 0"),
        (lambda: Categorical("a", unknown_rate=1), "unknown_rate.*less than 1. Received: 1"),
        (lambda: Bucketized("a", 1), "greater than or equal to 2. Received: 1"),
        (lambda: Bucketized("a", method="log"), "'quantile' or 'equal_width'. Received: 'log'"),
        (lambda: Categorical(), "`column` is missing"),
        (lambda: feature_from_dict({"type": "date", "column": "a"}), "'categorical'"),
        (lambda: feature_from_dict({"column": "a"}), "discriminator"),
    ],
)
def test_settings_that_make_no_sense_are_refused(construct, message):
    with pytest.raises(ConfigError, match=message):
        construct()


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_a_tower_without_features_is_refused(side):
    features = {"query": [Categorical("a")], "candidate": [Categorical("a")], side: []}
    with pytest.raises(ConfigError, match=f"^A schema needs at least one {side} feature"):
        Schema(**features)


def test_the_same_feature_twice_is_refused():
    with pytest.raises(ConfigError, match="twice"):
        Schema(query=[Numeric("a"), Numeric("a")], candidate=[Categorical("b")])


def test_one_column_bucketized_in_two_ways_is_no_repetition():
    Schema(query=[Bucketized("a", 5), Bucketized("a", 50)], candidate=[Categorical("b")])


def test_one_column_as_number_and_as_string_is_refused():
    with pytest.raises(ConfigError, match='"age" is read as a number by Numeric and as a string'):
        Schema(query=[Numeric("age"), Categorical("age")], candidate=[Categorical("b")])


def test_both_towers_may_read_a_column_each_in_its_own_form():
    Schema(query=[Numeric("year")], candidate=[Categorical("year")])


def test_missing_columns_are_named_with_the_nearest():
    schema = Schema(query=[Categorical("user_id")], candidate=[Text("title")])
    with pytest.raises(MissingColumnError, match=r'"user_id".*Did you mean "userid"'):
        schema.check_query(["userid", "timestamp"])
    with pytest.raises(MissingColumnError, match=r'"title".*Did you mean "titles"'):
        schema.check_candidate(["titles", "item_id"])
    with pytest.raises(MissingColumnError, match='"item_id"'):  # the name of the candidate
        schema.check_candidate(["title"])


@pytest.mark.parametrize(
    ("column", "better"), [("Age (years)", "Age_years"), ("_id", "id"), ("år", "r"), ("", "feature")]
)
def test_a_column_that_cannot_name_an_argument_is_refused_with_a_name_that_can(column, better):
    with pytest.raises(ConfigError, match=f'Rename it to "{better}"'):
        Numeric(column)
    with pytest.raises(ConfigError, match=f'Rename it to "{better}"'):
        feature_from_dict({"type": "numeric", "column": column})


def test_a_query_feature_may_not_take_the_name_of_another_argument():
    with pytest.raises(ConfigError, match='cannot be called "exclude"'):
        Schema(query=[Categorical("exclude")], candidate=[Categorical("item_id")])
    Schema(query=[Categorical("user_id")], candidate=[Categorical("k")])


# Histories with context


def test_context_of_one_list_is_that_of_all_its_readers():
    schema = Schema(
        query=[
            History("history", context=("rating",)),
            History("history", Categorical("group"), context=("gap", "rating")),
            History("liked", min_rating=4),
        ],
        candidate=[Categorical("item_id")],
    )
    assert schema.contexts == {"history": ("rating", "gap")}
    assert schema.histories["history"].context == ("rating", "gap")
    assert schema.history_columns == ["history", "liked", "history_rating", "history_gap"]
    assert schema_from_dict(schema_to_dict(schema)) == schema


def test_context_is_read_from_plain_lists():
    feature = feature_from_dict({"type": "history", "context": ["rating", "gap"]})
    assert feature.context_columns == {"rating": "history_rating", "gap": "history_gap"}


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: History(context=("gap", "gap")), "must be distinct names"),
        (lambda: History(context=("Age (years)",)), 'Rename it to "Age_years"'),
        (
            lambda: Schema(
                query=[History("h", context=("rating",)), Categorical("h_rating")],
                candidate=[Categorical("item_id")],
            ),
            '"h_rating" would be both a query feature and the context "rating"',
        ),
        (
            lambda: Schema(
                query=[History("a", context=("b_c",)), History("a_b", context=("c",))],
                candidate=[Categorical("item_id")],
            ),
            '"a_b_c" would be both the context "b_c" of the history "a" and the context "c"',
        ),
    ],
)
def test_context_that_cannot_be_named_is_refused(construct, message):
    with pytest.raises(ConfigError, match=message):
        construct()


def test_a_log_without_a_column_of_the_context_is_refused():
    schema = Schema(query=[History("h", context=("gap", "rating"))], candidate=[Categorical("item_id")])
    schema.check_query(["user_id", "rating"])
    with pytest.raises(MissingColumnError, match=r'"rating".*Did you mean "ratings"'):
        schema.check_query(["user_id", "ratings"])


def test_a_dataset_holds_the_lists_themselves():
    schema = Schema(query=[History("h", context=("gap",))], candidate=[Categorical("item_id")])
    schema.check_query(["h", "h_gap"], of_log=False)
    with pytest.raises(MissingColumnError, match='"h_gap", but the dataset has only: h, rating'):
        schema.check_query(["h", "rating"], of_log=False)


def test_vectors_of_one_column_are_equally_long():
    with pytest.raises(ConfigError, match="a vector of 3 numbers and as one of 4"):
        Schema(query=[Vector("taste", 3), Vector("taste", 4)], candidate=[Categorical("item_id")])


def test_days_of_a_column_that_is_no_feature_are_refused():
    Schema(query=[Categorical("user_id"), Day(per="user_id")], candidate=[Categorical("item_id")])
    with pytest.raises(ConfigError, match=r'apart by "user_idd".*Did you mean "user_id"'):
        Schema(query=[Categorical("user_id"), Day(per="user_idd")], candidate=[Categorical("item_id")])
