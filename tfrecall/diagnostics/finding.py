"""Finding of a diagnostic."""

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A problem of the data, the training or the model.

    Attributes:
        name: name of the diagnostic, for programs: `collapsed_vectors`.
        severity: `error` if the result of the run is useless, `warning` if it needs a look.
        text: the figure, its meaning and the remedy.
    """

    name: str
    severity: Literal["warning", "error"]
    text: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.severity.capitalize()}: {self.text}"
