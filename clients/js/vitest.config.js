import { defineConfig } from "vitest/config";

export default defineConfig({
  // The package under its own name, as its users import it.
  resolve: {
    alias: [
      { find: /^zeke-jobs$/, replacement: new URL("src/index.js", import.meta.url).pathname },
      { find: /^zeke-jobs\/react$/, replacement: new URL("src/react.js", import.meta.url).pathname },
    ],
  },
  test: { include: ["test/**/*.test.{js,jsx}"], restoreMocks: true, unstubGlobals: true },
});
