"""Check of comparability: releases made from the same data and tested on the same test rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfrecall.config.recipes import config_from_dict
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.seen import Seen
from tfrecall.data.fingerprint import fingerprint
from tfrecall.errors import ReleaseError
from tfrecall.release.base import Release
from tfrecall.release.manifest import documents
from tfrecall.runs.preparation import DataSplits, check_answerable, prepare
from tfrecall.schema.baselines import BASELINES

# Sections that determine the training and test rows.
_SECTIONS = ("data", "filters", "split")
_EVENT = ("user_id", "item_id", "timestamp")


@dataclass(frozen=True)
class _Run:
    """A release with the settings that choose its rows."""

    name: str
    config: RunConfig
    choice: dict[str, Any]
    facts: dict[str, Any]


def comparable(
    releases: dict[str, Release],
    data: dict[str, Any] | None = None,
    progress: ProgressReporter | None = None,
) -> tuple[DataSplits, RunConfig]:
    """Prepare the test rows that all releases share.

    The data are read and split with the settings of the first release; the others must agree with it.

    A release without a configuration, such as a baseline exported in Python, has no test rows of its own:
    it is comparable if it was trained on the same rows as the others.

    Args:
        releases: name -> release.
        data: settings of `[data]` that replace those of the runs, where files have moved.
        progress: receives the notes of the preparation.

    Returns:
        The rows, and the configuration of the first release that has one.

    Raises:
        ReleaseError: if no test rows are known, or two releases differ in their training data or test
            rows, naming the difference.
    """
    progress = progress or LogProgress()
    # Baselines exported in Python have no configuration, so they name no test rows.
    loose = {name: one for name, one in releases.items() if "config" not in one.manifest}
    runs = [_run_of(name, one, data or {}) for name, one in releases.items() if name not in loose]
    for name, release in loose.items():
        _check_loose(name, release, runs)
    first, *others = runs
    for other in others:
        if first.facts.get("fingerprint") != other.facts.get("fingerprint"):
            raise ReleaseError(_other_data(first, other))
    for one in runs:
        check_answerable(one.config, one.name)
    splits = prepare(first.config, progress)
    # The releases agree with one another, but the files may have changed since: a note, not an error,
    # as the comparison is fair all the same.
    if splits.known.fingerprint != first.facts.get("fingerprint"):
        progress.warning("These are not the data of the runs: the test rows may be others.")
    for other in others:
        # Settings may differ and give the same rows, such as two spellings of one path. Only then is the
        # data read a second time, to compare the rows themselves.
        if other.choice != first.choice:
            _check_test(first, splits, other, prepare(other.config, ProgressReporter()))
    return splits, first.config


def _run_of(name: str, release: Release, data: dict[str, Any]) -> _Run:
    values = dict(release.manifest["config"])
    values["data"] = {**values["data"], **data}
    config = config_from_dict(values, name)
    plain = config.to_dict()
    choice = {section: plain[section] for section in _SECTIONS}
    return _Run(name, config, choice, release.manifest.get("data", {}))


def _check_loose(name: str, release: Release, runs: list[_Run]) -> None:
    """Refuse a release without a configuration unless it was trained on the rows of the others."""
    facts = release.manifest.get("data", {})
    if runs and facts.get("fingerprint", "none") == runs[0].facts.get("fingerprint"):
        return
    reason = f"{name} was exported without a configuration, so its test rows are not known"
    if runs and "fingerprint" in facts:
        rows = [one.get("train_rows") for one in (facts, runs[0].facts)]
        reason += (
            f", and it did not learn from the same data as {runs[0].name}: train_rows "
            f"{rows[0]} against {rows[1]}"
        )
    baseline = release.manifest.get("model", {}).get("name")
    if release.manifest.get("kind") == "baseline" and baseline in BASELINES:
        raise ReleaseError(
            f"{reason}. Leave it out and say `--baseline {baseline}` beside a release that a run made, which "
            "fits it, with its defaults, to the rows of that release."
        )
    raise ReleaseError(
        f"{reason}. Judge it in Python with `tfrecall.compare(releases, test, seen=train)`."
    )


def _other_data(first: _Run, other: _Run) -> str:
    differences = "; ".join(_differences(first, other)) or (
        "their settings do not differ, so the files have changed between the runs"
    )
    return (
        f"{first.name} and {other.name} did not learn from the same data: {differences}. Run both on the same "
        "data and split, or judge each with `tfrecall evaluate`."
    )


def _check_test(first: _Run, ours: DataSplits, other: _Run, theirs: DataSplits) -> None:
    one, two = (part.test.log.select(_EVENT) for part in (ours, theirs))
    if fingerprint(one) == fingerprint(two):
        return
    common = one.join(two, on=list(_EVENT), how="semi").height
    differences = "; ".join(_differences(first, other))
    raise ReleaseError(
        f"{first.name} and {other.name} were not judged by the same test rows: {differences}. That gives "
        f"{one.height:,} and {two.height:,} test rows, {common:,} of the first also among the second. "
        "Run both with the same split and filters."
    )


def _differences(first: _Run, other: _Run) -> Iterator[str]:
    """Settings and counts that differ between two releases, in words."""
    for section in _SECTIONS:
        ours, theirs = first.choice[section], other.choice[section]
        for key in dict.fromkeys([*ours, *theirs]):
            if ours.get(key) != theirs.get(key):
                yield (
                    f"{section}.{key} is {ours.get(key, 'not set')} in {first.name} and "
                    f"{theirs.get(key, 'not set')} in {other.name}"
                )
    for key in ("train_rows", "test_rows", "users", "items"):
        if first.facts.get(key) != other.facts.get(key):
            yield f"{key} {first.facts.get(key)} against {other.facts.get(key)}"


def rule_of_run(release: Release) -> str:
    """The rule that leads the figures of a release's run, `seen_removed` or `seen_kept`.

    A release without a run, such as a saved baseline, leads with the rule of its answers.
    """
    try:
        return json.loads(documents(release.root, release.manifest)["metrics.json"])["leading"]
    except (ValueError, KeyError):
        return Seen.of(release.exclude_seen).value
