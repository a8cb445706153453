// Three charts over one time axis: load against capacity, queue time, dollars per hour.

/* global uPlot */

import { el } from './dom.js';
import { clock, duration, number, usd } from './format.js';

const COLOURS = ['#4c6fff', '#12b5a4', '#f5a524', '#9b6bff', '#f0567f', '#2aa7e1', '#8bb82b', '#7a869a'];
const LIMIT = '#e5484d';
const HEIGHTS = { load: 260, queue: 130, money: 130 };

export class Charts {
  constructor() {
    this.node = el('div');
    this.made = [];
    this.shape = '';
    this.last = null;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.node);
  }

  /** Show columns of numbers (`/api/v0/series`) of a group within [from, to]. */
  show(series, group, range) {
    this.last = [series, group, range];
    const plans = [loadPlan(series), queuePlan(series, group), moneyPlan(series, group)];
    const shape = JSON.stringify(plans.map((plan) => plan.lines.map((line) => line.name)));
    if (shape !== this.shape) {
      this.shape = shape;
      this.make(plans);
    }
    this.range = range;
    plans.forEach((plan, index) => {
      const chart = this.made[index];
      chart.plan = plan;
      chart.plot.setData([series.t, ...plan.lines.map((line) => line.stacked ?? line.values)], true);
      showLegend(chart, null);
    });
  }

  repaint() {
    if (!this.last) return;
    this.shape = '';
    this.show(...this.last);
  }

  resize() {
    for (const { plot, plan } of this.made) plot.setSize({ width: this.width(), height: HEIGHTS[plan.id] });
  }

  width() {
    return Math.max(280, this.node.clientWidth);
  }

  make(plans) {
    for (const { plot } of this.made) plot.destroy();
    this.made = plans.map((plan) => {
      const legend = el('ul', { class: 'legend' });
      const body = el('div', { class: 'plot', role: 'img', 'aria-label': plan.title });
      const figure = el('figure', {}, el('figcaption', {}, plan.title), legend, body);
      const chart = { plan, legend, figure, plot: null };
      chart.plot = new uPlot(options(plan, this, chart), [[], ...plan.lines.map(() => [])], body);
      return chart;
    });
    this.node.replaceChildren(...this.made.map((one) => one.figure));
  }
}

function options(plan, charts, chart) {
  const ink = colour('--quiet-ink');
  const grid = { stroke: colour('--grid'), width: 1 };
  const n = plan.lines.filter((line) => line.stacked).length;
  return {
    width: charts.width(),
    height: HEIGHTS[plan.id],
    legend: { show: false },
    cursor: { sync: { key: 'time' }, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: true, range: () => charts.range ?? [0, 1] }, y: { range: (u, low, high) => [0, Math.max(1e-9, (high || 1) * 1.08)] } },
    axes: [
      { stroke: ink, grid, ticks: grid, space: 70, size: 32, values: (u, ticks) => ticks.map((at) => tickTime(at, charts.range)) },
      { stroke: ink, grid, ticks: grid, size: 64, values: (u, ticks) => ticks.map(plan.axis ?? plan.tick) },
    ],
    series: [{}, ...plan.lines.map((line) => ({
      label: line.name, stroke: line.stroke, width: line.stacked ? 0.5 : 2, dash: line.dash, fill: line.fill, points: { show: false }, spanGaps: false,
    }))],
    bands: Array.from({ length: Math.max(0, n - 1) }, (_, index) => ({ series: [index + 2, index + 1] })),
    hooks: { setCursor: [(u) => showLegend(chart, u.cursor.idx)] },
  };
}

/** A number short enough for an axis: '120k'. */
function compact(value) {
  return new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 }).format(value);
}

/** A time on the axis: with seconds within minutes, the hour within a day, the day beyond. */
function tickTime(at, range) {
  const spanS = range ? range[1] - range[0] : 0;
  const style = spanS > 2 * 86400 ? { day: 'numeric', month: 'short' } : { hour: '2-digit', minute: '2-digit', ...(spanS < 400 && { second: '2-digit' }) };
  return new Intl.DateTimeFormat('en-GB', style).format(at * 1000);
}

/** A colour of the present theme as a canvas understands it. */
function colour(name) {
  const probe = document.body.appendChild(el('i', { hidden: true }));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** The legend tells the values under the cursor, or the newest ones. */
function showLegend({ plan, legend, plot }, index) {
  const times = plot?.data?.[0] ?? [];
  const at = index ?? times.length - 1;
  legend.replaceChildren(...plan.lines.map((line) => el('li', {},
    swatch(line), `${line.name} `, el('b', {}, plan.tick(line.values[at] ?? null)))),
  index == null ? '' : el('li', { class: 'quiet' }, clock(times[at])));
}

function swatch(line) {
  const mark = el('i', { class: line.stacked ? 'swatch' : `swatch line ${line.dash ? 'dashed' : ''}` });
  mark.style.setProperty('--swatch', line.stacked ? line.fill : line.stroke);
  return mark;
}

function loadPlan({ t, values }) {
  const types = [...new Set(Object.keys(values).filter((name) => /^(cold_)?capacity:/.test(name)).map((name) => name.split(':').slice(1).join(':')))].sort();
  const layers = [['ready', 'capacity'], ['cold', 'cold_capacity']].flatMap(([kind, column]) => {
    if (!types.length) return [layer(kind, values[column] ?? [], 0, kind)];
    return types.map((type, index) => layer(kind, values[`${column}:${type}`], index, `${kind === 'cold' ? 'stopped' : kind} ${type}`));
  }).filter((one) => one.values?.some((value) => value > 0));
  const sums = new Array(t.length).fill(0);
  for (const one of layers) {
    one.stacked = one.values.map((value, index) => (sums[index] += value ?? 0));
  }
  const strong = colour('--ink');
  const lines = [...layers, { name: 'arriving load', values: values.arriving_load ?? [], stroke: strong }];
  if (values.hot_target) lines.push({ name: 'needed ready', values: values.hot_target, stroke: strong, dash: [4, 4] });
  return { id: 'load', title: 'Load per second, and what the workers can serve, by GPU type', lines, tick: number, axis: compact };
}

function layer(kind, values, index, name) {
  const colour = COLOURS[index % COLOURS.length];
  const fill = kind === 'ready' ? `${colour}cc` : `${colour}40`;
  return { name, values, fill, stroke: fill };
}

function queuePlan({ t, values }, { queue }) {
  return {
    id: 'queue', title: 'Queue time and its goal', tick: duration,
    lines: [{ name: 'queue time', values: values.queue_time_s ?? [], stroke: COLOURS[0] },
      { name: 'goal', values: t.map(() => queue.target_s), stroke: LIMIT, dash: [4, 4] }],
  };
}

function moneyPlan({ t, values }, { money }) {
  const lines = [{ name: '$ per hour', values: values.usd_per_hour ?? [], stroke: COLOURS[1] }];
  if (money.cap_usd_per_hour) lines.push({ name: 'limit', values: t.map(() => money.cap_usd_per_hour), stroke: LIMIT, dash: [4, 4] });
  return { id: 'money', title: 'Dollars per hour and the limit', lines, tick: (value) => usd(value), axis: (value) => `$${compact(value)}` };
}
