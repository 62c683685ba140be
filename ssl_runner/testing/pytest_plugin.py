"""pytest's option --ssl-runner-plugin: check the classes of a plugin as the project checks its own."""

from pathlib import Path

import pytest

CONTRACT = Path(__file__).parent / "contract"
TESTS = (  # modules whose assertions are explained
    "objectives", "encoders", "text_encoders", "datasets", "views", "loggers", "findings",
)  # fmt: skip

pytest.register_assert_rewrite(*(f"ssl_runner.testing.{name}" for name in TESTS))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ssl-runner-plugin",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="check the options of this package's folder conf/ against the contracts of ssl_runner; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raises pytest.UsageError where a package cannot be found."""
    packages = config.getoption("--ssl-runner-plugin")
    if not packages:
        return
    from ssl_runner.config import plugins
    from ssl_runner.config.errors import ConfigError

    try:
        plugins.enable(packages)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    given = bool(config.invocation_params.args and config.args_source is pytest.Config.ArgsSource.ARGS)
    config.args[:] = [*(config.args if given else []), str(CONTRACT)]
