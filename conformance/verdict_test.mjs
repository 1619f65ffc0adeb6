// The judge is judged before every run: silent when it is right.

import assert from 'node:assert/strict';
import { isMet, judge, outcomeOf, report } from './verdict.mjs';

const outcome = (id, kind, outcome) => ({ id, kind, outcome, message: '' });
const rule = id => ({ id, rfc: 'RFC 9111', section: '5.1', why: 'So.' });
const met = (main, superseded = [], goal = 0) => isMet(judge(main, [], { superseded }, goal));

// Nothing but a pass counts for a required test.
assert.ok(met([outcome('a', 'required', 'passed')]));
const faults = ['failed', 'setup failed', 'harness failed', 'dependency failed', 'retried',
  'no result'];
for (const bad of faults) {
  const main = [outcome('a', 'required', 'passed'), outcome('b', 'required', bad)];
  assert.ok(!met(main), bad);
  assert.ok(met(main, [rule('b')]), bad);
}

// No required test at all is no pass.
assert.ok(!met([outcome('a', 'optimal', 'passed')]));

// The list excuses only required tests that exist, and each once.
assert.ok(!met([outcome('a', 'required', 'passed')], [rule('b')]));
assert.ok(!met([outcome('a', 'required', 'passed'), outcome('b', 'check', 'no')], [rule('b')]));
assert.ok(!met([outcome('a', 'required', 'failed')], [rule('a'), rule('a')]));

// A listed test that passes is counted as passed, and told.
{
  const verdict = judge([outcome('a', 'required', 'passed')], [], { superseded: [rule('a')] }, 0);
  assert.deepEqual(verdict.required.needlesslyListed, ['a']);
  assert.ok(report(verdict, false).includes('required: 1 of 1 passed, 0 superseded, 0 declined, 0 failed'));
}

// What is declined is told apart, and is no failure.
{
  const main = [outcome('a', 'required', 'passed'), outcome('b', 'required', 'failed')];
  const verdict = judge(main, [], { declined: [rule('b')] }, 0);
  assert.ok(isMet(verdict));
  assert.ok(report(verdict, false).includes('required: 1 of 2 passed, 0 superseded, 1 declined, 0 failed'));
}

// The goal for optimal tests is a minimum; checks and surrogate-control decide nothing.
{
  const main = [outcome('a', 'required', 'passed'), outcome('b', 'optimal', 'passed'),
    outcome('c', 'optimal', 'failed'), outcome('d', 'check', 'no')];
  assert.ok(met(main, [], 1));
  assert.ok(!met(main, [], 2));
  assert.ok(isMet(judge(main, [outcome('e', 'required', 'failed')], {}, 1)));
  assert.equal(report(judge(main, [], {}, 2), true).at(-1), 'conformance: failed');
}

// A verdict that the suite might invent is an error, not a pass.
assert.throws(() => outcomeOf({ id: 'a' }, [], {}, () => ['', '', '?']));
