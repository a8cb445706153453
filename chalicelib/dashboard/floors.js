// Floors by time of day in the form: a row each of cron, hours and load; the server checks them.

import { el } from './dom.js';

const PARTS = [
  ['cron', 'Begins (cron)', { type: 'text', placeholder: '0 8 * * mon-fri', spellcheck: 'false' }],
  ['hours', 'Hours', { type: 'number', step: 'any', placeholder: '10' }],
  ['min_load', 'Minimum load', { type: 'number', step: 'any', placeholder: '200' }],
  ['timezone', 'Time zone', { type: 'text', placeholder: 'UTC', spellcheck: 'false' }],
];

export class Floors {
  constructor(schedules) {
    this.rows = el('div');
    this.node = el('fieldset', {}, el('legend', {}, 'Floors by time of day'),
      el('small', {}, 'A higher minimum load from a time on, for some hours; capacity is ready when one begins. Cron: minute hour day month weekday.'),
      el('p', { class: 'floor', 'aria-hidden': 'true' }, PARTS.map(([, label]) => el('small', {}, label))),
      this.rows, el('button', { type: 'button', onclick: () => this.add({}).focus() }, 'Add a floor'));
    for (const one of schedules) this.add({ ...one, hours: one.duration_s / 3600 });
    this.before = JSON.stringify(this.values());
  }

  /** Another row; gives its first input. */
  add(values) {
    const inputs = PARTS.map(([name, label, kind]) => el('input', { ...kind, name, 'aria-label': label, title: label, value: values[name] ?? '' }));
    const row = el('p', { class: 'floor' }, inputs, el('button', {
      type: 'button',
      onclick: () => {
        row.remove();
        this.rows.dispatchEvent(new Event('input', { bubbles: true }));
      },
    }, 'Remove'));
    this.rows.append(row);
    return inputs[0];
  }

  values() {
    return [...this.rows.children].map((row) => {
      const [cron, hours, load, zone] = row.querySelectorAll('input');
      const floor = { cron: cron.value.trim(), duration_s: 3600 * hours.valueAsNumber, min_load: load.valueAsNumber };
      return zone.value.trim() ? { ...floor, timezone: zone.value.trim() } : floor;
    });
  }

  /** All floors if any of them differs; a number that is missing is told by the server. */
  changes() {
    const schedules = this.values();
    return JSON.stringify(schedules) === this.before ? {} : { schedules };
  }
}
