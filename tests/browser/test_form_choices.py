"""A site with types of GPU and projects: what people choose is what qsub is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from .hub_process import HubProcess
from .pages import Browser
from .paper_cluster import PaperCluster

GPU = """\
gpu:
  complex: gpu
  counted: job
  types:
    a100: {label: "NVIDIA A100, 40 GB", adds: {gpu_type: a100}}
    k80: {label: "NVIDIA K80, 12 GB", adds: {gpu_type: k80}}
projects:
  astro: {label: Astronomy}
  genomics: {label: Genomics, queues: [short.q]}
"""
ASKED = {"cores": "2", "memory": "4G", "gpus": "1", "runtime": "02:00:00", "queue": ""}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> PaperCluster:
    """Make a cluster whose site has more to choose from."""
    made = PaperCluster(tmp_path_factory.mktemp("choices") / "cluster")
    text = made.site.read_text().replace("gpu: {complex: gpu, counted: job}\n", GPU)
    made.site.write_text(text.replace("gpus: 2, ", "gpus: 2, gpu_types: [a100], projects: [astro], "))
    return made


@pytest.fixture(scope="module")
def hub(papers: PaperCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Run a hub of this module's own."""
    with HubProcess.running(tmp_path_factory.mktemp("hub"), papers.site) as process:
        yield process


@pytest.mark.parametrize(("name", "width"), [("games", 1280), ("bin", 390)])
def test_what_is_chosen_is_asked_for(
    browser: Callable[..., Browser], cluster: PaperCluster, name: str, width: int
) -> None:
    """A type that no queue has is refused beside its field, with all else as it was; another one starts a job."""
    page = browser(name, width=width, height=1500)
    page.open("hub/spawn")
    assert (page.values()["gpu_type"], page.values()["project"]) == ("", "")
    assert "NVIDIA A100, 40 GB" in page.text("#request-gpu_type")
    wide = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    page.fill(**ASKED, gpu_type="k80", project="astro")
    page.start()
    assert page.reasons() == {"gpu_type": "No queue has GPUs of type k80 and the rest of this."}
    typed = {**ASKED, "gpu_type": "k80", "project": "astro"}
    assert page.values() | typed == page.values()
    page.fill(gpu_type="a100")
    page.start()
    page.until(cluster.submitted)
    request = json.loads((cluster.folder / "submitted" / str(cluster.submitted()[-1])).read_text())
    options = request["options"]
    assert options[options.index("-l") + 1] == "h_vmem=2G,h_rt=02:00:00,gpu=1,gpu_type=a100"
    assert options[options.index("-P") + 1] == "astro"


def test_a_project_keeps_to_its_queues(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """The sentence says which queue it may use, beside the queue that was chosen."""
    page = browser("daemon")
    page.open("hub/spawn")
    page.fill(**{**ASKED, "gpus": "0", "queue": "long.q"}, project="genomics")
    page.start()
    assert page.reasons() == {"queue": "Project genomics may not use long.q, only short.q."}
    assert cluster.jobs() == {}


def test_a_queue_for_one_project_opens_with_it(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """Without it the list says for whom the queue is, and so does the refusal."""
    page = browser("sys")
    page.open("hub/spawn")
    page.fill(**ASKED)
    queue = "#request-queue"
    assert "gpu.q does not fit: for astro only" in page.text(queue)
    assert page.text(f"{queue}-now") == "No queue offers all of this together."
    page.fill(project="astro")
    assert "gpu.q does not fit" not in page.text(queue)
    assert page.text(f"{queue}-now") == "Fits in gpu.q."
    page.fill(project="")
    page.start()
    assert page.reasons() == {"project": "The queues that offer this take sessions of astro only."}
    assert cluster.jobs() == {}
