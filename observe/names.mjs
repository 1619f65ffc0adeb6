// Which metrics there are, and which the dashboard and the rules speak of.

/// Metrics that are on no dashboard and in no rule, each with the reason.
export const UNSHOWN = new Map([
  ['process_virtual_memory_bytes', 'addresses that are reserved say nothing about memory that is used'],
]);

const OURS = /\b((?:brim|process)_[a-z0-9_]+|up\b)\s*(\{[^{}]*\})?/g;

/// The selectors of an expression: `{ name, selector }`.
export function selectorsOf (expression) {
  return [...expression.matchAll(OURS)].map(([, name, labels = '']) => ({ name, selector: name + labels }));
}

/// The family of a series: a histogram has three.
export function familyOf (name, families) {
  const family = name.replace(/_(bucket|sum|count)$/, '');
  return families.get(family) === 'histogram' ? family : name;
}

/// Name and type of each family of an exposition, and which of them have a help text and a series.
export function familiesOf (exposition) {
  const families = new Map();
  const helped = new Set();
  const told = new Set();
  for (const line of exposition.split('\n')) {
    const [, kind, name, rest] = line.match(/^# (TYPE|HELP) (\S+) (.*)$/) ?? [];
    if (kind === 'TYPE') families.set(name, rest);
    else if (kind === 'HELP' && rest.trim()) helped.add(name);
    else if (line && !line.startsWith('#')) told.add(familyOf(line.match(/^[^{ ]+/)[0], families));
  }
  return { families, helped, told };
}
