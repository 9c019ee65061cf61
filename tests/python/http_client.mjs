// Daybook over HTTP from JavaScript: node http_client.mjs URL KEY. Every step asserts what docs/HTTP.md says.
// There must be a tenant acme, a kind `order` with the measure `amount`, and a view `orders`; the key may publish and query.

const [url, key] = process.argv.slice(2);

async function request(path, options = {}) {
  const headers = { Authorization: `Bearer ${key}`, ...options.headers };
  const response = await fetch(`${url}/v1/tenants/acme${path}`, { ...options, headers });
  if (response.ok) return response;
  const problem = await response.json();
  throw Object.assign(new Error(`${problem.code}: ${problem.detail}`), { problem });
}

async function publish(kind, events) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(events) };
  return (await request(`/kinds/${kind}/events`, options)).json();
}

// EventSource sends no token, so the stream is read with fetch.
async function* follow(view) {
  const response = await request(`/views/${view}/live`);
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (text + piece).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const field = (name) => event.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("event")) yield { name: field("event"), id: field("id"), data: JSON.parse(field("data")) };
    }
  }
}

function check(holds, what) {
  if (!holds) throw new Error(`it does not hold: ${JSON.stringify(what)}`);
}

const order = { id: "js-1", at: "2024-03-01T12:00:00Z", measures: { amount: "1.00" } };
const told = await publish("order", [order]);
check(told.durable === 1, told);
const answer = await (await request(`/views/orders?metrics=orders&at_least=${told.inbox}`)).json();
check(answer.rows[0].orders >= 1, answer);
for await (const event of follow("orders")) {
  check(event.name === "snapshot" && event.data.rows.length === 1, event);
  break;
}
const refused = await request("/views/nothing").catch((error) => error.problem);
check(refused.code === "unknown_view", refused);
process.exit(0);
