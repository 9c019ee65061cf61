"""Looks at every screen of the console, with real data; run.sh starts what it needs."""

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

from browser import PATIENCE, Browser
from selenium.webdriver.common.keys import Keys

MARKUP = "<script>document.title='taken'</script>"


class Shop:
    """The shop acme: orders by HTTP, days by the command line."""

    def __init__(self, url, daybook, token=None):
        self.url, self.daybook, self.token = url, daybook, token

    def publish(self, *orders):
        head = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        request = urllib.request.Request(f"{self.url}/v1/tenants/acme/kinds/order/events", json.dumps(orders).encode(), head)
        reply = json.load(urllib.request.urlopen(request, timeout=PATIENCE))
        assert reply["refused"] == 0, reply
        return reply["inbox"]

    def run(self, *arguments):
        return subprocess.run([self.daybook, *arguments], check=True, capture_output=True, text=True, timeout=120).stdout

    def days(self):
        reply = urllib.request.urlopen(f"{self.url}/v1/tenants/acme/days", timeout=PATIENCE)
        return json.load(reply)["days"]


def order(number, total, store="east", customer="ann", version=1, at=None):
    at = at or datetime.now(timezone.utc)
    return {"id": f"o-{number}", "version": version, "at": at.isoformat(), "dims": {"store": store, "customer": customer}, "measures": {"total": total}}


def status_of(url, headers=None):
    """The status of a page, without following it elsewhere."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        return urllib.request.build_opener(Stay).open(urllib.request.Request(url, headers=headers or {}), timeout=PATIENCE).status
    except urllib.error.HTTPError as error:
        return error.code


def today(browser, shop, options):
    url = f"{options.url}/?view=takings"
    browser.open(url)
    browser.until_live()
    assert "107 tenants" in browser.text(), browser.text()
    shop.publish(order(1, "129.90"), order(2, "1070.00", "west", "bob"), order(3, "0.10", MARKUP, "cid"))
    browser.open(f"{url}&q=acm")
    browser.until_text("1,200.00", "tr[data-key=acme]")
    assert len(browser.all("tbody tr")) == 1
    # A figure changes without a request of the reader.
    shop.publish(order(4, "99.50"))
    browser.until_text("1,299.50", "tr[data-key=acme]")
    browser.open(f"{options.url}/?sort=id&page=5")
    assert "Page 5 of 5" in browser.text() and len(browser.all("tbody tr")) == 7
    browser.open(f"{options.url}/?state=open&view=arrivals")
    assert {one.text for one in browser.all("tbody .state")} == {"open"}
    browser.open(f"{options.url}/?sort=id&down=1")
    names = [one.text for one in browser.all("tbody th a")]
    assert names == sorted(names, reverse=True), names
    browser.open(f"{options.url}/?q=nowhere")
    assert "No tenant matches." in browser.text()
    browser.examine("today", f"{options.url}/?view=arrivals")


def tenant(browser, shop, options):
    browser.open(f"{options.url}/tenants/ATL?day=2013-03-09")
    text = browser.text()
    # The night of the change to summer time is an hour shorter.
    assert "23 h" in text and "EST" in text and "EDT" in text and "America/New_York, cut-off 05:00" in text, text
    published, *terms = [int(one.text.replace(",", "")) for one in browser.all(".equation .figure")]
    assert published == sum(terms) and published > 0 and len(terms) == 6, (published, terms)
    browser.examine("tenant", f"{options.url}/tenants/ATL?day=2013-03-09")
    # A day closes before the reader's eyes.
    browser.open(f"{options.url}/tenants/acme")
    browser.until_live()
    before = len(browser.all(".strip .sealed"))
    shop.run("day", "close", "acme")
    browser.until("the closed day is not shown", lambda: len(browser.all(".strip .sealed")) == before + 1)


def view(browser, shop, options):
    url = f"{options.url}/tenants/acme/views/best_customers?days=last_7_days"
    browser.open(url)
    browser.until_live()
    first = lambda: browser.text("tr[data-position] th")
    assert first() == "bob", browser.text()
    # Somebody overtakes: the row moves, and says by how much.
    number = int(time.time())
    day = datetime.fromisoformat(next(day for day in shop.days() if day["day"] == "open")["opens_at"]) + timedelta(minutes=1)
    shop.publish(order(number, "5000.00", "west", "cid", at=day))
    browser.until("cid does not lead", lambda: first() == "cid")
    browser.until_text("▲ 2", "tr[data-key=cid] .movement")
    assert "5,000.10" in browser.text("tr[data-key=cid]")
    # What a client sent is a text and nothing else.
    browser.open(f"{options.url}/tenants/acme/views/sales?days=last_7_days")
    assert MARKUP in browser.text(".wide table") and browser.driver.title != "taken"
    # A question that is none says why, and what to do.
    browser.open(f"{options.url}/tenants/acme/views/sales?where=stoer%20%3D%20%27x%27")
    assert "stoer" in browser.text(), browser.text()
    browser.log()
    # The commands ask the same.
    browser.open(f"{options.url}/tenants/ATL/views/carriers?days=2013-03-09&limit=3")
    curl = browser.text("#snippet-1")
    rows = json.loads(subprocess.run(f"{curl} --silent", shell=True, check=True, capture_output=True, timeout=60).stdout)["rows"]
    assert [row["carrier"] for row in rows] == [one.text for one in browser.all("tbody tr[data-position] th")], rows
    python = browser.text("#snippet-2") + "\nprint(rows[0]['carrier'])"
    said = subprocess.run([sys.executable, "-c", python], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.strip() == rows[0]["carrier"]
    # Hours, in the tenant's zone: the day of the change has 23 of them.
    browser.open(f"{options.url}/tenants/ATL/views/hours?days=2013-03-09")
    text = browser.text(".chart")
    assert "America/New_York" in text and "05:00" in text, text
    browser.examine("view", f"{options.url}/tenants/ATL/views/carriers?days=2013-03-08..2013-03-10")
    browser.examine("view-hours", f"{options.url}/tenants/ATL/views/hours?days=2013-03-09")


def report(browser, shop, options):
    sealed = next(day for day in shop.days() if day["report"])
    url = f"{options.url}/tenants/acme/reports/{sealed['date']}"
    browser.open(url)
    browser.until_live()
    assert "Version 1, newest" in browser.text() and "229.40" in browser.text(), browser.text()
    # A correction makes a version, and the page tells what it changed.
    shop.publish(order(1, "100.00", version=2, at=datetime.fromisoformat(sealed["opens_at"]) + timedelta(minutes=1)))
    browser.until_text("Version 2, newest")
    browser.until_text("Version 1 beside version 2")
    changed = browser.text("#changes ~ .wide") + browser.text("section[aria-labelledby=changes]")
    assert "229.40" in changed and "199.50" in changed and "o-1" in changed, changed
    assert len(browser.all(".checks .yes")) == 3 and not browser.all(".checks .no")
    # The same bytes as by the API, with the same hash.
    reply = urllib.request.urlopen(f"{options.url}/v1/tenants/acme/reports/{sealed['date']}", timeout=PATIENCE)
    assert reply.headers["Daybook-Hash"] in browser.text(), browser.text()
    command = browser.text("#snippet-verify").split()
    assert command[0] == "daybook" and "2 " in shop.run(*command[1:])
    browser.open(f"{url}?version=1")
    assert "This version was replaced." in browser.text()
    assert status_of(f"{url}?version=9") == 404 and status_of(f"{url}?version=x") == 400
    # Recorded history has such a day, too.
    browser.examine("report", f"{options.url}/tenants/BQN/reports/2013-03-09")


def rejects(browser, shop, options):
    # Durable, and refused by ingest: it is older than the tenant.
    shop.publish(order(90, "1.00", at=datetime(2020, 1, 1, tzinfo=timezone.utc)) | {"id": MARKUP})
    url = f"{options.url}/tenants/acme/rejects"
    browser.open(url)
    browser.until_text("before_first_day 1", "nav.versions")
    browser.one(".rejects summary").send_keys(Keys.ENTER)
    browser.until_text(MARKUP, ".rejects pre")
    assert '"total": "1.00"' in browser.text(".rejects pre"), browser.text()
    # Another comes while the original is open: both stay.
    shop.publish(order(91, "1.00", at=datetime(2020, 1, 2, tzinfo=timezone.utc)))
    browser.until_text("before_first_day 2", "nav.versions")
    opened = browser.driver.execute_script("return [...document.querySelectorAll('.rejects details')].map((one) => one.open)")
    assert opened == [False, True], opened
    browser.open(f"{url}?code=late")
    assert not browser.all(".rejects li"), browser.text()
    browser.examine("rejects", url)


def catalogue(browser, shop, options):
    url = f"{options.url}/catalogue"
    browser.open(url)
    text = browser.text()
    for told in ["quantile(arr_delay, 0.95)", "total (2 digits after the point)", "ranked by flights, distance", "kept by hour"]:
        assert told in text, (told, text)
    assert {one.text for one in browser.all("section.view .state")} == {"in force"}, text
    browser.examine("catalogue", url)


def cluster(browser, shop, options):
    url = f"{options.url}/cluster"
    browser.open(url)
    browser.until_text("Everything runs")
    text = browser.text()
    for told in ["day-manager", "aggregator-shard", "2 of 2", "DAYBOOK_EVENTS", "% used"]:
        assert told in text, (told, text)
    log = lambda: int(browser.text("#partitions ~ .wide tbody tr:nth-child(2) td:nth-child(6)").replace(",", "") or 0)
    # Positions move.
    before = log()
    shop.publish(order(95, "2.00"))
    browser.until("the position does not move", lambda: log() > before)
    browser.examine("cluster", url)


def keyboard(browser, shop, options):
    browser.open(f"{options.url}/")
    browser.until_live()
    focused = lambda: browser.driver.switch_to.active_element
    press = lambda key: browser.driver.switch_to.active_element.send_keys(key)
    browser.one("body").send_keys(Keys.TAB)
    assert focused().text == "Skip to the content", focused().text
    press(Keys.ENTER)
    browser.until("the content has no focus", lambda: focused().get_attribute("id") == "main")
    seen = []
    for _ in range(14):
        press(Keys.TAB)
        element = focused()
        style = browser.driver.execute_script("return getComputedStyle(arguments[0]).outlineStyle", element)
        assert style != "none", f"no focus is seen on {element.get_attribute('outerHTML')[:200]}"
        seen.append(element.get_attribute("id") or element.get_attribute("role") or element.text)
    assert seen[0] == "pause" and {"q", "view", "state", "sort", "region"} <= set(seen), seen
    browser.one("#pause").send_keys(Keys.ENTER)
    browser.until_text("Paused", "#following")
    browser.one("#pause").send_keys(Keys.ENTER)
    browser.until_live()
    # What one types stays while the page changes.
    browser.one("#q").send_keys("acm", Keys.ENTER)
    browser.until("the search is not sent", lambda: "q=acm" in browser.driver.current_url)
    assert not (complaints := browser.log()), complaints


def tokens(browser, shop, options):
    closed = options.closed
    closed_shop = Shop(closed, options.daybook, options.operator)
    closed_shop.publish(order(1, "12.30"))
    assert status_of(f"{closed}/tenants/acme") == 303
    browser.examine("sign-in", f"{closed}/")
    browser.open(f"{closed}/tenants/acme/views/sales")
    browser.one("#token").send_keys("wrong", Keys.ENTER)
    browser.until_text("no JWT")
    browser.log()
    browser.one("#token").send_keys(options.client, Keys.ENTER)
    browser.until_text("12.30")
    assert browser.driver.current_url.endswith("/tenants/acme/views/sales")
    browser.until_live()
    cookie = browser.driver.get_cookie("daybook_token")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict", cookie
    # A tenant's token: its own tenant, and no other.
    browser.open(f"{closed}/")
    assert [one.text for one in browser.all("tbody th a")] == ["acme"], browser.text()
    head = {"Cookie": f"daybook_token={options.client}"}
    assert status_of(f"{closed}/tenants/acme", head) == 200
    assert status_of(f"{closed}/cluster", head) == 403 and "Cluster" not in browser.text("header")
    assert status_of(f"{closed}/tenants/north", head) == status_of(f"{closed}/tenants/nobody", head) == 403
    # The cookie opens no door but pages: the API takes it for nothing.
    assert status_of(f"{closed}/v1/tenants/acme/views", head) == 401
    browser.one(".holder button").send_keys(Keys.ENTER)
    browser.until("the reader is not signed out", lambda: "/sign-in" in browser.driver.current_url)
    assert not browser.driver.get_cookie("daybook_token")
    # Forms of other sites sign nobody in.
    request = urllib.request.Request(f"{closed}/sign-in", f"token={options.client}".encode(), {"Origin": "http://evil.example"})
    try:
        urllib.request.urlopen(request, timeout=PATIENCE)
        raise AssertionError("a form of another site was taken")
    except urllib.error.HTTPError as error:
        assert error.code == 403 and "Set-Cookie" not in error.headers, error.headers


def strangers(browser, shop, options):
    for path in ["/", "/tenants/acme", "/catalogue", "/console.js"]:
        reply = urllib.request.urlopen(f"{options.url}{path}", timeout=PATIENCE)
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy, (path, policy)
        assert reply.headers["X-Content-Type-Options"] == "nosniff", path
        # A name of somebody else's that leads here (DNS rebinding) gets no page.
        assert path == "/console.js" or status_of(f"{options.url}{path}", {"Host": "evil.example"}) == 421, path
    for path, status in [("/tenants/nobody", 404), ("/tenants/a%20b", 400), ("/tenants/acme/views/none", 404), ("/?" + "a&" * 65, 400),
                         ("/tenants/acme/reports/2024-02-30", 400), ("/tenants/acme?day=x", 400), ("/tenants/%ff", 400)]:
        assert status_of(f"{options.url}{path}") == status, (path, status_of(f"{options.url}{path}"))
    # As many streams as there are places; the next reader still gets the page.
    streams = [urllib.request.urlopen(f"{options.url}/catalogue?live", timeout=PATIENCE) for _ in range(128)]
    assert status_of(f"{options.url}/catalogue?live") == 429 and status_of(f"{options.url}/catalogue") == 200
    for stream in streams:
        stream.close()


SCREENS = [today, tenant, view, report, rejects, catalogue, cluster, keyboard, tokens, strangers]


def main():
    parser = argparse.ArgumentParser()
    for name in ["daybook", "url", "flights", "closed", "operator", "client", "axe", "pictures"]:
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    browser = Browser(options.axe, options.pictures)
    shop = Shop(options.url, options.daybook)
    try:
        for screen in SCREENS:
            began = time.monotonic()
            screen(browser, shop, options)
            print(f"{screen.__name__}: as it should be, {time.monotonic() - began:.1f} s", flush=True)
    finally:
        browser.close()


main()
