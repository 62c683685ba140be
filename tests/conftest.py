"""How hypothesis draws: the same cases in each run, so that the quick suite gives one answer for one state of the code.

`make test-all` draws others each time (`--hypothesis-profile=random`). No profile limits the time of a case, which
other programs on the machine change. No test asks the Hugging Face hub, whatever paths are drawn.
"""

import os

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("repeatable")  # pytest's option, where it is given, is read afterwards
