/**
 * A program with pg-boss 9 that sends, fetches and ends jobs, with its cron and maintenance on.
 *
 * `node node.mjs [QUEUE…]` works on the named queues. A line on its standard input is a command: `report` prints
 * by statement how often it ran, and its longest time in ms since the last report; `load` sends and ends jobs until
 * `rest`; `send NAME JSON`, `schedule NAME CRON`, `work NAME` and `leave NAME` do that; `end` stops. Each answers
 * with one line of JSON. Jobs of queues that it works on append a line to the table `public.done`, if there is one.
 */

import readline from "node:readline";

import pg from "pg";
import PgBoss from "pg-boss";

const { host, port, user, dbname: database, password } = JSON.parse(process.env.ZEKE_DATABASE);
const schema = process.env.JOBS_SCHEMA ?? "pgboss";
const pool = new pg.Pool({ host, port, user, database, password, max: 8, application_name: "node" });
let times = {};

const KINDS = {
  fetch: /nextJob/, complete: /state = 'completed',\s*output/, fail: /\$2::jsonb\s*WHERE id/, expire: /startedOn \+ expireIn/,
  archive: /archived_rows/, purge: /DELETE FROM \w+\.archive/, count: /rollup/, send: /j3\s+ON CONFLICT/,
  cron: /cron_on|\.schedule/, create: /CREATE TABLE/,
};

async function executeSql(text, values) {
  const kind = Object.keys(KINDS).find((name) => KINDS[name].test(text)) ?? "other";
  const begun = performance.now();
  try {
    return await pool.query(text, values);
  } finally {
    const [count, longest] = times[kind] ?? [0, 0];
    times[kind] = [count + 1, Math.max(longest, Math.round(performance.now() - begun))];
  }
}

const boss = new PgBoss({
  db: { executeSql }, schema, maintenanceIntervalSeconds: 2, monitorStateIntervalSeconds: 5,
  archiveCompletedAfterSeconds: 43200, cronWorkerIntervalSeconds: 1,
});
const errors = [];
boss.on("error", (error) => errors.push(String(error)));
await boss.start();

async function done(job) {
  const [{ to }] = (await pool.query("select to_regclass('public.done') as to")).rows;
  if (to) await pool.query("insert into done values ($1, 'node', $2)", [job.name, job.id]);
}

const work = (name) => boss.work(name, { newJobCheckInterval: 100 }, done);
let loading = null;
let stopped = false;

async function load() {
  for (let turn = 0; !stopped; turn++) {
    // By turns with a throttle and a key, which use pg-boss's unique indexes.
    const options = [{ retryLimit: 1 }, { singletonKey: `${turn}` }, { singletonSeconds: 1 }][turn % 3];
    await boss.send("live", { turn }, options);
    for (const job of (await boss.fetch("live", 5)) ?? []) {
      await (turn % 5 ? boss.complete(job.id) : boss.fail(job.id, new Error("by turns")));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const COMMANDS = {
  report: () => { const told = times; times = {}; return { times: told, errors: errors.splice(0) }; },
  load: () => { stopped = false; loading = load().catch((error) => errors.push(String(error))); },
  rest: async () => { stopped = true; await loading; },
  send: (name, data = "{}") => boss.send(name, JSON.parse(data)),
  schedule: (name, ...cron) => boss.schedule(name, cron.join(" ")),
  unschedule: (name) => boss.unschedule(name),
  work,
  leave: (name) => boss.offWork(name),
};

for (const name of process.argv.slice(2)) await work(name);
console.log(JSON.stringify("ready"));
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [word, ...rest] = line.split(" ");
  if (word === "end") break;
  try {
    console.log(JSON.stringify((await COMMANDS[word](...rest)) ?? null));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
stopped = true;
await loading;
await boss.stop({ graceful: false });
await pool.end();
process.exit(0);
