"""Which cases of a test are in which suite (tests/conftest.py)."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

OF_MANY = """
import pytest

@pytest.mark.parametrize("case", range(10))
@pytest.mark.sampled(3)
def test_many(case):
    pass

@pytest.mark.parametrize("case", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.sampled(2)
def test_few(case):
    pass
"""


@pytest.fixture
def file(pytester: pytest.Pytester) -> Path:
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers =\n  sampled\n  thorough\n  slow\n")
    return pytester.makepyfile(OF_MANY)


def collected(pytester: pytest.Pytester, marks: str, *words: str) -> list[str]:
    done = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks, *words)
    return [line.rpartition("::")[2] for line in done.outlines if "::" in line]


@pytest.mark.usefixtures("file")
def test_a_sample_of_its_cases_is_quick_and_each_case_is_in_one_suite(pytester: pytest.Pytester) -> None:
    quick = collected(pytester, "not slow and not thorough")
    thorough = collected(pytester, "thorough and not slow")
    assert quick == ["test_many[1]", "test_many[5]", "test_many[8]", "test_few[0]"]
    assert thorough == [f"test_many[{case}]" for case in range(10) if case not in (1, 5, 8)]
    assert collected(pytester, "slow") == ["test_few[1]"]


def test_a_case_that_is_named_is_tried(pytester: pytest.Pytester, file: Path) -> None:
    assert collected(pytester, "not thorough", f"{file.name}::test_many[2]") == ["test_many[2]"]
