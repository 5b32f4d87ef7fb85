// LiteRT.js → serving/web/litert: WebAssembly, and the ES module that loads it; that comes last and says that
// all is there.
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { build } from "esbuild";

const PACKAGE = "@litertjs/core";
const SOURCE = `node_modules/${PACKAGE}`;
const TARGET = "../serving/web/litert";
const RUNTIMES = ["", "_compat", "_threaded"]; // plain, without relaxed SIMD, with threads; "_jspi" is for GPUs

const { version, license } = JSON.parse(await readFile(`${SOURCE}/package.json`, "utf8"));
await rm(TARGET, { recursive: true, force: true });
await mkdir(TARGET, { recursive: true });
for (const runtime of RUNTIMES) {
  for (const kind of ["js", "wasm"]) {
    const file = `litert_wasm${runtime}_internal.${kind}`;
    await copyFile(`${SOURCE}/wasm/${file}`, `${TARGET}/${file}`);
  }
}
await build({
  entryPoints: [PACKAGE],
  outfile: `${TARGET}/litert.js`,
  bundle: true,
  format: "esm",
  minify: true,
  banner: { js: `/* ${PACKAGE} ${version}, Copyright Google LLC, ${license} */` },
  logLevel: "warning",
});
