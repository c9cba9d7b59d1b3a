"""The reference says what the code has: names, commands, options, keys, recipes, rooms."""

import configparser
import re

import pytest

from docs.generate import api, commands, configuration, pages, rooms
from tests.docs.markdown import DOCS, ROOT
from tfrecall.config.recipes import recipe_names
from tfrecall.evaluation import metrics
from tfrecall.schema.baselines import BASELINES

REFERENCE = DOCS / "reference"


@pytest.mark.parametrize("page", pages.PAGES)
def test_generated_page_is_in_step_with_the_code(page):
    assert (DOCS / page).read_text("utf-8") == pages.text(page), "Run: python -m docs.generate"


def test_every_public_name_has_a_section():
    documented = {name for group in api.GROUPS.values() for name in group.names}
    assert documented | set(api.ELSEWHERE) == api.public_names()


def test_every_public_name_is_a_section_of_one_page():
    names = [name for group in api.GROUPS.values() for name in group.names]
    assert sorted(names) == sorted(set(names))


def test_every_command_and_option_is_documented():
    text = (REFERENCE / "cli.md").read_text("utf-8")
    for path, command in commands.commands():
        section = text.split(f"## `{path}` ")[1].split("\n## ")[0]
        for option in commands.options(command):
            assert f"`{option}`" in section or option == "--help", f"{path} {option}"


def test_every_parameter_of_a_command_has_a_help_text():
    silent = [
        f"{path} {param.name}"
        for path, command in commands.commands()
        for param in command.params
        if not param.help
    ]
    assert not silent


def test_every_key_of_a_recipe_has_a_description():
    inside = ("schema", "data", "filters", "split", "model", "task")
    inside += ("histories", "training", "evaluation", "index", "export")
    silent = [
        f"{section.title}: {key}"
        for section in configuration.sections()
        for key, _ in configuration.keys(section.cls)
        if not configuration.descriptions(section.cls).get(key)
        and not (section.title == "Top level" and key in inside)  # sections, with tables of their own
    ]
    assert not silent


def test_every_section_of_a_recipe_has_a_table():
    text = (REFERENCE / "configuration.md").read_text("utf-8")
    top = {key for key, _ in configuration.keys(configuration.RunConfig)}
    for key in top - {"recipe", "description", "schema", "model", "task"}:
        assert f"`[{key}]`" in text
    for key in ("schema", "model", "task"):
        assert f"`[{key}]`" in text


def test_every_environment_variable_is_documented():
    sources = [*(ROOT / "tfrecall").rglob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]
    named = {
        name for path in sources for name in re.findall(r"TFRECALL_[A-Z_]+", path.read_text("utf-8"))
    }
    text = (REFERENCE / "configuration.md").read_text("utf-8")
    assert {name for name in named if f"`{name}`" not in text} == set()


def test_every_extra_is_documented():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    quickstart = (DOCS / "quickstart.md").read_text("utf-8")
    for extra in settings["options.extras_require"]:
        assert f"`tfrecall[{extra}]`" in quickstart


def test_every_recipe_is_described_and_has_figures():
    described = (REFERENCE / "recipes.md").read_text("utf-8")
    results = (DOCS / "results.md").read_text("utf-8")
    for name in recipe_names():
        assert f"## `{name}`" in described
        assert f"`{name}`" in results


def test_every_baseline_is_named_in_its_guide():
    guide = (DOCS / "guides" / "baselines.md").read_text("utf-8")
    for name in BASELINES:
        assert f"`{name}`" in guide


def test_every_metric_is_explained_in_its_guide():
    guide = (DOCS / "guides" / "evaluation.md").read_text("utf-8")
    helpers = {"most_popular", "is_lower_better", "row_log_losses"}
    for name, value in vars(metrics).items():
        if getattr(value, "__module__", "") == metrics.__name__ and name[0] != "_" and name.islower():
            assert name in helpers or f"`{name}" in guide, name


def test_every_room_stands_on_a_floor_of_the_picture():
    assert {room for floor in rooms.floors() for room in floor} == set(rooms.rooms())
    drawing = (DOCS / "images" / "rooms.svg").read_text("utf-8")
    for room in rooms.rooms():
        assert f">{room}</text>" in drawing
        assert rooms.purpose(room)


def test_readme_is_short():
    assert len(ROOT.joinpath("README.md").read_bytes()) <= 8192
