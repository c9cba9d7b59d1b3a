"""Deployments: what the server, Docker Compose, Kubernetes and Prometheus read is what they accept."""

import json
import re
import shlex
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files

import jsonschema
import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from typer.testing import CliRunner

from tests.serving.server_protos import BatchingParameters, MonitoringConfig
from tfrecall.baselines.popularity import Popularity
from tfrecall.cli import app
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError, ExportError
from tfrecall.exporting.export import export
from tfrecall.release import load
from tfrecall.release.base import Release
from tfrecall.serving.deploy import RECORD, Settings, deploy

KUBERNETES = "1.33"
VARIANTS = {
    "plain": Settings(),
    "batching": Settings(is_batching=True, cores=3, replicas=5),
    "all": Settings(is_batching=True, has_service=True, keeps_previous=True, claim="my-release"),
}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release with the parts of a pipeline, and a version before: files that TF Serving would find.

    Its folder has a name that shells, YAML and Compose would read as more than a name.
    """
    root = tmp_path_factory.mktemp("deploy") / "it's $HOME: a #release"
    for _ in range(2):
        opened = export(Popularity().fit(synthetic(10, 8, 60, seed=1)), root)
    for part in ("pipeline", "retrieval", "ranker", "query", "candidate"):
        for version in ("1", "2"):
            (root / part / version).mkdir(parents=True)
            (root / part / version / "saved_model.pb").write_bytes(b"x" * 2**20)
    return opened


@pytest.fixture(scope="module", params=VARIANTS)
def deployed(request, release, tmp_path_factory):
    """Settings, and the directory that was written."""
    out = tmp_path_factory.mktemp(request.param) / "deploy"
    deploy(release, out, VARIANTS[request.param])
    return VARIANTS[request.param], out


def read(out, name):
    return (out / name).read_text("utf-8")


def manifest(out, name):
    (found,) = yaml.safe_load_all(read(out, f"kubernetes/{name}.yaml"))
    return found


def models_of(text):
    from tensorflow_serving.config import model_server_config_pb2

    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config


def batching_of(text):
    return text_format.Parse(text, BatchingParameters())


def container(out):
    (found,) = manifest(out, "deployment")["spec"]["template"]["spec"]["containers"]
    return found


# Each file by the rules of its reader


def test_the_server_reads_its_models(deployed):
    pytest.importorskip("tensorflow_serving")
    settings, out = deployed
    models = models_of(read(out, "config/models.config"))
    assert [model.name for model in models] == ["pipeline", "retrieval", "ranker", "query", "candidate"]
    for model in models:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"
        assert list(model.model_version_policy.specific.versions) == (
            [1, 2] if settings.keeps_previous else [2]
        )
        assert dict(model.version_labels) == (
            {"stable": 2, "previous": 1} if settings.keeps_previous else {"stable": 2}
        )


def test_the_server_reads_its_batching(deployed):
    """The server's rules: sizes ascend, and the last is the largest batch."""
    settings, out = deployed
    batching = batching_of(read(out, "config/batching.config"))
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value == 64
    assert batching.batch_timeout_micros.value == 0
    assert batching.num_batch_threads.value == settings.cores
    assert batching.max_enqueued_batches.value == 4 * settings.cores
    # The server fills up lists with the first value of a tensor, not with the padding.
    assert not batching.pad_variable_length_inputs


def test_the_server_reads_where_metrics_are(deployed):
    _, out = deployed
    text = read(out, "config/monitoring.config")
    found = text_format.Parse(text, MonitoringConfig()).prometheus_config
    assert found.enable
    for job in yaml.safe_load(read(out, "prometheus.yml"))["scrape_configs"]:
        assert (
            job["metrics_path"] == {"tf-serving": found.path, "tfrecall": "/metrics"}[job["job_name"]]
        )
    annotations = manifest(out, "deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == found.path


def test_batching_goes_without_warm_up(deployed):
    """Warm-up records ask for all signatures, and batching refuses scalars."""
    settings, out = deployed
    arguments = container(out)["args"]
    given = {argument.partition("=")[0]: argument.partition("=")[2] for argument in arguments}
    assert ("--enable_batching" in given) == settings.is_batching
    assert ("--batching_parameters_file" in given) == settings.is_batching
    assert given.get("--enable_model_warmup") == ("false" if settings.is_batching else None)
    assert given["--tensorflow_intra_op_parallelism"] == str(settings.cores)


@pytest.mark.slow
def test_docker_compose_is_valid(deployed):
    _, out = deployed
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    compose = yaml.safe_load(read(out, "docker-compose.yml"))
    jsonschema.validate(compose, json.loads(schema.read_text("utf-8")))
    for service in compose["services"].values():
        assert all(volume["read_only"] for volume in service["volumes"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_kubernetes_accepts_each_manifest(deployed):
    _, out = deployed
    for name in ("configmap", "deployment", "service"):
        kubernetes_validate.validate(manifest(out, name), KUBERNETES, strict=True)


# Files that belong together


def test_ports_and_paths_are_those_of_the_server(deployed):
    settings, out = deployed
    compose = yaml.safe_load(read(out, "docker-compose.yml"))["services"]
    arguments = compose["tf-serving"]["command"]
    assert arguments == container(out)["args"]
    ports = {"grpc": 8500, "rest": 8501}
    assert f"--port={ports['grpc']}" in arguments
    assert f"--rest_api_port={ports['rest']}" in arguments
    assert compose["tf-serving"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports.values()]
    named = {port["name"]: port["containerPort"] for port in container(out)["ports"]}
    assert named == ports
    for port in manifest(out, "service")["spec"]["ports"]:
        assert (port["port"], port["targetPort"]) == (ports[port["name"]], port["name"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(out)[probe]["httpGet"] == {"path": "/v1/models/pipeline", "port": "rest"}
    assert "/dev/tcp/127.0.0.1/8501" in compose["tf-serving"]["healthcheck"]["test"][3]
    assert ("tfrecall" in compose) == settings.has_service == (out / "Dockerfile").exists()


def test_what_the_server_reads_is_mounted(deployed, release):
    settings, out = deployed
    compose = yaml.safe_load(read(out, "docker-compose.yml"))["services"]["tf-serving"]
    targets = {volume["target"]: volume["source"] for volume in compose["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(out)["volumeMounts"]}
    assert mounts.keys() - {"/tmp"} == targets.keys()
    for part in ("pipeline", "retrieval", "ranker", "query", "candidate"):
        # Compose writes a dollar sign as two.
        assert targets[f"/models/{part}"] == str(release.root / part).replace("$", "$$")
        assert mounts[f"/models/{part}"]["subPath"] == part
    volumes = manifest(out, "deployment")["spec"]["template"]["spec"]["volumes"]
    assert {volume["name"] for volume in volumes} == {mount["name"] for mount in mounts.values()}
    claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]
    assert claims == [settings.claim]


def test_the_config_map_holds_the_files_of_compose(deployed):
    _, out = deployed
    data = manifest(out, "configmap")["data"]
    assert data == {path.name: path.read_text("utf-8") for path in (out / "config").iterdir()}


def test_other_versions_start_other_pods(release, tmp_path):
    def digest(of):
        deploy(of, tmp_path / "out")
        template = manifest(tmp_path / "out", "deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["tfrecall/config"]

    assert digest(release) == digest(release) != digest(load(release.root, 1))


def test_memory_is_that_of_the_models(release, tmp_path):
    # 512 + 5 sessions of 32 + 8 * 5 models of 1 MiB + 1 for scores of 8 items = 713, in steps of 64: 768.
    assert deploy(release, tmp_path / "a")["memory_mib"] == 768
    limits = container(tmp_path / "a")["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": "768Mi"}
    # With the version before: 512 + 10 * 32 + 8 * 10 + 1 = 913.
    assert deploy(release, tmp_path / "b", VARIANTS["all"])["memory_mib"] == 960


def test_memory_grows_with_the_catalogue(release, tmp_path, monkeypatch):
    # 2 cores * 64 rows * 100,000 items * 8 bytes = 97.7 MiB, so 98; with 712 it is 810, in steps 832.
    monkeypatch.setattr(type(release), "item_ids", range(100_000))
    assert deploy(release, tmp_path / "a")["memory_mib"] == 832


def test_commands_of_the_readme_name_the_release_as_a_shell_reads_it(release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deploy(release, "out", VARIANTS["all"])
    out = tmp_path / "out"
    (line,) = re.findall(r"^    (tfrecall deploy .*)$", read(out, "README.md"), re.MULTILINE)
    echoed = subprocess.run(
        ["bash", "-c", f'tfrecall() {{ printf "%s\\n" "$@"; }}; {line}'], capture_output=True, text=True
    )
    words = echoed.stdout.splitlines()
    assert words[:4] == ["deploy", str(release.root), "--out", str(out)]
    assert words[4:] == ["--claim", "my-release", "--batching", "--service", "--previous"]


def test_the_release_is_copied_to_the_claim_of_the_deployment(release, tmp_path):
    out = tmp_path / "out"
    deploy(release, out, VARIANTS["all"])
    (line,) = re.findall(r"^    (kubectl run .*)$", read(out, "README.md"), re.MULTILINE)
    overrides = shlex.split(line)[-1].removeprefix("--overrides=")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **json.loads(overrides)}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"]]
    assert claims == ["my-release"]


@pytest.mark.parametrize(("state", "healthy"), [("AVAILABLE", True), ("LOADING", False), (None, False)])
def test_the_health_check_finds_an_available_model(release, tmp_path, state, healthy):
    """The command of the health check, with the port of a server that is in this state, or of none."""
    deploy(release, tmp_path / "out")
    compose = yaml.safe_load(read(tmp_path / "out", "docker-compose.yml"))
    command = compose["services"]["tf-serving"]["healthcheck"]["test"][1:]
    paths = []

    class Status(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version_status": [{"state": state}]}).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Status) as server:
        port = str(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        if state is None:
            server.server_close()
        else:
            thread.start()
        # Compose reads two dollar signs as one.
        command = [word.replace("$$", "$").replace("8501", port) for word in command]
        done = subprocess.run(command, capture_output=True, timeout=60)
        if state is not None:
            server.shutdown()
            thread.join()
    assert (done.returncode == 0) == healthy
    assert paths == ([] if state is None else ["/v1/models/pipeline"])


def test_each_argument_is_one_of_the_servers(deployed):
    """Names of `model_servers/main.cc`."""
    _, out = deployed
    names = {argument.removeprefix("--").partition("=")[0] for argument in container(out)["args"]}
    assert names <= {
        "port",
        "rest_api_port",
        "model_config_file",
        "allow_version_labels_for_unavailable_models",
        "monitoring_config_file",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
        "enable_batching",
        "batching_parameters_file",
        "enable_model_warmup",
    }


# Refusals, and nothing lost


def test_a_release_without_saved_models_is_refused(tmp_path):
    baseline = export(Popularity().fit(synthetic(10, 8, 60, seed=1)), tmp_path / "popular")
    with pytest.raises(ConfigError, match=r"no SavedModel.*tfrecall serve"):
        deploy(baseline, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": "tensorflow/serving"}, "pinned"),
        ({"image": "registry:5000/serving:latest"}, "pinned"),
        ({"cores": 0}, "1 or more cores"),
        ({"replicas": -1}, "1 or more replicas"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**settings)


def test_an_image_may_be_pinned_by_its_digest():
    assert Settings(image="tensorflow/serving@sha256:" + "0" * 64).image


def test_a_foreign_directory_is_left_alone(release, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="no deployment"):
        deploy(release, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_files_of_a_person_are_lost_only_when_told(release, tmp_path):
    out = tmp_path / "out"
    deploy(release, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    deploy(release, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / "config" / "batching.config").write_text("max_batch_size { value: 8 }")
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"by hand: config/batching\.config, mine\.txt"):
        deploy(release, out)
    deploy(release, out, replace=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_record_says_what_was_written(release, tmp_path):
    record = deploy(release, tmp_path / "out", VARIANTS["all"])
    assert json.loads(read(tmp_path / "out", RECORD)) == record
    assert (record["version"], record["versions"], record["labels"]) == (
        2,
        [1, 2],
        {"stable": 2, "previous": 1},
    )


def test_a_failure_leaves_nothing_behind(release, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(ExportError, match="No space left"):
        deploy(release, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_deployment(tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "release")
    out = tmp_path / "deploy"
    done = CliRunner().invoke(app, ["deploy", str(root), "--out", str(out), "--json", "--cores", "1"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["models"] == ["retrieval", "query", "candidate"]
    assert isinstance(load(root), Release)
    assert (out / "docker-compose.yml").exists()
    assert container(out)["startupProbe"]["httpGet"]["path"] == "/v1/models/retrieval"
