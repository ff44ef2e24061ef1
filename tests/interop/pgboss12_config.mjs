/** Vitest's settings for the tests of pg-boss 12: their server is ours, and what they leave is kept; see pgboss12.py. */

const { host, user, dbname: database } = JSON.parse(process.env.ZEKE_DATABASE);

function replaced(code, text, instead) {
  if (!code.includes(text)) throw new Error(`pg-boss's tests have no ${text}`);
  return code.replace(text, instead);
}

const ours = {
  name: "zeke",
  enforce: "pre",
  transform(code, id) {
    if (id.endsWith("/test/config.json")) {
      return JSON.stringify({ host, user, database, port: 5432, password: "-", max: 3 });
    }
    // The server has only a Unix socket, which a URL has in encoded form.
    if (id.endsWith("/test/testHelper.ts")) {
      return replaced(code, "@${config.host}:", "@${encodeURIComponent(config.host!)}:");
    }
    // A test that passes would drop its schema.
    if (id.endsWith("/test/hooks.ts")) return replaced(code, "state === 'pass'", "false");
  },
};

export default {
  plugins: [ours],
  test: {
    include: ["test/**/*Test.ts"],
    globals: true,
    hookTimeout: 30_000,
    maxWorkers: 2,
    setupFiles: ["./test/hooks.ts"],
    testTimeout: 30_000,
  },
};
