"""An independent client of the Open Inference Protocol against the running service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfrecall as tr
from tests.serving.running import running

# A Python that has `tritonclient[grpc,http]`, where this one has not.
PYTHON = os.environ.get("TFRECALL_TRITONCLIENT_PYTHON", sys.executable)
PROGRAM = Path(__file__).with_name("ask_by_tritonclient.py")


@pytest.mark.slow
def test_an_independent_client_gets_the_lists_of_the_release(item_cf):
    there = subprocess.run(
        [PYTHON, "-c", "import tritonclient.grpc, tritonclient.http"], capture_output=True, timeout=60
    )
    if there.returncode:
        pytest.skip("no tritonclient: name a Python that has it by TFRECALL_TRITONCLIENT_PYTHON")
    users = ["u1", "u2"]
    with running(item_cf, "--grpc-port", 0) as service:
        addresses = [
            service.url.removeprefix("http://"),
            service.first_line.split("grpc://")[1].strip(),
        ]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [PYTHON, str(PROGRAM), *addresses, "item_cf", *users],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    errors = [found.pop(f"{protocol}, error") for protocol in ("http", "grpc")]
    assert all("no release" in error for error in errors), errors
    expected = [one.item_ids for one in tr.load(item_cf).recommend(users, k=3)]
    assert found == dict.fromkeys(
        ("http, binary: True", "http, binary: False", "grpc, binary: True"), expected
    )
