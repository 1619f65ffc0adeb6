// A real Prometheus that scrapes an edge every second, on a port and in a folder of its own.

import path from 'node:path';
import { writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { startUntil } from '../conformance/children.mjs';
import { ask } from './traffic.mjs';

const POLL_MS = 200;
const WAIT_MS_MAX = 30_000;

export class Prometheus {
  /// `rules` is the file that it judges by.
  static async start (folder, rules, target) {
    const file = path.join(folder, 'prometheus.yml');
    await writeFile(file, `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [${JSON.stringify(rules)}]
scrape_configs:
  - job_name: brim
    static_configs: [{ targets: [${JSON.stringify(target)}] }]
`);
    const args = [`--config.file=${file}`, `--storage.tsdb.path=${path.join(folder, 'prometheus')}`,
      '--web.listen-address=127.0.0.1:0', '--log.format=logfmt'];
    const { child, match } = await startUntil('Prometheus', 'prometheus', args,
      /Listening on.* address=(127\.0\.0\.1:\d+)/, { env: process.env, cwd: folder });
    return Object.assign(new Prometheus(), { child, address: match[1] });
  }

  async get (route) {
    const { text } = await ask(this.address, `/api/v1/${route}`);
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new Error(`${route}: no JSON: ${text.slice(0, 200)}`);
    }
    if (answer.status !== 'success') throw new Error(`${answer.errorType}: ${answer.error}`);
    return answer.data;
  }

  /// The series of an instant answer: `[{ metric, value }]`.
  async query (expression) {
    return (await this.get(`query?query=${encodeURIComponent(expression)}`)).result;
  }

  /// Asks until `isSo` says of the answer that it is.
  async until (what, answer, isSo) {
    const last = Date.now() + WAIT_MS_MAX;
    for (;;) {
      let seen;
      try {
        seen = await answer();
        if (isSo(seen)) return seen;
      } catch (error) {
        seen = error.message; // it may not be ready to answer
      }
      if (Date.now() > last) throw new Error(`${what}: not in ${WAIT_MS_MAX / 1000} s: ${JSON.stringify(seen)}`);
      await Promise.race([pause(POLL_MS), this.child.died]);
    }
  }

  /// Every rule, once each has been judged.
  async rules () {
    const { groups } = await this.until('the rules are judged', () => this.get('rules'),
      ({ groups }) => groups.length > 0 && groups.every(group => group.rules.every(rule => rule.health !== 'unknown')));
    return groups.flatMap(group => group.rules);
  }
}
