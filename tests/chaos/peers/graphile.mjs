// graphile-worker: its runner with default options; a job of a killed worker is unlocked after four hours.
import { makeWorkerUtils, run } from "graphile-worker";
import { CONCURRENCY, given, write } from "./common.mjs";

if (given.command === "work") {
  const runner = await run({
    connectionString: given.dsn,
    concurrency: CONCURRENCY,
    noHandleSignals: true,
    taskList: {
      plain: async ({ n }, helpers) => {
        await write("B", n, helpers.job.attempts);
        await write("R", n, helpers.job.attempts);
      },
    },
  });
  await runner.promise;
} else {
  const utils = await makeWorkerUtils({ connectionString: given.dsn });
  await utils.migrate();
  if (given.command === "send") {
    const jobs = [];
    for (let n = given.first; n < given.first + given.count; n++) {
      jobs.push({ identifier: "plain", payload: { n }, jobKey: String(n) });
    }
    await utils.addJobs(jobs);
  }
  await utils.release();
}
