// A headless Chromium that is told what to do over a pair of pipes (DevTools protocol), and what it
// has seen of the network. Nothing is installed for that but the browser itself.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { start } from '../conformance/children.mjs';

const ANSWERS_WITHIN_MS = 20_000;
const NAMES = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];

/// The program, or `undefined`.
function find () {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return NAMES.flatMap(name => folders.map(folder => path.join(folder, name))).find(existsSync);
}

function within (promise, what) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${ANSWERS_WITHIN_MS} ms`)),
      ANSWERS_WITHIN_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/// One browser with one page.
export class Chromium {
  /// What the page has received, in the order of the requests.
  answers = [];
  /// WebSockets that pages have opened, in that order.
  sockets = [];
  /// Whatever the page complained about.
  complaints = [];
  #lastId = 0;
  #waiting = new Map();
  #events = new Map();

  /// `keys` are the hashes of the public keys that it believes whoever has signed them; all others
  /// have to be signed by an authority, as ever.
  static async start (profile, keys) {
    const program = find();
    if (!program) throw new Error('there is no Chromium');
    const browser = new Chromium();
    const args = [
      '--headless', '--remote-debugging-pipe', `--user-data-dir=${profile}`,
      `--ignore-certificate-errors-spki-list=${keys.join(',')}`,
      '--no-proxy-server', '--no-first-run', '--disable-background-networking',
      '--disable-dev-shm-usage', '--disable-gpu',
      // Its sandbox refuses to be run by root.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      'about:blank',
    ];
    browser.child = start('Chromium', program, args, { env: process.env, cwd: profile, pipes: 2 });
    browser.#listen();
    browser.version = (await browser.#send('Browser.getVersion')).product;
    const { targetId } = await browser.#send('Target.createTarget', { url: 'about:blank' });
    const attach = { targetId, flatten: true };
    browser.session = (await browser.#send('Target.attachToTarget', attach)).sessionId;
    for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await browser.#send(`${domain}.enable`);
    return browser;
  }

  /// Goes there, and waits until everything on the page is loaded.
  async open (url) {
    this.answers = [];
    const loaded = this.#once('Page.loadEventFired');
    const { errorText } = await this.#send('Page.navigate', { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await within(loaded, url);
  }

  /// What an expression on the page comes to; a promise is waited for.
  async evaluate (expression) {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.#send('Runtime.evaluate', params);
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /// From here on everything is asked for again, with no word of what was there.
  async forget () {
    await this.#send('Network.clearBrowserCache');
  }

  async close () {
    this.child.ending = true;
    await this.#send('Browser.close').catch(() => {});
  }

  #send (method, params = {}) {
    const id = ++this.#lastId;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const message = { id, method, params, sessionId: this.session };
    this.child.stdio[3].write(`${JSON.stringify(message)}\0`);
    return within(Promise.race([answer, this.child.died]), method);
  }

  #once (event) {
    return new Promise(resolve => this.#events.set(event, resolve));
  }

  #listen () {
    // It may end before it has read everything; `died` tells.
    this.child.stdio[3].on('error', () => {});
    let text = '';
    this.child.stdio[4].setEncoding('utf8').on('data', piece => {
      text += piece;
      const messages = text.split('\0');
      text = messages.pop();
      messages.forEach(message => this.#heed(JSON.parse(message)));
    });
  }

  #heed ({ id, result, error, method, params }) {
    if (id !== undefined) {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      return error ? reject(new Error(error.message)) : resolve(result);
    }
    if (method === 'Network.responseReceived') {
      this.answers.push({ type: params.type, ...params.response });
    } else if (method === 'Network.requestWillBeSent' && params.redirectResponse) {
      this.answers.push({ type: 'Redirect', ...params.redirectResponse });
    } else if (method === 'Network.webSocketCreated') {
      this.sockets.push({ id: params.requestId, url: params.url, open: false });
    } else if (method === 'Network.webSocketHandshakeResponseReceived') {
      const socket = this.sockets.find(({ id }) => id === params.requestId);
      if (socket) socket.open = params.response.status === 101;
    } else if (method === 'Network.loadingFailed' && !params.canceled) {
      this.complaints.push(`${params.type} failed: ${params.errorText}`);
    } else if (method === 'Runtime.exceptionThrown') {
      const { text, exception } = params.exceptionDetails;
      this.complaints.push(exception?.description ?? text);
    } else if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
      this.complaints.push(params.args.map(({ value, description }) => value ?? description).join(' '));
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.complaints.push(`${params.entry.text} ${params.entry.url ?? ''}`);
    }
    this.#events.get(method)?.(params);
    this.#events.delete(method);
  }
}
