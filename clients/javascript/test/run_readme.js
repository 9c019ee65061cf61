// Runs the JavaScript of README.md as one module, with the broker of DAYBOOK_URL in place of the one it names.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const page = await readFile(new URL("../README.md", import.meta.url), "utf8");
const blocks = page
  .split("```js\n")
  .slice(1)
  .map((rest) => rest.split("```")[0]);
assert.ok(blocks.length > 5, `${blocks.length} blocks`);
const here = (name) => JSON.stringify(import.meta.resolve(name));
const source = [...blocks, "export { answer, live, alertPlace };"]
  .join("\n")
  .replace("nats://127.0.0.1:4222", process.env.DAYBOOK_URL)
  .replace('"@nats-io/transport-node"', here("@nats-io/transport-node"))
  .replace('"daybook-client"', here("../src/index.js"));
const { answer, live, alertPlace } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
// What the page says that it prints.
assert.deepEqual(answer.rows, [{ store: "north", revenue: "129.95" }]);
assert.ok(Number(live.row("north").revenue) === 130, live.rows);
assert.ok(alertPlace, "a page of alerts came");
