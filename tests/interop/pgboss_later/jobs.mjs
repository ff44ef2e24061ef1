/**
 * Fills a schema with jobs in all states by a real pg-boss 10, 11 or 12, or sends and works until told to stop.
 *
 * `node jobs.mjs fill PACKAGE SCHEMA COUNT` and `node jobs.mjs work PACKAGE SCHEMA`, with the
 * database in ZEKE_DATABASE; both print JSON.
 */

import { randomUUID } from "node:crypto";

const [mode, name, schema, count] = process.argv.slice(2);
const { host, user, dbname: database } = JSON.parse(process.env.ZEKE_DATABASE);
const loaded = await import(name);
const PgBoss = loaded.PgBoss ?? loaded.default;
const [, major, minor] = name.match(/(\d+)\.(\d+)$/).map(Number);
const old = major === 10;
const beats = major === 12 && minor >= 20;
const boss = new PgBoss({ host, user, database, schema, max: 4, supervise: mode === "work", schedule: false });
boss.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
await boss.start();

async function insert(queue, jobs) {
  for (let at = 0; at < jobs.length; at += 5000) {
    const part = jobs.slice(at, at + 5000);
    await (old ? boss.insert(part.map((job) => ({ name: queue, ...job }))) : boss.insert(queue, part));
  }
}

const made = (number, options = {}) =>
  Array.from({ length: number }, (_, at) => ({ id: randomUUID(), data: { at }, ...options }));

/** Insert jobs, fetch each, and settle them by batches. */
async function settled(queue, jobs, settle) {
  await insert(queue, jobs);
  for (let left = jobs.length; left > 0; ) {
    const batch = await boss.fetch(queue, { batchSize: 2000 });
    if (batch.length === 0) throw new Error(`${left} jobs of ${queue} can't be fetched`);
    left -= batch.length;
    await settle(batch.map((job) => job.id));
  }
}

async function fill(number) {
  const share = (percent) => Math.max(2, Math.floor((number * percent) / 100));
  await boss.createQueue("mail-dead", { name: "mail-dead" });
  await boss.createQueue("mail", { name: "mail", deadLetter: "mail-dead", retryLimit: 4 });
  for (const queue of ["other", "nightly", "slots"]) await boss.createQueue(queue, { name: queue });
  const policies = ["short", "singleton", "stately", ...(old ? [] : ["exclusive"])];
  if (beats) policies.push("key_strict_fifo");
  for (const policy of policies) await boss.createQueue(policy, { name: policy, policy });

  await settled("mail", made(share(20)), (ids) => boss.complete("mail", ids, { done: true }));
  await settled("mail", made(share(5), { retryLimit: 0, deadLetter: null }), (ids) =>
    boss.fail("mail", ids, new Error("no")),
  );
  const cancelled = made(share(5));
  await insert("mail", cancelled);
  await boss.cancel("mail", cancelled.map((job) => job.id));
  await settled("mail", made(share(10), { retryDelay: 3600, retryBackoff: true }), (ids) =>
    boss.fail("mail", ids, new Error("not yet")),
  );
  await settled("mail", made(share(5), beats ? { heartbeatSeconds: 10 } : {}), async () => {});
  const later = new Date(Date.now() + 86_400_000).toISOString();
  await insert("mail", made(share(10), { startAfter: later, priority: -1 }));
  await insert("mail", made(share(35), { priority: 7, expireInSeconds: 90, retryLimit: 9 }));
  await insert("other", made(share(5), { retryBackoff: true, ...(old ? {} : { retryDelayMax: 600 }) }));
  await insert("other", made(2, major === 12 && minor >= 20 ? { groupId: "team" } : {}));
  for (const policy of policies) {
    for (let at = 0; at < share(1); at++) {
      const sent = await boss.send(policy, { at }, { singletonKey: `key ${at}` });
      if (sent === null) throw new Error(`${policy} refused its first job`);
      const second = await boss.send(policy, { at }, { singletonKey: `key ${at}` });
      if ((second === null) === ["singleton", "key_strict_fifo"].includes(policy))
        throw new Error(`${policy} does not do what its name says`);
    }
  }
  const holder = await boss.send("slots", {}, { singletonSeconds: 36_000 });
  await boss.fetch("slots");
  await boss.complete("slots", holder);
  await boss.send("slots", {}, { singletonSeconds: 3600, singletonKey: "by key" });
  await boss.schedule("nightly", "0 3 * * *", { a: 1.5 }, { tz: "Europe/Berlin", retryLimit: 5 });
  if (!old) await boss.schedule("nightly", "30 4 * * 1", {}, { tz: "Asia/Tokyo", key: "second" });
  await boss.schedule("other", "30 15 3 * * *", { b: 2 });
}

/** Send and run jobs until standard input ends; print the ids of both. */
async function work() {
  const sent = [];
  const run = [];
  await boss.createQueue("busy", { name: "busy" });
  await boss.work("busy", { batchSize: 5, pollingIntervalSeconds: 0.5 }, async (jobs) => {
    run.push(...jobs.map((job) => job.id));
  });
  let ended = false;
  process.stdin.on("end", () => (ended = true)).resume();
  console.log("ready");
  while (!ended) {
    sent.push(await boss.send("busy", {}));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await boss.stop({ graceful: true, wait: true, timeout: 20_000 });
  console.log(JSON.stringify({ sent, run }));
}

if (mode === "fill") {
  await fill(Number(count));
  await boss.stop({ graceful: false, wait: true });
} else {
  await work();
}
process.exit(0);
