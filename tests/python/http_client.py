"""Daybook over HTTP with Python's standard library: python3 http_client.py URL KEY. Every step asserts what docs/HTTP.md says.

There must be a tenant acme, a kind `order` with the measure `amount`, and a view `orders`; the key may publish and query.
"""

import csv
import io
import json
import sys
import time
import urllib.error
import urllib.request
from decimal import Decimal


class Problem(Exception):
    """An answer of the API that is none: the problem details of RFC 9457."""

    def __init__(self, problem, retry_after):
        super().__init__(f"{problem['code']}: {problem['detail']}")
        self.problem, self.code, self.retry_after = problem, problem["code"], retry_after


class Daybook:
    def __init__(self, url, key, tenant):
        self.base, self.key = f"{url}/v1/tenants/{tenant}", key

    def request(self, path, body=None, **headers):
        """The response to a GET, or to a POST when there is a body."""
        headers = {"Authorization": f"Bearer {self.key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        try:
            return urllib.request.urlopen(urllib.request.Request(self.base + path, data=body, headers=headers), timeout=60)
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return error
            raise Problem(json.load(error), float(error.headers.get("Retry-After", 0))) from None

    def publish(self, kind, events):
        """Publishes events. Once this returns, they are durable and will be counted exactly once. Returns what became of them."""
        lines = "".join(json.dumps(event) + "\n" for event in events).encode()
        while True:
            try:
                return json.load(self.request(f"/kinds/{kind}/events", lines, Content_Type="application/x-ndjson"))
            except Problem as problem:
                # Full, busy or away: the same request again, for an event with an id counts once.
                if not problem.retry_after:
                    raise
                time.sleep(problem.retry_after)

    def ask(self, view, **question):
        """The figures of a view; numbers are exact."""
        body = json.dumps(question).encode()
        return json.load(self.request(f"/views/{view}", body, Content_Type="application/json"), parse_float=Decimal)

    def follow(self, view, last=None):
        """The events of a live view, for ever: pairs of name and data. After a break it goes on where it was."""
        while True:
            headers = {"Last_Event_ID": last} if last else {}
            with self.request(f"/views/{view}/live", **headers) as stream:
                event = {}
                for line in stream:
                    field, _, value = line.decode().rstrip("\n").partition(": ")
                    if field:
                        event[field] = value
                    elif "event" in event:
                        last = event.get("id", last)
                        yield event["event"], json.loads(event["data"], parse_float=Decimal)
                        event = {}
            time.sleep(1)


def main(url, key):
    daybook = Daybook(url, key, "acme")
    order = {"id": "http-1", "at": "2024-03-01T12:00:00Z", "measures": {"amount": "129.90"}}
    told = daybook.publish("order", [order, order])
    assert (told["durable"], told["refused"]) == (2, 0), told

    # Read your writes.
    answer = daybook.ask("orders", metrics=["orders", "amount"], at_least=told["inbox"])
    assert answer["rows"] == [{"orders": 1, "amount": Decimal("129.90")}], answer

    # As a table, by query parameters.
    response = daybook.request("/views/orders?metrics=orders,amount", Accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(response.read().decode())))
    assert [Decimal(row["amount"]) for row in rows] == [Decimal("129.90")], rows

    # Ask again, and get an answer only when there is news.
    tag = response.headers["ETag"]
    assert daybook.request("/views/orders?metrics=orders,amount", Accept="text/csv", If_None_Match=tag).status == 304

    # What is wrong is told by event.
    try:
        daybook.publish("order", [{"id": "http-2", "at": "yesterday"}])
        raise AssertionError("it should be refused")
    except Problem as problem:
        assert problem.code == "refused" and problem.problem["problems"][0]["code"] == "invalid_time", problem.problem

    # Are the day's figures final?
    day = json.load(daybook.request("/days/2024-03-01"))
    assert day["figures"] == "open", day

    events = daybook.follow("orders")
    name, snapshot = next(events)
    assert name == "snapshot" and snapshot["rows"][0]["orders"] == 1, snapshot
    daybook.publish("order", [{**order, "id": "http-3"}])
    name, changes = next(events)
    assert name == "changes" and changes["rows"][0]["orders"] == 2, changes


if __name__ == "__main__":
    main(*sys.argv[1:])
