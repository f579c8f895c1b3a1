"""What holds for every test: a skip is a failure, and the clock of a busy machine is not.

A test that does not run proves nothing, and nobody reads the "s" in a row of dots. What a test needs (root,
Grid Engine, a browser) is installed by `make deps`; where it is missing, the test fails and says so. The same
holds for an expected failure: what is known to be broken is mended, or not promised.

The mark "root" is for tests that make files of other accounts: `make check` leaves them out for whoever is not
root, `make test` runs them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# In a clean clone the first text that hypothesis makes costs it a second, once; and people share machines.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

AnyReport = TypeVar("AnyReport", pytest.CollectReport, pytest.TestReport)


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark, since marks that nobody named are errors."""
    config.addinivalue_line("markers", "root: makes files of other accounts, so only root can run it")


def refuse_skip(report: AnyReport) -> AnyReport:
    """Turn the report of a skipped, or expectedly failed, test or module into one of failure."""
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} did not run ({reason}), and a skip is a failure."
        vars(report).pop("wasxfail", None)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse a module that skips itself, as `pytest.importorskip` does."""
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Refuse a test that skips itself, is marked so, or is expected to fail."""
    return refuse_skip((yield))
