"""Shapes of events, questions and answers; docs/CLIENTS.md explains each field. At run time all of them are dicts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Dict, List, Optional, TypedDict, Union

# Columns by name: dimensions are texts or None, metrics are int, Decimal or None.
Row = Dict[str, Any]


class Event(TypedDict, total=False):
    """An event to publish. `at` is required, `id` too for an entity. A float is not exact: use Decimal or text."""

    at: Any  # text with an offset, or a datetime with a time zone
    id: str
    version: Union[int, str]
    status: str
    dims: Optional[Dict[str, Any]]
    measures: Optional[Dict[str, Union[int, str, Decimal]]]


class Rank(TypedDict, total=False):
    by: List[Dict[str, str]]
    ties: str
    member: List[Optional[str]]
    around: int


class Question(TypedDict, total=False):
    """What to ask of a view. Every field may be left out; nothing at all means the whole view, today."""

    days: str
    metrics: List[str]
    dimensions: List[str]
    where: str
    grain: str
    order: List[str]
    limit: int
    cursor: str
    rank: Rank
    at_least: int
    accept_stale: bool


class AsOf(TypedDict):
    inbox: int
    log: int


class _Feed(TypedDict):
    feed: str
    sequence: int


class _LastPage(TypedDict):
    tenant: str
    view: str
    to: str  # `from` is a word of Python: read it as answer["from"]
    day: str
    rows: List[Row]
    total: int
    as_of: AsOf
    freshness_ms: int
    stale: bool
    coverage: Any
    definition: int
    report: Optional[int]


class Answer(_LastPage, total=False):
    generation: int  # how many tenants of this id were removed before; absent when none was
    next: str  # the cursor of the next page, if there is one
    feed: _Feed


class _Counts(TypedDict):
    published: int
    counted: int
    pending: int
    duplicate: int
    stale: int
    carried: int
    rejected: int


class Account(_Counts, total=False):
    """What became of the events of a day. `published` is the sum of the others but `drafts`."""

    drafts: int  # the drafts that took effect, open or not; absent when there are none


class _Day(TypedDict):
    date: str
    day: str
    opens_at: str
    closes_at: str
    report: Optional[int]
    account: Account


class Day(_Day, total=False):
    as_reported: bool
    restating: bool


class _ReportEntry(TypedDict):
    date: str
    version: int
    day: Any
    dispositions: Account
    coverage: Any
    supersedes: Optional[Dict[str, Any]]
    hash: str
    bytes: int


class ReportEntry(_ReportEntry, total=False):
    generation: int  # as in an answer


class _Reject(TypedDict):
    code: str
    reason: str
    tenant: str
    kind: str
    inbox: int
    index: int
    field: Optional[str]
    date: Optional[str]


class Reject(_Reject, total=False):
    original: Any
    span: Dict[str, Any]


class _RejectPage(TypedDict):
    tenant: str
    rejects: List[Reject]
    newer: str  # the place to go on from


class RejectPage(_RejectPage, total=False):
    next: str
    missed: bool


class _Alert(TypedDict):
    id: str  # no other alert has it
    alert: str
    tenant: str
    generation: int
    day: str
    at: str
    log: int


class Alert(_Alert, total=False):
    """An alert of a view has `view`, `group` and `figures`, one of a report has `report`; see docs/ALERTS.md."""

    view: str
    group: Row
    figures: Row
    more_groups: bool  # the last one for the day; it has no group and no figures
    report: Dict[str, Any]


class _AlertPage(TypedDict):
    tenant: str
    alerts: List[Alert]
    newer: str  # the place to go on from


class AlertPage(_AlertPage, total=False):
    next: str
    missed: bool


class View(TypedDict):
    name: str
    kind: str
    grain: str
    late: str
    ranked: bool
    dimensions: List[str]
    metrics: List[str]
    digits: List[Optional[int]]
    definition: int
