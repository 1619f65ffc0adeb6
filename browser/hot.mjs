// A real development server (Vite) behind `brim dev`: its pages, and hot reload over the WebSocket
// that passes the edge, with and without TLS.

import { cpSync, mkdtempSync, symlinkSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { startUntil } from '../conformance/children.mjs';

const HERE = import.meta.dirname;
const CHANGES_WITHIN_MS = 15_000;

/// The site in a folder of its own, and Vite in front of it on any free port.
export async function startVite (folder) {
  const site = mkdtempSync(path.join(folder, 'site-'));
  cpSync(path.join(HERE, 'site'), site, { recursive: true });
  symlinkSync(path.join(HERE, 'node_modules'), path.join(site, 'node_modules'));
  const script = path.join(HERE, 'node_modules', 'vite', 'bin', 'vite.js');
  const env = { ...process.env, NO_COLOR: '1' };
  // It knows no "any port", but takes the next one if its own is not free.
  const args = [script, '--clearScreen', 'false'];
  const { child, match } = await startUntil('Vite', process.execPath, args,
    /Local:\s+(http:\/\/\S+)/, { env, cwd: site });
  return { child, site, url: match[1] };
}

/// `brim dev` in front of it, and the lines that it has written.
export async function startDev (brim, folder, vite) {
  const lines = [];
  const args = ['dev', vite.url, '--listen', '127.0.0.1:0', '--https=127.0.0.1:0',
    '--admin', '127.0.0.1:0', '--watch', vite.site];
  const env = { ...process.env, XDG_DATA_HOME: folder };
  const { child, match } = await startUntil('brim dev', brim, args,
    / is at (http:\S+?)\/ and (https:\S+?)\/$/, { env, cwd: folder, onLine: line => lines.push(line) });
  return { child, lines, plain: match[1], secured: match[2] };
}

async function until (look, what) {
  const end = Date.now() + CHANGES_WITHIN_MS;
  while (!await look()) {
    if (Date.now() > end) throw new Error(`not within ${CHANGES_WITHIN_MS} ms: ${await what()}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

/// One way to the page: whether a change of a script and of a style is seen without a new load.
async function checkWay (checks, chromium, vite, dev, base, text) {
  const scheme = new URL(base).protocol;
  const socket = base.replace(/^http/, 'ws');
  const seen = () => chromium.evaluate(`({
    text: document.getElementById('message')?.textContent,
    colour: getComputedStyle(document.querySelector('h1')).color,
    kept: window.kept, loads: window.loads,
  })`);
  const told = async () => JSON.stringify(await seen());
  await checks.that(`a page of Vite loads through brim dev over ${scheme}//`, async () => {
    chromium.sockets = [];
    await chromium.open(`${base}/`);
    await until(async () => (await seen()).loads === 1, told);
    // Hot reload is heard only once its socket is open.
    await until(() => chromium.sockets.some(({ url, open }) => open && url.startsWith(socket)),
      () => JSON.stringify(chromium.sockets));
    const elsewhere = chromium.sockets.filter(({ url }) => !url.startsWith(socket));
    return elsewhere.map(({ url }) => `a socket past the edge: ${url}`).join(', ');
  });
  await checks.that(`a changed script is there without a new load over ${scheme}//`, async () => {
    await chromium.evaluate('window.kept = "state"');
    await writeFile(path.join(vite.site, 'message.js'), `export const message = '${text}';\n`);
    await until(async () => (await seen()).text === text, told);
    const { kept, loads } = await seen();
    return kept === 'state' && loads === 1 ? undefined : await told();
  });
  await checks.that(`a changed style is there without a new load over ${scheme}//`, async () => {
    const file = path.join(vite.site, 'style.css');
    const number = Number((await readFile(file, 'utf8')).match(/(\d+)\)/)[1]) + 1;
    await writeFile(file, `h1 { color: rgb(1, 2, ${number}); }\n`);
    await until(async () => (await seen()).colour === `rgb(1, 2, ${number})`, told);
    const { kept, loads } = await seen();
    return kept === 'state' && loads === 1 ? undefined : await told();
  });
  await checks.that(`a new load has what changed over ${scheme}//`, async () => {
    await chromium.open(`${base}/`);
    await until(async () => (await seen()).loads === 2, told);
    await until(async () => (await seen()).text === text, told);
  });
}

export async function checkHotReload (checks, chromium, vite, dev) {
  await checkWay(checks, chromium, vite, dev, dev.plain, 'second');
  await checkWay(checks, chromium, vite, dev, dev.secured, 'third');
  await checks.that('brim dev has told of the sockets, of the files and of what it kept', () => {
    const wanted = [/ PASS +101 GET \/\?token=\S+ .*upgraded/, / CHANGED +\/message\.js: /,
      / MISS +200 GET \/main\.js/, / REVALIDATED +304 GET \//];
    const missing = wanted.filter(line => !dev.lines.some(seen => line.test(seen)));
    return missing.length > 0 ? `without ${missing.join(', ')}:\n${dev.lines.join('\n')}` : undefined;
  });
}
