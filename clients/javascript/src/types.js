/**
 * Shapes of events, questions and answers; docs/CLIENTS.md explains each field.
 *
 * @typedef {Record<string, string | number | null>} Row
 *   Columns by name: dimensions are texts or null. Figures are texts, or numbers with `numbers: "number"`, or null.
 *
 * @typedef {object} Event
 * @property {string | Date} at when it happened; texts have an offset or `Z`
 * @property {string} [id] required for an entity
 * @property {number | bigint | string} [version]
 * @property {"draft" | "final" | "void"} [status]
 * @property {Record<string, string | number | boolean | null> | null} [dims]
 * @property {Record<string, string | number | bigint> | null} [measures] give decimals as texts: `"129.90"`
 *
 * @typedef {object} Question every field may be left out; nothing at all means the whole view, today
 * @property {string} [days]
 * @property {string[]} [metrics]
 * @property {string[]} [dimensions]
 * @property {string} [where]
 * @property {"total" | "day" | "hour" | "quarter_hour" | "clock_hour" | "hour_of_day"} [grain]
 * @property {string[]} [order]
 * @property {number} [limit]
 * @property {string} [cursor]
 * @property {{ by?: { metric: string, direction?: string }[], ties?: string, member?: (string | null)[], around?: number }} [rank]
 * @property {number} [at_least]
 * @property {boolean} [accept_stale]
 *
 * @typedef {object} Answer
 * @property {string} tenant
 * @property {string} view
 * @property {string} from
 * @property {string} to
 * @property {"upcoming" | "open" | "closed"} day
 * @property {Row[]} rows
 * @property {number} total
 * @property {string} [next] the cursor of the next page, if there is one
 * @property {number} [generation] how many tenants of this id were removed before; absent when none was
 * @property {{ inbox: number, log: number }} as_of
 * @property {number} freshness_ms
 * @property {boolean} stale
 * @property {unknown} coverage
 * @property {number} definition
 * @property {number | null} report
 * @property {{ feed: string, sequence: number }} [feed]
 *
 * @typedef {object} Account what became of the events of a day; `published` is the sum of the others but `drafts`
 * @property {number} published
 * @property {number} counted
 * @property {number} pending
 * @property {number} duplicate
 * @property {number} stale
 * @property {number} carried
 * @property {number} rejected
 * @property {number} [drafts] the drafts that took effect, open or not
 *
 * @typedef {object} Day
 * @property {string} date
 * @property {"upcoming" | "open" | "closed"} day
 * @property {string} opens_at
 * @property {string} closes_at
 * @property {number | null} report
 * @property {Account} account
 * @property {boolean} [as_reported]
 * @property {boolean} [restating]
 *
 * @typedef {object} ReportEntry
 * @property {string} date
 * @property {number} version
 * @property {unknown} day
 * @property {Account} dispositions
 * @property {unknown} coverage
 * @property {{ version: number, hash: string } | null} supersedes
 * @property {string} hash
 * @property {number} bytes
 * @property {number} [generation] as in an answer
 *
 * @typedef {object} Reject
 * @property {string} code
 * @property {string} reason
 * @property {string} tenant
 * @property {string} kind
 * @property {number} inbox
 * @property {number} index
 * @property {string | null} field
 * @property {string | null} date
 * @property {unknown} [original]
 * @property {{ events: number, last: { inbox: number } | number }} [span]
 *
 * @typedef {object} RejectPage
 * @property {string} tenant
 * @property {Reject[]} rejects
 * @property {string} newer the place to go on from
 * @property {string} [next]
 * @property {boolean} [missed]
 *
 * @typedef {object} Alert of a view, with `view`, `group` and `figures`, or of a report, with `report`; see docs/ALERTS.md
 * @property {string} id no other alert has it
 * @property {string} alert
 * @property {string} tenant
 * @property {number} generation
 * @property {string} day
 * @property {string} at
 * @property {number} log
 * @property {string} [view]
 * @property {Row} [group]
 * @property {Row} [figures]
 * @property {boolean} [more_groups] the last one for the day; it has no group and no figures
 * @property {{ version: number, hash: string }} [report]
 *
 * @typedef {object} AlertPage
 * @property {string} tenant
 * @property {Alert[]} alerts
 * @property {string} newer the place to go on from
 * @property {string} [next]
 * @property {boolean} [missed]
 *
 * @typedef {object} View
 * @property {string} name
 * @property {string} kind
 * @property {"day" | "hour" | "quarter_hour" | "clock_hour"} grain
 * @property {string} late
 * @property {boolean} ranked
 * @property {string[]} dimensions
 * @property {string[]} metrics
 * @property {number} definition
 */
export {};
