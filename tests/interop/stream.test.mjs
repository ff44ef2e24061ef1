/** Clients of the earlier system's REST API and stream: its curl lines, and one that reads as its own did. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { ITEM, NOBODY, ended, token, trigger, url } from "./system.mjs";

/** Run a line of the users' document in a shell, with this server in its place. */
async function shell(line, more = {}) {
  const { stdout } = await promisify(execFile)("sh", ["-c", line.replaceAll("http://localhost:3003", url)], {
    env: { ...process.env, TOKEN: token, ...more },
  });
  return stdout;
}

const TRIGGER = String.raw`curl -s -X POST http://localhost:3003/trigger \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"taskId": "my-task", "payload": {"itemId": "123"}}'`;
const STATUS = String.raw`curl -s http://localhost:3003/trigger/runs/{jobId} \
  -H "Authorization: Bearer $TOKEN"`;
const STREAM = String.raw`curl -s http://localhost:3003/jobs/stream/{jobId} \
  -H "Authorization: Bearer $TOKEN" \
  -H "Accept: text/event-stream"`;

test("curl: a payload that does not fit is refused, and names the field", async () => {
  const body = JSON.parse(await shell(TRIGGER));
  assert.equal(body.fields[0].path, "payload.itemId");
});

test("curl: a job is triggered, looked at and followed", async () => {
  const sent = JSON.parse(await shell(TRIGGER.replace('"123"', `"${ITEM}"`)));
  assert.deepEqual(Object.keys(sent), ["id", "status", "taskId"]);
  assert.equal(sent.status, "created");
  const streamed = await shell(STREAM.replace("{jobId}", sent.id));
  assert.match(streamed, /event: status\ndata: \{.*"status":\s*"COMPLETED".*\}\n\n/);
  assert.match(streamed, /event: close\ndata: complete\n\n$/);
  const run = JSON.parse(await shell(STATUS.replace("{jobId}", sent.id)));
  assert.deepEqual(
    Object.keys(run),
    ["id", "status", "taskId", "data", "output", "startedOn", "completedOn", "createdOn", "retryCount"],
  );
  assert.deepEqual([run.status, run.output], ["COMPLETED", { success: true, itemId: ITEM }]);
});

test("curl: a job that is not there", async () => {
  for (const id of [NOBODY, "123"]) {
    assert.deepEqual(JSON.parse(await shell(STATUS.replace("{jobId}", id))), { error: "Job run not found" });
    assert.deepEqual(JSON.parse(await shell(STREAM.replace("{jobId}", id))), { error: "Job not found" });
  }
});

test("curl: whoever shows no key, or none that is one, is told what is wrong", async () => {
  const line = STATUS.replace("{jobId}", NOBODY);
  const without = line.replace(/ \\\n.*$/, "");
  assert.deepEqual(JSON.parse(await shell(without)), { error: "Authorization header required" });
  assert.deepEqual(JSON.parse(await shell(line, { TOKEN: "mid_1" })), { error: "Invalid token format" });
  assert.deepEqual(JSON.parse(await shell(line, { TOKEN: "" })), { error: "Token required" });
  assert.deepEqual(JSON.parse(await shell(line, { TOKEN: `mid_${"0".repeat(64)}` })), { error: "Invalid API key" });
});

/**
 * Read a stream like the earlier system's client: `data:` is on the line right after `event:`, and an event of
 * which a read returns only a part is lost.
 */
async function followed(id) {
  const response = await fetch(`${url}/jobs/stream/${id}`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(response.headers.get("content-type")?.split(";")[0], "text/event-stream");
  const decoder = new TextDecoder();
  const told = [];
  let rest = "";
  let tail = "";
  for await (const chunk of response.body) {
    const text = decoder.decode(chunk, { stream: true });
    tail = (tail + text).slice(-40);
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const [at, line] of lines.entries()) {
      if (!line.startsWith("event: ") || at + 1 === lines.length) continue;
      assert.ok(lines[at + 1].startsWith("data: "), `${line} is followed by ${lines[at + 1]}`);
      if (line === "event: close") return told;
      if (line === "event: status") told.push(JSON.parse(lines[at + 1].slice("data: ".length)));
    }
  }
  assert.ok(tail.endsWith("event: close\ndata: complete\n\n"), "the stream ended without close");
  return told;
}

test("a client of the earlier system follows a job, and is not troubled by what it does not know", async () => {
  const gate = "earlier";
  const id = await trigger("gated", { gate });
  const following = followed(id);
  await trigger("open-gate", { gate });
  await trigger("open-gate", { gate });
  const told = await following;
  const last = told.at(-1);
  assert.deepEqual(Object.keys(last).sort(), ["completedOn", "id", "output", "status", "taskId"]);
  assert.deepEqual([last.id, last.status, last.taskId, last.output], [id, "COMPLETED", "gated", { gate }]);
  for (const { outputFollows, output, completedOn, ...before } of told.slice(0, -1)) {
    assert.deepEqual(Object.keys(before).sort(), ["id", "status", "taskId"]);
    // Only an announcement of the end has the outcome already.
    const outcome = outputFollows ? [last.output, last.completedOn] : [undefined, undefined];
    assert.deepEqual([output, completedOn], outcome);
  }
});

test("a job that has ended is told at once", async () => {
  const id = await trigger("my-task", { itemId: ITEM });
  const run = await ended(id);
  assert.deepEqual(await followed(id), [
    { id, status: "COMPLETED", taskId: "my-task", output: run.output, completedOn: run.completedOn },
  ]);
});

test("the end of a job with a large output is told, though the output is too large for this client", async () => {
  const id = await trigger("echo", { text: "x".repeat(900_000) });
  for (const when of ["while it runs", "once it has ended"]) {
    assert.equal((await followed(id)).at(-1).status, "COMPLETED", when);
    await ended(id);
  }
});
