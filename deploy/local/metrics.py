#!/usr/bin/env python3
"""Checks Prometheus' and Grafana's files, first by themselves, then against the Prometheus that up.sh brought up.

By themselves: promtool takes configuration and rules, every alert has a test, and no query names a metric that no source file
makes. Against Prometheus, after the flights: every query is accepted, metrics that must be there answer, no alert fires.
`metrics.py files` does only the first part, `metrics.py alerts` only the last. Ends with non-zero when a check fails.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

REPO = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS_FILES = REPO / "deploy/prometheus"
DASHBOARD = REPO / "deploy/grafana/dashboards/daybook.json"
README = REPO / "deploy/README.md"
PROMETHEUS = "http://127.0.0.1:9090"
REQUEST_SECONDS = 10
# Scraped every 5 s; discovery looks every 15 s.
SCRAPED_SECONDS = 60
PROCESSES = 7
# Rules are evaluated every 15 s, and a target that is gone is forgotten after 15 s more.
FIRING_ENDS_SECONDS = 90
KNOWN_TO_STAY = "DaybookBreakerOpen"

# Counters appear with their first increment. After flights in which nothing went wrong these are not there, and a query of one
# of them alone has no answer.
ONLY_WHEN_IT_HAPPENS = {
    "daybook_divergence_total", "daybook_replica_divergence_total", "daybook_ingest_rejects_total",
    "daybook_shard_rejects_total", "daybook_breaker_open", "daybook_breaker_transitions_total",
    "daybook_checkpoint_failures", "daybook_checkpoint_failures_total", "daybook_checkpoints_wiped_total",
    "daybook_checkpoint_rebuilds_total", "daybook_figures_too_large_total", "daybook_snapshots_fetched_total",
    "daybook_backfill_batches_total", "daybook_live_updates_total", "daybook_live_feeds", "daybook_views_capped_total",
    "daybook_shed_total", "daybook_actor_restarts_total", "daybook_log_batches_trimmed_total", "daybook_log_trimmed_below",
    "daybook_outputs_skipped_total", "daybook_foreign_messages_total", "daybook_account_lookups_total",
}  # fmt: skip
# Prometheus' own.
OF_PROMETHEUS = {"up"}

failed = 0


def check(name, problems):
    global failed
    failed += bool(problems)
    print(f"        {'FAIL' if problems else 'ok  '}  {name}")
    for problem in problems[:10]:
        print(f"              {problem}")


def promtool(*arguments, folder=PROMETHEUS_FILES):
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()


def configuration():
    """The configuration names the rules where the container has them."""
    with tempfile.TemporaryDirectory() as folder:
        text = (PROMETHEUS_FILES / "prometheus.yml").read_text()
        (pathlib.Path(folder) / "prometheus.yml").write_text(text.replace("/etc/prometheus", str(PROMETHEUS_FILES)))
        return promtool("check", "config", "prometheus.yml", folder=folder)


def alerts():
    """Names and expressions, as promtool's own tests do not list them."""
    text = (PROMETHEUS_FILES / "alerts.yml").read_text()
    for block in re.split(r"^      - alert: ", text, flags=re.M)[1:]:
        name, rest = block.split("\n", 1)
        lines = rest.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith("        expr:"))
        expression = lines[at].removeprefix("        expr:").strip()
        if expression == ">-":
            folded = []
            for line in lines[at + 1 :]:
                if not line.startswith("          "):
                    break
                folded.append(line.strip())
            expression = " ".join(folded)
        yield name, expression


def dashboard_queries():
    dashboard = json.loads(DASHBOARD.read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["definition"])
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def names_in(query):
    """Metric names; a histogram's without what its series add."""
    for name in re.findall(r"\bdaybook_\w+|\bup\b", query):
        yield re.sub(r"_(bucket|sum|count)$", "", name)


def names_in_sources():
    found = set()
    for folder in ("shared", "services"):
        for file in (REPO / folder).rglob("*.rs"):
            found.update(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(daybook_\w+)"', file.read_text()))
    return found


def ask(path, **parameters):
    url = f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error).get("error", str(error))) from error
    except OSError as error:
        raise ValueError(f"{PROMETHEUS}: {error}") from error


def variables_filled(query):
    return query.replace("$__rate_interval", "1m").replace("$job", ".*")


def unanswered(queries):
    """Queries that Prometheus refuses, and those without an answer that should have one."""
    for where, query in queries:
        try:
            result = ask("query", query=variables_filled(query))["result"]
        except ValueError as error:
            yield f"{where}: {error}: {query}"
            continue
        if not result and not set(names_in(query)) & ONLY_WHEN_IT_HAPPENS:
            yield f"{where}: no answer: {query}"


def refused(queries):
    for where, query in queries:
        try:
            ask("query", query=query)
        except ValueError as error:
            yield f"{where}: {error}"


def not_scraped():
    end = time.monotonic() + SCRAPED_SECONDS
    while True:
        try:
            builds = ask("query", query="sum by (job) (up * on (job, instance) daybook_build_info)")["result"]
            got = {build["metric"]["job"]: build["value"][1] for build in builds}
            if sum(int(count) for count in got.values()) == PROCESSES:
                return []
        except ValueError as error:
            got = error
        if time.monotonic() > end:
            return [f"{PROCESSES} processes should say their version, found {got}"]
        time.sleep(1)


def firing():
    return [f"{alert['labels']}" for alert in ask("alerts")["alerts"] if alert["state"] == "firing"]


def of_files(rules, panels):
    check("promtool takes the configuration", configuration())
    check("promtool takes the alerts", promtool("check", "rules", "alerts.yml"))
    check("every alert fires when it should, and none when nothing is wrong", promtool("test", "rules", "alerts.test.yml"))
    tests = (PROMETHEUS_FILES / "alerts.test.yml").read_text()
    check("every alert has a test", [name for name, _ in rules if f'alertname="{name}"' not in tests])
    known = names_in_sources()
    queries = rules + panels
    unknown = {(w, n) for w, q in queries for n in names_in(q) if n not in known | OF_PROMETHEUS}
    check(f"all {len(queries)} queries name metrics that exist", [f"{w}: {n}" for w, n in sorted(unknown)])
    check("the list of metrics that need not be there has no other", sorted(ONLY_WHEN_IT_HAPPENS - known))
    documented = set(re.findall(r"`(daybook_\w+)`", README.read_text()))
    check(f"deploy/README.md has all {len(known)} metrics", sorted(known - documented))


def of_prometheus(rules, panels):
    problems = not_scraped()
    check("Prometheus scrapes every process, which says its version", problems)
    if problems:
        return
    try:
        check("Prometheus takes the query of every alert", list(refused(rules)))
        check("every panel of the dashboard has an answer", list(unanswered(panels)))
        check("no alert fires", firing())
    except ValueError as error:
        check("Prometheus answers", [str(error)])


def after_faults():
    """What fired during the faults ends with them; one alert is known not to (fault 4 of local/README.md)."""
    end = time.monotonic() + FIRING_ENDS_SECONDS
    while (still := firing()) and time.monotonic() < end:
        time.sleep(1)
    known = [alert for alert in still if KNOWN_TO_STAY in alert]
    if known:
        print(f"        KNOWN {KNOWN_TO_STAY} stays though the shard is back (fault 4)")
    check("no alert fires after the faults", [alert for alert in still if alert not in known])


def main():
    rules, panels = list(alerts()), list(dashboard_queries())
    if not rules or not panels:
        sys.exit("there are no alerts or no panels: the files have another form than this script reads")
    if sys.argv[1:] == ["alerts"]:
        after_faults()
    else:
        of_files(rules, panels)
        if sys.argv[1:] != ["files"]:
            of_prometheus(rules, panels)
    print(f"{failed} checks failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
