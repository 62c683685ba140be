"""Runs whose figures are blank: drawing them takes three quarters of a run of a few steps."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

from ssl_runner.reporting import page, plots


def _blank() -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (1, 1)).save(png, format="png")
    return png.getvalue()


BLANK = _blank()


@contextmanager
def undrawn() -> Iterator[None]:
    """Have reports and figures made of blank pictures in this process. test_run.py has a run that draws."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (plots, page):
            patched.setattr(module, "draw", lambda *figure_and_theme: BLANK)
        yield
