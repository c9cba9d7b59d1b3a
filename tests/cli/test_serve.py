"""The options of `tfrecall serve`, and errors before anything starts."""

import socket

import pytest

import tfrecall as tr
from tests.commands import ask
from tfrecall.serving import process


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    log = tr.data.synthetic(n_users=20, n_items=10, n_rows=100)
    return tr.export(tr.Popularity().fit(log), tmp_path_factory.mktemp("served") / "popularity").root


@pytest.fixture
def served(monkeypatch):
    """Configurations and workers with which a service would have run."""
    calls = []

    def run(config, bound, *, workers):
        calls.append((config, workers))

    monkeypatch.setattr(process, "run", run)
    return calls


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ([], ()),
        (["--allowed-host", "shop.example", "--allowed-host", "proxy"], ("shop.example", "proxy")),
        (["--allowed-host", "*"], None),
        (["--host", "0.0.0.0"], None),
        (["--host", "0.0.0.0", "--allowed-host", "shop.example"], ("shop.example",)),
    ],
)
def test_names_are_restricted_on_the_loopback_or_where_told(release, served, options, hosts):
    ask("serve", str(release), "--port", "0", *options)
    [(config, _)] = served
    assert config.hosts == hosts


def test_options_are_settings(release, served, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    options = {
        "--pin": "a=1",
        "--share": "b=0.25",
        "--token-file": token,
        "--queue": 7,
        "--max-batch": 5,
        "--timeout-ms": 900,
        "--max-body": 1000,
        "--reload-seconds": 0,
        "--drain-seconds": 2.5,
        "--events": tmp_path / "events",
        "--unknown-users": "popular",
        "--threads": 2,
        "--log-level": "warning",
        "--log-format": "text",
        "--index": "exact",
        "--workers": 3,
        "--port": 0,
    }
    words = [word for pair in options.items() for word in pair]
    result = ask("serve", f"a={release}", f"b={release}", "--no-fallback", *words)
    assert result.stdout.startswith("Serve a, b: http://127.0.0.1:")
    [(config, workers)] = served
    assert workers == 3
    assert (config.pins, config.shares) == ({"a": 1}, {"b": 0.25})
    assert (config.token, config.max_waiting, config.max_batch) == ("s3cret", 7, 5)
    assert (config.timeout_ms, config.max_body, config.reload_seconds) == (900, 1000, 0)
    assert (config.drain_seconds, config.threads, config.index) == (2.5, 2, "exact")
    assert (config.log_level, config.log_format) == ("warning", "text")
    assert (config.unknown_users, config.fallback) == ("popular", False)
    assert config.events == tmp_path / "events"


def test_single_release_needs_no_name(release, served):
    ask("serve", release, "--pin", 1, "--port", 0)
    [(config, workers)] = served
    assert (dict(config.releases), config.pins, workers) == (
        {"popularity": release},
        {"popularity": 1},
        1,
    )


def test_directory_may_have_an_equals_sign(release, served, tmp_path):
    odd = tmp_path / "a=b"
    odd.symlink_to(release, target_is_directory=True)
    result = ask("serve", odd, "--port", 0, status=1)  # its name is none
    assert "NAME=DIRECTORY" in result.stderr
    ask("serve", f"x={odd}", "--port", 0)
    assert list(served[0][0].releases) == ["x"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{0}/nothing"], "There is no release"),
        (["a={0}", "a={0}"], 'Two releases are called "a"'),
        (["{0}", "--pin", "popularty=1"], 'Did you mean "popularity"?'),
        (["{0}", "--pin", "popularity=new"], "NAME=NUMBER"),
        (["{0}", "--pin", "9"], "9"),
        (["{0}", "--share", "popularity=2"], "between 0 and 1"),
        (["{0}", "--token-file", "{0}/none"], "cannot be read"),
        (["{0}", "--token-file", "{0}/manifest.json"], "holds no token"),
        (["{0}", "--host", "192.0.2.1"], "--host"),
        (["{0}", "--log-level", "loud"], "log_level"),
    ],
)
def test_mistakes_are_told_before_anything_starts(release, served, arguments, words):
    told = [str(argument).format(release) for argument in arguments]
    assert words in ask("serve", *told, "--port", 0, status=1).stderr
    assert not served


def test_port_in_use_is_told(release, served):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = ask("serve", release, "--port", port, status=1)
    assert f"port {port}" in result.stderr
    assert "--port" in result.stderr


def test_public_address_without_token_is_warned_of(release, served, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    assert "Warning: anyone" in ask("serve", release, "--port", 0, "--host", "0.0.0.0").stderr
    for rest in (["--host", "0.0.0.0", "--token-file", token], ["--host", "127.0.0.1"]):
        assert "Warning" not in ask("serve", release, "--port", 0, *rest).stderr
