#!/usr/bin/env python3
"""Checks Prometheus' and Grafana's files, first by themselves, then against the Prometheus that up.sh brought up.

By themselves: promtool takes configuration and rules, every alert has a test, and no query names a metric that no source file
makes. Against Prometheus, after the flights: every query is accepted, metrics that must be there answer, no alert fires. There is
no hunt, so its queries need no answer.
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
DASHBOARDS = REPO / "deploy/grafana/dashboards"
# Rules with their tests, the dashboard of the same figures, and the page that has all of them.
DAYBOOK = ("alerts.yml", "daybook.json", "deploy/README.md")
HUNT = ("hunt.yml", "hunt.json", "docs/HUNT.md")
# Where figures and spans are made.
SOURCES = ("shared", "services", "examples/hunt/src")
PROMETHEUS = "http://127.0.0.1:9090"
REQUEST_SECONDS = 10
# Scraped every 5 s; discovery looks every 15 s.
SCRAPED_SECONDS = 60
PROCESSES = 8
# Rules are evaluated every 15 s, and a target that is gone is forgotten after 15 s more.
FIRING_ENDS_SECONDS = 90

# Counters appear with their first increment. After flights in which nothing went wrong these are not there, and a query of one
# of them alone has no answer.
ONLY_WHEN_IT_HAPPENS = {
    "daybook_divergence_total", "daybook_replica_divergence_total", "daybook_ingest_rejects_total",
    "daybook_shard_rejects_total", "daybook_shard_alerts_total", "daybook_breaker_open", "daybook_breaker_transitions_total",
    "daybook_checkpoint_failures", "daybook_checkpoint_failures_total", "daybook_checkpoints_wiped_total",
    "daybook_checkpoint_rebuilds_total", "daybook_figures_too_large_total", "daybook_snapshots_fetched_total",
    "daybook_snapshot_failures_total",
    "daybook_backfill_batches_total", "daybook_live_updates_total", "daybook_live_feeds", "daybook_views_capped_total",
    "daybook_shed_total", "daybook_actor_restarts_total", "daybook_log_batches_trimmed_total", "daybook_log_trimmed_below",
    "daybook_outputs_skipped_total", "daybook_foreign_messages_total", "daybook_account_lookups_total",
    "daybook_inbox_elections_total",
    # There are no sources.
    "daybook_connect_dropped_total", "daybook_connect_stuck",
    # There are no webhooks.
    "daybook_webhook_failing", "daybook_webhook_tries_total", "daybook_webhook_given_up_total", "daybook_webhook_file_refused",
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


def alerts(rules):
    """Names and expressions, as promtool's own tests do not list them."""
    text = (PROMETHEUS_FILES / rules).read_text()
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


def dashboard_queries(file):
    dashboard = json.loads((DASHBOARDS / file).read_text())
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["definition"])
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            if "expr" in target:
                yield panel["title"], target["expr"]


def unknown_in_searches(file):
    """Panels that search for traces by a span or a field that no source file makes, or by no variable of the dashboard."""
    dashboard = json.loads((DASHBOARDS / file).read_text())
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    spans = {}
    for folder in SOURCES:
        for source in (REPO / folder).rglob("*.rs"):
            for name, fields in re.findall(r'info_span!\(\s*"(\w+)"([^;]*)\)', source.read_text()):
                spans.setdefault(name, set()).update(re.findall(r"(\w+) = ", fields))
    searches = [(panel["title"], t) for panel in dashboard["panels"] for t in panel.get("targets", []) if "expr" not in t]
    for title, target in searches:
        text = json.dumps(target)
        yield from (f"{title}: variable {v}" for v in re.findall(r"\$\{?(\w+)", text) if v not in variables)
        if target.get("queryType") == "search":
            fields = re.findall(r"(\w+)=", target["tags"])
            if target["operation"] not in spans:
                yield f"{title}: span {target['operation']}"
            yield from (f"{title}: field {f}" for f in fields if f not in spans.get(target["operation"], ()))
    if not searches:
        yield "no panel opens a trace"


def names_in(query):
    """Metric names; a histogram's without what its series add."""
    for name in re.findall(r"\b(?:daybook|hunt)_\w+|\bup\b", query):
        yield re.sub(r"_(bucket|sum|count)$", "", name)


def names_in_sources():
    found = set()
    for folder in SOURCES:
        for file in (REPO / folder).rglob("*.rs"):
            # Given to a macro, or in a table of names and values.
            found.update(re.findall(r'(?:(?:counter|gauge|histogram)!)?\(\s*"((?:daybook|hunt)_\w+)"[,)]', file.read_text()))
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


def of_files():
    check("promtool takes the configuration", configuration())
    known = names_in_sources()
    for rules_file, dashboard, page in (DAYBOOK, HUNT):
        test_file = rules_file.replace(".yml", ".test.yml")
        rules, panels = list(alerts(rules_file)), list(dashboard_queries(dashboard))
        if not rules or not panels:
            sys.exit(f"{rules_file} or {dashboard} has another form than this script reads: there are no alerts or no panels")
        check(f"promtool takes {rules_file}", promtool("check", "rules", rules_file))
        check(f"every alert of {rules_file} fires when it should, and none when nothing is wrong", promtool("test", "rules", test_file))
        tests = (PROMETHEUS_FILES / test_file).read_text()
        check(f"every alert of {rules_file} has a test", [name for name, _ in rules if f'alertname="{name}"' not in tests])
        queries = rules + panels
        unknown = {(w, n) for w, q in queries for n in names_in(q) if n not in known | OF_PROMETHEUS}
        check(f"all {len(queries)} queries name metrics that exist", [f"{w}: {n}" for w, n in sorted(unknown)])
        check(f"searches of {dashboard} for traces name spans and fields that exist", list(unknown_in_searches(dashboard)))
        prefix = "hunt_" if page == HUNT[2] else "daybook_"
        own = {name for name in known if name.startswith(prefix)}
        documented = set(re.findall(rf"`({prefix}\w+)`", (REPO / page).read_text()))
        check(f"{page} has all {len(own)} metrics", sorted(own - documented))
    check("the list of metrics that need not be there has no other", sorted(ONLY_WHEN_IT_HAPPENS - known))


def of_prometheus(rules, panels):
    problems = not_scraped()
    check("Prometheus scrapes every process, which says its version", problems)
    if problems:
        return
    try:
        of_hunt = list(alerts(HUNT[0])) + [(w, variables_filled(q)) for w, q in dashboard_queries(HUNT[1])]
        check("Prometheus takes the query of every alert", list(refused(rules + of_hunt)))
        check("every panel of the dashboard has an answer", list(unanswered(panels)))
        check("no alert fires", firing())
    except ValueError as error:
        check("Prometheus answers", [str(error)])


def after_faults():
    """What fired during the faults ends with them."""
    end = time.monotonic() + FIRING_ENDS_SECONDS
    while (still := firing()) and time.monotonic() < end:
        time.sleep(1)
    check("no alert fires after the faults", still)


def main():
    rules, panels = list(alerts(DAYBOOK[0])), list(dashboard_queries(DAYBOOK[1]))
    if sys.argv[1:] == ["alerts"]:
        after_faults()
    else:
        of_files()
        if sys.argv[1:] != ["files"]:
            of_prometheus(rules, panels)
    print(f"{failed} checks failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
