import gc
from collections.abc import Iterator

import pytest

from ssl_runner.runtime.garbage import begin_collection, delay_collection


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_collection_waits_and_then_passes_over_what_was_there() -> None:
    delay_collection()
    assert not gc.isenabled()
    begin_collection()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_what_a_program_has_turned_off_stays_off() -> None:
    before = gc.get_freeze_count()
    gc.disable()
    begin_collection()
    assert not gc.isenabled()
    assert gc.get_freeze_count() == before


def test_where_nothing_was_delayed_nothing_is_kept() -> None:
    before = gc.get_freeze_count()
    begin_collection()
    assert gc.get_freeze_count() == before
