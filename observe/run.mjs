// What somebody who watches Brim sees: a real Prometheus scrapes an edge that has traffic, promtool
// judges what it exports, and each question of the dashboard and of the alert rules is asked.
//
//   node run.mjs --brim=<program>
//
// A line for each check. Exit status: 0 all of them passed, 1 one did not, 2 a wrong argument.

import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { runChecks } from '../conformance/checks.mjs';
import { startUntil } from '../conformance/children.mjs';
import { Board, faultsOf } from './board.mjs';
import { UNSHOWN, familiesOf, familyOf, selectorsOf } from './names.mjs';
import { Prometheus } from './prometheus.mjs';
import { ask, makeTraffic } from './traffic.mjs';

const DEPLOY = fileURLToPath(new URL('../deploy', import.meta.url));
const TOKEN = 'a-token-for-this-run';
/// Scrapes that a rate needs, and one more.
const SCRAPES = 3;

/// An edge with everything that has series of its own: a disk tier, a certificate, two origins of
/// which one is dead.
async function startEdge (brim, folder) {
  const { match: [, origin] } = await startUntil('the origin', brim,
    ['demo', '--origin-only', '--listen', '127.0.0.1:0'], / at (http:\S+)/, { env: process.env, cwd: folder });
  const file = path.join(folder, 'edge.toml');
  await writeFile(file, `[server]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
shutdown_timeout = "1s"

[log]
access = "off"

[cache.disk]
path = "disk"
size = "64MiB"

[[certificate]]
self_signed = ["localhost"]

[[origin]]
name = "demo"
servers = ["${origin}"]

[[origin]]
name = "dead"
servers = ["http://127.0.0.1:1"]

[[site]]
hosts = ["www.test"]
origin = "demo"

[[site]]
hosts = ["dead.test"]
origin = "dead"
`);
  const addresses = [];
  const { child, match } = await startUntil('the edge', brim, ['run', '--config', file],
    /admin listener address=(\S+)/, {
      env: { ...process.env, BRIM_ADMIN_TOKEN: TOKEN, NO_COLOR: '1' },
      cwd: folder,
      onLine: line => addresses.push(...(line.match(/ listening address=(\S+)/)?.slice(1) ?? [])),
    });
  return { child, admin: match[1], plain: addresses[0], secured: addresses[1] };
}

/// What a program says is wrong; nothing if it is content and silent.
function complaintOf (command, args, { input, isSilent = false } = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input, encoding: 'utf8' });
  const said = `${stdout ?? ''}${stderr ?? ''}`.trim();
  if (error) return error.message;
  return status !== 0 || (isSilent && said) ? said || `exit status ${status}` : undefined;
}

const listed = faults => faults.length ? faults.join('\n      ') : undefined;

async function checkExposition (checks, edge) {
  const { fields, text } = await ask(edge.admin, '/metrics', { fields: { Accept: 'application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5' } });
  const { families, helped, told } = familiesOf(text);
  await checks.that('the exposition says that it is the text format 0.0.4', () =>
    fields['content-type'] === 'text/plain; version=0.0.4; charset=utf-8' ? undefined : fields['content-type']);
  await checks.that('promtool check metrics is silent', () =>
    complaintOf('promtool', ['check', 'metrics'], { input: text, isSilent: true }));
  await checks.that(`each of ${families.size} families has a type, a help text and a series`, () =>
    listed([...families.keys()].filter(name => !helped.has(name) || !told.has(name))
      .concat([...told].filter(name => !families.has(name)))));
  return families;
}

/// The files of deploy/prometheus, as promtool reads them.
async function checkFiles (checks) {
  const file = name => path.join(DEPLOY, 'prometheus', name);
  await checks.that('promtool check config', () => complaintOf('promtool', ['check', 'config', file('prometheus.yml')]));
  await checks.that('promtool check rules', () => complaintOf('promtool', ['check', 'rules', '--lint=all', '--lint-fatal', file('alerts.yml')]));
  await checks.that('promtool test rules', () => complaintOf('promtool', ['test', 'rules', file('alerts_test.yml')]));
}

/// Nobody asks for what there is not, and what there is can be seen.
async function checkNames (checks, families, questions) {
  const spoken = new Map();
  for (const { where, expression } of questions) {
    for (const { name } of selectorsOf(expression)) spoken.set(familyOf(name, families), where);
  }
  await checks.that('what the dashboard and the rules speak of is exported', () =>
    listed([...spoken].filter(([name]) => name !== 'up' && !families.has(name))
      .map(([name, where]) => `${name}: ${where}`)));
  await checks.that('what is exported is on the dashboard or in a rule', () =>
    listed([...families.keys()].filter(name => !spoken.has(name) && !UNSHOWN.has(name))));
  await checks.that('no list of names has one that does not belong there', () =>
    listed([...UNSHOWN.keys()].filter(name => spoken.has(name) || !families.has(name)).map(name => `${name} in UNSHOWN`)));
}

/// Each question has an answer, and each selector in it finds series. What an alert asks for is not
/// there as long as all is well.
async function checkQuestions (checks, prometheus, promise, questions, { haveAnswers }) {
  const faultOf = async expression => {
    const results = await prometheus.query(expression);
    const selectors = selectorsOf(expression);
    for (const { selector } of selectors) {
      if ((await prometheus.query(selector)).length === 0) return `nothing is found by ${selector}`;
    }
    if (haveAnswers && results.length === 0) return `no series: ${expression}`;
  };
  await checks.that(promise, async () => {
    const faults = [];
    for (const { where, expression } of questions) {
      const fault = await faultOf(expression).catch(error => error.message);
      if (fault) faults.push(`${where}: ${fault}`);
    }
    return listed(faults);
  });
}

async function checkCounts (checks, prometheus, made) {
  for (const [outcome, count] of Object.entries(made)) {
    await checks.that(`${count} requests are counted as ${outcome}`, async () => {
      const expression = `sum(brim_requests_total{outcome="${outcome}"})`;
      await prometheus.until(expression, () => prometheus.query(expression),
        ([sum]) => Number(sum?.value[1]) === count);
    });
  }
  await checks.that('handshakes over TLS and purges are counted', async () => {
    for (const expression of ['sum(brim_tls_handshakes_total) > 0', 'brim_purges_total{kind="tag"} == 1', 'brim_purges_total{kind="all"} == 1']) {
      await prometheus.until(expression, () => prometheus.query(expression), found => found.length === 1);
    }
  });
}

async function run (brim, folder, checks) {
  await checkFiles(checks);
  const edge = await startEdge(brim, folder);
  const families = await checkExposition(checks, edge);
  const prometheus = await Prometheus.start(folder, path.join(DEPLOY, 'prometheus/alerts.yml'), edge.admin);
  const isScraped = () => prometheus.query(`count_over_time(up[1m]) >= ${SCRAPES} and up == 1`);
  await checks.that('the edge is scraped', async () => {
    await prometheus.until('up', isScraped, found => found.length === 1);
  });
  const made = await makeTraffic(edge);
  const purge = JSON.stringify({ tags: ['news'], all: true });
  await checks.that('a purge is taken', async () => {
    const fields = { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' };
    const { status, text } = await ask(edge.admin, '/purge', { method: 'POST', fields, body: purge });
    return status === 200 ? undefined : `${status}: ${text}`;
  });
  await checkCounts(checks, prometheus, made);

  const { board, questions } = await Board.read(path.join(DEPLOY, 'grafana/brim.json'));
  await checks.that('the dashboard can be imported', () => listed(faultsOf(board)));
  const rules = await prometheus.rules();
  const asked = rules.map(rule => ({ where: rule.name, expression: rule.query }));
  await checkNames(checks, families, [...questions, ...asked]);
  await checkQuestions(checks, prometheus, `the ${questions.length} questions of the dashboard are answered`, questions, { haveAnswers: true });
  await checkQuestions(checks, prometheus, `the ${asked.length} rules are about series that there are`, asked, { haveAnswers: false });
  await checks.that('every rule can be judged', () =>
    listed(rules.filter(rule => rule.health !== 'ok').map(rule => `${rule.name}: ${rule.lastError}`)));
  const tests = await readFile(path.join(DEPLOY, 'prometheus/alerts_test.yml'), 'utf8');
  await checks.that('every rule has a runbook and a test', () =>
    listed(rules.filter(rule => !rule.annotations.runbook || !rule.annotations.summary || !tests.includes(`- name: ${rule.name}\n`))
      .map(rule => rule.name)));
  await checks.that('an alert begins when the edge ends', async () => {
    edge.child.ending = true;
    edge.child.kill('SIGTERM');
    await prometheus.until('BrimDown', () => prometheus.get('alerts'),
      ({ alerts }) => alerts.some(({ labels }) => labels.alertname === 'BrimDown'));
  });
}

process.exit(await runChecks('observe', run));
