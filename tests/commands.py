"""The commands of `tfrecall`, called in the process of the tests."""

from typing import Any

from typer.testing import CliRunner, Result


def ask(*arguments: Any, status: int = 0) -> Result:
    """Call a command and check its exit status; the message of a failure has the output."""
    from tfrecall.cli import app

    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result
