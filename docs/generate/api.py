"""The API reference: one page a group of public names, each with its place in the package."""

import ast
import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import tfrecall

OVERVIEW = """# API

```python
import tfrecall as tr
```

Everything public is a name of `tfrecall` or of its modules `tr.data`, `tr.encoders`, `tr.index`,
`tr.negatives` and `tr.report`. Names are loaded when they are first used: `import tfrecall` does not
import TensorFlow. `tr.keras` is the Keras 2 that the package works with, and `tr.__version__` its
version."""


class Group(NamedTuple):
    """A page of the reference."""

    title: str
    introduction: str
    names: tuple[str, ...]


def _face(name: str) -> tuple[str, ...]:
    """The names of a public module, each with the module before it."""
    return tuple(f"{name}.{inner}" for inner in _public(importlib.import_module(_module(name))))


def _public(module: object) -> list[str]:
    """The public names of a module: `__all__`, or else every class that is defined there."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and name[0] != "_"
    )


def _module(name: str) -> str:
    return getattr(tfrecall, name).__name__


GROUPS = {
    "features": Group(
        "Features and schema",
        "A schema names the features of both towers. Each feature becomes its Keras layer.",
        (
            "Schema",
            "Categorical",
            "MultiCategorical",
            "Numeric",
            "Bucketized",
            "Day",
            "Text",
            "Vector",
            "Codes",
            "Custom",
            "CustomFeature",
            "History",
            "ExampleAge",
            "Label",
        ),
    ),
    "encoders": Group(
        "Encoders of histories",
        "`tr.encoders`: the ways a history of item vectors becomes one query vector, or several.",
        _face("encoders"),
    ),
    "negatives": Group(
        "Negatives",
        "`tr.negatives`: the sources of negative items, the same words as `task.negatives` in a recipe.",
        _face("negatives"),
    ),
    "models": Group(
        "Models",
        "Keras models that learn from an interaction log.",
        (
            "TwoTower",
            "YouTubeDNN",
            "DSSM",
            "Ranker",
            "BayesianRanker",
            "MultiTask",
            "Pipeline",
            "Rules",
            "Boost",
            "QueryTower",
            "CandidateTower",
        ),
    ),
    "losses": Group(
        "Losses and metrics",
        "Tasks for `TwoTower` and its kin, tasks for `Ranker`, and the Keras metrics beside them.",
        (
            "InBatchSoftmax",
            "SampledSoftmax",
            "FullSoftmax",
            "ScalableCrossEntropy",
            "Pointwise",
            "DSSMSoftmax",
            "BPR",
            "Triplet",
            "Ratings",
            "Clicks",
            "Lists",
            "ExactTopK",
            "PairAUC",
            "StreamingFrequency",
        ),
    ),
    "training": Group(
        "Training",
        "Fitting with early stopping, checkpoints and equal results for equal seeds.",
        ("fit", "warm_start", "TrainingExamples", "validation_examples", "ProgressReporter"),
    ),
    "data": Group(
        "Data",
        "`tr.data`: interaction logs, read, checked, filtered and split.",
        _face("data"),
    ),
    "evaluation": Group(
        "Evaluation",
        "Exact evaluation over the whole catalogue, comparison of releases, cross-validation.",
        ("evaluate", "compare", "cross_validate", "order_test", "stage_losses"),
    ),
    "baselines": Group(
        "Baselines",
        "Models without gradients, which fit and score like the others. All but trending items recommend, "
        "explain and export, too.",
        (
            "Popularity",
            "Trending",
            "FeaturePopularity",
            "ItemCF",
            "UserCF",
            "Swing",
            "EASE",
            "ItemTransitions",
            "ALS",
        ),
    ),
    "releases": Group(
        "Releases",
        "A trained model on disk, and the answers it gives.",
        ("export", "export_ranker", "export_pipeline", "change_items", "load"),
    ),
    "indexes": Group(
        "Indexes",
        "`tr.index`: search over candidate vectors, exact and approximate, and scorers of histories.",
        _face("index"),
    ),
    "report": Group("Reports", "`tr.report`: self-contained HTML pages.", _face("report")),
    "configuration": Group(
        "Configuration and errors",
        "Recipes as objects, and the exceptions of the package. Every key of a recipe is on the page "
        "[Configuration](../configuration.md).",
        ("load_config", "TfrecallError"),
    ),
}
# Names that need no section of their own: the version, Keras itself, and the modules with pages.
ELSEWHERE = ("__version__", "keras", "data", "encoders", "index", "negatives", "report")


def public_names() -> set[str]:
    """Name everything public: the package's own names and those of its public modules."""
    faces = [
        name for face in ("data", "encoders", "index", "negatives", "report") for name in _face(face)
    ]
    return {*tfrecall.__all__, *faces}


def place(name: str) -> str:
    """Find where a public name is defined, as the documentation tool reads it."""
    face, _, inner = name.rpartition(".")
    if not face:
        return f"{tfrecall._MODULE_OF[name]}.{name}"
    module = importlib.import_module(_module(face))
    if inner in (imported := _imports(module)):
        return imported[inner]
    value = getattr(module, inner)
    return f"{value.__module__}.{value.__qualname__}"


def _imports(module: ModuleType) -> dict[str, str]:
    """Map the names that a module imports to their origin, without loading the lazy ones."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def page_of(group: str) -> Callable[[], str]:
    """Make the function that generates the page of a group."""
    return lambda: _page(GROUPS[group])


def overview() -> str:
    """Generate the overview: every public name, by group, with a link."""
    parts = [
        f"## [{group.title}]({key}.md)\n\n{group.introduction}\n\n"
        + " · ".join(f"[`{name}`]({key}.md#{_anchor(name)})" for name in group.names)
        for key, group in GROUPS.items()
    ]
    return OVERVIEW + "\n\n" + "\n\n".join(parts)


def _page(group: Group) -> str:
    parts = [f"# {group.title}\n\n{group.introduction}", *(_section(name) for name in group.names)]
    return "\n\n".join(parts)


def _section(name: str) -> str:
    return (
        f"## `tr.{name}` {{ #{_anchor(name)} }}\n\n::: {place(name)}\n"
        "    options:\n      show_root_heading: false\n      show_root_toc_entry: false"
    )


def _anchor(name: str) -> str:
    return f"tr.{name}"
