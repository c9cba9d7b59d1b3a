"""Options of engines: each engine refuses those that are not its own, before any work."""

import re
import sys
from pathlib import Path

import pytest

from tests.engines import tasks
from tfrecall.engines import Ray, engine_of
from tfrecall.engines.beam import _check
from tfrecall.engines.options import parsed
from tfrecall.errors import ConfigError

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "beyond-one-machine.md"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("lokal",), r'no engine "lokal". Did you mean "local"\? Engines: local, beam, ray'),
        (("local", ["runner=x"]), "takes no options .* Received: runner=x"),
        (("local", [], 0), "must be 1 or more. Received: 0"),
        (("ray", [], 0), "must be 1 or more. Received: 0"),
        (("ray", ["=3"]), "NAME=VALUE. Received: '=3'"),
        (("ray", ["address=a", "--address=b"]), "given twice: a, b"),
        (("beam", ["runner=FlinkRunner"]), r"FlinkRunner are on other machines.*shared_directory=PATH"),
        (("beam", ["runner=FlinkRunner", "shared_directory=/x"], 4), "parallelism=8 for Flink"),
        (("beam", [], 0), "must be 1 or more. Received: 0"),
    ],
)
def test_what_no_engine_understands_is_refused(arguments, told):
    with pytest.raises(ConfigError, match=told):
        engine_of(*arguments)


def test_options_are_texts_with_or_without_dashes():
    given = ["runner=FlinkRunner", "--flink_master=host:8081", "streaming", "x=a=b"]
    expected = {"runner": "FlinkRunner", "flink_master": "host:8081", "streaming": None, "x": "a=b"}
    assert parsed(given) == expected


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("beam", "apache_beam", "beam"), ("ray", "ray", "ray")]
)
def test_a_missing_engine_names_its_extra(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(ConfigError, match=rf"tfrecall\[{extra}\]"):
        engine_of(name)


@pytest.mark.slow
def test_beam_refuses_in_its_own_words():
    with pytest.raises(ConfigError, match=r"unrecognized arguments: --paralelism=3"):
        engine_of("beam", ["paralelism=3"])
    with pytest.raises(ConfigError, match=r"--direct_running_mode: invalid choice: 'many'"):
        engine_of("beam", ["direct_running_mode=many"])
    # Options of a job server, here Java's, are known to it alone.
    engine_of("beam", ["runner=FlinkRunner", "shared_directory=/nfs", "maxBundleSize=1"])


@pytest.mark.slow
def test_beam_knows_the_options_of_every_command_of_the_guide():
    text = GUIDE.read_text("utf-8").replace("\\\n", " ")
    commands = [line for line in text.splitlines() if "--engine beam" in line and "runner=" in line]
    given = [re.findall(r"--engine-option (\S+)", command) for command in commands]
    assert [options[0] for options in given] == [
        f"runner={name}Runner" for name in ("Flink", "Spark", "Dataflow", "Prism")
    ]
    for options in given:
        own = [option for option in options if not option.startswith("shared_directory=")]
        _check([f"--{option}" for option in own], known_alone=True)


@pytest.mark.slow
def test_a_directory_for_results_is_there(tmp_path):
    missing = engine_of("beam", [f"shared_directory={tmp_path / 'none'}"])
    with pytest.raises(ConfigError, match="shared_directory is no directory"):
        missing.map(tasks.squared, [1], title="Square")
    assert engine_of("beam", [f"shared_directory={tmp_path}"]).map(tasks.squared, [3], title="S") == [9]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ray_refuses_in_its_own_words():
    with pytest.raises(ConfigError, match=r"Unknown keyword argument\(s\): adress"):
        Ray(["adress=auto"]).map(tasks.squared, [1], title="Square")
