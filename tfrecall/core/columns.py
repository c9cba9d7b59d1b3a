"""Canonical names of the columns of a log."""

USER = "user_id"
ITEM = "item_id"
TIMESTAMP = "timestamp"
