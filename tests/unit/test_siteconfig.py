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
        ("cores: 1, memory: 2G", "cores: 64, memory: 2G", ["line 26: defaults.cores: At most 16 cores"]),
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
        ("[20000, 29999]", "[20000, 80]", ["line 40: session.ports: write the first and the last port"]),
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


# Keys that the sample has not: what is added below its last line -> what is said of it.
FIELD = "fields: {a: {label: A, type: %s}}"
ADDED = [
    ("environments: [a, b]", "environments: expected names with keys below them."),
    ("environments: {a: {lable: x}}", 'environments.a.lable: there is no such key. Did you mean "label"?'),
    ("environments: {a b: {}}", "environments.a b: is no such name: write letters, digits and"),
    (
        "environments: {a: {modules: cuda}}",
        "environments.a.modules: write a list in brackets. Environment modules",
    ),
    (
        "environments: {a: {modules: [a;b]}}",
        "environments.a.modules.0: is no name of a module: write NAME or NAME/V",
    ),
    ("environments: {a: {modules: [12.1]}}", "environments.a.modules.0: write text, and numbers in quotes."),
    ("environments: {a: {path: [opt]}}", "environments.a.path.0: The path 'opt' is not absolute."),
    ("environments: {a: {conda: envs/ml}}", "environments.a.conda: The path 'envs/ml' is not absolute."),
    (
        "environments: {a: {container: [x, '']}}",
        "environments.a.container: Write each word of the command by itself",
    ),
    (
        "environments: {a: {default_url: lab}}",
        "environments.a.default_url: is no page of a server: write its path",
    ),
    (
        "environments: {a: {label: ''}}",
        "environments.a.label: Write a label in one line of at most 100 characters.",
    ),
    ("interfaces: {lab: /lab}", "interfaces.lab: expected keys below it: label, url."),
    ("interfaces: {lab: {}}", "interfaces.lab.url: is missing. Page that a session opens with: /lab,"),
    ("interfaces: {lab: {url: '/lab x'}}", "interfaces.lab.url: is no page of a server: write its path from / on"),
    ("working_folders: scratch", "working_folders: write a list in brackets. Folders in which a session may open"),
    ("working_folders: [scratch]", "working_folders.0: The path 'scratch' is not absolute."),
    (
        "working_folders: ['/x/{user}']",
        "working_folders.0: In '/x/{user}', only {home} at the beginning and {usern",
    ),
    ("working_folders: ['/x/{home}']", "working_folders.0: In '/x/{home}', only {home} at the beginning"),
    ("mail: true", "mail: expected keys below it: when, domains."),
    ("mail: {when: begin}", "mail.when: write one or several of the letters b, e and a. Moments: b begin, e end"),
    ("mail: {domains: ['@x.org']}", "mail.domains.0: is not the name of a host: write letters, digits and dashes"),
    ("advance_reservations: maybe", "advance_reservations: write true or false. Whether people may name"),
    ("reserve_from: 0", "reserve_from: write 1 or more. Sessions of so many slots"),
    ("reserve_from: 1.5", "reserve_from: write a whole number. Sessions of so many slots"),
    ("name_queues: 7", "name_queues: write true or false. Whether jobs name the queues"),
    (FIELD % "text", "fields.a.type: write 'choice', 'switch' or 'number'. \"choice\": one of `choices`"),
    (FIELD % "choice", 'fields.a.choices: name what can be chosen for type "choice", and nothing for the others.'),
    (
        FIELD % "choice, choices: {x: {adds: {y: 1}}}",
        "fields.a.choices.x.adds.y: write text, and numbers in quotes.",
    ),
    (FIELD % "choice, choices: {x: {adds: {y: a b}}}", "fields.a.choices.x.adds.y: cannot be a value for qsub"),
    (
        FIELD % "switch, options: [-t, 1-9]",
        'fields.a.options: Write switches with one argument each, such as ["-A"',
    ),
    (
        FIELD % "switch, options: [-A, a/b]",
        "fields.a.options: -A takes letters, digits and _ . + = , -, not 'a/b'.",
    ),
    (FIELD % "switch, options: [-p, '10']", "fields.a.options: -p takes a number from -1023 to 0, not '10'."),
    (FIELD % "switch, options: [-R, maybe]", "fields.a.options: -R takes y or n, not 'maybe'."),
    (
        FIELD % "switch, adds: {h_vmem: 1G}",
        "fields.a: it asks for h_vmem, as another key does, and a job asks for",
    ),
    (
        FIELD % "switch, adds: {x: '{value}'}",
        "fields.a.adds.x: {value} stands for a number, and a switch has none.",
    ),
    (
        FIELD % "number, adds: {x: 4G}",
        'fields.a.adds: write {value} where the number belongs: {tmpfs: "{value}G"}.',
    ),
    (FIELD % "number, least: 5, most: 1", "fields.a.least: it is larger than most."),
    (
        "presets: {a: {cores: 1}}",
        "presets.a.request: is missing. Fields of a request; resources that it does not name are the",
    ),
    ("presets: {a: {request: {cpus: 1}}}", 'presets.a.request: There is no field "cpus". Fields are: cores,'),
    ("presets: {a: {request: {cores: 99}}}", "presets.a.request.cores: At most 16 cores."),
    (
        "presets: {a: {request: {memory: 4}}}",
        "presets.a.request.memory: A value of type int is not an amount of m",
    ),
    (
        "presets: {a: {request: {extra: {x: y}}}}",
        "presets.a.request: There is no field extra.x. This site has non",
    ),
    ("locked: {cores: 2}", "cores is locked at 2: write the same here."),
    ("locked: {cores: 99}", "locked.cores: At most 16 cores."),
    ("locked: {queue: no.q}", "locked.queue: There is no queue no.q. Queues are: short.q, long.q, gpu.q."),
    ("locked: {extra.x: y}", "locked.extra.x: there is no such field in fields."),
    ("sessions_per_person: 0", "sessions_per_person: write 1 or more. Sessions that each may have at once."),
    ("texts: {cpus: {label: x}}", "texts.cpus: There is no such field of a request. Fields are: cores, memory"),
    ("texts: {cores: {help: ''}}", "texts.cores.help: Write one line of text."),
    ("rules: {groups: [a]}", "rules: write a list of entries with these keys: groups, people, queues"),
    ("rules: [{locked: {cores: x}}]", 'rules.0.locked.cores: "x" is not a whole number. Write digits only'),
    ("rules: [{locked: {cores: 99}}]", "rules.0.locked.cores: At most 16 cores."),
    (
        "rules: [{most: {cores: 2}, locked: {cores: 4}}]",
        "rules.0.locked.cores: At most 2 cores. It is locked at 4.",
    ),
    (
        "rules: [{most: {memory: 1G}}]\nlocked: {memory: 2G}",
        "rules.0.most.memory: At most 1G of memory. It is locked at 2G.",
    ),
    (
        "rules: [{queues: [long.q], locked: {queue: gpu.q}}]",
        "rules.0.queues: it leaves out gpu.q, at which queue is",
    ),
    ("rules: [{presets: [x]}]", "rules.0.presets: x is not in presets above."),
    (
        "rules: [{most: {runtime: 48}}]",
        "rules.0.most.runtime: 00:00:48 is less than shortest_runtime, 00:01:00: no",
    ),
    ("rules: [{most: {runtime: 48:00}}]", "rules.0.most.runtime: Write a runtime as hours:minutes"),
    (
        "rules: [{queues: [long.q], projects: [a]}]\nprojects: {a: {queues: [gpu.q]}}",
        "rules.0.projects: a may use gpu.q only, not long.q.",
    ),
    ("rules: [{interfaces: []}]", "rules.0.interfaces: name at least 1. The only interfaces to choose from."),
    ("projects: {a: {most: {cores: 0}}}", "projects.a.most.cores: write 1 or more. Most slots of one session."),
    (
        "projects: {a: {most: {memory: 64}}}",
        "projects.a.most.memory: 64 is less than smallest_memory, 256M: no sess",
    ),
    ("projects: {a: {queues: [no.q]}}", "projects.a.queues: a may use the queue no.q, which is not in queues."),
]


def without_choices() -> str:
    """Return the sample without the keys that a test adds."""
    return re.sub(r"(?ms)^(interfaces|presets):.*?\n\n", "", SAMPLE.read_text())


@pytest.mark.parametrize(("added", "expected"), ADDED)
def test_each_mistake_of_an_added_key_is_one_sentence_at_its_place(added, expected):
    """In words of this project: no regular expression, no advice to look at somebody else's documentation."""
    message = said(f"{without_choices()}\n{added}\n")
    assert len(message.splitlines()) <= (2 if "a: {cores: 1}" in added else 1)
    assert message.startswith("site.yaml, line ")
    assert expected in message
    assert "line 34: " in message or "locked at" in message
    assert not re.search(r"[Ii]nput|pattern|valid (boolean|integer)|\[A-Z|[?.]\.$", message)


def test_maxima_that_exclude_every_session_are_mistakes():
    """A unit that was forgotten makes bytes and seconds of them."""
    text = SAMPLE.read_text()
    for new, expected in [
        (
            "memory: 64, gpus: 0",
            "line 22: queues.short.q.memory: 64 is less than smallest_memory, 256M: no session fi",
        ),
        (
            'memory: 64G, gpus: 0, runtime: "00:00:10"',
            "queues.short.q.runtime: 00:00:10 is less than shortest_run",
        ),
    ]:
        changed = re.sub(
            r"(?m)^(  short.q: {cores: 16, ).*}$",
            rf"\g<1>{new}{'' if 'run' in new else ', runtime: 3600'}}}",
            text,
        )
        assert expected in said(changed)


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
    big.write_bytes(b"#" * (10 * 1024 * 1024))
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
