// What the suite's results mean for Brim: counts, failures and whether the goal is met. Pure: it
// reads no files and no clock.

// Of the 86 optimal tests. The two that may fail: `conditional-lm-fresh-no-lm` contradicts RFC
// 9111, 4.3.2, and `other-set-cookie` wants a Set-Cookie to be given to others, which Brim refuses
// unless a site asks for it.
export const OPTIMAL_GOAL = 84;

// The suite's `determineTestResult` tells its verdicts apart by these symbols only.
const OUTCOMES = new Map([
  ['✅', 'passed'],
  ['⛔️', 'failed'],
  ['⚠️', 'failed'],
  ['Y', 'yes'],
  ['N', 'no'],
  ['🔹', 'setup failed'],
  ['⁉️', 'harness failed'],
  ['⚪️', 'dependency failed'],
  ['↻', 'retried'],
  ['-', 'no result'],
]);

/// One test's outcome: `{ id, kind, outcome, message }`, by the suite's own judgement.
export function outcomeOf (test, suites, results, determine, honorDependencies = true) {
  const outcomeById = (id, honor) => {
    const symbol = determine(suites, id, results, honor)[2];
    if (!OUTCOMES.has(symbol)) throw new Error(`the suite's verdict "${symbol}" is not known`);
    return OUTCOMES.get(symbol);
  };
  const outcome = outcomeById(test.id, honorDependencies);
  let message = '';
  if (outcome === 'dependency failed') {
    const isMissed = id => !['passed', 'yes'].includes(outcomeById(id, true));
    message = test.depends_on.filter(isMissed).join(', ');
  } else if (Array.isArray(results[test.id])) {
    const [name, text] = results[test.id];
    // The outcome says already what these two names say.
    message = ['Assertion', 'Setup'].includes(name) ? text : `${name}: ${text}`;
  }
  return { id: test.id, kind: test.kind ?? 'required', outcome, message };
}

/// The outcomes of a group of tests by kind, each in the suite's order.
function byKind (outcomes) {
  return {
    required: outcomes.filter(({ kind }) => kind === 'required'),
    optimal: outcomes.filter(({ kind }) => kind === 'optimal'),
    check: outcomes.filter(({ kind }) => kind === 'check'),
  };
}

/// `main` are the outcomes that the goal is about, `surrogate` those that are only told. Whatever
/// did not pass, for whichever reason, is a failure of a required test unless it is superseded by
/// an RFC or declined for the safety of users.
export function judge (main, surrogate, { superseded = [], declined = [] }, optimalGoal) {
  const { required, optimal, check } = byKind(main);
  const listed = new Map(superseded.map(entry => [entry.id, entry]));
  const refused = new Map(declined.map(entry => [entry.id, entry]));
  const isListed = ({ id }) => listed.has(id) || refused.has(id);
  const passed = outcomes => outcomes.filter(({ outcome }) => outcome === 'passed');
  const others = outcomes => outcomes.filter(({ outcome }) => outcome !== 'passed');
  const ids = new Set(required.map(({ id }) => id));
  const verdict = {
    required: {
      total: required.length,
      passed: passed(required).length,
      failed: others(required).filter(outcome => !isListed(outcome)),
      superseded: others(required).filter(({ id }) => listed.has(id))
        .map(outcome => ({ ...outcome, rule: listed.get(outcome.id) })),
      declined: others(required).filter(({ id }) => refused.has(id))
        .map(outcome => ({ ...outcome, rule: refused.get(outcome.id) })),
      needlesslyListed: passed(required).filter(isListed).map(({ id }) => id),
    },
    optimal: {
      total: optimal.length,
      passed: passed(optimal).length,
      failed: others(optimal),
      goal: optimalGoal,
    },
    check,
    surrogate: byKind(surrogate),
    problems: [...superseded, ...declined].filter(({ id }) => !ids.has(id))
      .map(({ id }) => `superseded.json: the suite has no required test "${id}"`),
  };
  if (required.length === 0) verdict.problems.push('the suite has no required test');
  if (listed.size + refused.size !== superseded.length + declined.length) {
    verdict.problems.push('superseded.json: an id is listed twice');
  }
  return verdict;
}

export function isMet ({ required, optimal, problems }) {
  return problems.length === 0 && required.failed.length === 0 &&
    optimal.passed >= (optimal.goal ?? 0);
}

const line = ({ id, outcome, message }) => `  ${id}: ${outcome}${message ? `: ${message}` : ''}`;

function section (title, lines) {
  return lines.length === 0 ? [] : [`${title}:`, ...lines];
}

function countsOfChecks (outcomes) {
  const count = wanted => outcomes.filter(({ outcome }) => outcome === wanted).length;
  const [yes, no] = [count('yes'), count('no')];
  return `${yes} yes, ${no} no, ${outcomes.length - yes - no} undecided`;
}

/// The report's lines, the verdict last.
export function report (verdict, verbose) {
  const { required, optimal, check, surrogate, problems } = verdict;
  const passed = outcomes => outcomes.filter(({ outcome }) => outcome === 'passed').length;
  const goal = optimal.goal === undefined ? '' : ` (goal ${optimal.goal})`;
  return [
    ...(verbose ? section('checks', check.map(line)) : []),
    ...(verbose ? section('surrogate-control', Object.values(surrogate).flat().map(line)) : []),
    ...section('optimal, not passed', optimal.failed.map(line)),
    ...section('required, superseded', required.superseded.flatMap(outcome => [
      `${line(outcome)} (${outcome.rule.rfc}, ${outcome.rule.section})`,
      ...(verbose ? [`    ${outcome.rule.why}`] : []),
    ])),
    ...section('required, declined', required.declined.flatMap(outcome => [
      line(outcome),
      ...(verbose ? [`    ${outcome.rule.why}`] : []),
    ])),
    ...section('in superseded.json but passed', required.needlesslyListed.map(id => `  ${id}`)),
    ...section('required, failed', required.failed.map(line)),
    ...section('problems', problems.map(problem => `  ${problem}`)),
    `checks: ${countsOfChecks(check)}`,
    ...(Object.values(surrogate).flat().length === 0
      ? []
      : [`surrogate-control, not part of the goal: required ${passed(surrogate.required)} of ` +
         `${surrogate.required.length}, optimal ${passed(surrogate.optimal)} of ` +
         `${surrogate.optimal.length}, checks ${countsOfChecks(surrogate.check)}`]),
    `required: ${required.passed} of ${required.total} passed, ` +
      `${required.superseded.length} superseded, ${required.declined.length} declined, ` +
      `${required.failed.length} failed`,
    `optimal: ${optimal.passed} of ${optimal.total} passed${goal}`,
    `conformance: ${isMet(verdict) ? 'passed' : 'failed'}`,
  ];
}
