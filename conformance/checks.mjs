// A line for each thing that was promised.

import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { ChildFailure, endAll } from './children.mjs';

/// Says what became of each check, and remembers whether all of them passed.
export class Checks {
  failed = 0;
  passed = 0;

  /// `check` answers what is wrong, or throws it; nothing is good.
  async that (promise, check) {
    let wrong;
    try {
      wrong = await check();
    } catch (error) {
      wrong = error.message;
    }
    wrong ? this.failed++ : this.passed++;
    console.log(wrong ? `FAIL  ${promise}\n      ${wrong}` : `PASS  ${promise}`);
  }
}

const DEADLINE_MS = 120_000;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/// What a program of checks does: `run` gets the program under test, an empty folder that is gone at the
/// end, and where checks are noted. The exit status: 0 all of them passed, 1 one did not, 2 a wrong
/// argument. Whatever was started has ended by then.
export async function runChecks (name, run) {
  let values;
  try {
    ({ values } = parseArgs({ options: { brim: { type: 'string' } } }));
    if (!values.brim) throw new Error('--brim=<program> is missing');
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    return 2;
  }
  const folder = mkdtempSync(path.join(os.tmpdir(), `brim-${name}-`));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  for (const [signal, number] of Object.entries(SIGNALS)) {
    process.on(signal, () => endAll().then(() => process.exit(128 + number)));
  }
  const checks = new Checks();
  const late = setTimeout(() => {
    console.log(`${name}: not through after ${DEADLINE_MS / 1000} s`);
    endAll().then(() => process.exit(1));
  }, DEADLINE_MS);
  try {
    await run(path.resolve(values.brim), folder, checks);
  } catch (error) {
    checks.failed++;
    console.error(error instanceof ChildFailure ? error.message : error.stack);
  }
  clearTimeout(late);
  await endAll();
  console.log(`${name}: ${checks.passed} passed, ${checks.failed} failed`);
  return checks.failed === 0 ? 0 : 1;
}
