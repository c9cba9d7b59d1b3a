"""Inspection of a log before training: columns, statistics, advice (`tr.data.describe`)."""
