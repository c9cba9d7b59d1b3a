"""Rules of the suite itself: ids of parametrised cases are equal in all workers, and can be typed."""

import pytest

pytest_plugins = ["pytester"]

CASES = """
import gzip, pytest

@pytest.mark.parametrize("content", [{}])
def test_it(content):
    assert content
"""


@pytest.fixture
def collected(pytester):
    """Outcomes of a test with one parameter, under the rule of this suite."""
    pytester.makeconftest("from tests.conftest import pytest_make_parametrize_id")

    def run(parameter):
        pytester.makepyfile(CASES.format(parameter))
        return pytester.runpytest("-p", "no:randomly")

    return run


@pytest.mark.parametrize(
    ("parameter", "received"),
    [
        # The second of the time is in the fifth byte, so two workers would collect two ids.
        ("gzip.compress(b'a')", "21 bytes"),
        ("b''", "0 bytes"),
        ("'x' * 151", "151 str"),
    ],
)
def test_values_that_make_no_id_are_refused_with_the_remedy(collected, parameter, received):
    result = collected(parameter)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*`content` gets {received} as its id*Give it one: `ids=*"])


@pytest.mark.parametrize(
    "parameter", ["pytest.param(b'a', id='compressed')", "'x' * 150", "1.5", "['any', 'list']", "len"]
)
def test_all_others_are_collected(collected, parameter):
    collected(parameter).assert_outcomes(passed=1)
