"""Releases of a foreign hand, every checksum right: each ends in a `ReleaseError` that names the place."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tfrecall.baselines.item_cf import ItemCF
from tfrecall.core.manifests import describe, manifest_checksum
from tfrecall.errors import DataError, ReleaseError
from tfrecall.exporting.export import export
from tfrecall.exporting.items import change_items
from tfrecall.release import load
from tfrecall.release.manifest import versions
from tfrecall.release.parts import PARTS
from tfrecall.release.reindex import reindex


def reseal(root, change=lambda manifest: None, name="manifest.json"):
    """Changes a manifest and makes all checksums fit whatever now lies there."""
    manifest = json.loads((root / name).read_text())
    folder = root if "format" not in manifest or manifest["format"] == 1 else (root / name).parent
    files = manifest.get("files", {})
    for file in files:
        if (folder / file).is_file():
            files[file] = describe(folder / file)
    change(manifest)
    manifest["sha256"] = manifest_checksum(manifest)
    (root / name).write_text(json.dumps(manifest))


@pytest.fixture
def root(tiny_root, tmp_path) -> Path:
    return shutil.copytree(tiny_root, tmp_path / "release")


@pytest.fixture(scope="module")
def baseline_root(tiny_log, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("baseline") / "release"
    export(ItemCF().fit(tiny_log), root)
    return root


def put(*path, value):
    def change(manifest):
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = value

    return change


def drop(*path):
    def change(manifest):
        for key in path[:-1]:
            manifest = manifest[key]
        del manifest[path[-1]]

    return change


def unlist(part):
    """Leaves a part out of the list of files: nobody would check what is read from it."""

    def change(manifest):
        manifest["files"] = {
            name: facts for name, facts in manifest["files"].items() if not name.startswith(f"{part}/")
        }

    return change


MALFORMED = [
    *((drop(key), key) for key in ("version", "files", "model", "schema", "query")),
    *((put(key, value=None), key) for key in ("version", "files", "model", "schema", "query")),
    *(
        (put(key, value=[1]), key)
        for key in ("version", "files", "model", "kind", "histories", "repeats")
    ),
    (put("version", value="1"), "version"),
    (put("version", value=True), "version"),
    (put("version", value=0), "version"),
    (put("kind", value="blender"), "kind"),
    (put("exclude_seen", value="yes"), "exclude_seen"),
    (put("files", "index/1/vectors.npy", value={"bytes": 3}), r"files\.index/1/vectors\.npy\.sha256"),
    (put("files", "index/1/vectors.npy", value="none"), r"files\.index/1/vectors\.npy"),
    *(
        (put("files", name, value={"bytes": 3, "sha256": ""}), f'"{name}" is no file of version 1')
        for name in ("../../etc/passwd", "/etc/x/passwd", "index/2/vectors.npy")
    ),
    (put("files", value={}), "files"),
    *((unlist(part), f"files: .* none is listed in {part}") for part in PARTS["retriever"]),
    (drop("model", "fingerprint"), r"model\.fingerprint"),
    (put("model", "interests", value="many"), r"model\.interests"),
    (put("model", "name", value=7), r"model\.name"),
    (put("query", "forms", value=["user_id"]), r"query\.forms"),
    (put("query", "forms", "age", value="complex"), r"query\.forms\.age"),
    (drop("query", "defaults", "age"), "query"),
    (put("query", "defaults", "age", value="old"), "query"),
    (put("query", "defaults", value=None), r"query\.defaults"),
    (put("schema", "candidate", value="title"), r"schema\.candidate"),
    (put("histories", value={"history": {}}), "histories"),
    (put("histories", value={"history": {"history_length": 5}}), "the manifest|histories"),
    (put("repeats", value={"wings": 2}), "repeats"),
    (put("beaten_by", value={"metric": "mrr"}), r"beaten_by\.(model|baselines)"),
]


@pytest.mark.parametrize(("change", "place"), MALFORMED)
def test_a_malformed_manifest_is_refused_by_its_place(root, change, place):
    reseal(root, change)
    with pytest.raises(ReleaseError, match=rf"manifest(s/1)?\.json.*({place})") as refused:
        load(root)
    assert str(root) in str(refused.value)


KINDS_OF_RELEASES = [
    "tiny_root",
    "history_root",
    "rating_root",
    "baseline_root",
    *(pytest.param(root, marks=pytest.mark.slow) for root in ("context_root", "pipeline_root")),
]


@pytest.mark.parametrize("kind", KINDS_OF_RELEASES)
def test_a_release_without_any_of_its_files_is_refused(request, tmp_path, kind):
    root = shutil.copytree(request.getfixturevalue(kind), tmp_path / "release")
    manifest = (root / "manifest.json").read_text()
    said = {}
    for name in json.loads(manifest)["files"]:
        (root / name).rename(tmp_path / "taken")
        reseal(root, drop("files", name))
        try:
            load(root)
        except ReleaseError as refused:
            said[name] = str(refused)
        (tmp_path / "taken").rename(root / name)
        (root / "manifest.json").write_text(manifest)
    assert said.keys() == json.loads(manifest)["files"].keys()
    for name, text in said.items():
        # Of files that TensorFlow numbers, the pattern is named; the part instead of its only file.
        place, part = name.partition("-00000-of")[0], name.split("/")[0]
        assert place in text or f"none is listed in {part}" in text


def test_releases_of_before_need_no_files_that_were_not_written(history_root, tmp_path):
    """Version 0.6.0 kept no times and did not tell which histories have files of their own."""
    root = shutil.copytree(history_root, tmp_path / "release")
    times = "context/1/seen_times.npy"

    def age(manifest):
        del manifest["files"][times], manifest["stored_histories"]
        manifest["made_with"]["tfrecall"] = "0.6.0"

    (root / times).unlink()
    reseal(root, age)
    assert load(root).users.seen_times is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (drop("scorer"), "scorer"),
        (put("scorer", "arrays", value=["../../etc/passwd"]), "scorer.arrays"),
        (put("scorer", "arrays", value=["nothing"]), "nothing"),
        (put("scorer", "arrays", value=[".hidden"]), "scorer.arrays"),
        (unlist("scorer"), "none is listed in scorer"),
        (put("scorer", "arrays", value=[]), "scorer"),
        (put("scorer", "facts", value={}), "scorer"),
        (put("scorer", "weights", value={"mass": 3}), "weights"),
        (put("scorer", "kind", value="crystal_ball"), "crystal_ball"),
    ],
)
def test_a_malformed_baseline_is_refused(baseline_root, tmp_path, change, place):
    root = shutil.copytree(baseline_root, tmp_path / "release")
    reseal(root, change)
    with pytest.raises(ReleaseError, match=place):
        load(root)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        *((drop(key), key) for key in ("count", "dimension", "max_norm", "normalized", "annoy")),
        (put("count", value="40"), "count"),
        (put("annoy", value=7), "annoy"),
        (put("annoy", "metric", value="hamming"), r"annoy\.metric"),
        (drop("annoy", "n_trees"), "annoy"),
        (put("annoy", "n_trees", value=None), "annoy"),
        (put("annoy", "tuning", value={}), r"annoy\.tuning"),
        (put("files", value={"../../manifest.json": {"bytes": 1, "sha256": ""}}), "files"),
        *(
            (drop("files", name), f"files: {name}")
            for name in ("vectors.npy", "ids.parquet", "index.ann")
        ),
    ],
)
def test_a_malformed_manifest_of_an_index_is_refused(root, change, place):
    reseal(root, change, "index/1/manifest.json")
    reseal(root)
    with pytest.raises(ReleaseError, match=rf"index/1/manifest\.json.*{place}"):
        load(root)


@pytest.mark.parametrize("name", ["manifest.json", "index/1/manifest.json"])
@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "9" * 5_000],
    ids=["lists", "objects", "digits"],
)
def test_deep_nesting_and_endless_numbers_are_refused(root, name, text):
    (root / name).write_text(text)
    if name != "manifest.json":
        reseal(root)
    with pytest.raises(ReleaseError, match=r"manifest\.json"):
        load(root)


@pytest.mark.slow
def test_documents_of_another_version_stop_whoever_would_copy_them(root):
    """As an export of version 0.4.0 left them that was killed between its files."""
    (root / "metrics.json").write_text(json.dumps({"version": 2}))
    for publish in (lambda: reindex(root, None), lambda: change_items(root, removed=["i5"])):
        with pytest.raises(
            ReleaseError, match=r"metrics\.json.* not those of version 1.*Move them away"
        ):
            publish()
    assert versions(root) == [1]


def test_a_feature_that_the_manifest_lacks_is_named_when_the_model_is_asked(root):
    reseal(root, drop("query", "forms", "device"))
    release = load(root)
    with pytest.raises(ReleaseError, match=r"query/1 reads 'device'.*query\.forms"):
        release.recommend(["u1"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["retrieval", "ranker"])
def test_stages_of_a_pipeline_that_lack_what_joining_them_needs_are_refused(
    pipeline_root, tmp_path, stage
):
    root = shutil.copytree(pipeline_root, tmp_path / "release")
    reseal(root, put(stage, "query", "defaults", value={}))
    with pytest.raises(ReleaseError, match=r"manifest\.json.* (retrieval|ranker|query).*foreign"):
        load(root)


def test_keys_of_later_versions_are_allowed(root):
    reseal(root, lambda m: (m.update(later=[1]), m["model"].update(later={"a": None})))
    assert load(root).recommend(["u1"], 3)


CONTEXT = {
    "without user_id": lambda t: t.drop("user_id"),
    "without a column": lambda t: t.drop("age"),
    "texts for numbers": lambda t: t.with_columns(age=pl.lit("old")),
    "texts for lists": lambda t: t.with_columns(tags=pl.lit("a")),
    "lists for texts": lambda t: t.with_columns(home_town=pl.lit(["a"])),
    "a row too few": lambda t: t[:-1],
    "infinite": lambda t: t.with_columns(age=pl.lit(float("inf"))),
}


@pytest.mark.parametrize("change", CONTEXT.values(), ids=CONTEXT)
def test_wrong_columns_of_users_are_refused(root, change):
    file = root / "context" / "1" / "users.parquet"
    change(pl.read_parquet(file)).write_parquet(file)
    reseal(root)
    with pytest.raises(ReleaseError, match="context/1"):
        load(root)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("seen_items.npy", lambda a: a + 1000),
        ("seen_items.npy", lambda a: a - 1000),
        ("seen_items.npy", lambda a: a[:-1]),
        ("seen_items.npy", lambda a: a.astype(np.float32)),
        ("seen_items.npy", lambda a: a[np.newaxis]),
        ("seen_times.npy", lambda a: a[:-1]),
        ("seen_times.npy", lambda a: a.astype(str)),
        ("seen_offsets.npy", lambda a: a[::-1].copy()),
        ("seen_offsets.npy", lambda a: a[:-1]),
        ("seen_offsets.npy", lambda a: np.append(a[:-2], [a[-1] + 1, a[-1]])),
        ("seen_offsets.npy", lambda a: np.array([object()])),
    ],
)
def test_lists_that_do_not_fit_are_refused(root, name, change):
    file = root / "context" / "1" / name
    np.save(file, change(np.load(file)), allow_pickle=True)
    reseal(root)
    with pytest.raises(ReleaseError, match="context/1"):
        load(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop("item_id"),
        lambda t: t[:-1],
        lambda t: t[::-1],
        lambda t: t.with_columns(item_id=pl.int_range(len(t))),
    ],
)
def test_an_item_table_of_another_catalogue_is_refused_when_it_is_read(root, change):
    file = root / "context" / "1" / "items.parquet"
    change(pl.read_parquet(file)).write_parquet(file)
    reseal(root)
    with pytest.raises(ReleaseError, match=r"items\.parquet is foreign"):
        _ = load(root).items


@pytest.mark.parametrize(
    "name",
    ["context/1/history_history_items.npy", "query/1/saved_model.pbtxt", "index/1/index.ann.bak"],
)
def test_files_that_the_manifest_does_not_list_are_refused(root, name):
    (root / name).write_bytes(b"unlisted")
    with pytest.raises(ReleaseError, match=f"{name} is foreign: the manifest does not list it"):
        load(root)


def test_hidden_files_and_other_versions_are_nobodys_business(root):
    (root / "context" / "1" / ".DS_Store").write_bytes(b"")
    (root / "context" / "7").mkdir()
    (root / "context" / "7" / "x").write_bytes(b"")
    assert load(root).version == 1


@pytest.mark.parametrize("name", ["manifest.json", "index/1/vectors.npy", "context/1/users.parquet"])
def test_an_unreadable_file_is_named(root, name, monkeypatch):
    """As for a process of another user; the tests' own may read everything."""

    def denied(original):
        def call(self, *args, **kwargs):
            if str(self) == str(root / name):
                raise PermissionError(13, "Permission denied", str(self))
            return original(self, *args, **kwargs)

        return call

    monkeypatch.setattr(Path, "open", denied(Path.open))
    with pytest.raises(ReleaseError, match=rf"{name} cannot be read: .*Permission denied"):
        load(root)


# Queries that no log can hold


@pytest.mark.parametrize("text", ["u1\0", "\ud800", "u\udfff1"])
@pytest.mark.parametrize(
    "query",
    [lambda t: t, lambda t: {"user_id": t}, lambda t: {"home_town": t}, lambda t: {"tags": [t]}],
)
def test_texts_that_would_not_arrive_as_they_are_are_refused(tiny_release, text, query):
    with pytest.raises(DataError, match=r"NUL|lone surrogate"):
        tiny_release.recommend([query(text)], 3)


@pytest.mark.parametrize("text", ["i1\0", "\ud800"])
def test_items_of_a_history_that_would_not_arrive_are_refused(history_release, text):
    with pytest.raises(DataError, match=r"NUL|lone surrogate"):
        history_release.recommend([{"history": ["i1", text]}], 3)


def test_any_other_text_is_a_query(tiny_release):
    (answer,) = tiny_release.recommend([{"user_id": "a\0b", "home_town": "東京 \U0001f5fc"}], 3)
    assert len(answer.item_ids) == 3


# Files that are not what they say


def link_file(root, outside):
    file = root / "context" / "1" / "seen_items.npy"
    shutil.move(file, outside / "elsewhere")
    file.symlink_to(outside / "elsewhere")


def link_part(root, outside):
    shutil.move(root / "scorer" / "1", outside / "scorer")
    (root / "scorer" / "1").symlink_to(outside / "scorer")


@pytest.mark.parametrize("link", [link_file, link_part])
def test_links_out_of_the_directory_are_refused_unless_trusted(baseline_root, tmp_path, link):
    root = shutil.copytree(baseline_root, tmp_path / "release")
    link(root, tmp_path)
    with pytest.raises(ReleaseError, match="is a link out of the release directory"):
        load(root)
    assert load(root, trust=True).recommend(["u1"], 2)[0].item_ids


def test_links_within_the_directory_and_to_it_are_fine(baseline_root, tmp_path):
    root = shutil.copytree(baseline_root, tmp_path / "release")
    file = root / "context" / "1" / "seen_items.npy"
    shutil.move(file, root / "kept")
    file.symlink_to(root / "kept")
    (tmp_path / "current").symlink_to(root)
    assert load(tmp_path / "current").recommend(["u1"], 2)[0].item_ids


def pickled(file):
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def longer_than_the_file(file):
    """A header that promises a terabyte, before the bytes that were there."""
    content = file.read_bytes()
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<i4", "fortran_order": False, "shape": (1 << 38,)}
        )
        stream.write(content[-100:])


@pytest.mark.parametrize("damage", [pickled, longer_than_the_file])
@pytest.mark.parametrize("part", ["context", "scorer"])
def test_arrays_that_hold_pickles_or_promise_more_than_there_is_are_refused(
    baseline_root, tmp_path, part, damage
):
    root = shutil.copytree(baseline_root, tmp_path / "release")
    for file in (root / part / "1").glob("*.npy"):
        whole = file.read_bytes()
        damage(file)
        reseal(root)
        with pytest.raises(ReleaseError, match=part):
            load(root)
        file.write_bytes(whole)
