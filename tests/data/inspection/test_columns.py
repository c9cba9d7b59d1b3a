"""Columns of logs that people have, found by name, by the tables and by content."""

import polars as pl
import pytest

from tfrecall.core.arguments import command_line
from tfrecall.data.inspection.columns import find_columns, words_of
from tfrecall.errors import DataError, MissingColumnError

TIMES = ["2024-05-31", "2024-06-01", "2024-06-02"]
EPOCH = [1_700_000_000, 1_700_000_100, 1_700_000_200]
IDS = [7, 8, 7]

# Headers of public data sets and of shops, with the user, item and time that a person would name.
HEADERS = {
    "user_id,item_id,rating,timestamp": ("user_id", "item_id", "timestamp"),
    "userId,movieId,rating,timestamp": ("userId", "movieId", "timestamp"),
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country": (
        "CustomerID",
        "StockCode",
        "InvoiceDate",
    ),
    "t_dat,customer_id,article_id,price,sales_channel_id": ("customer_id", "article_id", "t_dat"),
    "timestamp,visitorid,event,itemid,transactionid": ("visitorid", "itemid", "timestamp"),
    "reviewerID,asin,overall,unixReviewTime": ("reviewerID", "asin", "unixReviewTime"),
    "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY": ("household_key", "PRODUCT_ID", "DAY"),
    "event_time,event_type,product_id,category_id,price,user_id,user_session": (
        "user_id",
        "product_id",
        "event_time",
    ),
    "customer,sku,purchased_at,qty": ("customer", "sku", "purchased_at"),
    "User-ID,ISBN,Book-Rating,date": ("User-ID", "ISBN", "date"),
    "member id,Product Code,Order Date": ("member id", "Product Code", "Order Date"),
    "Kundennummer,Artikelnummer,Bezeichnung,date": ("Kundennummer", "Artikelnummer", "date"),
    "KundenNr,ArtikelNr,Filiale,date": ("KundenNr", "ArtikelNr", "date"),
    "loyalty,reader_card,isbn,date": ("reader_card", "isbn", "date"),
    "customer_name,customer_id,product_name,product_id,created_at": (
        "customer_id",
        "product_id",
        "created_at",
    ),
}


def log(header):
    """Rows under a header; what names a time holds dates."""
    names = header.split(",")
    times = ("time", "date", "dat", "timestamp", "at", "day", "reviewtime")
    return pl.DataFrame(
        {name: TIMES if words_of(name)[-1] in times else IDS for name in names}, strict=False
    )


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_people_have_are_understood(header):
    found = find_columns(log(header))
    assert found.columns[:3] == HEADERS[header]
    defaults = {"user_id", "item_id", "timestamp"}
    guessed = set(HEADERS[header]) - defaults
    assert sum(
        "is taken from" in message for message in found.messages if "rating" not in message
    ) == len(guessed)


def test_a_guess_is_said_with_the_option_that_names_another():
    found = find_columns(log("household_key,sku,when"), {"timestamp": "when"})
    assert found.columns[:3] == ("household_key", "sku", "when")
    assert found.messages[0] == (
        'The user is taken from the column "household_key", by its name; `user_id` names another.'
    )
    assert not any("when" in message for message in found.messages)  # a name that was given is no guess


def test_a_name_that_was_given_must_be_there():
    with pytest.raises(MissingColumnError, match=r'no column "houshold".*mean "household".*user_id='):
        find_columns(log("household,sku,date"), {"user_id": "houshold"})


@pytest.mark.parametrize(
    ("header", "word", "candidates"),
    [
        ("customer_id,visitor_id,sku,date", "user", '"customer_id", "visitor_id"'),
        ("customer_id,product_id,movie_id,date", "item", '"product_id", "movie_id"'),
        ("customer_id,sku,order_date,delivery_date", "time", '"order_date", "delivery_date"'),
    ],
)
def test_several_candidates_are_refused_with_their_names(header, word, candidates):
    with pytest.raises(DataError, match=f"could be the {word}: {candidates}. Name the one that is: `"):
        find_columns(log(header))


def test_a_table_decides_between_candidates():
    items = pl.DataFrame({"movie_id": [7, 8], "title": ["A", "B"]})
    found = find_columns(log("customer_id,product_id,movie_id,date"), items=items)
    assert found.columns.item_id == "movie_id"


def test_a_table_names_the_item_where_the_name_says_nothing():
    items = pl.DataFrame({"thing": [7, 8], "title": ["A", "B"]})
    found = find_columns(log("customer_id,thing,other,date"), items=items)
    assert found.columns.item_id == "thing"
    assert "which is the key of the item table" in " ".join(found.messages)


def test_the_last_column_of_ids_is_the_item():
    frame = pl.DataFrame(
        {"customer_id": IDS, "zeug": ["a", "a", "b"], "zeit": EPOCH, "text": list("xyz")}
    )
    assert find_columns(frame).columns[:3] == ("customer_id", "zeug", "zeit")


def test_of_other_columns_the_one_that_is_called_an_id_is_the_item():
    frame = pl.DataFrame({"customer_id": IDS, "land": list("aab"), "ding_nr": list("xyx"), "ts": EPOCH})
    assert find_columns(frame).columns.item_id == "ding_nr"
    with pytest.raises(DataError, match='could be the item: "land", "ding"'):
        find_columns(frame.rename({"ding_nr": "ding"}))


def test_a_column_of_few_values_beside_one_of_many_is_no_user():
    n = 400
    # 4 values of 80 are 5 %, 3 are fewer.
    frame = pl.DataFrame(
        {"holder": [f"h{i % 80}" for i in range(n)], "isbn": [f"b{i % 50}" for i in range(n)]}
    )
    frame = frame.with_columns(ts=pl.int_range(n) + EPOCH[0], branch=pl.int_range(n) % 3)
    assert find_columns(frame).columns.user_id == "holder"
    with pytest.raises(DataError, match='could be the user: "holder", "branch"'):
        find_columns(frame.with_columns(branch=pl.int_range(n) % 4))


def test_two_columns_of_ids_without_a_name_are_not_told_apart():
    frame = pl.DataFrame({"wer": ["a", "a", "b"], "was": ["x", "y", "x"], "timestamp": EPOCH})
    with pytest.raises(
        MissingColumnError,
        match=r"the user or the item\. Its columns: wer, was, timestamp\. Name `user_id` and `item_id`\.",
    ):
        find_columns(frame)
    # Both are named at once, as options on the command line; the one that is known is not.
    with (
        command_line(),
        pytest.raises(MissingColumnError, match=r"looks like the item\. .* Name --item-column\."),
    ):
        find_columns(frame.drop("was"), {"user_id": "wer"})


def test_of_date_and_time_of_day_the_one_that_is_a_time_is_taken():
    frame = pl.DataFrame({"user": IDS, "item": IDS, "date": TIMES, "time": ["12:30", "12:31", "12:32"]})
    found = find_columns(frame)
    assert found.columns.timestamp == "date"
    assert 'The column "time" holds hours, which are not read' in found.messages[-1]
    # Whole moments, or no hours beside the days: nothing to join.
    for other in (frame.drop("time"), frame.with_columns(date=pl.col("date") + " 08:00")):
        assert not any("hours" in text for text in find_columns(other).messages)


def test_fields_of_nested_json_are_ids_or_properties_by_their_names():
    frame = pl.DataFrame({"user_id": IDS, "user_age": [30, 41, 30], "item_sku": IDS, "at": TIMES})
    assert find_columns(frame).columns[:3] == ("user_id", "item_sku", "at")
    # A property of the user is no item, even if nothing else is one.
    named = frame.rename({"item_sku": "ding_nr"})
    assert find_columns(named).columns.item_id == "ding_nr"
    with pytest.raises(MissingColumnError, match="looks like the item"):
        find_columns(frame.drop("item_sku"))


def test_a_log_without_times_is_in_the_order_of_the_file():
    found = find_columns(pl.DataFrame({"user": IDS, "item": IDS, "price": [1, 2, 3]}))
    assert found.columns.timestamp == ""
    assert "the order of the file" in found.messages[-1]


def test_ratings_are_numbers_without_nulls_and_are_left_out_in_doubt():
    frame = pl.DataFrame({"user_id": IDS, "item_id": IDS, "timestamp": EPOCH, "stars": [1.0, 2.0, 3.0]})
    assert find_columns(frame).columns.rating == "stars"
    both = frame.with_columns(score=pl.col("stars"))
    found = find_columns(both)
    assert found.columns.rating is None
    assert found.messages == ('No rating is read: "stars", "score" could be it; `rating` names it.',)


def test_quantities_are_no_weights_unless_they_are_named():
    frame = pl.DataFrame({"user_id": IDS, "item_id": IDS, "timestamp": EPOCH, "quantity": [1, 2, 3]})
    assert find_columns(frame).columns.weight is None
    assert find_columns(frame, {"weight": "quantity"}).columns.weight == "quantity"
