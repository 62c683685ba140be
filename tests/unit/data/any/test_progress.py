"""What loops tell of themselves."""

from ssl_runner.data.any.progress import heard, loop, tracked


def test_the_part_of_the_outermost_loop_is_told() -> None:
    told: list[tuple[str, float | None]] = []
    with heard(lambda doing, done: told.append((doing, done))):
        for _ in tracked("ab", "outer"):
            assert list(tracked([1, 2], "inner")) == [1, 2]
    assert {doing for doing, _ in told} == {"outer"}
    parts = [part for _, part in told]
    assert parts == sorted(parts)
    assert set(parts) == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_a_loop_of_unknown_length_says_how_many_are_done() -> None:
    told: list[tuple[str, float | None]] = []
    with heard(lambda doing, done: told.append((doing, done))), loop("reading", None) as found:
        found.advance(1500)
    assert told == [("reading: 0", None), ("reading: 1,500", None)]


def test_a_loop_that_is_left_tells_nothing_more() -> None:
    told: list[str] = []
    with heard(lambda doing, done: told.append(doing)):
        for _ in tracked([1, 2, 3], "left"):
            break
        told.clear()
        list(tracked([1], "next"))
    assert set(told) == {"next"}
    list(tracked([1], "unheard"))
    assert "unheard" not in told
