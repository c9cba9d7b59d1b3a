"""A service of a baseline's release that takes all protocols."""

import pytest
from fastapi.testclient import TestClient

from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig


@pytest.fixture(scope="module")
def client(item_cf):
    config = ServingConfig({"item_cf": item_cf}, grpc_address="127.0.0.1:0")
    with TestClient(create_app(config)) as client:
        yield client
