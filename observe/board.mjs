// The dashboard's questions, as Grafana would put them.

import { readFile } from 'node:fs/promises';

/// What Grafana puts in the place of its own names where everything is chosen, and scrapes are as
/// frequent as ours.
const CHOSEN = [
  [/\$__(rate_)?interval/g, '10s'],
  [/\$(instance|site|origin)\b/g, '.+'],
];

export class Board {
  /// `{ where, expression }` of each panel's targets, annotation and variable.
  static async read (file) {
    const board = JSON.parse(await readFile(file, 'utf8'));
    const questions = [];
    for (const panel of board.panels) {
      for (const target of panel.targets ?? []) {
        questions.push({ where: `panel "${panel.title}" ${target.refId}`, asked: target.expr });
      }
    }
    for (const annotation of board.annotations.list) {
      questions.push({ where: `annotation "${annotation.name}"`, asked: annotation.expr });
    }
    for (const variable of board.templating.list) {
      const [, asked] = variable.definition?.match(/^label_values\((.*), *\w+\)$/) ?? [];
      if (asked) questions.push({ where: `variable "${variable.name}"`, asked });
    }
    return { board, questions: questions.map(({ where, asked }) => ({ where, expression: chosen(asked) })) };
  }
}

function chosen (expression) {
  return CHOSEN.reduce((text, [name, value]) => text.replace(name, value), expression);
}

/// What is wrong with the dashboard as a thing to import.
export function faultsOf (board) {
  const faults = [];
  const ids = board.panels.map(panel => panel.id);
  if (new Set(ids).size !== ids.length) faults.push('two panels have one id');
  if (board.id != null) faults.push('it has the id of one Grafana');
  const taken = new Map();
  for (const { title, type, gridPos: place, datasource } of board.panels) {
    if (type !== 'row' && datasource?.uid !== '${datasource}') faults.push(`${title}: another datasource`);
    if (place.x + place.w > 24) faults.push(`${title}: it is too wide`);
    for (let x = place.x; x < place.x + place.w; x++) {
      for (let y = place.y; y < place.y + place.h; y++) {
        const cell = `${x},${y}`;
        if (taken.has(cell)) faults.push(`${title} and ${taken.get(cell)} are in one place`);
        taken.set(cell, title);
      }
    }
  }
  return [...new Set(faults)];
}
