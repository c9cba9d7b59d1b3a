"""Values of the header Host: which may ask, and that the others learn nothing."""

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.running import running
from tfrecall.errors import ConfigError
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.hosts import accepts

ASK = {"user_id": "u1", "k": 3}
ACCEPTED = [
    *("localhost", "localhost:8500", "LocalHost.", "a.localhost:1", "127.0.0.1", "127.0.0.1:8500"),
    *("[::1]", "[::1]:8500", "192.168.1.7:80", "shop.example", "Shop.Example.:443"),
]
REFUSED = [
    *(
        "evil.example",
        "evil.example:8500",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.nip.io",
    ),
    *(
        "shop.example.evil",
        "a.shop.example",
        "[evil.example]:80",
        "localhost@evil.example",
        "x y",
        "1.2.3",
    ),
]


@pytest.fixture(scope="module")
def client(item_cf):
    config = ServingConfig({"item_cf": item_cf}, hosts=["shop.example"])
    with TestClient(create_app(config)) as client:
        yield client


@pytest.mark.parametrize("host", ACCEPTED)
def test_own_names_and_addresses_may_ask(client, host):
    assert client.post("/v1/recommend", json=ASK, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/recommend", "/", "/health/live", "/v2/models/item_cf/infer"])
@pytest.mark.parametrize("host", REFUSED)
def test_foreign_names_learn_nothing(client, host, path):
    answer = client.post(path, json=ASK, headers={"Host": host})
    assert answer.status_code == 421
    told = answer.json()["error"]
    message = told if isinstance(told, str) else told["message"]
    assert message.startswith("This service is not called")
    assert answer.headers["connection"] == "close"


def test_any_name_may_ask_where_none_are_given(item_cf):
    with TestClient(create_app(ServingConfig({"item_cf": item_cf}))) as client:
        answer = client.post("/v1/recommend", json=ASK, headers={"Host": "evil.example"})
    assert answer.status_code == 200


@given(st.binary(max_size=40))
def test_any_bytes_have_a_verdict(told):
    assert accepts(["shop.example"])(told) in (True, False)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_any_address_may_ask_with_any_port(address, port):
    host = f"[{address}]" if address.version == 6 else str(address)
    is_accepted = accepts([])
    assert is_accepted(host.encode())
    assert is_accepted(f"{host}:{port}".encode())


@given(st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){1,3}", fullmatch=True))
def test_a_name_may_ask_only_if_it_is_given(name):
    assert accepts([name])(name.upper().encode())
    assert accepts([])(name.encode()) == name.endswith(".localhost")


@pytest.mark.parametrize("host", ["http://shop.example", "shop.example:8500", "", "a b"])
def test_what_is_no_name_is_refused_at_the_start(item_cf, host):
    with pytest.raises(ConfigError, match="without scheme and port"):
        ServingConfig({"item_cf": item_cf}, hosts=[host])


@pytest.mark.slow
def test_command_on_the_loopback_refuses_foreign_names(item_cf):
    with running(item_cf, "--allowed-host", "proxy") as service:
        assert service.post("/v1/recommend", ASK, Host="evil.example").status == 421
        for host in ("localhost", "proxy", "127.0.0.1"):
            assert service.post("/v1/recommend", ASK, Host=host).status == 200
