"""A configuration written for batchspawner: what becomes a default, what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from batchspawner import GridengineSpawner
from traitlets.config import Config

from sgehub.errors import SiteConfigurationError
from sgehub.hub import compat

TABLE = Path(__file__).parents[3] / "docs" / "howto" / "from-batchspawner.rst"


@pytest.mark.parametrize("section", compat.SECTIONS)
@pytest.mark.parametrize("trait", compat.REPLACED)
def test_replaced_settings_end_the_hubs_start_with_their_replacement(section, trait):
    """A command or prefix that would be ignored is worse than an error."""
    config = Config()
    config[section][trait] = "sudo -E -u {username}"
    with pytest.raises(SiteConfigurationError) as caught:
        compat.refuse_replaced_config(config)
    assert f"c.{section}.{trait}" in str(caught.value)
    assert compat.REPLACED[trait] in str(caught.value)


def test_all_replaced_settings_are_named_at_once():
    """One start of the hub shows the whole list."""
    config = Config()
    config.BatchSpawnerBase.exec_prefix = ""
    config.SGESpawner.batch_query_cmd = "qstat"
    with pytest.raises(SiteConfigurationError) as caught:
        compat.refuse_replaced_config(config)
    assert len(str(caught.value).splitlines()) == 2


def test_other_settings_pass():
    """Ordinary traits of the spawner stay."""
    config = Config()
    config.SGESpawner.start_timeout = 600
    config.GridengineSpawner.req_memory = "4G"
    compat.refuse_replaced_config(config)


def test_req_traits_become_defaults_of_a_request():
    """Empty traits, batchspawner's default, leave the site's own defaults alone."""
    spawner = SimpleNamespace(req_nprocs="2", req_memory="4G", req_ngpus="", req_runtime="8:0:0", req_queue="")
    assert compat.request_defaults(spawner) == {"cores": "2", "memory": "4G", "runtime": "8:0:0"}


def test_req_options_and_account_are_the_administrators_arguments():
    """Split as a shell would, never handed to one."""
    spawner = SimpleNamespace(req_options="-js 10 -ac 'a=b c'", req_account="physics")
    assert compat.extra_options(spawner) == ("-js", "10", "-ac", "a=b c", "-A", "physics")
    with pytest.raises(SiteConfigurationError, match="req_options"):
        compat.extra_options(SimpleNamespace(req_options="'", req_account=""))


def test_the_stock_script_is_not_a_sites_own():
    """Stock asks for nothing; only what an administrator wrote is honoured."""
    assert compat.custom_script(SimpleNamespace(batch_script=compat.STOCK_SCRIPT)) is None
    assert compat.custom_script(SimpleNamespace(batch_script="#!/bin/bash\n{cmd}\n")) == "#!/bin/bash\n{cmd}\n"


def test_every_trait_of_batchspawner_stands_in_the_documentation():
    """The table for people who come over is complete."""
    text = TABLE.read_text()
    own = {name for name in GridengineSpawner.class_trait_names() if name.startswith(("req_", "batch"))}
    missing = {name for name in {*own, "exec_prefix"} if f"``{name}``" not in text}
    assert not missing
