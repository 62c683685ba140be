"""What of the tests is quick, and how hypothesis draws.

A test of many cases that is marked `sampled(n)` has `n` of them, spread evenly, in the quick suite; the others are
`thorough`. Each change is checked by both.

hypothesis draws the same cases in each run, so that a suite gives one answer for one state of the code.
`make test-all` draws others each time (`--hypothesis-profile=random`). No profile limits the time of a case, which
other programs on the machine change. No test asks the Hugging Face hub, whatever paths are drawn.
"""

import os
from collections import defaultdict

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("repeatable")  # pytest's option, where it is given, is read afterwards


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cases: dict[tuple[str, int], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if (sampled := item.get_closest_marker("sampled")) and not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0], sampled.args[0]].append(item)
    for (_, count), found in cases.items():
        quick = {(2 * each + 1) * len(found) // (2 * count) for each in range(count)}
        for number, item in enumerate(found):
            if number not in quick:
                item.add_marker("thorough")
