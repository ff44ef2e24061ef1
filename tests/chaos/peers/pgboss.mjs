// pg-boss 12: default options, with 20 jobs a fetch; a job of a killed worker fails after 15 minutes, and is retried.
import { PgBoss } from "pg-boss";
import { CONCURRENCY, given, write } from "./common.mjs";

const boss = new PgBoss({ connectionString: given.dsn, schema: "pgboss12" });
boss.on("error", console.error);
await boss.start();
await boss.createQueue("plain");
if (given.command === "work") {
  // A worker fetches its next jobs when the last of these has ended, and polls every half second at most.
  for (let k = 0; k < 4; k++) {
    await boss.work("plain", { batchSize: CONCURRENCY, includeMetadata: true, pollingIntervalSeconds: 0.5 }, (jobs) =>
      Promise.all(
        jobs.map(async (job) => {
          await write("B", job.data.n, job.retryCount + 1);
          await write("R", job.data.n, job.retryCount + 1);
        }),
      ),
    );
  }
} else {
  if (given.command === "send") {
    const jobs = [];
    for (let n = given.first; n < given.first + given.count; n++) {
      jobs.push({ id: `00000000-0000-4000-8000-${(n + 1).toString(16).padStart(12, "0")}`, data: { n } });
    }
    await boss.insert("plain", jobs);
  }
  await boss.stop({ graceful: false });
}
