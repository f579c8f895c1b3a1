"""The documented table of requests is the one that is measured; its reader of `qstat -j` adds nothing."""

from __future__ import annotations

from tests.lab.request_table import FILE, REFUSED, ROWS, SITES, as_switches, read_jobs, render

SHOWN = """\
==============================================================
job_number:                 7
account:                    teaching
reserve:                    y
hard resource_list:         h_vmem=1536M,h_rt=600
mail_options:               ae
mail_list:                  a@lab.test
priority:                   -10
hard_queue_list:            short.q,gpu.q
ar_id:                      3
context:                    a=b
parallel environment:  smp range: 3
project:                    astro
==============================================================
job_number:                 8
account:                    sge
mail_list:                  alice@head
scheduling info:            Job is in hold state
"""


def test_the_documentation_shows_what_is_measured():
    """Nobody edits it by hand; a row that changes has to be measured again, with SGEHUB_RECORD=1."""
    assert FILE.read_text(encoding="utf-8") == render(ROWS)


def test_sites_of_several_kinds_are_asked_in_several_ways():
    """No file without requests, no request twice, refusals among them, but most of them jobs."""
    assert {row.site for row in ROWS} == {file.stem for file in SITES.iterdir()}
    assert len({(row.site, row.typed) for row in ROWS}) == len(ROWS) >= 40
    refused = sum(row.got.startswith(REFUSED) for row in ROWS)
    assert 20 <= refused <= len(ROWS) / 2


def test_what_qstat_shows_is_said_in_the_switches_of_qsub():
    """What was not asked for is left out."""
    jobs = read_jobs(SHOWN)
    assert as_switches(jobs["7"]) == (
        "-pe smp 3 -l h_vmem=1536M,h_rt=600 -q short.q,gpu.q -P astro -m ae -M a@lab.test -ar 3 -R y "
        "-A teaching -p -10 -ac a=b"
    )
    assert as_switches(jobs["8"]) == ""
