// The suite's server, Brim, and a browser as child processes. Invariant: none of them outlives this
// process, however it ends, short of SIGKILL.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import readline from 'node:readline';
import { writeFile } from 'node:fs/promises';

const START_MS_MAX = 10_000;
const END_MS_MAX = 5_000;
const LAST_LINES_MAX = 20;
const SERVER_STARTS_MAX = 3;

/// A child that did not do what it was started for; the message says all there is to know.
export class ChildFailure extends Error {}

const running = new Set();
process.on('exit', () => running.forEach(child => child.kill('SIGKILL')));

/// A child whose lines go to `onLine` and, with `echo`, to our own output. Its `died` is rejected
/// when it ends unasked. `pipes` more of them are opened behind its three streams.
export function start (name, command, args, { env, cwd, echo, pipes = 0, onLine = () => {} }) {
  const stdio = ['ignore', 'pipe', 'pipe', ...Array(pipes).fill('pipe')];
  const child = spawn(command, args, { env, cwd, stdio });
  running.add(child);
  const lastLines = [];
  for (const stream of [child.stdout, child.stderr]) {
    readline.createInterface({ input: stream }).on('line', line => {
      lastLines.push(line);
      if (lastLines.length > LAST_LINES_MAX) lastLines.shift();
      if (echo) console.log(line);
      onLine(line);
    });
  }
  child.died = new Promise((resolve, reject) => {
    child.on('error', error => {
      running.delete(child);
      reject(new ChildFailure(`${name} could not be started: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      running.delete(child);
      if (child.ending) return;
      const how = signal ?? `exit status ${code}`;
      const wrote = lastLines.map(line => `\n  ${line}`).join('');
      const last = wrote ? `after writing:${wrote}` : 'without a word';
      reject(new ChildFailure(`${name} ended (${how}) ${last}`));
    });
  });
  child.died.catch(() => {}); // whoever waits for it is told
  return child;
}

/// The same, once it has written a line in which `wanted` finds its answer.
export async function startUntil (name, command, args, wanted, options) {
  let timer, child;
  const ready = new Promise((resolve, reject) => {
    const late = new ChildFailure(`${name} was not ready in ${START_MS_MAX} ms`);
    timer = setTimeout(() => reject(late), START_MS_MAX);
    child = start(name, command, args, {
      ...options,
      onLine: line => {
        options.onLine?.(line);
        const match = line.match(wanted);
        if (match) resolve(match);
      },
    });
  });
  try {
    return { child, match: await Promise.race([ready, child.died]) };
  } finally {
    clearTimeout(timer);
  }
}

async function freePort () {
  const server = net.createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/// The suite's server: takes its port from the environment and does not tell which one it got for
/// port 0, so a free one is looked for. It serves files from its working directory, and leaves a
/// file with its process id there: hence `folder`.
export async function startServer (script, folder, echo) {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const env = {
      ...process.env,
      npm_config_protocol: 'http',
      npm_config_port: String(port),
      npm_config_pidfile: path.join(folder, 'server.pid'),
    };
    try {
      const { child } = await startUntil("the suite's server", process.execPath,
        ['--no-warnings', script], /^Listening on/, { env, cwd: folder, echo });
      return { child, port };
    } catch (error) {
      // Another program may have taken the port in between.
      if (attempt === SERVER_STARTS_MAX || !/EADDRINUSE/.test(error.message)) throw error;
    }
  }
}

/// Brim in front of `originPort`, with nothing configured that has to do with caching.
export async function startBrim (program, folder, originPort, echo, onLine) {
  const file = path.join(folder, 'edge.toml');
  await writeFile(file, `[server]
http = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
shutdown_timeout = "1s"

[log]
access = "off"

[[origin]]
name = "suite"
servers = ["http://127.0.0.1:${originPort}"]

[[site]]
hosts = ["*"]
origin = "suite"
`);
  const { child, match } = await startUntil('brim', program, ['run', '--config', file],
    /\blistening address=(\S+:\d+)/, { env: process.env, cwd: folder, echo, onLine });
  return { child, address: match[1] };
}

export async function endAll () {
  await Promise.all([...running].map(async child => {
    child.ending = true;
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
    await closed;
    clearTimeout(timer);
  }));
}
