// Builds the page into the Python package, where `regard serve` finds it.
//
//   npm run build     writes ../src/regard/serve/web
//   npm run check     type-checks, and fails unless what lies there is what these sources build
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = join(here, "../src/regard/serve/web");

async function assets() {
  const bundle = await build({
    absWorkingDir: here,
    entryPoints: { app: "src/main.ts" },
    outdir: target,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "iife",
    target: "es2022",
    legalComments: "none",
    logLevel: "warning",
    write: false,
  });
  const styles = await build({
    absWorkingDir: here,
    entryPoints: { app: "src/styles/app.css" },
    outdir: target,
    bundle: true,
    minify: true,
    charset: "utf8",
    logLevel: "warning",
    write: false,
  });
  const files = new Map();
  for (const name of ["index.html", "icon.svg"]) files.set(name, await readFile(join(here, "src", name)));
  for (const output of [...bundle.outputFiles, ...styles.outputFiles]) {
    files.set(output.path.slice(target.length + 1), Buffer.from(output.contents));
  }
  return files;
}

const files = await assets();
if (process.argv.includes("--check")) {
  const present = await readdir(target).catch(() => []);
  const wrong = [];
  for (const [name, content] of files) {
    const found = await readFile(join(target, name)).catch(() => null);
    if (found === null || !found.equals(content)) wrong.push(name);
  }
  wrong.push(...present.filter((name) => !files.has(name)));
  if (wrong.length > 0) {
    console.error(
      `src/regard/serve/web is not what web/ builds (${wrong.join(", ")}). Run: npm --prefix web run build`,
    );
    process.exit(1);
  }
} else {
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  for (const [name, content] of files) {
    await writeFile(join(target, name), content);
    console.log(`${name.padEnd(12)} ${(content.length / 1024).toFixed(1)} KiB`);
  }
}
