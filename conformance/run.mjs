// Runs the public suite of HTTP caching rules against Brim and judges the result.
//
//   node run.mjs --brim=<program> [--id=<test>] [--verbose] [--suite=<folder>]
//                [--deadline=<seconds>]
//
// The suite's server is the origin, Brim stands before it, the suite's client asks.
// `superseded.json` lists the required tests that contradict RFC 9110 or 9111, and those that Brim
// declines for the safety of users; it belongs to the
// version of the suite that package.json pins. With `--suite`, another checkout is run as it
// stands: nothing is excused, and no number of optimal tests is asked for.
//
// Exit status: 0 the goal is met (with --id: the test passed), 1 it is not, 2 a wrong argument.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { ChildFailure, endAll, startBrim, startServer } from './children.mjs';
import { isMet, judge, OPTIMAL_GOAL, outcomeOf, report } from './verdict.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const PINNED = path.join(here, 'node_modules', 'http-cache-tests');
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

class ArgumentError extends Error {}

function readArguments () {
  const string = { type: 'string' };
  const options = {
    brim: string,
    id: string,
    suite: string,
    deadline: string,
    verbose: { type: 'boolean' },
  };
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    throw new ArgumentError(error.message);
  }
  if (!values.brim) throw new ArgumentError('--brim=<program> is missing');
  const deadlineSeconds = Number(values.deadline ?? 300);
  if (!(deadlineSeconds > 0)) throw new ArgumentError('--deadline is not a number of seconds');
  return {
    brim: path.resolve(values.brim),
    id: values.id,
    verbose: values.verbose ?? false,
    suiteFolder: path.resolve(values.suite ?? PINNED),
    isPinned: values.suite === undefined,
    deadlineSeconds,
  };
}

/// The suite of either layout: that of the pinned version, whose client wants to be given a fetch,
/// or that of later ones.
async function loadSuite (folder) {
  const load = file => import(pathToFileURL(path.join(folder, file)));
  const isLater = existsSync(path.join(folder, 'test-engine'));
  const engine = isLater ? 'test-engine/' : '';
  const { runTests, getResults } = await load(`${engine}client/runner.mjs`);
  const { determineTestResult } = await load(`${engine}lib/${isLater ? 'results' : 'display'}.mjs`);
  const suite = {
    main: (await load('tests/index.mjs')).default,
    surrogate: [],
    server: path.join(folder, `${engine}server/server.mjs`),
    getResults,
    determine: determineTestResult,
    run: (suites, base) => runTests(suites, false, base),
  };
  if (!isLater) {
    const require = createRequire(path.join(folder, 'package.json'));
    const { default: fetch } = await import(pathToFileURL(require.resolve('node-fetch')));
    suite.surrogate = [(await load('tests/surrogate-control.mjs')).default];
    suite.run = (suites, base) => runTests(suites, fetch, false, base);
  }
  const { name, version } = JSON.parse(await readFile(path.join(folder, 'package.json')));
  suite.name = `${name} ${version}`;
  return suite;
}

/// Runs `suites`; answers the problems that are not a test's own.
async function runThrough (suite, suites, options, folder) {
  const problems = [];
  const echo = options.id !== undefined || options.verbose;
  const server = await startServer(suite.server, folder, echo);
  const brim = await startBrim(options.brim, folder, server.port, echo, line => {
    if (/\bpanicked at\b/.test(line)) problems.push(`brim: ${line}`);
  });
  let timer;
  const deadline = new Promise((resolve, reject) => {
    const text = `the suite was not through after ${options.deadlineSeconds} s`;
    timer = setTimeout(() => reject(new Error(text)), options.deadlineSeconds * 1000);
  });
  try {
    const through = suite.run(suites, `http://${brim.address}`);
    await Promise.race([through, deadline, server.child.died, brim.child.died]);
  } catch (error) {
    problems.push(error.message);
  } finally {
    clearTimeout(timer);
    await endAll();
  }
  return problems;
}

/// One test with the suite's dump of its requests and responses; answers whether it passed.
async function runOne (suite, options, excused, folder) {
  const suites = [...suite.main, ...suite.surrogate];
  const part = suites.find(({ tests }) => tests.some(({ id }) => id === options.id));
  if (!part) throw new ArgumentError(`the suite has no test "${options.id}"`);
  const test = part.tests.find(({ id }) => id === options.id);
  test.dump = true;
  const problems = await runThrough(suite, [{ ...part, tests: [test] }], options, folder);
  const results = suite.getResults();
  const { kind, outcome, message } = outcomeOf(test, suites, results, suite.determine, false);
  problems.forEach(problem => console.log(problem));
  const rule = excused.superseded.find(({ id }) => id === test.id);
  if (rule) console.log(`superseded (${rule.rfc}, ${rule.section}): ${rule.why}`);
  const declined = excused.declined.find(({ id }) => id === test.id);
  if (declined) console.log(`declined: ${declined.why}`);
  console.log(test.name);
  console.log(`${kind} ${test.id}: ${outcome}${message ? `: ${message}` : ''}`);
  return problems.length === 0 && ['passed', 'yes', 'no'].includes(outcome);
}

/// Everything; answers whether the goal is met.
async function runAll (suite, options, excused, folder) {
  const suites = [...suite.main, ...suite.surrogate];
  const began = performance.now();
  const problems = await runThrough(suite, suites, options, folder);
  const seconds = Math.round((performance.now() - began) / 1000);
  const results = suite.getResults();
  const outcomes = parts => parts.flatMap(({ tests }) => tests)
    .filter(test => !test.browser_only)
    .map(test => outcomeOf(test, suites, results, suite.determine));
  const verdict = judge(outcomes(suite.main), outcomes(suite.surrogate), excused,
    options.isPinned ? OPTIMAL_GOAL : undefined);
  verdict.problems.push(...problems);
  console.log(`${suite.name}: ${Object.keys(results).length} tests in ${seconds} s`);
  report(verdict, options.verbose).forEach(line => console.log(line));
  return isMet(verdict);
}

async function main () {
  const options = readArguments();
  if (!existsSync(options.suiteFolder)) {
    throw new ArgumentError(`there is no suite in ${options.suiteFolder}`);
  }
  const suite = await loadSuite(options.suiteFolder);
  const list = JSON.parse(await readFile(path.join(here, 'superseded.json')));
  if (options.isPinned && list.suite !== suite.name) {
    throw new Error(`superseded.json is for ${list.suite}, but ${suite.name} is installed`);
  }
  const { tests: superseded, declined } = list;
  const excused = options.isPinned ? { superseded, declined } : { superseded: [], declined: [] };
  const folder = mkdtempSync(path.join(os.tmpdir(), 'brim-conformance-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const [signal, number] of Object.entries(SIGNALS)) {
    process.on(signal, () => endAll().then(() => process.exit(128 + number)));
  }
  const run = options.id === undefined ? runAll : runOne;
  return run(suite, options, excused, folder);
}

/// Says what went wrong; answers the exit status.
async function fail (error) {
  await endAll();
  if (error instanceof ArgumentError) {
    console.error(`conformance: ${error.message}`);
    return 2;
  }
  console.error(error instanceof ChildFailure ? error.message : error.stack);
  console.log('conformance: failed');
  return 1;
}

process.exit(await main().then(passed => passed ? 0 : 1, fail));
