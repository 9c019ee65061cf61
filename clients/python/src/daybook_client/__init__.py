"""A client of Daybook: exact live figures and sealed reports of business days, over NATS.

`client` talks to Daybook. `publishing` and `live` decide without talking: which messages a list of events becomes, and
what a live update does to rows. `exact` reads and writes JSON, `blake3` hashes reports, `retrying` waits between tries,
`errors` and `types` say what comes back.
"""

from .client import Daybook, Report
from .errors import AskError, DaybookError, PublishError, ReportError
from .live import Change, LiveView
from .types import Account, Answer, AsOf, Day, Event, Question, Rank, Reject, RejectPage, ReportEntry, Row, View

__all__ = [
    "Account",
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
