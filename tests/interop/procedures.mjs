/** The tests of tRPC's clients, for any version. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ITEM, NOBODY, ended, reader, teamId, trigger } from "./system.mjs";

const EPOCH = new Date(0);

/** Return the error that a call ends with. */
async function refused(call, TRPCClientError) {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof TRPCClientError, `${error}`);
    return error;
  }
  return assert.fail("the call succeeded");
}

/**
 * Register the tests of a client.
 *
 * @param make makes a client for a token, and records its requests in the list
 * @param TRPCClientError the class of its errors
 */
export function testProcedures(make, TRPCClientError) {
  const client = make();
  const anonymous = make({ token: null });

  test("trigger.trigger sends a job that runs", async () => {
    const sent = await client.trigger.trigger.mutate({ taskId: "my-task", payload: { itemId: ITEM } });
    assert.deepEqual(sent, { id: sent.id, status: "created", taskId: "my-task" });
    assert.deepEqual((await ended(sent.id)).output, { success: true, itemId: ITEM });
  });

  test("trigger.run has dates, and the shape of the REST API otherwise", async () => {
    const id = await trigger("my-task", { itemId: ITEM, options: { force: true } });
    const rest = await ended(id);
    const run = await client.trigger.run.query({ runId: id });
    for (const name of ["createdOn", "startedOn", "completedOn"]) {
      assert.ok(run[name] instanceof Date, name);
      assert.equal(run[name].toISOString(), rest[name]);
    }
    assert.deepEqual(JSON.parse(JSON.stringify(run)), rest);
    assert.equal(run.status, "COMPLETED");
  });

  test("what JSON lacks arrives as what JSON has", async () => {
    const shared = { a: 1n };
    const payload = {
      when: EPOCH,
      big: 12345678901234567890n,
      map: new Map([["k", new Set([1, EPOCH])]]),
      url: new URL("https://example.org/a?b"),
      pattern: /a\/b/g,
      nothing: undefined,
      list: [undefined, null],
      "a.b": { "c\\d": EPOCH },
      one: shared,
      two: [shared],
      error: new Error("no"),
      deep: [[[[[[{ x: new Map([[1, EPOCH]]) }]]]]]],
    };
    const sent = await client.trigger.trigger.mutate({ taskId: "echo", payload });
    await ended(sent.id);
    const run = await client.trigger.run.query({ runId: sent.id });
    const date = EPOCH.toISOString();
    assert.deepEqual(run.output, {
      when: date,
      big: 12345678901234567890n,
      map: { k: [1, date] },
      url: "https://example.org/a?b",
      pattern: "/a\\/b/g",
      list: [null, null],
      "a.b": { "c\\d": date },
      one: { a: 1 },
      two: [{ a: 1 }],
      error: { name: "Error", message: "no" },
      deep: [[[[[[{ x: { 1: date } }]]]]]],
    });
  });

  test("a payload that contains itself is refused", async () => {
    const payload = { list: [] };
    payload.list.push(payload);
    const error = await refused(client.trigger.trigger.mutate({ taskId: "echo", payload }), TRPCClientError);
    assert.equal(error.data.code, "BAD_REQUEST");
    assert.match(error.message, /payload\.list\.0', which is null; serialize without dedupe/);
  });

  test("calls of one moment are one request, and each has its own outcome", async () => {
    const requests = [];
    const batching = make({ requests });
    const id = await trigger("my-task", { itemId: ITEM });
    const [good, bad, unknown] = await Promise.allSettled([
      batching.trigger.run.query({ runId: id }),
      batching.trigger.run.query({ runId: NOBODY }),
      batching.trigger.nothing.query(),
    ]);
    assert.equal(requests.length, 1);
    assert.match(requests[0], /\/trpc\/trigger\.run,trigger\.run,trigger\.nothing\?batch=1&input=/);
    assert.equal(good.value.id, id);
    assert.equal(bad.reason.message, `Job run ${NOBODY} not found`);
    assert.equal(bad.reason.data.code, "NOT_FOUND");
    assert.equal(bad.reason.shape.code, -32004);
    assert.match(unknown.reason.message, /No procedure found on path "trigger.nothing"/);
  });

  test("mutations are batched too", async () => {
    const requests = [];
    const batching = make({ requests });
    const outcomes = await Promise.allSettled([
      batching.trigger.trigger.mutate({ taskId: "echo", payload: 1 }),
      batching.trigger.trigger.mutate({ taskId: "nobodys" }),
      batching.trigger.trigger.mutate({ taskId: "my-task", payload: { itemId: "123" } }),
    ]);
    assert.equal(requests.length, 1);
    assert.deepEqual(
      outcomes.map(({ status, reason }) => reason?.data.code ?? status),
      ["fulfilled", "NOT_FOUND", "UNPROCESSABLE_CONTENT"],
    );
    assert.equal(outcomes[2].reason.data.httpStatus, 422);
    assert.deepEqual(
      outcomes[2].reason.data.fields.map((field) => field.path),
      ["payload.itemId"],
    );
  });

  for (const runId of [NOBODY, "123", "<script>", "' or 1=1", "a/../b", "ünï"]) {
    test(`the job ${runId} is not found`, async () => {
      const error = await refused(client.trigger.run.query({ runId }), TRPCClientError);
      assert.equal(error.message, `Job run ${runId} not found`);
      assert.deepEqual(error.data, { code: "NOT_FOUND", httpStatus: 404, path: "trigger.run" });
    });
  }

  test("an input that is missing is a bad request", async () => {
    const error = await refused(client.trigger.run.query(), TRPCClientError);
    assert.equal(error.data.code, "BAD_REQUEST");
    assert.match(error.message, /runId/);
  });

  test("a query is no mutation", async () => {
    const error = await refused(client.trigger.run.mutate({ runId: NOBODY }), TRPCClientError);
    assert.equal(error.data.code, "METHOD_NOT_SUPPORTED");
  });

  test("nobody gets nothing, and who may look may not send", async () => {
    const error = await refused(anonymous.trigger.run.query({ runId: NOBODY }), TRPCClientError);
    assert.equal(error.data.code, "UNAUTHORIZED");
    assert.equal(error.message, "Authorization header required");
    const looking = make({ token: reader });
    assert.equal((await refused(looking.trigger.run.query({ runId: NOBODY }), TRPCClientError)).data.code, "NOT_FOUND");
    const sending = looking.trigger.trigger.mutate({ taskId: "echo", payload: 1 });
    assert.equal((await refused(sending, TRPCClientError)).data.code, "FORBIDDEN");
  });

  test("trigger.ingestUrl has a page taken in", async () => {
    const sent = await client.trigger.ingestUrl.mutate({ url: "https://example.org/a", priority: "high" });
    assert.equal(sent.taskId, "ingest-oneoff");
    const run = await ended(sent.id);
    assert.equal(run.status, "COMPLETED", JSON.stringify(run.output));
    assert.deepEqual(
      { url: run.data.url, priority: run.data.priority },
      { url: "https://example.org/a", priority: "high" },
    );
    const wrong = client.trigger.ingestUrl.mutate({ url: "example.org", priority: "normal" });
    assert.equal((await refused(wrong, TRPCClientError)).data.code, "BAD_REQUEST");
  });

  test("trigger.runPlaybook runs a playbook of the caller's team", async () => {
    const alone = client.trigger.runPlaybook.mutate({ playbookId: NOBODY });
    const error = await refused(alone, TRPCClientError);
    assert.equal(error.data.code, "FORBIDDEN");
    assert.equal(error.message, "Team context required");
    const sent = await make({ team: true }).trigger.runPlaybook.mutate({ playbookId: NOBODY, context: { a: 1 } });
    const run = await ended(sent.id);
    assert.equal(run.data.teamId, teamId);
    assert.deepEqual(run.data.metadata, { a: 1 });
    assert.equal(run.status, "FAILED");
    assert.match(run.output.message, new RegExp(`Playbook ${NOBODY} not found for team ${teamId}`));
  });
}
