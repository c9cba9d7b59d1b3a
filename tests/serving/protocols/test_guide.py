"""The guide to the protocols: what it asks is asked, and what it shows is answered."""

import json
import re
import subprocess
import sys

import pytest
from google.protobuf import json_format

from tests.docs.markdown import DOCS, ROOT, blocks
from tests.serving.protocols.alike import same
from tests.serving.protocols.test_grpc import call
from tests.serving.running import running
from tfrecall.serving.protocols.messages import METHODS

PAGE = DOCS / "guides" / "protocols.md"
HTTP, GRPC = "localhost:8500", "localhost:8501"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory in which the page's first block has run."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "examples").symlink_to(ROOT / "examples")
    run(blocks(PAGE, "python")[0], folder)
    return folder


@pytest.fixture(scope="module")
def addresses(folder):
    """Addresses of the page -> addresses of the service that runs."""
    with running(folder / "saved_models" / "shop", "--grpc-port", 0) as service:
        grpc_address = service.first_line.split("grpc://")[1].strip()
        yield {HTTP: service.url.removeprefix("http://"), GRPC: grpc_address}


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown_after(block, kind):
    text = PAGE.read_text("utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text[text.index(block) :], re.DOTALL)[0]


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks(PAGE, "sh"), ids=lambda block: block.split()[2])
def test_curl_gets_what_the_page_shows(block, addresses):
    command = block.replace(HTTP, addresses[HTTP])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    # The page has seven digits.
    same(json.loads(done.stdout), json.loads(shown_after(block, "json")), rtol=1e-4)


# Called `py`: blocks called `python` run in the test of all pages, which has no service.
@pytest.mark.slow
@pytest.mark.parametrize("block", blocks(PAGE, "py"), ids=lambda block: block.split()[1])
def test_programs_print_what_the_page_shows(block, folder, addresses):
    printed = run(block.replace(GRPC, addresses[GRPC]), folder)
    assert printed == shown_after(block, "text")


@pytest.mark.slow
def test_the_json_for_grpcurl_is_a_request(addresses):
    import grpc

    block = PAGE.read_text("utf-8").partition("\ngrpcurl ")[2].partition("```")[0]
    method = re.search(r"inference\.GRPCInferenceService/(\w+)", block)[1]
    asked = json.loads(re.search(r"-d '(.*?)'", block, re.DOTALL)[1])
    request = json_format.ParseDict(asked, METHODS[method][0]())
    with grpc.insecure_channel(addresses[GRPC]) as channel:
        fields = {field.name: value for field, value in request.ListFields()}
        ids = call(channel, method, **fields).outputs[0]
    shown = shown_after(blocks(PAGE, "py")[0], "text")
    assert str([item.decode() for item in ids.contents.bytes_contents]) == shown.strip()
