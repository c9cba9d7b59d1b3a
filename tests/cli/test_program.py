"""Printed commands work as printed."""

import os
import shlex
import sys

import pytest

from tfrecall.cli.program import command, program


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An environment with the program, which is not on the path."""
    script = tmp_path / "my venv" / "bin" / "tfrecall"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    return script


def test_the_path_is_printed_where_the_environment_is_not_activated(installed, monkeypatch):
    assert program(str(installed)) == [str(installed)]
    monkeypatch.chdir(installed.parents[2])
    relative = os.path.relpath(installed)
    monkeypatch.setattr(sys, "argv", [relative, "run"])
    assert command("run", "a b.toml") == "'my venv/bin/tfrecall' run 'a b.toml'"


def test_the_name_alone_is_printed_where_the_shell_finds_it(installed, monkeypatch):
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program(str(installed)) == ["tfrecall"]


def test_another_environment_on_the_path_is_not_taken_for_this_one(installed, tmp_path, monkeypatch):
    other = tmp_path / "tfrecall"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program(str(installed)) == [str(installed)]


def test_a_module_is_started_as_a_module():
    assert program("/x/tfrecall/cli/__main__.py") == [sys.executable, "-m", "tfrecall.cli"]


def test_python_code_gets_the_name():
    assert program("/x/pytest") == program("") == ["tfrecall"]


def test_arguments_survive_a_shell():
    words = ["recommend", "a b", "--user", "it's $HOME"]
    assert shlex.split(command(*words))[-4:] == words
