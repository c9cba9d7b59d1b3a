"""The OpenAPI document: the routes of the application, examples of their forms, and no route that fails."""

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from starlette.routing import Route

from tests.serving.running import listening
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.openapi import document
from tfrecall.serving.operations import OPERATIONS
from tfrecall.serving.web import SENTENCES

PAGE = ("/", "/page/{name}")
# Of schemathesis, which takes seconds to import: not where tests are collected, by each worker.
KEPT = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def app(item_cf, tmp_path_factory):
    events = tmp_path_factory.mktemp("events")
    return create_app(ServingConfig({"item_cf": item_cf}, events=events, max_body=100_000))


@pytest.fixture(scope="module")
def place(app):
    with listening(app) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def schema(place):
    import schemathesis

    return schemathesis.openapi.from_url(f"{place}/openapi.json")


def test_document_has_the_routes_of_the_application(app):
    routes = {
        (method, route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, Route) and route.path not in PAGE
        for method in route.methods - {"HEAD"}
    }
    assert {(one.method, one.path) for one in OPERATIONS} == routes


def test_document_is_one_of_openapi_3_1(schema):
    schema.validate()
    assert schema.raw_schema == document()


@pytest.mark.parametrize("one", [one for one in OPERATIONS if one.asked], ids=lambda one: one.path)
def test_examples_have_the_forms_that_they_are_examples_of(one):
    assert msgspec.convert(one.example, one.asked)
    assert one.answer
    if one.answered is not None:
        assert msgspec.convert(one.answer, one.answered)


def test_errors_have_the_form_of_their_protocol():
    for path, methods in document()["paths"].items():
        form = "Sentence" if path.startswith(SENTENCES) else "Problem"
        for operation in methods.values():
            answer = operation["responses"]["500"]["content"]["application/json"]
            assert answer["schema"]["$ref"].endswith(f"/{form}")


def check_route(schema, place, one, max_examples):
    """Send requests drawn from the document, also such as it forbids."""
    from schemathesis import GenerationMode, checks

    kept = [getattr(checks, name) for name in KEPT]

    @settings(max_examples=max_examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data):
        mode = data.draw(st.sampled_from(GenerationMode), label="mode")
        operation = schema[one.path][one.method]
        try:
            cases = operation.as_strategy(generation_mode=mode)
            case = data.draw(cases, label="case")
        except Unsatisfiable:  # nothing of the request can be wrong
            assume(False)
        answer = case.call(base_url=place)
        if answer.status_code != 504:  # of a drawn X-Request-Timeout-Ms
            case.validate_response(answer, checks=kept)

    check()


def each(operations):
    return pytest.mark.parametrize("one", operations, ids=lambda one: f"{one.method} {one.path}")


@pytest.mark.slow
@each([one for one in OPERATIONS if one.asked and "versions" not in one.path])
def test_no_request_makes_the_service_fail(schema, place, one):
    check_route(schema, place, one, 4)


@pytest.mark.slow
@each(OPERATIONS)
def test_no_request_of_many_makes_the_service_fail(schema, place, one):
    """Bodies have more to get wrong than a path has, and those of a version are those of the newest.

    60 against 10, each some 50 ms; more if thorough.
    """
    is_new = one.asked and "versions" not in one.path
    check_route(schema, place, one, max(4, settings().max_examples * (6 if is_new else 1) // 3))
