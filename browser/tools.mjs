// curl, h2load, and TLS as Node speaks it.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import tls from 'node:tls';
import { promisify } from 'node:util';

const TAKES_MS_MAX = 30_000;
const LOAD_REQUESTS = 5000;
const UPLOAD = Buffer.alloc(1024 * 1024, 'upload ');

/// What a program writes; whatever it is, an exit status that is not 0 is an error.
async function output (program, args, input) {
  const running = promisify(execFile)(program, args, { timeout: TAKES_MS_MAX, maxBuffer: 64 << 20 });
  running.child.stdin.on('error', () => {}).end(input);
  const { stdout } = await running;
  return stdout;
}

/// The head, and behind it the version, the status, and the length of the body, as curl tells them.
async function curl (edge, target, args, input) {
  const told = '\\n%{http_version} %{http_code} %{size_download}';
  const url = target.startsWith('http') ? target : edge.url + target;
  const common = ['-sS', '--noproxy', '*', '--cacert', edge.authority, '-D', '-', '-w', told];
  const text = await output('curl', [...common, ...args, url], input);
  const head = text.slice(0, text.indexOf('\r\n\r\n')).toLowerCase();
  const [version, status, bytes] = text.slice(text.lastIndexOf('\n') + 1).split(' ');
  return { text, head, version, status: Number(status), bytes: Number(bytes) };
}

const NOWHERE = ['-o', '/dev/null'];

async function checkCurl (checks, demo, strict) {
  for (const [option, version] of [['--http1.1', '1.1'], ['--http2', '2']]) {
    await checks.that(`curl ${option} gets the page over HTTP/${version}`, async () => {
      const answer = await curl(demo, '/', [...NOWHERE, option]);
      const isGood = answer.version === version && answer.status === 200 && answer.bytes > 0;
      return isGood ? undefined : answer.text;
    });
    await checks.that(`curl ${option} gets a part of the video with 206`, async () => {
      const answer = await curl(demo, '/video.mp4', [...NOWHERE, option, '-r', '1000000-1999999']);
      const isGood = answer.status === 206 && answer.bytes === 1_000_000 &&
        answer.head.includes('content-range: bytes 1000000-1999999/20971520');
      return isGood ? undefined : answer.text;
    });
    await checks.that(`curl ${option} is told with 304 that what it has is still good`, async () => {
      const { head } = await curl(demo, '/logo.svg', [...NOWHERE, option]);
      const etag = head.match(/etag: (\S+)/)[1];
      const args = [...NOWHERE, option, '-H', `If-None-Match: ${etag}`];
      const answer = await curl(demo, '/logo.svg', args);
      return answer.status === 304 && answer.bytes === 0 ? undefined : answer.text;
    });
    await checks.that(`curl ${option} has what it uploads reach the origin whole`, async () => {
      const args = [option, '-H', 'Expect:', '--data-binary', '@-'];
      const { text, version: seen } = await curl(strict, '/upload', args, UPLOAD);
      const told = JSON.parse(text.match(/\{.*\}/)[0]);
      const isGood = seen === version && told.bytes === UPLOAD.length && told.proto === 'https' &&
        told.sha256 === createHash('sha256').update(UPLOAD).digest('hex');
      return isGood ? undefined : text;
    });
  }
  for (const version of ['1.2', '1.3']) {
    await checks.that(`curl --tlsv${version} and no other gets the page over HTTP/2`, async () => {
      const answer = await curl(demo, '/', [...NOWHERE, `--tlsv${version}`, '--tls-max', version]);
      return answer.status === 200 && answer.version === '2' ? undefined : answer.text;
    });
  }
  await checks.that('curl gets nothing over TLS 1.1', async () => {
    const args = [...NOWHERE, '--tlsv1.1', '--tls-max', '1.1', '--ciphers', 'DEFAULT@SECLEVEL=0'];
    const answer = await curl(demo, '/', args).catch(error => error);
    return answer instanceof Error ? undefined : answer.text;
  });
  await checks.that('curl is redirected from http to https, and told to come that way', async () => {
    const port = new URL(strict.plain).port;
    const plain = await curl(strict, `http://localhost:${port}/x?y=1`, NOWHERE);
    if (plain.status !== 308 || !plain.head.includes(`location: ${strict.url}/x?y=1`)) return plain.text;
    const secured = await curl(strict, '/x?y=1', NOWHERE);
    const isGood = secured.head.includes('strict-transport-security: max-age=31536000');
    return isGood ? undefined : secured.text;
  });
}

async function checkLoad (checks, demo) {
  for (const [what, args, protocol] of [
    ['HTTP/2', ['-c', '10', '-m', '20'], 'h2'],
    ['HTTP/1.1', ['-c', '10', '--h1'], 'http/1.1'],
  ]) {
    const all = [...args, '-n', String(LOAD_REQUESTS), `${demo.url}/logo.svg`];
    await checks.that(`h2load has ${LOAD_REQUESTS} requests over ${what} answered`, async () => {
      const text = await output('h2load', all);
      const wanted = [
        `Application protocol: ${protocol}`, 'TLS Protocol: TLSv1.3',
        `${LOAD_REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout`,
        `status codes: ${LOAD_REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx`,
      ];
      const missing = wanted.filter(line => !text.includes(line));
      if (missing.length > 0) return `without "${missing.join('", "')}":\n${text}`;
      console.log(`      ${text.match(/finished in .*/)?.[0]}`);
    });
  }
}

/// Connects, has one request answered, and tells of the session.
async function visit (edge, version, session) {
  const socket = tls.connect({
    port: edge.port, host: '127.0.0.1', servername: 'localhost', ca: edge.certificate, session,
    minVersion: version, maxVersion: version, ALPNProtocols: ['http/1.1'],
  });
  let known;
  socket.on('session', one => { known = one; });
  await once(socket, 'secureConnect');
  const isReused = socket.isSessionReused();
  socket.end('GET /logo.svg HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  socket.resume();
  await once(socket, 'close');
  return { isReused, session: known };
}

async function checkSessions (checks, demo) {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    await checks.that(`a session of ${version} is resumed`, async () => {
      const first = await visit(demo, version);
      if (first.isReused || !first.session) return 'the first visit made no session';
      const second = await visit(demo, version, first.session);
      return second.isReused ? undefined : 'the second visit was like the first';
    });
  }
}

export async function checkTools (checks, demo, strict) {
  await checkCurl(checks, demo, strict);
  await checkLoad(checks, demo);
  await checkSessions(checks, demo);
}
