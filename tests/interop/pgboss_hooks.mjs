/** Makes the test suite of pg-boss 9 run our migrations when it creates its tables; pgboss.py loads it. */

import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";

const { ZEKE_MODE: mode, ZEKE_SOCKET: socket } = process.env;
const { host, user, dbname: database } = JSON.parse(process.env.ZEKE_DATABASE);
const require = createRequire(path.join(process.cwd(), "package.json"));
const helper = require("./test/testHelper");
const Contractor = require("./src/contractor");

// Its helper reads this object. The embedded server has only a Unix socket, which a URL has in encoded form.
Object.assign(require("./test/config.json"), { host, user, database });
helper.getConnectionString = () => `postgres://${user}@${encodeURIComponent(host)}/${database}`;
// It would create the database, and pgcrypto, which the embedded server lacks and its tables do not use.
helper.init = async () => {};

const schemas = new Set();

function ask(verb, schema) {
  return new Promise((resolve, reject) => {
    const connection = net.connect(socket, () => connection.write(`${verb} ${schema}\n`));
    let answer = "";
    connection.on("data", (part) => (answer += part));
    connection.on("end", () => {
      if (answer === "done\n") resolve();
      else reject(new Error(`${verb} ${schema}: ${answer}`));
    });
    connection.on("error", reject);
  });
}

const create = Contractor.prototype.create;
Contractor.prototype.create = async function () {
  const { schema } = this.config;
  schemas.add(schema);
  // Where the tables exist, its own statements fail, which it takes for a race with another instance.
  if (mode === "fresh") await ask("migrate", schema);
  await create.call(this);
  if (mode === "adopted" || mode === "worker") await ask("migrate", schema);
};

export const mochaHooks = {
  // Runs before its own hook, which drops the schema.
  async afterEach() {
    this.timeout(10000);
    for (const schema of schemas) await ask("leave", schema);
    schemas.clear();
  },
};
