"""The parts of ``site.yaml`` that people choose from: environments, interfaces, presets, further fields.

Closed, frozen models like those of `siteparts`; what an administrator writes here is the only text that a choice
can bring to qsub or to the job script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from sgehub.model import names
from sgehub.model.sitevalues import Closed, RequestFields, error_at

VALUE: Final = "{value}"  # stands for the number that a person has written
_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z0-9_.:/+@-]+)?"
# qsub(1): switches with one argument that neither name files nor people nor change what a session is, and what
# each of them takes. Measured with 8.1.9, which lets nobody but operators raise a priority.
SWITCHES: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "-A": (re.compile(r"[A-Za-z0-9_.+=,-]{1,200}"), "letters, digits and _ . + = , -"),
    "-ac": (re.compile(f"(?=.{{1,200}}$){_VARIABLE}(,{_VARIABLE})*"), "NAME=VALUE, several joined by commas"),
    "-binding": (re.compile(r"(linear|striding|explicit):[0-9][0-9:,]{0,100}"), "such as linear:1"),
    "-ckpt": (names.OBJECT, "the name of a checkpointing environment"),
    "-js": (re.compile(r"[0-9]{1,9}"), "a whole number"),
    "-p": (re.compile(r"0|-(?=.{1,4}$)0*([1-9][0-9]{0,2}|10[01][0-9]|102[0-3])"), "a number from -1023 to 0"),
    "-R": (re.compile(r"y|yes|n|no"), "y or n"),
}
MODULE: Final = r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,100}$"  # Environment Modules, Lmod: NAME/VERSION
URL_PATH: Final = r"^/[A-Za-z0-9._~/?=&%-]{0,200}$"
MAIL_MOMENTS: Final = "^[bea]{1,3}$"


def _check_text(text: str) -> str:
    if not text.strip() or any(not one.isprintable() for one in text):
        raise ValueError("Write one line of text.")
    return text


def _check_words(words: list[str]) -> list[str]:
    if any(not word or not word.isprintable() for word in words):
        raise ValueError("Write each word of the command by itself, none of them empty.")
    return words


def _check_options(words: list[str]) -> list[str]:
    for switch, argument in zip(words[::2], [*words[1::2], ""], strict=False):
        if switch not in SWITCHES or not argument:
            raise ValueError(
                f'Write switches with one argument each, such as ["-A", "teaching"]; allowed are '
                f"{', '.join(SWITCHES)}."
            )
        pattern, takes = SWITCHES[switch]
        if not pattern.fullmatch(argument):
            raise ValueError(f"{switch} takes {takes}, not {argument!r}.")
    return words


def _check_value(text: str) -> str:
    if not names.RESOURCE_VALUE.fullmatch(text.replace(VALUE, "1")):
        raise ValueError(f"Write a value for qsub, such as TRUE, 4G or {VALUE}: letters, digits and _ . : + / -.")
    return text


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_check_text)]
Words = Annotated[list[str], AfterValidator(_check_words)]
Options = Annotated[list[str], AfterValidator(_check_options)]
UrlPath = Annotated[str, StringConstraints(pattern=URL_PATH)]


class EnvironmentSite(Closed):
    """One software environment that people can choose: how the job finds jupyterhub-singleuser."""

    label: Annotated[names.Label | None, Field(description="What people read; by default its name.")] = None
    help: Annotated[Text | None, Field(description="A sentence about it.")] = None
    path: Annotated[
        list[names.AbsolutePath], Field(description="Folders put before PATH in the job, before session.path.")
    ] = []
    modules: Annotated[
        list[Annotated[str, StringConstraints(pattern=MODULE)]],
        Field(description="Environment modules loaded in this order (module load)."),
    ] = []
    conda: Annotated[
        names.AbsolutePath | None, Field(description="Folder of a conda environment, which is activated.")
    ] = None
    prologue: Annotated[str, Field(description="Lines of bash after session.prologue.")] = ""
    epilogue: Annotated[str, Field(description="Lines of bash after the server has ended.")] = ""
    container: Annotated[
        Words, Field(description="Words put before the server's command: [apptainer, exec, /images/lab.sif].")
    ] = []
    default_url: Annotated[
        UrlPath | None,
        Field(
            description="Page that a session opens with where no interface was chosen; "
            "by default the first interface's, or JupyterHub's where there is none."
        ),
    ] = None


class InterfaceSite(Closed):
    """One interface that people can choose: JupyterLab, the classic notebook, a terminal."""

    label: Annotated[names.Label | None, Field(description="What people read; by default its name.")] = None
    url: Annotated[UrlPath, Field(description="Page that a session opens with: /lab, /tree, /terminals/1.")]


class PresetSite(Closed):
    """One request that people can start with a single click."""

    label: Annotated[names.Label | None, Field(description="What people read; by default its name.")] = None
    help: Annotated[Text | None, Field(description="A sentence about it: what it is good for.")] = None
    request: Annotated[
        RequestFields, Field(description="Fields of a request; resources that it does not name are the defaults.")
    ]


class MailSite(Closed):
    """E-mail of Grid Engine about a session (qsub -m, -M)."""

    when: Annotated[
        str,
        StringConstraints(pattern=MAIL_MOMENTS),
        Field(description="Moments: b begin, e end, a abort; one or several of these letters."),
    ] = "ea"
    domains: Annotated[
        list[names.HostName],
        Field(description="The only domains of addresses that are allowed; by default any."),
    ] = []

    def may_reach(self, address: str) -> bool:
        """Tell whether an address is in one of the domains, capital letters or not; any is if there are none."""
        domain = address.rpartition("@")[2].lower()
        return not self.domains or domain in map(str.lower, self.domains)


class ChoiceSite(Closed):
    """One thing to choose in a further field."""

    label: Annotated[names.Label | None, Field(description="What people read; by default its name.")] = None
    adds: Annotated[
        dict[names.ObjectName, names.ResourceValue], Field(description="Hard requests: complex and value.")
    ] = {}
    options: Annotated[Options, Field(description='Switches of qsub: ["-A", "teaching"].')] = []


class ExtraField(Closed):
    """A field of the site's own, and what it adds to qsub."""

    label: Annotated[names.Label, Field(description="What people read.")]
    help: Annotated[Text | None, Field(description="A sentence below the field.")] = None
    type: Annotated[
        Literal["choice", "switch", "number"],
        Field(description='"choice": one of `choices`; "switch": on or off; "number": `least` to `most`.'),
    ]
    choices: Annotated[dict[names.ObjectName, ChoiceSite], Field(description="What can be chosen.")] = {}
    least: Annotated[int, Field(ge=0, le=1_000_000_000, description="Smallest number.")] = 0
    most: Annotated[int, Field(ge=0, le=1_000_000_000, description="Largest number.")] = 1_000_000
    adds: Annotated[
        dict[names.ObjectName, Annotated[str, AfterValidator(_check_value)]],
        Field(description='Hard requests of a switch that is on, or of a number, which "{value}" stands for.'),
    ] = {}
    options: Annotated[Options, Field(description="Switches of qsub that a switch which is on adds.")] = []
    required: Annotated[bool, Field(description="Whether something has to be chosen.")] = False

    @model_validator(mode="after")
    def _fits_its_type(self) -> ExtraField:
        if (self.type == "choice") != bool(self.choices):
            raise error_at("choices", 'name what can be chosen for type "choice", and nothing for the others.')
        if self.type == "choice" and (self.adds or self.options):
            raise error_at("adds", "write adds and options below each of the choices.")
        if self.type == "number" and self.least > self.most:
            raise error_at("least", "it is larger than most.")
        holds = [name for name, text in self.adds.items() if VALUE in text]
        if self.type == "number" and not holds:
            raise error_at("adds", f'write {VALUE} where the number belongs: {{tmpfs: "{VALUE}G"}}.')
        if self.type == "switch" and holds:
            raise error_at(holds[0], f"{VALUE} stands for a number, and a switch has none.", "adds")
        return self

    def trouble(self, value: str) -> str | None:
        """Return what is wrong with a value, None if nothing is. "" is nothing chosen."""
        if not value:
            return f"{self.label}: please choose." if self.required else None
        if self.type == "choice":
            known = ", ".join(self.choices)
            return None if value in self.choices else f"There is no such choice. Choices are: {known}."
        if self.type == "switch":
            return None if value == "yes" else 'Write "yes", or nothing.'
        if re.fullmatch("[0-9]{1,10}", value) and self.least <= int(value) <= self.most:
            return None
        return f"Write a whole number from {self.least} to {self.most}."

    def requests(self, value: str) -> dict[str, str]:
        """Return the hard requests that an allowed value adds."""
        if not value:
            return {}
        if self.type == "choice":
            return dict(self.choices[value].adds)
        number = str(int(value)) if self.type == "number" else ""
        return {name: text.replace(VALUE, number) for name, text in self.adds.items()}

    def switches(self, value: str) -> tuple[str, ...]:
        """Return the switches of qsub that an allowed value adds."""
        if not value:
            return ()
        return tuple(self.choices[value].options if self.type == "choice" else self.options)

    @property
    def complexes(self) -> frozenset[str]:
        """Every complex that some value of it asks for."""
        return frozenset(self.adds).union(*(one.adds for one in self.choices.values()))


class FieldText(Closed):
    """What the form says of one of its fields."""

    label: Annotated[names.Label | None, Field(description="Above the field.")] = None
    help: Annotated[Text | None, Field(description="Below the field, in the place of sgehub's own words.")] = None
