"""The command line without a run: help, recipes, fetching, and answers from a release."""

import json
import shutil
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import tfrecall
from tests.commands import ask
from tfrecall.cli import app
from tfrecall.cli.answers import unknown_exclusions
from tfrecall.cli.options import data_settings, guarded, json_features
from tfrecall.errors import ConfigError, FetchError
from tfrecall.release import load

COMMANDS = [
    ["data", "fetch"],
    ["data", "describe"],
    ["data", "expand"],
    ["run"],
    ["evaluate"],
    ["compare"],
    ["recommend"],
    ["recommend-all"],
    ["pipeline"],
    ["embed"],
    ["export-vectors"],  # the word for it before 0.10
    ["similar"],
    ["index"],
    ["rollback"],
    ["recipes", "list"],
    ["recipes", "show"],
    ["recipes", "init"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_json(command):
    assert "--json" in ask(*command, "--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["recipes", "list"], ["run", "no_such_recipe"]])
def test_what_needs_no_model_imports_no_tensorflow(arguments):
    code = (
        "import sys; from tfrecall.cli import app; sys.argv[0] = 'tfrecall'\n"
        "try: app()\n"
        "finally: assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'"
    )
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "TensorFlow was imported" not in ended.stderr
    assert ended.returncode == (1 if arguments[-1] == "no_such_recipe" else 0)


def test_a_wrong_option_is_a_usage_error():
    assert "No such option" in ask("run", "--epochs", "3", status=2).stderr


# Recipes


def test_recipes_are_listed_with_what_they_are():
    listed = json.loads(ask("recipes", "list", "--json").stdout)["recipes"]
    names = [row["recipe"] for row in listed]
    assert names == sorted(names)
    assert {"deep_retrieval_ml100k", "two_tower_ml100k"} <= set(names)
    assert all(row["description"] for row in listed)
    told = ask("recipes", "list").stdout
    assert "two_tower_ml100k" in told
    assert "\\n" not in told


def test_a_recipe_is_shown_as_it_can_be_saved(tmp_path):
    from tfrecall.config.recipes import load_config

    file = tmp_path / "mine.toml"
    file.write_text(ask("recipes", "show", "two_tower_ml100k").stdout, "utf-8")
    shown = json.loads(ask("recipes", "show", "two_tower_ml100k", "--json").stdout)
    assert load_config(str(file)).to_dict() == {**shown, "recipe": "mine"}


# Data


def test_fetching_tells_where_from_and_where_to(monkeypatch, tmp_path):
    def fetch(name, cache, timeout, progress):
        progress.note(f"Asking nobody for {name} [in {timeout:g} s]")
        return cache / name

    monkeypatch.setattr("tfrecall.data.datasets.fetch.fetch", fetch)
    arguments = ["data", "fetch", "movielens-1m", "--cache", tmp_path, "--timeout", "3"]
    result = ask(*arguments, "--json")
    assert json.loads(result.stdout) == {
        "name": "movielens-1m",
        "folder": str(tmp_path / "movielens-1m"),
    }
    assert "Asking nobody for movielens-1m [in 3 s]" in result.stderr
    assert ask(*arguments).stdout == f"{tmp_path / 'movielens-1m'}\n"


def test_a_fetch_that_fails_says_what_was_tried(monkeypatch):
    def fetch(*args):
        raise FetchError("could not be fetched from any source")

    monkeypatch.setattr("tfrecall.data.datasets.fetch.fetch", fetch)
    result = ask("data", "fetch", "--json", status=1)
    assert result.stdout == ""
    assert "Error: could not be fetched" in result.stderr


# Settings of `run`


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        (["u.data"], {"source": "movielens-100k", "folder": "FOLDER"}),
        (["ratings.dat"], {"source": "movielens-1m", "folder": "FOLDER"}),
        (["part.parquet"], {"source": "FOLDER"}),
    ],
)
def test_a_movielens_folder_is_told_by_its_files(tmp_path, files, settings):
    from tfrecall.config.recipes import load_config

    folder = tmp_path / 'a "folder" of 🎬 = films'
    folder.mkdir()
    for file in files:
        (folder / file).touch()
    data = load_config("two_tower_ml100k", data=data_settings(folder)).data
    wanted = {key: value.replace("FOLDER", str(folder)) for key, value in settings.items()}
    assert {key: getattr(data, key) for key in wanted} == wanted


# How it ends


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (FetchError("no way"), 1, "Error: no way\n"),
        (KeyboardInterrupt(), 130, "Interrupted. Releases are as they were.\n"),
    ],
)
def test_refusals_and_interruptions_are_told_in_one_line(capsys, error, status, told):
    @guarded
    def command():
        raise error

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == status
    assert capsys.readouterr() == ("", told)


def test_errors_of_the_system_are_told_in_one_line(capsys):
    @guarded
    def command():
        raise PermissionError(13, "Permission denied", "secret.csv")

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 1
    told = "Error: [Errno 13] Permission denied: 'secret.csv'. Releases are as they were.\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(
    "text", ["[" * 20_000 + "]" * 20_000, "[1]", "{", "x" * 1000], ids=["deep", "list", "open", "long"]
)
def test_features_that_are_no_object_are_refused_in_one_line(text):
    with pytest.raises(ConfigError, match="--features takes a JSON object") as refused:
        json_features(text)
    assert len(str(refused.value)) < 300


# Answers


@pytest.mark.slow
def test_recommend_prints_a_table_or_one_json_object(tiny_root):
    arguments = ["recommend", tiny_root, "--user", "u1", "--user", "nobody", "-k", "2"]
    table = ask(*arguments).stdout
    assert "Recommended to user u1" in table
    assert "unknown: answered from" in " ".join(table.split())
    answer = json.loads(ask(*arguments, "--json").stdout)
    assert [one["user_id"] for one in answer["recommendations"]] == ["u1", "nobody"]
    assert all("title" in item for one in answer["recommendations"] for item in one["items"])


def test_a_release_without_a_configuration_is_not_evaluated(tiny_root):
    assert "exported without a configuration" in ask("evaluate", tiny_root, status=1).stderr


def test_index_shows_what_was_measured(tiny_root):
    answer = json.loads(ask("index", tiny_root, "--json").stdout)
    assert answer["default"] == "exact"
    assert answer["index"]["annoy"]["n_trees"] == 5
    assert answer["tuning"]["k"] == 10


@pytest.mark.slow
def test_another_index_and_storage_are_a_new_version_that_answers(tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "release")
    before = json.loads(ask("recommend", root, "--user", "u1", "--json").stdout)
    built = ask(
        "index", root, "--index", "faiss", "--method", "ivf_flat", "--storage", "int8", "--json"
    )
    answer = json.loads(built.stdout)
    assert (answer["version"], answer["indexes"], answer["storage"]) == (2, ["exact", "faiss"], "int8")
    assert answer["index"]["faiss"]["method"] == "ivf_flat"
    # int8 in memory, and the same lists; then trees in place of faiss, and int8 stays.
    after = json.loads(ask("recommend", root, "--user", "u1", "--index", "exact", "--json").stdout)
    assert after["recommendations"] == before["recommendations"]
    assert "Recommended to user u1" in ask("recommend", root, "--user", "u1", "--index", "faiss").stdout
    assert 'no index "annoy"' in ask("similar", root, "i1", "--index", "annoy", status=1).stderr
    said = ask("index", root, "--index", "annoy", "--shards", "2", "--n-trees", "3").stdout
    assert "exact and annoy search, exact search in int8" in " ".join(said.split())
    alone = json.loads(ask("index", root, "--index", "auto", "--storage", "float32", "--json").stdout)
    assert (alone["version"], alone["indexes"], alone["index"]) == (4, ["exact"], {})
    assert alone["storage"] == "float32"


def test_an_impossible_index_is_refused_by_its_option(tiny_root, rating_root):
    assert 'Did you mean "faiss"' in ask("index", tiny_root, "--index", "fais", status=1).stderr
    assert "`--method` is a setting of faiss" in " ".join(
        ask("index", tiny_root, "--method", "hnsw", status=1).stderr.split()
    )
    assert "no vectors to index" in ask("index", rating_root, status=1).stderr


def test_excluded_ids_that_do_not_exist_are_told(tiny_root):
    release = load(tiny_root)
    known = release.item_ids[0]
    assert unknown_exclusions(release, [known]) == []
    (told,) = unknown_exclusions(release, [known, "zzz", "aaa"])
    assert told == "Not in the catalogue, so --exclude changes nothing there: aaa, zzz."


# The application


def test_the_version_is_printed():
    assert ask("--version").stdout == f"tfrecall {tfrecall.__version__}\n"


def test_tab_completes_commands_and_recipes():
    def completed(words):
        environment = {
            "_TFRECALL_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        result = CliRunner().invoke(app, [], prog_name="tfrecall", env=environment)
        return result.stdout.split()

    assert completed("tfrecall recommend") == ["recommend", "recommend-all"]
    assert "two_tower_ml100k" in completed("tfrecall run two_")
    assert completed("tfrecall recipes show no_such") == []
