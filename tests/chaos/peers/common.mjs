// What the programs of the Node peers share: their arguments, and a log in the format of ours.
import fs from "node:fs";
import { promisify } from "node:util";

const [command, dsn, path, first = "0", count = "0"] = process.argv.slice(2);
export const given = { command, dsn, path, first: Number(first), count: Number(count) };
export const CONCURRENCY = 20;

const file = command === "work" ? fs.openSync(path, "a", 0o600) : null;
const fsync = promisify(fs.fsync);
let next = null;
let syncing = false;

async function sync() {
  syncing = true;
  while (next !== null) {
    const done = next;
    next = null;
    await fsync(file);
    done.resolve();
  }
  syncing = false;
}

export async function write(what, n, attempt) {
  const id = (n + 1).toString(16).padStart(32, "0").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  const at = (Number(process.hrtime.bigint() / 1000n) / 1e6).toFixed(6).padStart(14, "0");
  fs.writeSync(file, `${what} plain    ${id} ${String(attempt).padStart(6, "0")} ${at}\n`);
  if (next === null) {
    next = {};
    next.promise = new Promise((resolve) => (next.resolve = resolve));
  }
  const mine = next.promise;
  if (!syncing) sync();
  await mine;
}
