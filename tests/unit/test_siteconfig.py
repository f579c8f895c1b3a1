"""site.yaml: one file, and every mistake in it named with file and place."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from sgehub.errors import SiteConfigurationError
from sgehub.model.policy import SitePolicy
from sgehub.siteconfig import load_site, read_site

SAMPLE = Path(__file__).parents[2] / "config" / "site.yaml"


def said(text):
    """Return the error for a site's text."""
    with pytest.raises(SiteConfigurationError) as caught:
        read_site(text, "site.yaml")
    return str(caught.value)


def test_the_sample_is_right():
    """The file that is shipped is the file that the demonstration uses."""
    policy = load_site(SAMPLE)
    assert list(policy.queues) == ["short.q", "long.q", "gpu.q"]
    assert policy.session.ports == (20000, 29999)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'memory: 64G, gpus: 0, runtime: "01:00:00"',
            'memroy: 64G, runtime: "01:00:00"',
            ["line 22: queues.short.q.memroy", "no such key", 'Did you mean "memory"?'],
        ),
        (
            "counted: slot",
            "counted: core",
            ["line 13: memory.counted", "write 'slot', 'job' or 'host'", "consumable"],
        ),
        ("counted: slot", "", ["line 11: memory.counted: is missing.", '"job": once']),
        (
            "gpu:\n",
            "gpu: 4\nnothing:\n",
            ["gpu: expected keys below it: complex, counted", "nothing: there is no"],
        ),
        ("cell: lab", "planet: x", ["there is no such key. Keys here are: root, cell, commands"]),
        ("defaults: {", "? [a, b]\n: c\ndefaults: {", ["line 26: found unhashable key"]),
        ("memory: 64G, gpus: 2", "memory: 64X, gpus: 2", ["queues.gpu.q.memory", "512M"]),
        ("qmaster_port: 6444", "qmaster_port: 99999", ["cluster.qmaster_port", "65535"]),
        ("cores: 1, memory: 2G", "cores: 64, memory: 2G", ["line 26: defaults: At most 16 cores"]),
        ("cores: 16", "cores: 0", ["queues.short.q.cores: write 1 or more. Most slots"]),
        ("cores: 16", "cores: few", ["queues.short.q.cores: write a whole number."]),
        ("short.q:", '"short q":', ["queues.short q: is no such name"]),
        ("[20000, 29999]", "20000", ["session.ports: write a list in brackets."]),
        ("[20000, 29999]", "[1, 2, 3]", ["session.ports: write no more than 2."]),
        ("counted: slot", "counted: slot\n  headroom: 0.5", ["line 14: memory.headroom: write 1 or more."]),
        (
            "memory:\n  complex: h_vmem",
            "memory:\n- complex: mem_free\n  counted: host\n- complex: h vmem",
            ["line 14: memory.1.complex: is no such name"],
        ),
        ("complex: h_vmem", "complex: gpu", ["line 11: memory: a job asks for a complex once, not for gpu twice"]),
        ("cell: lab", "cell: lab\n  since: 2024-02-30", ["a value that YAML cannot read"]),
        ("session:", "hosts: {node_01: a}\nsession:", ["hosts.node_01: is not the name of a host"]),
        ("root: /opt", "root: opt", ["cluster.root", "not absolute"]),
        ("cell: lab ", "cell: lab\n  cell: other", ['"cell" stands twice', "line"]),
        ("  complex: gpu", "\tcomplex: gpu", ["line 16: a tab; YAML is indented with spaces only."]),
        ("[20000, 29999]", "[20000, 80]", ["line 31: session.ports: write the first and the last port"]),
        ("parallel_environment: smp", "parallel_environment: smp 4", ["parallel_environment"]),
        ('"{home}/.sgehub"', '"{home}/a,b"', ["session.secrets", "','"]),
    ],
)
def test_each_mistake_names_its_place(old, new, expected):
    """File, key path or line, and what is allowed."""
    text = SAMPLE.read_text().replace(old, new, 1)
    assert text != SAMPLE.read_text()
    message = said(text)
    assert message.startswith(("site.yaml, line ", "site.yaml: a value"))
    for part in expected:
        assert part in message


def test_all_mistakes_come_at_once():
    """One run of the check shows the whole list."""
    message = said(SAMPLE.read_text().replace("cores: 16", "cores: 0").replace("counted: job", "counted: x"))
    assert "queues.short.q.cores" in message
    assert "queues.long.q.cores" in message
    assert "gpu.counted" in message
    assert all(line.startswith("site.yaml, line ") for line in message.splitlines())


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "just text"])
def test_an_empty_file_is_an_error_in_words(text):
    """No traceback, no site without limits."""
    assert "expected keys such as cluster" in said(text)


def test_what_holds_itself_or_is_endlessly_deep_is_an_error_in_words():
    """An anchor inside itself, and more brackets than Python follows."""
    assert "queues: there is no such key" not in said("queues: &all {short.q: *all}\n")
    assert "nested too deeply" in said("[" * 100_000)


def test_keys_can_be_merged_from_an_anchor():
    """YAML's own way to say something once for several queues."""
    limits = 'cores: 16, memory: 64G, runtime: "48:00:00"'
    merged = (
        f"  long.q: {{<<: &usual {{patience: 3600}}, {limits}}}\n  other.q: {{<<: *usual, {limits}}}\n  gpu.q:"
    )
    text = re.sub(r"  long\.q:.*\n  gpu\.q:", merged, SAMPLE.read_text())
    policy = read_site(text, "site.yaml").policy
    assert policy.queues["long.q"].patience == policy.queues["other.q"].patience


def test_yaml_runs_no_code():
    """A tag that would build Python objects is refused."""
    assert "line 1" in said("!!python/object/apply:os.system ['true']")


def test_files_that_cannot_be_a_site(tmp_path):
    """Missing, too large, not text: each says so."""
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (2 * 1024 * 1024))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, expected in [(tmp_path / "no.yaml", "No such file"), (big, "larger than"), (binary, "not UTF-8")]:
        with pytest.raises(SiteConfigurationError, match=expected):
            load_site(path)


def test_every_key_is_described():
    """The reference of site.yaml is made from the models: a key without a sentence would stand there as None."""
    page = Path(__file__).parents[2] / "docs" / "site_keys.py"
    spec = importlib.util.spec_from_file_location("site_keys", page)
    assert spec is not None
    assert spec.loader is not None
    site_keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site_keys)
    found = list(site_keys.rows(SitePolicy))
    assert {"``cluster.root``", "``queues.NAME.runtime``", "``session.ports``"} <= {path for path, *_ in found}
    assert all(len(text) > 8 and text != "None" for _, text, _ in found)
