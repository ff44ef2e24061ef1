/** The published package, and its documentation. */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

import ts from "typescript";
import { expect, test } from "vitest";

import * as core from "zeke-jobs";
import * as react from "zeke-jobs/react";

const root = new URL("..", import.meta.url);
const text = (name) => readFileSync(new URL(name, root), "utf8");
const manifest = JSON.parse(text("package.json"));

test("the package has its sources, their types, the licence and a page, and nothing else", () => {
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: root, encoding: "utf8" }));
  expect(packed.files.map((file) => file.path).sort()).toEqual([
    "LICENSE",
    "README.md",
    "package.json",
    ...["client", "errors", "http"].map((name) => `src/${name}.js`),
    "src/index.d.ts",
    "src/index.js",
    "src/react.d.ts",
    "src/react.js",
    ...["sse", "status", "watch"].map((name) => `src/${name}.js`),
  ]);
  for (const { types, default: module } of [manifest.exports["."], manifest.exports["./react"]]) {
    expect(packed.files.map((file) => `./${file.path}`)).toEqual(expect.arrayContaining([types, module]));
  }
});

test("it depends on nothing, and React may be missing", () => {
  expect(manifest.dependencies).toBeUndefined();
  expect(manifest.peerDependenciesMeta.react.optional).toBe(true);
  for (const name of ["index", "client", "errors", "http", "sse", "status", "watch"]) {
    const imported = [...text(`src/${name}.js`).matchAll(/^(?:import|export) .* from "(.*)";$/gm)];
    expect(imported.filter(([, from]) => !from.startsWith("./"))).toEqual([]);
  }
});

const PAGES = ["README.md", "../../docs/javascript.md"];
const BLOCKS = PAGES.flatMap((page) =>
  [...text(page).matchAll(/```(jsx?)\n(.*?)```/gs)].map(([, suffix, code], n) => [`${page} ${n + 1}`, suffix, code]),
);

test.each(BLOCKS)("%s is JavaScript, and imports what is there", (_, suffix, code) => {
  const compilerOptions = { allowJs: true, module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, jsx: ts.JsxEmit.React };
  const read = ts.transpileModule(code, { fileName: `page.${suffix}`, reportDiagnostics: true, compilerOptions });
  expect(read.diagnostics.map(({ messageText }) => messageText)).toEqual([]);
  for (const [, names, from] of code.matchAll(/import \{ (.*?) \} from "(zeke-jobs.*?)";/g)) {
    const there = from === "zeke-jobs" ? core : react;
    for (const name of names.split(", ")) expect(there).toHaveProperty(name);
  }
});
