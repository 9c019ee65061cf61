"""Event handlers that write straight to a store, and Daybook: the same events and questions, in turn, in one run.

python3 main.py DAYBOOK [OPTIONS]; run.sh makes the environment. Exits with 1 when Daybook, or handlers that acknowledge what they
have written, lose an event, count one twice, or answer otherwise than a plain recomputation.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path

import forms
from events import Event, Stretch, recompute
from forms import HERE, Daybook, Direct
from reader import probe
from supervisor import Supervisor, peak_mib

sys.path.insert(0, str(HERE.parent))
from measure import busy  # noqa: E402

WRITERS = 2
# Of the phase "overload": so many times what handlers took "as fast as they can".
OVERLOAD = 1.5
# Processes killed in the phase "crashes", which lasts so many times as long as the others: long enough between two for all to be up.
KILLS, CRASHES = 4, 2
# How long the process that was killed before gets to be up again, before the next is killed, in seconds.
UP = 30
# How long figures may take to be right after the last phase, in seconds.
SETTLE = 60
FORMS = {
    "direct": "handlers, acknowledged when written",
    "early": "handlers, acknowledged before written",
    "daybook": "Daybook",
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("daybook", help="the binary")
    parser.add_argument("--forms", default=",".join(FORMS), help="of %(default)s")
    parser.add_argument("--rounds", type=int, default=1, help="each has all forms, one after the other (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of each phase with a rate (%(default)s)")
    parser.add_argument("--rate", type=int, default=2_000, help="events a second, when nothing is overloaded (%(default)s)")
    parser.add_argument("--events", type=int, default=100_000, help="of the phase as fast as they are taken (%(default)s)")
    parser.add_argument("--overload", type=int, help=f"events a second ({OVERLOAD} times what `direct` took)")
    parser.add_argument("--tenants", type=int, default=50, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="(%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data, and say where it is")
    given = parser.parse_args()
    unknown = set(given.forms.split(",")) - set(FORMS)
    if unknown:
        parser.error(f"there is no form {', '.join(sorted(unknown))}")
    return given


class Run:
    """One form, through all phases."""

    def __init__(self, given: argparse.Namespace, name: str, home: Path):
        self.given, self.name, self.home = given, name, home
        self.supervisor = Supervisor(home)
        if name == "daybook":
            self.form = Daybook(home, self.supervisor, str(Path(given.daybook).resolve()))
        else:
            self.form = Direct(home, self.supervisor, name == "early")
        self.stored: list[Event] = []
        # Events that were sent and never acknowledged: they may be there or not.
        self.doubtful: list[Event] = []
        # Orders of the reader that its questions have shown.
        self.known = 0
        self.rows: list[dict] = []

    def phase(self, name: str, rate: int | None = None, seconds: int = 0, kills: int = 0) -> dict:
        """With a rate for so many seconds, else all events as fast as they are taken."""
        given = self.given
        count = rate * seconds if rate else given.events
        common = {**self.form.spec(), "seed": given.seed, "phase": name, "tenants": given.tenants}
        common |= {"known": self.known, "may_lose": self.name == "early"}
        parts = [
            {
                "writer": writer,
                "count": count // WRITERS,
                "rate": rate and rate / WRITERS,
                "seconds": seconds,
                "times": str(self.home / f"times-{writer}"),
            }
            for writer in range(WRITERS)
        ]
        writers = [start("writer.py", {**common, **part}) for part in parts]
        reader = start("reader.py", common)
        for process in (*writers, reader):
            if process.stdout.readline() != "ready\n":
                raise forms.Wrong(f"{name}: a writer or the reader does not start")
        before, pids = self.busy(), self.supervisor.pids()
        began = time.time() + 0.2
        for process in (*writers, reader):
            process.stdin.write(f"{began}\n")
            process.stdin.flush()
        killing = threading.Thread(target=self.kill, args=(kills, seconds, began))
        killing.start()
        told = [json.loads(result(process)) for process in writers]
        took = self.busy() - before
        killing.join()
        reader_told = json.loads(result(reader))
        for part, one in zip(parts, told):
            self.account(Stretch(given.seed, name, part["writer"], given.tenants).events(one["sent"]), one["unanswered"])
        self.account([probe(name, number) for number in range(reader_told["probes"])], [])
        self.known = reader_told["known"]
        stored = sum(one["sent"] - len(one["unanswered"]) for one in told)
        times = [seconds for part in parts for seconds in read_times(part["times"])]
        row = {
            "phase": name,
            "events": stored,
            "not sent": count // WRITERS * WRITERS - sum(one["sent"] for one in told),
            "events/s": round(stored / max(one["seconds"] for one in told)),
            "write": spread(times),
            "read": spread(reader_told["reads"]),
            "seen": spread(reader_told["seen"]),
            "again": sum(one["again"] for one in told),
        }
        if pids == self.supervisor.pids():
            row["per busy core"] = [round(stored / max(spent, 0.01)) for spent in (took, sum(one["busy"] for one in told))]
        self.rows.append(row)
        return row

    def account(self, events: list[Event], unanswered: list[int]) -> None:
        silent = set(unanswered)
        for index, event in enumerate(events):
            (self.doubtful if index in silent else self.stored).append(event)

    def busy(self) -> float:
        return sum(map(busy, self.supervisor.pids()))

    def kill(self, count: int, seconds: int, began: float) -> None:
        for number in range(count):
            due = began + seconds * (number + 1) / (count + 1)
            time.sleep(max(due - time.time(), 0))
            until = time.monotonic() + UP
            while not self.form.is_up() and time.monotonic() < until:
                time.sleep(0.05)
            self.form.kill(number)

    def check(self) -> dict:
        expected = recompute(self.stored)
        result = forms.compared(self.form.spec(), expected, SETTLE if self.name == "daybook" else 1)
        return {
            "acknowledged": len(self.stored),
            "lost": asyncio.run(self.form.missing(self.stored)),
            "doubtful": len(self.doubtful),
            "crashes": self.supervisor.crashes,
            "kills": self.supervisor.kills,
            "most MiB": peak_mib(self.supervisor.pids()),
            **result,
        }


def start(program: str, spec: dict) -> subprocess.Popen:
    command = [sys.executable, "-B", str(HERE / program), json.dumps(spec)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen) -> str:
    """What it prints until it ends; the end of its input tells a reader to end."""
    printed, _ = process.communicate()
    if process.returncode:
        raise forms.Wrong(f"{process.args[2]} failed")
    return printed


def read_times(path: str) -> array:
    times = array("d")
    times.frombytes(Path(path).read_bytes())
    return times


def spread(seconds: list[float]) -> list[float]:
    """p50, p99 and the longest, in milliseconds, and how many."""
    ordered = sorted(seconds)
    if not ordered:
        return []
    at = [ordered[min(int(len(ordered) * share), len(ordered) - 1)] for share in (0.5, 0.99, 1)]
    return [*(round(1_000 * value, 2) for value in at), len(ordered)]


def run(given: argparse.Namespace, name: str, overload: int | None) -> tuple[Run, dict, int]:
    """All phases of a form; returns with the check the rate of the overload."""
    home = Path(tempfile.mkdtemp(prefix="peer-handlers-"))
    one = Run(given, name, home)
    try:
        one.form.start(given.tenants)
        one.phase("steady", given.rate, given.seconds)
        fast = one.phase("as fast as taken")
        overload = overload or round(OVERLOAD * fast["events/s"])
        one.phase("overload", overload, given.seconds)
        one.phase("crashes", given.rate, CRASHES * given.seconds, KILLS)
        return one, one.check(), overload
    finally:
        one.supervisor.stop()
        if given.keep:
            print(f"kept: {home}", file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)


HEAD = """
| | events/s | per busy core, servers and writers | not sent | sent again | write p50, p99, longest ms | read p50, p99 ms | \
write to visible p50, p99 ms |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def show(one: Run, check: dict) -> None:
    print(HEAD)
    for row in one.rows:
        times = [listed(row[name][:most]) for name, most in (("write", 3), ("read", 2), ("seen", 2))]
        share = listed(row.get("per busy core", []))
        cells = [f"{row['events/s']:,}", share, f"{row['not sent']:,}", f"{row['again']:,}", *times]
        print(f"| {FORMS[one.name]}, {row['phase']} | {' | '.join(cells)} |")
    crashes = f" ({'; '.join(check['crashes'])})" if check["crashes"] else ""
    doubtful = f", {check['doubtful']:,} without an answer" if check["doubtful"] else ""
    print(
        f"\n{check['acknowledged']:,} events acknowledged{doubtful}: {check['lost']:,} lost. {check['groups']:,} groups compared: "
        f"{check['wrong']:,} wrong, {check['short']:,} orders missing, {check['over']:,} too many.\n"
        f"Processes that crashed by themselves: {len(check['crashes'])}{crashes}; killed: {check['kills']}; "
        f"most memory: {check['most MiB']:,} MiB.",
        flush=True,
    )


def listed(values: list[float]) -> str:
    return ", ".join(f"{value:,}" for value in values)


# What the summary compares: a name, a phase, a figure of its row, and which of several.
COMPARED = [
    ("events/s, as fast as taken", "as fast as taken", "events/s", None),
    ("write p50 ms, steady", "steady", "write", 0),
    ("write p99 ms, steady", "steady", "write", 1),
    ("read p50 ms, steady", "steady", "read", 0),
    ("read p99 ms, steady", "steady", "read", 1),
    ("write to visible p50 ms, steady", "steady", "seen", 0),
    ("write p99 ms, crashes", "crashes", "write", 1),
    ("read p50 ms, crashes", "crashes", "read", 0),
    ("read p99 ms, crashes", "crashes", "read", 1),
]


def summary(rows: dict[str, list[dict]]) -> None:
    """Medians of all rounds, with how they compare to Daybook's."""
    names = [name for name in FORMS if name in rows]
    print("\n## Medians of all rounds; in parentheses, of Daybook's\n")
    print(f"| | {' | '.join(FORMS[name] for name in names)} |\n| --- |{' ---: |' * len(names)}")
    for title, phase, figure, at in COMPARED:
        found = {}
        for name in names:
            values = [row[figure] for row in rows[name] if row["phase"] == phase]
            values = [value if at is None else value[at] for value in values if value]
            found[name] = round(statistics.median(values), 2) if values else None
        ours = found.get("daybook")
        cells = []
        for name in names:
            ratio = f" ({found[name] / ours:.2f})" if ours and found[name] is not None and name != "daybook" else ""
            cells.append("" if found[name] is None else f"{found[name]:,}{ratio}")
        print(f"| {title} | {' | '.join(cells)} |")


def main() -> int:
    given = options()
    is_wrong = False
    rows: dict[str, list[dict]] = {}
    for number in range(given.rounds):
        overload = given.overload
        for name in given.forms.split(","):
            print(f"\n## {FORMS[name]}, round {number + 1}", flush=True)
            one, check, overload = run(given, name, overload)
            show(one, check)
            rows.setdefault(name, []).extend(one.rows)
            must_hold = name != "early"
            # What was never acknowledged may be there.
            over = check["over"] - check["doubtful"]
            is_wrong |= must_hold and (check["lost"] > 0 or over > 0 or (check["wrong"] > 0 and not check["doubtful"]))
    summary(rows)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
