// What clients that others have written make of Brim over TLS: curl, h2load, Node's own TLS, and a
// headless Chromium load the demo site, and a second edge that redirects to TLS and takes uploads. And
// hot reload of a real development server behind `brim dev`.
//
//   node run.mjs --brim=<program>
//
// A line for each check. Exit status: 0 all of them passed, 1 one did not, 2 a wrong argument.

import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import tls from 'node:tls';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { runChecks } from '../conformance/checks.mjs';
import { startUntil } from '../conformance/children.mjs';
import { Chromium } from './chromium.mjs';
import { checkHotReload, startDev, startVite } from './hot.mjs';
import { startOrigin } from './origin.mjs';
import { checkBrowser } from './pages.mjs';
import { checkTools } from './tools.mjs';


/// An edge, its certificate as a file for those who believe files, and its key's hash for those who
/// believe keys.
async function edge (name, child, url, folder) {
  const { port } = new URL(url);
  const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  const key = certificate.publicKey.export({ type: 'spki', format: 'der' });
  const authority = path.join(folder, `${name}.pem`);
  await writeFile(authority, certificate.toString());
  return {
    child,
    url: `https://localhost:${port}`,
    port: Number(port),
    authority,
    certificate: certificate.toString(),
    keyHash: createHash('sha256').update(key).digest('base64'),
  };
}

async function startDemo (brim, folder) {
  const args = ['demo', '--listen', '127.0.0.1:0', '--https', '127.0.0.1:0'];
  const options = { env: process.env, cwd: folder };
  const { child, match } = await startUntil('the demo', brim, args, / and (https:\/\/\S+?),/, options);
  return edge('demo', child, match[1], folder);
}

/// One that takes nothing without TLS, in front of an origin of ours.
async function startStrict (brim, folder, originPort) {
  const file = path.join(folder, 'edge.toml');
  await writeFile(file, `[server]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
shutdown_timeout = "1s"

[log]
access = "off"

[[certificate]]
self_signed = ["localhost"]

[[origin]]
name = "ours"
servers = ["http://127.0.0.1:${originPort}"]

[[site]]
hosts = ["*"]
origin = "ours"
redirect_to_https = true
hsts = "365d"
`);
  const addresses = [];
  const options = {
    env: process.env,
    cwd: folder,
    onLine: line => addresses.push(...(line.match(/ listening address=(\S+)/)?.slice(1) ?? [])),
  };
  const args = ['run', '--config', file];
  const { child } = await startUntil('the second edge', brim, args, /admin listener address=/, options);
  const [plain, secured] = addresses;
  return { ...await edge('strict', child, `https://${secured}`, folder), plain: `http://${plain}` };
}

async function run (brim, folder, checks) {
  const origin = await startOrigin();
  const demo = await startDemo(brim, folder);
  const strict = await startStrict(brim, folder, origin.port);
  const vite = await startVite(folder);
  const dev = await startDev(brim, folder, vite);
  const devSecured = await edge('dev', dev.child, dev.secured, folder);
  const version = await promisify(execFile)('curl', ['--version']);
  console.log(version.stdout.split('\n')[0]);
  await checkTools(checks, demo, strict);
  const profile = mkdtempSync(path.join(folder, 'profile-'));
  const chromium = await Chromium.start(profile, [demo.keyHash, strict.keyHash, devSecured.keyHash]);
  console.log(chromium.version);
  await checkBrowser(checks, chromium, demo, strict);
  await checkHotReload(checks, chromium, vite, dev);
  await chromium.close();
}

process.exit(await runChecks('browser', run));
