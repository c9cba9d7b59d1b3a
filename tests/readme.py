"""Keeps the command section of the README in step with `--help`.

python -m tests.readme           writes the section anew
python -m tests.readme --check   exits with status 1 if it is not what the commands say
"""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
SECTION = re.compile(r"(<!-- commands:[^\n]*-->\n).*?(<!-- /commands -->)", re.DOTALL)


def command_docs() -> str:
    """The documentation of all commands, made by Typer from the same source as `--help`."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "tfrecall.cli", "utils", "docs", "--name", "tfrecall"],
        check=True,
        capture_output=True,
        text=True,
    )
    return made.stdout.replace("# `tfrecall", "### `tfrecall").replace("####", "###")


def with_commands(text: str) -> str:
    """The README with a fresh command section."""
    docs = command_docs()
    return SECTION.sub(lambda found: f"{found[1]}{docs.strip()}\n{found[2]}", text)


def python_blocks(text: str) -> list[str]:
    """The Python examples, in order."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


if __name__ == "__main__":
    old = README.read_text("utf-8")
    new = with_commands(old)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if new == old else "README.md is behind the commands. Run: python -m tests.readme")
    README.write_text(new, "utf-8")
