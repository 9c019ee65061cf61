"""A client of Daybook: exact live figures and sealed reports of business days, over NATS.

`client` talks to Daybook. `publishing` and `live` decide without talking: which messages a list of events becomes, and
what a live update does to rows. `alerts` follows alerts. `exact` reads and writes JSON, `blake3` hashes reports, `retrying`
waits between tries, `errors` and `types` say what comes back.
"""

from .alerts import AlertFeed
from .client import Daybook, Report
from .errors import AskError, DaybookError, PublishError, ReportError
from .live import Change, LiveView
from .types import (
    Account,
    Alert,
    AlertPage,
    Answer,
    AsOf,
    Day,
    Event,
    Question,
    Rank,
    Reject,
    RejectPage,
    ReportEntry,
    Row,
    View,
)

__all__ = [
    "Account",
    "Alert",
    "AlertFeed",
    "AlertPage",
    "Answer",
    "AsOf",
    "AskError",
    "Change",
    "Day",
    "Daybook",
    "DaybookError",
    "Event",
    "LiveView",
    "PublishError",
    "Question",
    "Rank",
    "Reject",
    "RejectPage",
    "Report",
    "ReportEntry",
    "ReportError",
    "Row",
    "View",
]
