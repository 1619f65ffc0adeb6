// Requests to an edge, and what the edge itself says of them in Cache-Status.

import http from 'node:http';
import https from 'node:https';

/// Status, fields and content of an answer; `options.secured` asks over TLS.
export function ask (address, path, { host, method = 'GET', secured = false, fields = {}, body } = {}) {
  const [hostname, port] = address.split(':');
  const options = {
    hostname,
    port,
    path,
    method,
    agent: false,
    rejectUnauthorized: false,
    headers: { ...fields, ...(host && { Host: host }) },
  };
  return new Promise((resolve, reject) => {
    const request = (secured ? https : http).request(options, response => {
      const pieces = [];
      response.on('data', piece => pieces.push(piece));
      response.on('error', reject);
      response.on('end', () => resolve({
        status: response.statusCode,
        fields: response.headers,
        text: Buffer.concat(pieces).toString(),
      }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

/// A site of the edge; without a port, so that both schemes share what is stored.
const SITE = 'www.test';

/// Hits, misses, passes and errors, over TLS and without: how many there are of each outcome.
export async function makeTraffic ({ plain, secured }) {
  const made = {};
  const make = async (outcome, count, path, options = {}) => {
    made[outcome] = (made[outcome] ?? 0) + count;
    const address = options.secured ? secured : plain;
    for (let done = 0; done < count; done++) await ask(address, path, { host: SITE, ...options });
  };
  await make('miss', 1, '/');
  await make('miss', 1, '/logo.svg');
  await make('miss', 1, '/now');
  await make('hit', 10, '/');
  await make('hit', 10, '/logo.svg', { secured: true });
  await make('pass', 5, '/', { method: 'POST', body: 'x' });
  await make('error', 4, '/', { host: 'dead.test' });
  await make('error', 1, '/', { host: 'nowhere.test' });
  return made;
}
