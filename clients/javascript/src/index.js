/**
 * A client of Daybook: exact live figures and sealed reports of business days, over NATS.
 *
 * `client` talks to Daybook. `publishing` and `live` decide without talking: which messages a list of events becomes,
 * and what a live update does to rows. `alerts` follows alerts. `exact` reads and writes JSON, `blake3` hashes reports,
 * `patience` waits between tries, `errors` and `types` say what comes back.
 */
export { Daybook } from "./client.js";
export { Report } from "./report.js";
export { AlertFeed } from "./alerts.js";
export { LiveView } from "./live.js";
export { AskError, DaybookError, PublishError, ReportError } from "./errors.js";
