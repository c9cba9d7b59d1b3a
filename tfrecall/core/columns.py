"""Canonical names of the columns of a log."""

USER = "user_id"
ITEM = "item_id"
TIMESTAMP = "timestamp"
# Of queries alone: the moment for which the answer is asked, in seconds since 1970.
REQUEST_TIME = "request_time"
# Of queries alone: the number of the user's events that come before, in a log that holds the asked one, too.
EVENTS_BEFORE = "events_before"
# Of answers alone: whether an item had no event in training.
COLD = "cold"
