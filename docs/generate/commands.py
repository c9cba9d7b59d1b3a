"""The command-line reference, read from the commands themselves.

Typer's own `utils docs` cuts summaries short and takes "[tune]" for markup, so the pages are made here.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from typer.main import get_command

INTRODUCTION = """# Command line

Every command, argument and option, as the program itself knows them; `tfrecall COMMAND --help` prints the
same. A command that fails prints `Error: ...` on standard error and exits with status 1. With `--json`,
standard output holds one JSON object and nothing else.

`tfrecall --version` prints the version. `tfrecall --install-completion` lets Tab complete commands, options
and shipped recipes in bash, zsh, fish and PowerShell, from the next shell on.

Progress goes to standard error: on a terminal a last line with the present work, a bar and the time left,
elsewhere plain lines, counts every five seconds. Tables fit the terminal; where it is narrow they have fewer
columns at a time, or a block of lines for each row.
"""


def page() -> str:
    """Generate the page: an overview, then each command with its usage and its parameters."""
    leaves = list(commands())
    overview = [f"| [`{path}`](#{_anchor(path)}) | {_summary(command)} |" for path, command in leaves]
    parts = [INTRODUCTION, "| command | |\n| --- | --- |\n" + "\n".join(overview)]
    return "\n\n".join([*parts, *(_section(path, command) for path, command in leaves)])


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, with the words that call it, in the order of `--help`."""
    from tfrecall.cli import app

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            if not command.hidden:  # words of earlier versions
                yield path, command
            return
        for name, child in children.items():
            yield from walk(f"{path} {name}", child)

    yield from walk("tfrecall", get_command(app))


def options(command: Any) -> list[str]:
    """Name every option of a command, as it is typed."""
    return [
        name
        for param in command.params
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    ]


def _anchor(path: str) -> str:
    return path.replace(" ", "-")


def _summary(command: Any) -> str:
    return _prose(command).split("\n\n")[0].replace("\n", " ")


def _prose(command: Any) -> str:
    return inspect.cleandoc(command.help or "")


def _section(path: str, command: Any) -> str:
    # A decorator may have put a signature of its own in the place of the function's.
    function = inspect.unwrap(command.callback, stop=lambda inner: hasattr(inner, "__signature__"))
    signature, types = inspect.signature(function), get_type_hints(function)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    named = [p for p in command.params if p.param_type_name == "option" and p.name in types]
    usage = " ".join([path, *(_usage(p) for p in arguments), *(["[OPTIONS]"] if named else [])])
    rows = [
        f"| {_names(p)} | {_kind(types[p.name])} | {_help(p, signature.parameters[p.name].default)} |"
        for p in (*arguments, *named)
    ]
    table = "\n".join(["| parameter | type | meaning |", "| --- | --- | --- |", *rows])
    title = f"## `{path}` {{ #{_anchor(path)} }}"
    return f"{title}\n\n{_prose(command)}\n\n```console\n$ {usage}\n```\n\n{table}"


def _metavar(param: Any) -> str:
    return str(param.name).upper()


def _usage(param: Any) -> str:
    name = _metavar(param) + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_metavar(param)}`"
    return " / ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))


def _kind(annotation: Any) -> str:
    """Name a type as a user of a shell would: Typer's own names change between its versions."""
    if get_origin(annotation) is list:
        return f"{_kind(get_args(annotation)[0])}, repeatable"
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner:
        return _kind(inner[0])
    words = {bool: "flag", str: "text", int: "whole number", float: "number", Path: "path"}
    return words.get(annotation, str(annotation))


def _help(param: Any, default: Any) -> str:
    text = (param.help or "").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    if param.required:
        return f"{text} Required."
    if default is None or isinstance(default, bool):
        return text
    return f"{text} Default: `{default}`."
