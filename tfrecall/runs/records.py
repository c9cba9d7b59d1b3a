"""Records of a tournament, kept in the release directory until the release is published."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.config.inference.columns import plain_name
from tfrecall.config.inference.entrants import Entrant
from tfrecall.core.storage import atomic_file, write_atomically
from tfrecall.errors import CheckpointError, ExportError
from tfrecall.runs.preparation import DataSplits
from tfrecall.training.fitting import made_with

_FOLDER, _FILE, _CHECKPOINTS = "tournament", "entrants.json", "checkpoints"


@dataclass(frozen=True)
class Record:
    """State of an entrant.

    Attributes:
        seconds: time that it took, judging included.
        turns: rounds of the tournament that it has been in.
        epochs: epochs trained; 0 for a baseline.
        finished: whether it has nothing more to learn: a baseline, or a network that stopped by itself.
        failed: why it could not be judged; empty otherwise.
    """

    seconds: float = 0.0
    turns: int = 0
    epochs: int = 0
    finished: bool = False
    failed: str = ""


class Records:
    """Records of entrants with their ranks, on disk: a tournament that is killed goes on from them.

    A record counts for its own configuration and data only; others are forgotten.

    Args:
        root: the release directory.
        splits: the rows that entrants are judged on.
        fresh: whether to discard what is there, the checkpoints of an interrupted run included.

    Raises:
        CheckpointError: if the directory has checkpoints of a run that no tournament began.
    """

    def __init__(self, root: Path, splits: DataSplits, *, fresh: bool = False) -> None:
        self._root, self._folder = root, root / _FOLDER
        self._rows = {
            "data": splits.known.fingerprint,
            "validation": None if splits.validation is None else splits.validation.fingerprint,
            "version": made_with(),
        }
        if fresh:
            self.discard()
            shutil.rmtree(root / _CHECKPOINTS, ignore_errors=True)
        elif any((root / _CHECKPOINTS).glob("*.npz")) and not (self._folder / _FILE).exists():
            raise CheckpointError(
                f"{root} holds checkpoints of an interrupted run, which a tournament would replace. Go on with "
                "it by `--budget 0`, discard it with `--fresh`, or keep both with another directory: `--out`."
            )
        self._kept = self._read()

    def of(self, one: Entrant) -> Record:
        """The record of an entrant; an empty one if there is none of its configuration and data."""
        kept = self._kept.get(one.name)
        return Record(**kept["record"]) if kept and kept["of"] == self._identity(one) else Record()

    def ranks(self, one: Entrant) -> np.ndarray | None:
        """Ranks on the validation rows; None for an entrant that was not judged."""
        if not self.of(one).turns:
            return None
        return np.asarray(np.load(self.folder_of(one) / "ranks.npy", allow_pickle=False))

    def add(self, one: Entrant, record: Record, ranks: np.ndarray | None = None) -> None:
        """Write a record, its ranks first: a record without them would be none."""
        if ranks is not None:
            with _explained(self._folder), atomic_file(self.folder_of(one) / "ranks.npy") as file:
                np.save(file, ranks)
        self._kept[one.name] = {"of": self._identity(one), "record": asdict(record)}
        with _explained(self._folder):
            write_atomically(self._folder / _FILE, json.dumps(self._kept, indent=1))

    def folder_of(self, one: Entrant) -> Path:
        """The directory of the checkpoints and ranks of an entrant."""
        return self._folder / plain_name(one.name)

    def hand_over(self, winner: Entrant) -> None:
        """Move the checkpoints of the winner to where its run looks for them."""
        there, here = self.folder_of(winner) / _CHECKPOINTS, self._root / _CHECKPOINTS
        if there.is_dir():
            with _explained(self._folder):
                shutil.rmtree(here, ignore_errors=True)
                os.replace(there, here)

    def discard(self) -> None:
        """Remove all records."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _identity(self, one: Entrant) -> Any:
        plain = {} if one.config is None else one.config.to_dict()
        # What a run is called and said to be changes no figure.
        own = {key: value for key, value in plain.items() if key not in ("recipe", "description")}
        return json.loads(json.dumps({"config": own, **self._rows}))

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads((self._folder / _FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return {}


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what to do where the directory cannot be written."""
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"The tournament cannot be kept in {folder}: {error}. Free some space, or choose another directory "
            "with `--out`."
        ) from error
