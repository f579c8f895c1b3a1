"""A cluster made of paper: programs that answer as Grid Engine does, from what a test wrote down.

The hub's pages need answers, not a scheduler. One program is called as qstat, qacct, qhost and qconf, and as the
helper that acts as a person; each job is a file that holds its name, its owner and its state letters.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

PROGRAM = """\
#!/usr/bin/python3 -IS
import json, sys, time
from pathlib import Path

paper = Path(__file__).parent
me = Path(sys.argv[0]).name
arguments = sys.argv[1:]


def jobs():
    for file in sorted((paper / "jobs").iterdir()):
        yield int(file.name), json.loads(file.read_text())


def text(name):
    file = paper / name
    return file.read_text() if file.exists() else ""


def listed(number, job):
    running = bool({"r", "t"} & set(job["state"]))
    when = "JAT_start_time" if running else "JB_submission_time"
    values = {
        "JB_job_number": number, "JAT_prio": job["priority"], "JB_name": job["name"], "JB_owner": job["owner"],
        "state": job["state"], when: time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(job.get("submitted"))),
        "queue_name": "long.q@node01" if running else "", "slots": 1,
    }
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    return running, f'<job_list state="{"running" if running else "pending"}">{inside}</job_list>'


def qstat():
    print("<?xml version='1.0'?>")
    if "-j" not in arguments:
        lines = [listed(*one) for one in jobs()]
        print("<job_info><queue_info>", *(line for running, line in lines if running), "</queue_info>")
        print("<job_info>", *(line for running, line in lines if not running), "</job_info></job_info>")
        return
    number = int(arguments[arguments.index("-j") + 1])
    job = dict(jobs()).get(number)
    if job is None:
        print(f"<unknown_jobs><x><ST_name>{number}</ST_name></x></unknown_jobs>")
        return
    print("<detailed_job_info><djob_info><element>")
    print(f"<JB_job_number>{number}</JB_job_number><JB_owner>{job['owner']}</JB_owner>")
    print(f"<JB_job_name>{job['name']}</JB_job_name></element></djob_info></detailed_job_info>")


def qacct():
    print(f"error: job id {arguments[-1]} not found", file=sys.stderr)
    sys.exit(1)


def hosts():
    (paper / "asked").open("a").write(f"{me} {arguments[0]}\\n")
    if text("down"):
        print("error: commlib error: got select error (Connection refused)", file=sys.stderr)
        sys.exit(1)
    time.sleep(float(text("slow qhost") or 0))
    return json.loads(text("hosts") or text("hosts at first") or "{}").items()


def qhost():
    print("<?xml version='1.0'?>\\n<qhost>")
    for name, host in hosts():
        print(f"<host name='{name}'><hostvalue name='load_avg'>0.5</hostvalue>")
        for value, amount in host["free"].items():
            print(f"<resourcevalue name='{value}' dominance='hc'>{amount}</resourcevalue>")
        for queue, (used, total, state) in host["queues"].items():
            values = {"slots_used": used, "slots": total, "slots_resv": 0, "state_string": state}
            inside = "".join(f"<queuevalue name='{key}'>{value}</queuevalue>" for key, value in values.items())
            print(f"<queue name='{queue}'>{inside}</queue>")
        print("</host>")
    print("</qhost>")


def qconf():
    if arguments[0] != "-se":
        said = text("qconf " + " ".join(arguments))
        print(said, end="")
        if said:
            return
        print("error: nothing else is written down", file=sys.stderr)
        sys.exit(1)
    known = dict(hosts())
    for name in arguments[1::2]:
        values = ",".join(f"{key}={value}" for key, value in known[name]["total"].items())
        print(f"hostname {name}\\ncomplex_values {values or 'NONE'}\\nreport_variables NONE")


def helper():
    request = json.load(sys.stdin)
    time.sleep(float(text("slow") or 0))
    verb = request["verb"]
    answer = {"exit": 0, "stdout": "", "stderr": "", "timeout": False}
    if verb == "submit":
        if text("refusal"):
            answer.update(exit=1, stderr=text("refusal"))
        else:
            options = request["options"]
            number = int(text("number") or 100) + 1
            (paper / "number").write_text(str(number))
            (paper / "submitted" / str(number)).write_text(json.dumps(request))
            job = {"owner": arguments[0], "name": options[options.index("-N") + 1], "state": "qw", "priority": 0.5}
            job["submitted"] = time.time()
            (paper / "jobs" / str(number)).write_text(json.dumps(job))
            answer["stdout"] = f"{number}\\n"
    elif verb == "verify":
        said = text("verify-" + request["mode"])
        asked = json.dumps([arguments[0], request["mode"], request["options"]])
        (paper / "verified").open("a").write(f"{asked}\\n")
        time.sleep(float(text("silent") or 0))
        good = {"stdout": "verification: found suitable queue(s)\\n"}
        answer.update({"exit": 1, "stderr": said} if said else good)
    elif verb == "cancel":
        (paper / "jobs" / str(request["job"])).unlink(missing_ok=True)
        answer["stdout"] = f"{arguments[0]} has deleted job {request['job']}\\n"
    elif verb == "tail":
        answer = {"text": text("log") or None}
    elif verb == "discard":
        answer = {"discarded": True}
    print(json.dumps(answer))


{"qstat": qstat, "qacct": qacct, "qhost": qhost, "qconf": qconf, "helper": helper}[me]()
"""

SITE = """\
cluster: {{root: {folder}, cell: default, commands: {folder}}}
memory: {{complex: h_vmem, counted: slot}}
gpu: {{complex: gpu, counted: job}}
parallel_environment: smp
queues:
  short.q: {{cores: 16, memory: 64G, gpus: 0, runtime: "01:00:00"}}
  long.q: {{cores: 16, memory: 64G, gpus: 0, runtime: "48:00:00"}}
  gpu.q: {{cores: 8, memory: 64G, gpus: 2, runtime: "08:00:00"}}
defaults: {{cores: 1, memory: 2G, gpus: 0, runtime: "01:00:00"}}
helper: [{folder}/helper, "{{person}}"]
"""


class PaperCluster:
    """The papers of one cluster, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("jobs", "submitted"):
            (folder / name).mkdir(parents=True)
        for name in ("qstat", "qacct", "qhost", "qconf", "helper"):
            (folder / name).write_text(PROGRAM)
            (folder / name).chmod(0o755)
        self.site = folder / "site.yaml"
        self.site.write_text(textwrap.dedent(SITE).format(folder=folder))

    def jobs(self) -> dict[int, dict[str, object]]:
        """Return all jobs by number."""
        return {int(file.name): json.loads(file.read_text()) for file in (self.folder / "jobs").iterdir()}

    def submitted(self) -> list[int]:
        """Return the numbers of all jobs that were ever submitted."""
        return sorted(int(file.name) for file in (self.folder / "submitted").iterdir())

    def put(self, number: int, **changes: object) -> None:
        """Write down that a job has changed, or that there is one."""
        job = {"owner": "root", "name": "other", "state": "qw", "priority": 0.5}
        job |= self.jobs().get(number, {})
        scratch = self.folder / "scratch"
        scratch.write_text(json.dumps(job | changes))
        scratch.rename(self.folder / "jobs" / str(number))

    def end(self, number: int) -> None:
        """Take a job off the list."""
        (self.folder / "jobs" / str(number)).unlink(missing_ok=True)

    def verified(self) -> list[list[object]]:
        """Return what `qsub -w` was asked: person, mode, options."""
        file = self.folder / "verified"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def say(self, name: str, text: str) -> None:
        """Set what the programs say or do: "log", "refusal" (of qsub), "slow" (seconds a helper takes).

        "verify-p" and "verify-v" are what qsub says to these questions if it says no, "silent" how long it takes.
        "hosts" is JSON: by name {"free": {complex: amount}, "total": ..., "queues": {name: [used, total, state]}}.
        "hosts at first" is the same of a cluster that is clear. "down" makes qhost fail, "slow qhost"
        (seconds) makes it slow. "qconf -sp smp" is what qconf prints when it is asked so. "told" is for
        TellingSpawner: what pages say of servers.
        """
        (self.folder / name).write_text(text)

    def asked(self, question: str) -> int:
        """Return how often "qhost -q" or "qconf -se" was called."""
        file = self.folder / "asked"
        return file.read_text().splitlines().count(question) if file.exists() else 0

    def clear(self) -> None:
        """Return to an empty cluster that answers at once; numbers go on."""
        for number in self.jobs():
            self.end(number)
        said = ("log", "refusal", "slow", "told", "hosts", "down", "slow qhost")
        for name in (*said, "verified", "verify-p", "verify-v", "silent"):
            (self.folder / name).unlink(missing_ok=True)
