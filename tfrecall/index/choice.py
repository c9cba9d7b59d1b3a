"""Choice of an index: by name, with changed settings, or by the number of items."""

from dataclasses import fields, replace
from importlib.util import find_spec
from typing import Any, cast

from tfrecall.errors import ConfigError, nearest
from tfrecall.index.annoy import Annoy
from tfrecall.index.bundle import EXACT_BELOW, KINDS, Bundle, IndexSettings
from tfrecall.index.exact import Exact
from tfrecall.index.faiss import Faiss
from tfrecall.index.reduced import Storage
from tfrecall.index.scann import Scann

AUTO, EXACT = "auto", "exact"
# From here on trees need less time than the matrix product.
ANNOY_FROM = 200_000


def settings_for(
    bundle: Bundle, name: str | None, storage: str | None, changes: dict[str, Any]
) -> IndexSettings | None:
    """Settings of the next index of a release.

    Args:
        bundle: the present one. Settings that are not changed stay, but for the effort, which is tuned anew.
        name: `exact`, `annoy`, `faiss`, `scann` or `auto`; None for the kind of the present one, or `annoy`
            where settings of an approximate index change.
        storage: numbers that exact search reads; None for those of the present one.
        changes: settings by name.

    Returns:
        Settings of an approximate index, or those of exact search alone.

    Raises:
        ConfigError: if there is no such index or storage, or a setting is none of that index.
    """
    names = (EXACT, *KINDS, AUTO)
    if name is not None and name not in names:
        raise ConfigError(
            f'There is no index "{name}".{nearest(name, names)} `--index` takes one of: {", ".join(names)}.'
        )
    present = bundle.approximate
    if name is None:
        name = present.settings.name if present is not None else "annoy" if changes else EXACT
    # Checked before hours are spent on an index.
    exact = Exact(cast(Storage, storage or bundle.exact.storage))
    if name == AUTO:
        best = suited(len(bundle.exact))
        return _changed(exact if isinstance(best, Exact) else best, changes)
    if name == EXACT:
        return _changed(exact, changes)
    same_kind = present is not None and present.settings.name == name
    settings = present.settings if present is not None and same_kind else KINDS[name][0]()
    return _changed(replace(cast(Any, settings), search_k=None), changes)


def suited(count: int) -> IndexSettings:
    """The index for a catalogue of `count` items, by the measured table of the guide on indexes.

    Exact search below 50,000 items; from there ScaNN or the lists of faiss, whichever is installed; with
    neither the trees of Annoy, from 200,000 items on.

    >>> suited(10_000)
    Exact(storage='float32')
    """
    if count >= EXACT_BELOW:
        if find_spec("scann") is not None:
            return Scann()
        if find_spec("faiss") is not None:
            return Faiss()
        if count >= ANNOY_FROM:
            return Annoy()
    return Exact()


def _changed(settings: IndexSettings, changes: dict[str, Any]) -> IndexSettings:
    own = [field.name for field in fields(cast(Any, settings))]
    for name in changes:
        if name not in own:
            option = "--" + name.replace("_", "-")
            kinds = [
                kind
                for kind, (made, _) in KINDS.items()
                if name in {f.name for f in fields(cast(Any, made))}
            ]
            raise ConfigError(
                f"`{option}` is a setting of {' and '.join(kinds)}, and the index to build is "
                f"{getattr(settings, 'name', EXACT)}. Leave it out, or name the index by `--index`."
            )
    return cast(IndexSettings, replace(cast(Any, settings), **changes))
