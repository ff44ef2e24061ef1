// An AI of @copilotkit/aimock, 40 % of whose answers are faulty, for tests/interop/foreign_ai.py. Prints its address,
// and when its input ends, what it answered: a line of JSON each.

import { LLMock } from "@copilotkit/aimock";

// Drawn one after the other: 1 - 0.88 * 0.86 * 0.87 * 0.88 is 42 %.
const chaos = { dropRate: 0.12, malformedRate: 0.14, rateLimitRate: 0.13, disconnectRate: 0.12 };

const brief = JSON.parse(process.argv[2]);
const mock = new LLMock({ port: 0, chaos, logLevel: "silent" });
mock.addFixture({ match: {}, response: () => ({ content: JSON.stringify(brief) }) });
await mock.start();
console.log(JSON.stringify(mock.url));

process.stdin.resume();
process.stdin.on("end", async () => {
  const answered = mock.getRequests().map(({ body, response }) => ({
    body: JSON.stringify(body),
    fault: response.status === 200 ? (response.chaosAction ?? null) : (response.chaosAction ?? String(response.status)),
  }));
  await mock.stop();
  console.log(JSON.stringify(answered));
});
