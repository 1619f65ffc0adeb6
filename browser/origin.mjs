// An origin that tells what has reached it: the length and the hash of each body.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

/// Listens until this process ends.
export async function startOrigin () {
  const server = http.createServer(async (request, response) => {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of request) {
      hash.update(piece);
      bytes += piece.length;
    }
    const told = JSON.stringify({
      method: request.method,
      bytes,
      sha256: hash.digest('hex'),
      proto: request.headers['x-forwarded-proto'],
    });
    const isPage = request.url === '/';
    response.setHeader('Content-Type', isPage ? 'text/html' : 'application/json');
    response.setHeader('Cache-Control', 'no-store');
    response.end(isPage ? '<!doctype html><title>Uploads</title><link rel="icon" href="data:,">' : told);
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return { port: server.address().port };
}
