/** Version 11 of tRPC's client, with httpBatchLink and superjson. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { TRPCClientError, createTRPCClient, httpBatchLink, httpLink } from "@trpc/client";
import superjson from "superjson";

import { testProcedures } from "./procedures.mjs";
import { NOBODY, team, token, url } from "./system.mjs";

function make({ token: shown = token, requests = [], team: ofTeam = false, link = httpBatchLink, ...more } = {}) {
  const key = ofTeam ? team : shown;
  return createTRPCClient({
    links: [
      link({
        url: `${url}/trpc`,
        transformer: superjson,
        headers: () => (key ? { authorization: `Bearer ${key}` } : {}),
        fetch: (to, init) => {
          requests.push(String(to));
          return fetch(to, init);
        },
        ...more,
      }),
    ],
  });
}

testProcedures(make, TRPCClientError);

test("a client that does not batch is served as well", async () => {
  const requests = [];
  const client = make({ requests, link: httpLink });
  const sent = await client.trigger.trigger.mutate({ taskId: "echo", payload: new Date(0) });
  assert.equal((await client.trigger.run.query({ runId: sent.id })).data, "1970-01-01T00:00:00.000Z");
  await assert.rejects(client.trigger.run.query({ runId: NOBODY }), { message: `Job run ${NOBODY} not found` });
  assert.match(requests[1], /\/trpc\/trigger\.run\?input=/);
});

test("a batch that is too large says what to set, and with that it is split", async () => {
  const many = (client) =>
    Promise.allSettled(Array.from({ length: 150 }, () => client.trigger.run.query({ runId: NOBODY })));
  const refused = await many(make());
  assert.ok(refused.every(({ reason }) => reason.data.code === "BAD_REQUEST" && /maxItems/.test(reason.message)));
  const requests = [];
  const split = await many(make({ requests, maxItems: 100 }));
  assert.ok(split.every(({ reason }) => reason.data.code === "NOT_FOUND"));
  assert.equal(requests.length, 2);
});
