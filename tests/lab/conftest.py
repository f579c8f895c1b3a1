"""A real lab for the whole session, and small ones for tests that break theirs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab
from tests.lab import fault_table, faults, faulty
from tests.lab.hub_site import CONFIG, MakeHub, Site, running_hub

__all__ = ["CONFIG", "MakeHub", "Site", "running_hub"]  # tests take them from here
UP_SECONDS = 60.0  # generous: the figure itself is printed


@pytest.fixture(scope="session")
def install() -> Path:
    """Return the virtual environment that the hosts see as /opt/sgehub."""
    return Path(os.environ.get("SGEHUB_VENV", sys.prefix))


def bring_up(lab: Lab, capture: pytest.CaptureFixture[str] | None = None) -> None:
    """Bring a lab up within bounds, and say how long each phase took."""
    phases: list[str] = []
    started = time.monotonic()
    lab.up(lambda phase, seconds: phases.append(f"{phase} {seconds:.2f}"))
    taken = time.monotonic() - started
    line = f"\nlab {lab.name} up in {taken:.2f} s ({', '.join(phases)})"
    if capture is None:
        os.write(2, line.encode())
    else:
        with capture.disabled():
            os.write(2, line.encode())
    assert taken < UP_SECONDS


@pytest.fixture(scope="session")
def lab(install: Path) -> Iterator[Lab]:
    """Keep one lab for all tests that leave it as it is; it is taken down whatever happens."""
    lab = Lab(f"test-{os.getpid()}", install=install)
    try:
        bring_up(lab)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def make_lab(install: Path) -> Iterator[Callable[..., Lab]]:
    """Return a maker of small labs of a test's own, not yet up; all are taken down at its end."""
    made: list[Lab] = []

    def make(*, nodes: int = 1, root: Path | None = None) -> Lab:
        lab = Lab(f"test-{os.getpid()}-{len(made)}", nodes=nodes, install=install, root=root)
        made.append(lab)
        return lab

    try:
        yield make
    finally:
        for lab in made:
            lab.down()


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Site]:
    """Run the hub that is shipped, on the lab of the whole test session, for one module's tests."""
    prologue = 'echo "devices=[$CUDA_VISIBLE_DEVICES] slots=$NSLOTS"'
    with running_hub(lab, config="c.JupyterHub.log_level = 10", site={"session": {"prologue": prologue}}) as site:
        yield site


@pytest.fixture
def make_hub(lab: Lab) -> MakeHub:
    """Return a maker of hubs with a configuration of a test's own, for a `with` statement."""
    return lambda **changes: running_hub(lab, **changes)


@pytest.fixture(scope="session")
def fault_lab(install: Path) -> Iterator[Lab]:
    """Keep a lab for all tests that break it and mend it; it notices silent hosts soon."""
    with faulty.quick_lab(f"fault-{os.getpid()}", install=install) as lab:
        yield lab


@pytest.fixture
def fault_site(fault_lab: Lab) -> Iterator[faults.FaultSite]:
    """Run a hub for one test that breaks its surroundings; they are mended afterwards."""
    with faults.fault_hub(fault_lab) as site:
        yield site


@pytest.fixture
def make_fault_site(fault_lab: Lab) -> Callable[..., AbstractContextManager[faults.FaultSite]]:
    """Return a maker of such hubs with a configuration of a test's own, for a `with` statement."""
    return lambda **changes: faults.fault_hub(fault_lab, **changes)


@pytest.fixture(scope="session")
def table() -> Iterator[faults.Table]:
    """Keep the rows of the table of faults; write them into the documentation if that is wished."""
    rows = faults.Table()
    yield rows
    if os.environ.get("SGEHUB_RECORD") == "1" and rows.rows:
        fault_table.merge(rows.rows.values())
