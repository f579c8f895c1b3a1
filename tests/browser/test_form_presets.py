"""A site that offers much: presets, fields that depend on each other, links to share; by keys, without scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from . import axe
from .hub_process import HubProcess
from .pages import Browser, gone
from .paper_cluster import PaperCluster

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

GPU = """\
gpu:
  complex: gpu
  counted: slot
  types:
    a100: {label: "NVIDIA A100, 40 GB", adds: {gpu_type: a100}}
    k80: {label: "NVIDIA K80, 12 GB", adds: {gpu_type: k80}}
"""
MORE = """\
projects:
  astro: {label: Astronomy}
  genomics: {label: Genomics, queues: [short.q]}
environments:
  python: {label: "Python 3.11", help: "NumPy, SciPy, pandas."}
  ml: {label: Machine learning, help: "PyTorch and CUDA."}
interfaces:
  lab: {label: JupyterLab, url: /lab}
  tree: {label: Notebook, url: /tree}
working_folders: ["{home}"]
mail: {when: ea}
fields:
  lic.a: {label: Licence, type: choice, choices: {matlab: {label: MATLAB, adds: {matlab: "1"}}}}
  course: {label: For a course, type: switch, options: ["-A", "teaching"]}
  disk: {label: Local disk in GB, type: number, least: 1, most: 500, adds: {tmpfs: "{value}G"}}
presets:
  small: {label: Small, help: For a look at a table., request: {cores: 1, memory: 4G, runtime: "08:00:00"}}
  gpu: {label: Two GPUs, request: {cores: 2, memory: 32G, gpus: 2, runtime: "04:00:00", environment: ml}}
"""
FRESH = {
    "preset": "",
    "cores": "1",
    "memory": "2G",
    "gpus": "0",
    "runtime": "01:00:00",
    "queue": "",
    "environment": "",
}
OF_GPU = {"preset": "gpu", "cores": "2", "memory": "32G", "gpus": "2", "runtime": "04:00:00", "environment": "ml"}
TYPED = {
    "cores": "3",
    "memory": "5G",
    "gpus": "1",
    "gpu_type": "k80",
    "runtime": "00:10:00",
    "queue": "long.q",
    "project": "astro",
    "environment": "ml",
    "interface": "tree",
    "folder": "work",
    "mail": "nobody",
    "extra.lic.a": "matlab",
    "extra.course": "yes",
    "extra.disk": "9999",
}
# WCAG 2.2, 2.4.11: Start sticks to the window's bottom and must not cover what has the focus.
HIDDEN = """
var bar = document.querySelector(".sgehub-actions"), mine = arguments[0].getBoundingClientRect();
return bar !== null && !bar.contains(arguments[0]) && !arguments[0].closest(".sgehub-link")
  && arguments[0].closest("form") !== null && mine.bottom > bar.getBoundingClientRect().top + 1;
"""

NARROW = """\
rules:
  - {people: [NAME], queues: [short.q, gpu.q], most: {cores: 2, memory: 8G}}
"""
LOCKED = """\
  - {people: [NAME], locked: {memory: 4G, environment: python, extra.course: "yes", extra.disk: "10"}}
"""
CLOSED = """
var parse = JSON.parse;
JSON.parse = function (text) {
  var found = parse(text);
  if (found.projects) { found.projects.astro.queues = ["closed.q"]; }
  return found;
};
"""
RESTORED = """
document.querySelector("[name=preset][value='" + arguments[0] + "']").checked = true;
window.dispatchEvent(new PageTransitionEvent("pageshow"));
"""


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> PaperCluster:
    """Make a cluster whose site offers much."""
    made = PaperCluster(tmp_path_factory.mktemp("presets") / "cluster")
    text = made.site.read_text().replace("gpu: {complex: gpu, counted: job}\n", GPU)
    made.site.write_text(text.replace("gpus: 2, ", "gpus: 2, gpu_types: [a100], ") + MORE)
    return made


@pytest.fixture(scope="module")
def hub(papers: PaperCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Run a hub of this module's own."""
    with HubProcess.running(tmp_path_factory.mktemp("hub"), papers.site) as process:
        yield process


def choose(page: Browser, preset: str) -> None:
    page.click(f"[name=preset][value='{preset}']")


def note(page: Browser, field: str) -> str:
    """Return what stands beside a field for the present wish."""
    return page.text(f"#request-{field}-now")


def words(page: Browser, field: str) -> list[str]:
    """Return what a list offers."""
    return [one.text for one in Select(page.one(f"[name='{field}']")).options]


def asked(cluster: PaperCluster) -> dict[str, str]:
    """Return the switches of qsub of the last job."""
    request = json.loads((cluster.folder / "submitted" / str(cluster.submitted()[-1])).read_text())
    options = request["options"]
    return {name: value for name, value in zip(options, [*options[1:], ""], strict=True) if name.startswith("-")}


def focused(page: Browser) -> WebElement:
    return page.driver.switch_to.active_element


def press(page: Browser, *keys: str) -> None:
    ActionChains(page.driver).send_keys(*keys).perform()


def tab_to(page: Browser, name: str) -> None:
    """Press Tab until an element has the focus, by its name or id."""
    for _ in range(60):
        element = focused(page)
        if name in (element.get_attribute("name"), element.get_attribute("id"), element.tag_name):
            return
        press(page, Keys.TAB)
        assert not page.driver.execute_script(HIDDEN, focused(page)), "What has the focus is behind Start."
    raise AssertionError(f"Tab does not reach {name}.")


def test_a_preset_fills_the_fields_and_one_press_starts_it(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """What its card says, and no more; a change of that makes it one's own, which is never lost."""
    page = browser("games")
    page.open("hub/spawn")
    assert page.values() | FRESH == page.values()
    page.click("summary")
    page.fill(cores="6", gpu_type="a100", queue="gpu.q", project="astro", mail="a@b.org")
    choose(page, "gpu")
    kept = {"project": "astro", "mail": "a@b.org"}
    assert page.values() | {**OF_GPU, **kept, "gpu_type": "", "queue": ""} == page.values()
    page.fill(interface="tree", project="")
    assert page.values() | {**OF_GPU, "interface": "tree", "project": ""} == page.values()
    choose(page, "small")
    assert page.values() | {"preset": "small", "environment": "", "interface": "tree"} == page.values()
    page.fill(project="astro", interface="")
    choose(page, "")
    own = {"cores": "6", "gpu_type": "a100", "queue": "gpu.q", "environment": ""}
    assert page.values() | {**FRESH, **own, **kept, "interface": ""} == page.values()
    assert page.text("#request-own") == "6 cores, 2G, 1 hour"
    choose(page, "small")
    page.fill(cores="2")
    assert page.values() | {"preset": "", "cores": "2", "memory": "4G", "runtime": "08:00:00"} == page.values()
    choose(page, "gpu")
    page.start()
    page.until(cluster.submitted)
    assert asked(cluster)["-l"] == "h_vmem=16G,h_rt=04:00:00,gpu=1"
    assert asked(cluster)["-pe"] == "smp"
    assert asked(cluster)["-P"] == "astro"
    assert page.complaints() == []


def test_limits_follow_what_is_asked_for(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """Memory of each core, possible GPUs, queues that do not fit, and what a queue or a project allows."""
    page = browser("daemon")
    page.open("hub/spawn")
    assert (note(page, "memory"), note(page, "gpus")) == ("", "")
    assert "sgehub-idle" in str(page.one("[name=gpu_type]").get_attribute("class"))
    page.fill(cores="4", memory="4G")
    assert note(page, "memory") == "1G for each of 4 cores."
    assert note(page, "gpus") == "With 4 cores: no GPUs."
    page.fill(memory="1000M", cores="3")
    assert note(page, "memory") == "About 333.3M for each of 3 cores."
    page.fill(memory="1G", cores="2", gpus="2", runtime="02:00:00")
    assert note(page, "gpus") == "With 2 cores: 0 or 2."
    assert "sgehub-idle" not in str(page.one("[name=gpu_type]").get_attribute("class"))
    assert words(page, "queue") == [
        "Any that fits",
        "short.q does not fit: no GPUs, at most 1 hour",
        "long.q does not fit: no GPUs",
        "gpu.q: 8 cores, 64G, 2 GPUs, 8 hours",
    ]
    assert note(page, "queue") == "Fits in gpu.q."
    page.fill(gpu_type="k80")
    assert note(page, "queue") == "No queue offers all of this together."
    page.fill(gpu_type="", gpus="1")
    assert (note(page, "gpus"), note(page, "queue")) == ("With 2 cores: 0 or 2.", "")
    assert "beyond" in str(page.one("#request-gpus-now").get_attribute("class"))
    page.fill(gpus="0", cores="0")
    assert (note(page, "cores"), note(page, "queue")) == ("At least 1 core.", "")
    page.fill(cores="2", gpus="0", queue="short.q")
    assert note(page, "runtime") == "At most 1 hour in short.q."
    assert note(page, "queue") == "short.q does not fit: at most 1 hour."
    page.fill(queue="", project="genomics")
    assert note(page, "runtime") == "At most 1 hour for project genomics."
    assert "long.q does not fit: closed to project genomics" in words(page, "queue")
    page.fill(runtime="1")
    assert note(page, "runtime").endswith("At least 1 minute.")
    page.fill(cores="x", memory="$(id)", runtime="soon")
    assert note(page, "memory") == "At most 64G for project genomics."
    assert page.complaints() == []
    assert cluster.jobs() == {}


def test_what_stood_beside_the_fields_goes_where_nothing_can_be_said(browser: Callable[..., Browser]) -> None:
    """A project none of whose queues is the person's has no limits, and not those of another project."""
    page = browser("daemon")
    page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": CLOSED})
    page.open("hub/spawn")
    page.fill(runtime="02:00:00", project="genomics")
    assert note(page, "runtime") == "At most 1 hour for project genomics."
    page.fill(project="astro")
    assert [note(page, name) for name in ("cores", "runtime")] == ["", ""]
    assert note(page, "queue") == "No queue offers all of this together."


@pytest.mark.parametrize("preset", ["", "small"])
def test_a_refusal_keeps_every_value(browser: Callable[..., Browser], cluster: PaperCluster, preset: str) -> None:
    """Those among what is rarely needed, which opens, ticks, and a preset with what was added to it."""
    page = browser("bin", width=390)
    page.open("hub/spawn")
    page.click("summary")
    if preset:
        choose(page, preset)
        # A request of one's own otherwise: another tab of the same form, or a script that was slow.
        page.driver.execute_script("document.querySelector('[name=mail]').value = 'nobody'")
        typed = {"preset": "small", "cores": "1", "memory": "4G", "runtime": "08:00:00", "mail": "nobody"}
    else:
        page.fill(**TYPED)
        typed = {"preset": "", **TYPED}
    page.start()
    assert page.values() | typed == page.values()
    assert "mail" in page.reasons()
    assert page.one("[name=mail]").is_displayed()
    if not preset:
        assert page.reasons().keys() == {"gpus", "mail", "extra.disk"}
        page.click("#request-refused a[href='#request-extra-2']")
        assert page.one("[name='extra.disk']").is_displayed()
    assert cluster.jobs() == {}


def test_keys_alone_lead_from_the_login_to_a_session(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """Tab, Space and Enter, and what is typed into fields; arrows choose among the presets."""
    page = browser("nobody")
    page.driver.delete_all_cookies()
    page.open("hub/login")
    tab_to(page, "username")
    press(page, "nobody", Keys.TAB, "x", Keys.ENTER)
    page.until(lambda: "/hub/spawn" in page.driver.current_url and page.one("#start-session").is_enabled())
    tab_to(page, "preset")
    press(page, Keys.ARROW_UP)
    assert page.values()["preset"] == "gpu"
    press(page, Keys.ARROW_DOWN)
    tab_to(page, "cores")
    press(page, "2", Keys.TAB)
    tab_to(page, "summary")
    press(page, Keys.ENTER)
    tab_to(page, "extra.course")
    press(page, Keys.SPACE)
    assert page.values() | {"preset": "", "cores": "2", "extra.course": "yes"} == page.values()
    tab_to(page, "start-session")
    element = focused(page)
    left = page.one("html")
    press(page, Keys.ENTER)
    page.until(lambda: gone(element) and gone(left))
    page.until(cluster.submitted)
    assert (asked(cluster)["-A"], asked(cluster)["-l"]) == ("teaching", "h_vmem=1G,h_rt=01:00:00")


def test_presets_need_no_javascript(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """A refusal keeps what was chosen and typed; then what the card says counts, and else what was typed."""
    page = browser("lp", javascript=False)
    page.open("hub/spawn")
    assert not page.one("#copy-link").is_displayed()
    assert 'unless it is "My own"' in page.text(".sgehub-presets noscript")
    choose(page, "gpu")
    page.click("summary")
    page.fill(cores="16", memory="nonsense", queue="short.q", mail="nobody", interface="tree", project="astro")
    page.fill(**{"extra.course": "yes"})
    page.start()
    typed = {"preset": "gpu", "cores": "16", "memory": "nonsense", "mail": "nobody", "extra.course": "yes"}
    assert page.values() | typed == page.values()
    assert page.reasons().keys() == {"mail"}
    page.fill(mail="")
    page.start()
    page.until(cluster.submitted)
    assert asked(cluster)["-l"] == "h_vmem=16G,h_rt=04:00:00,gpu=1"
    assert (asked(cluster)["-A"], asked(cluster)["-P"]) == ("teaching", "astro")


def test_a_page_that_comes_back_shows_what_start_would_ask_for(browser: Callable[..., Browser]) -> None:
    """By Back, from a copy or as a new page, and by a reload: a preset is never chosen above other values."""
    page = browser("sync")
    for leave in ("", "window.addEventListener('unload', function () {})"):  # the second: no copy is kept
        page.open("hub/spawn")
        page.driver.execute_script(leave)
        choose(page, "gpu")
        page.open("hub/home")
        page.driver.back()
        page.until(lambda: "/hub/spawn" in page.driver.current_url)
        assert page.values()["preset"] == ("gpu" if page.values()["cores"] == "2" else "")
        choose(page, "gpu")
        page.driver.refresh()
        assert page.values() | FRESH == page.values()
    # A browser that minds no autocomplete="off" brings the choice back to fields that are fresh.
    page.driver.execute_script(RESTORED, "gpu")
    assert page.values() | OF_GPU == page.values()


@pytest.mark.parametrize("path", ["hub/spawn", "hub/spawn/news/second"])
def test_a_link_carries_a_request_to_another_form(
    browser: Callable[..., Browser], cluster: PaperCluster, path: str
) -> None:
    """Only what differs from the defaults is in it; it fills the form of whoever opens it and starts nothing."""
    page = browser("news")
    page.open(path)
    origin = page.url.rstrip("/")
    grant = {"origin": origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    page.click("summary")
    wish = {"cores": "2", "gpus": "2", "runtime": "02:00:00", "environment": "ml", "extra.lic.a": "matlab"}
    page.fill(**wish, **{"extra.course": "yes", "mail": "a+b@c.org"})
    page.click("#copy-link")
    page.until(lambda: "The link is copied." in page.text("#copied"))
    link = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert urlsplit(link).path == f"/{path}"
    assert dict(parse_qsl(urlsplit(link).query)) == {
        **{f"opt-{name}": value for name, value in wish.items()},
        "opt-extra.course": "yes",
        "opt-mail": "a+b@c.org",
    }
    page.open(path)
    page.driver.get(link)
    assert page.values() | {**FRESH, **wish, "extra.course": "yes", "mail": "a+b@c.org"} == page.values()
    assert "filled from the link" in page.text()
    assert cluster.jobs() == {}


def test_a_link_to_the_defaults_and_a_closed_clipboard(browser: Callable[..., Browser]) -> None:
    """The link names a field, or the last request would come; without a clipboard it stands there to be copied."""
    page = browser("mail")
    page.open("hub/spawn/mail")
    page.driver.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.click("#copy-link")
    assert page.text("#copied") == "Copy the link from the field."
    field = page.one("#link")
    assert focused(page) == field
    assert field.get_attribute("value") == f"{page.url}hub/spawn?opt-cores=1"
    selected = "return getSelection().toString() || arguments[0].value.slice(arguments[0].selectionStart)"
    assert page.driver.execute_script(selected, field) == field.get_attribute("value")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_nothing_stands_in_the_way_of_people_with_disabilities(
    browser: Callable[..., Browser], theme: str, width: int
) -> None:
    """Axe-core finds nothing: in the fresh form, with a preset and all fields open, and when it was refused."""
    page = browser("man", width=width)
    page.driver.execute_script("localStorage.setItem('jupyterhub-bs-theme', arguments[0])", theme)
    page.open("hub/spawn")
    assert page.one("html").get_attribute("data-bs-theme") == theme
    assert axe.violations(page.driver) == []
    choose(page, "gpu")
    page.click("summary")
    assert axe.violations(page.driver) == []
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    page.fill(cores="x", queue="short.q", mail="nobody")
    page.start()
    assert axe.violations(page.driver) == []
    page.driver.execute_script("document.querySelector('label[for=request-cores]').remove()")
    assert "label" in [one.split(":")[0] for one in axe.violations(page.driver)]


@pytest.mark.parametrize(("theme", "width", "name"), [("light", 1280, "irc"), ("dark", 390, "list")])
def test_neither_does_what_is_narrower_than_the_last_request(
    browser: Callable[..., Browser], hub: HubProcess, cluster: PaperCluster, theme: str, width: int, name: str
) -> None:
    """Axe-core finds nothing in a form that says what had to change, and in one whose fields are locked."""
    page = browser(name, width=width)
    page.driver.execute_script("localStorage.setItem('jupyterhub-bs-theme', arguments[0])", theme)
    page.open("hub/spawn")
    page.fill(cores="4", memory="32G", gpus="0", runtime="24:00:00", queue="long.q", environment="ml")
    page.start()
    page.until(lambda: "waits in the queue" in page.text("#progress-log"))
    cluster.end(cluster.submitted()[-1])
    page.until(lambda: page.one("#failure").is_displayed())
    before = cluster.site.read_text()
    for rule in (NARROW, NARROW + LOCKED):
        cluster.site.write_text(before + rule.replace("NAME", name))
        hub.hang_up()
        page.until(lambda rule=rule: reopened(page, locked=LOCKED in rule))
        page.click("summary")
        assert "Cores: 2 instead of 4" in page.text("#request-changed")
        assert len(page.all(".sgehub-locked, [readonly]:not(#link), :disabled")) == 4 * (LOCKED in rule)
        assert axe.violations(page.driver) == []
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    cluster.site.write_text(before)


def reopened(page: Browser, *, locked: bool) -> bool:
    """Open the form again; tell whether it is already as the site's new file says."""
    page.open("hub/spawn")
    return bool(page.all("#request-changed")) and bool(page.all("[name=memory][readonly]")) is locked
