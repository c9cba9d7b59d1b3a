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
    """What comes of files with one test of one parameter each, under the rule of this suite."""
    pytester.makeconftest("from tests.conftest import pytest_make_parametrize_id")

    def run(*parameters):
        files = {f"test_{i}": CASES.format(parameter) for i, parameter in enumerate(parameters)}
        pytester.makepyfile(**files)
        return pytester.runpytest("-p", "no:hypothesispytest")

    return run


@pytest.mark.slow
def test_values_that_make_no_id_are_refused_with_the_remedy(collected):
    # The second of the time is in the fifth byte of a gzip file, so two workers would collect two ids.
    result = collected("gzip.compress(b'a')", "b''", "'x' * 151")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            f"*`content` gets {received} as its id*Give it one: `ids=*"
            for received in ("21 bytes", "0 bytes", "151 str")
        ]
    )


def test_all_others_are_collected(collected):
    parameters = ["pytest.param(b'a', id='compressed')", "'x' * 150", "1.5", "['any', 'list']", "len"]
    collected(*parameters).assert_outcomes(passed=len(parameters))
