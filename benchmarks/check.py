"""Runs the benchmarks and compares what they print with `ratios.json`.

    python -m benchmarks.check                       all of them
    python -m benchmarks.check training evaluation   some
    python -m benchmarks.check --update              measure, and write the figures down

Exits with 1 and names each figure that is worse than the one on record by more than its noise.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RATIOS = Path(__file__).parent / "ratios.json"
# A check need not wait for the tutorial's model to learn.
ARGUMENTS = {"time_to_quality": ["--limit-seconds", "30"]}


@dataclass(frozen=True)
class Guard:
    """A figure on record.

    Attributes:
        name: `benchmark.figure`, as the line of the benchmark calls it.
        value: what was measured.
        noise: share of the value that it differs by from run to run.
        better: `higher` or `lower`.
        bar: what it has to be at least, or at most; None for a figure that only should not fall.
    """

    name: str
    value: float
    noise: float
    better: str
    bar: float | None = None


@dataclass(frozen=True)
class Verdict:
    """A guard and what was measured now; None if the benchmark gave no such figure."""

    guard: Guard
    measured: float | None

    @property
    def fell(self) -> bool:
        """Whether it is worse than on record by more than its noise, or missing."""
        if self.measured is None:
            return True
        change = self.measured / self.guard.value - 1
        return (change if self.guard.better == "lower" else -change) > self.guard.noise

    @property
    def passes_bar(self) -> bool:
        """Whether it is as good as it has to be."""
        if self.guard.bar is None or self.measured is None:
            return self.measured is not None
        if self.guard.better == "lower":
            return self.measured <= self.guard.bar
        return self.measured >= self.guard.bar


def load(path: Path = RATIOS) -> list[Guard]:
    """The figures on record."""
    return [Guard(name, **fields) for name, fields in json.loads(path.read_text("utf-8")).items()]


def save(guards: Iterable[Guard], path: Path = RATIOS) -> None:
    """Writes figures down."""
    fields = {
        one.name: {k: v for k, v in vars(one).items() if k != "name" and v is not None}
        for one in guards
    }
    path.write_text(json.dumps(fields, indent=2) + "\n", "utf-8")


def compare(guards: Iterable[Guard], lines: dict[str, dict[str, Any]]) -> list[Verdict]:
    """Looks up each guarded figure of the benchmarks that ran.

    Args:
        guards: the figures on record.
        lines: benchmark -> the line it printed; an empty one for a benchmark that failed.
    """
    verdicts = []
    for guard in guards:
        benchmark, figure = guard.name.split(".")
        if benchmark in lines:
            verdicts.append(Verdict(guard, lines[benchmark].get(figure)))
    return verdicts


def updated(guards: Iterable[Guard], verdicts: Iterable[Verdict]) -> list[Guard]:
    """The guards with the figures measured now; those that were not measured stay."""
    measured = {v.guard.name: v.measured for v in verdicts if v.measured is not None}
    return [
        Guard(one.name, measured.get(one.name, one.value), one.noise, one.better, one.bar)
        for one in guards
    ]


def table(verdicts: Iterable[Verdict]) -> str:
    """The verdicts for people, a line a figure."""
    rows = [("figure", "on record", "now", "change", "noise", "bar", "")]
    for verdict in verdicts:
        guard, now = verdict.guard, verdict.measured
        sign = {"higher": ">=", "lower": "<="}[guard.better]
        rows.append(
            (
                guard.name,
                f"{guard.value:g}",
                "missing" if now is None else f"{now:g}",
                "" if now is None else f"{now / guard.value - 1:+.0%}",
                f"{guard.noise:.0%}",
                "" if guard.bar is None else f"{sign} {guard.bar:g}",
                "FELL" if verdict.fell else "" if verdict.passes_bar else "below the bar",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def run(benchmark: str) -> dict[str, Any]:
    """Runs a benchmark in a process of its own; its line, or nothing if it failed."""
    command = [sys.executable, "-m", f"benchmarks.bench_{benchmark}", *ARGUMENTS.get(benchmark, [])]
    print(f"{benchmark} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return {}
    line = done.stdout.splitlines()[-1]
    print(line, flush=True)
    return json.loads(line)


def main(arguments: list[str] | None = None) -> int:
    """The command; gives the exit code."""
    guards = load()
    names = list(dict.fromkeys(guard.name.split(".")[0] for guard in guards))
    parser = argparse.ArgumentParser(description="Compares benchmarks with benchmarks/ratios.json.")
    parser.add_argument("benchmarks", nargs="*", help=f"some of {', '.join(names)}; all by default")
    parser.add_argument("--update", action="store_true", help="write down what is measured now")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.benchmarks) - set(names))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose from {', '.join(names)}")
    verdicts = compare(guards, {name: run(name) for name in options.benchmarks or names})
    print(table(verdicts))
    if options.update:
        save(updated(guards, verdicts))
        return 0
    fallen = [verdict.guard.name for verdict in verdicts if verdict.fell]
    if fallen:
        print(f"Fell by more than their noise: {', '.join(fallen)}.")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
