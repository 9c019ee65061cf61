/** A sealed report, checked against its hash. */
import { hashHex } from "./blake3.js";
import { ReportError } from "./errors.js";
import { parse } from "./exact.js";

/** A sealed report whose bytes have the hash that Daybook named. */
export class Report {
  /**
   * @param {Uint8Array} payload the bytes that the hash is of
   * @param {string} hash BLAKE3 of the payload, in hex
   * @param {any} body the payload, read
   * @param {boolean} restatementPending whether a further version will follow
   */
  constructor(payload, hash, body, restatementPending) {
    this.payload = payload;
    this.hash = hash;
    this.body = body;
    this.restatementPending = restatementPending;
  }

  /**
   * Reads the reply to `~report`, or a message on `daybook.reports.<tenant>.<date>`. Throws ReportError if the bytes do
   * not have the hash.
   *
   * @param {{ data: Uint8Array, headers?: { get(name: string): string, has(name: string): boolean } }} message
   * @param {"text" | "number"} [numbers] how figures are read
   */
  static fromMessage(message, numbers = "text") {
    const named = message.headers?.get("Daybook-Hash");
    const found = hashHex(message.data);
    if (named !== found) {
      throw new ReportError("hash_mismatch", `Daybook names the hash ${named}, and the bytes have ${found}`);
    }
    const isPending = message.headers?.has("Daybook-Restatement-Pending") ?? false;
    return new Report(message.data, found, parse(message.data, numbers), isPending);
  }
}
