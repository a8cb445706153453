// The workers of a group, sortable; and where failures come from.

import { button, el, fill, table } from './dom.js';
import { age, number, stateWord, usd } from './format.js';

const FEW = 50;
const FAILURES = new Set(['worker_failed', 'worker_error', 'load_failed', 'stuck_loading', 'host_failed', 'start_refused']);
const COLUMNS = [
  { title: 'id', key: (w) => w.id, text: (w) => String(w.id), right: true },
  { title: 'state', key: (w) => stateOf(w), text: (w) => chip(stateOf(w)) },
  { title: 'GPU', key: (w) => gpu(w), text: (w) => gpu(w) },
  { title: 'measured', key: (w) => w.measured_perf, text: (w) => number(w.measured_perf), right: true },
  { title: 'observed', key: (w) => w.observed_perf, text: (w) => number(w.observed_perf), right: true },
  { title: 'load', key: (w) => w.cur_load, text: (w) => (isUp(w) ? number(w.cur_load) : '–'), right: true },
  { title: 'requests', key: (w) => w.reqs_working, text: (w) => (isUp(w) ? number(w.reqs_working) : '–'), right: true },
  { title: '$/h', key: (w) => w.usd_per_hour, text: (w) => usd(w.usd_per_hour, 3), right: true },
  { title: 'bid of price', key: (w) => (w.is_interruptible ? w.bid_usd_per_hour : 0), text: (w) => bid(w), right: true },
  { title: 'age', key: (w, now) => now - w.created_at, text: (w, now) => age(w.created_at, now), right: true },
  { title: 'last report', key: (w, now) => now - w.reported_at, text: (w, now) => age(w.reported_at, now), right: true },
  { title: 'host', key: (w) => w.host_id, text: (w) => String(w.host_id ?? '–'), right: true },
  { title: 'autogroup', key: (w) => w.autogroup_id, text: (w) => String(w.autogroup_id ?? '–'), right: true },
  { title: 'error', key: (w) => w.error, text: (w) => w.error || '' },
];

export class WorkerTable {
  constructor() {
    Object.assign(this, { sortBy: 1, isDown: false, showsAll: false, workers: [], now: 0 });
    this.node = el('div');
  }

  show(workers, now) {
    Object.assign(this, { workers, now });
    this.paint();
  }

  paint() {
    const { key } = COLUMNS[this.sortBy];
    const sorted = [...this.workers].sort((a, b) => compare(key(a, this.now), key(b, this.now)) * (this.isDown ? -1 : 1) || a.id - b.id);
    const shown = this.showsAll ? sorted : sorted.slice(0, FEW);
    const columns = COLUMNS.map((one, index) => ({ ...one, node: this.header(one, index) }));
    const rows = shown.map((worker) => COLUMNS.map((one) => one.text(worker, this.now)));
    fill(this.node, table(`${this.workers.length} worker${this.workers.length === 1 ? '' : 's'}`, columns, rows, 'No worker: none is needed, or none was found yet.'),
      sorted.length > FEW && button(this.showsAll ? `Show the first ${FEW}` : `Show all ${sorted.length}`, () => {
        this.showsAll = !this.showsAll;
        this.paint();
      }, { 'data-focus': 'all workers' }));
  }

  header(column, index) {
    const isSorted = index === this.sortBy;
    return button(`${column.title}${isSorted ? (this.isDown ? ' ▾' : ' ▴') : ''}`, () => {
      this.isDown = isSorted ? !this.isDown : false;
      this.sortBy = index;
      this.paint();
    }, { class: 'sort', 'data-focus': `sort ${column.title}` });
  }
}

/** A table of hosts on which workers failed, most failures first. */
export function failuresByHost(workers, events, now) {
  const hosts = new Map();
  const count = (host, at, text) => {
    const entry = hosts.get(host) ?? { n: 0, at: 0, text: '' };
    entry.n += 1;
    if (at >= entry.at) Object.assign(entry, { at, text });
    hosts.set(host, entry);
  };
  for (const worker of workers) {
    if (worker.error && worker.host_id) count(worker.host_id, worker.state_since ?? 0, worker.error);
  }
  for (const event of events) {
    const { facts } = event;
    if ((FAILURES.has(event.kind) || FAILURES.has(facts?.reason?.code)) && facts?.host_id) count(facts.host_id, event.at, event.message);
  }
  if (!hosts.size) return el('p', { class: 'quiet' }, 'No worker failed lately.');
  const rows = [...hosts].sort((a, b) => b[1].n - a[1].n).map(([host, one]) => [String(host), number(one.n), age(one.at, now), one.text]);
  const columns = [{ title: 'host', right: true }, { title: 'failures', right: true }, { title: 'last, ago', right: true }, { title: 'what' }];
  return table('Hosts on which workers failed lately', columns, rows);
}

/** Whether it can have requests: what a stopped one last told is over. */
function isUp(worker) {
  return worker.state !== 'stopped' && !worker.is_outbid;
}

/** What an interruptible machine is called by: `outbid` where others bid more. */
function stateOf(worker) {
  return worker.is_outbid ? 'outbid' : stateWord(worker.state ?? worker.status);
}

/** An interruptible machine's bid, and what the same machine costs on demand. */
function bid(worker) {
  if (!worker.is_interruptible) return '–';
  const price = worker.on_demand_usd_per_hour ? ` of ${usd(worker.on_demand_usd_per_hour, 3)}` : '';
  return `${usd(worker.bid_usd_per_hour, 3)}${price}`;
}

function gpu(worker) {
  return `${worker.num_gpus ?? 1}x ${worker.gpu_name ?? '?'}`;
}

function chip(state) {
  return el('span', { class: `state ${/^[a-z_]+$/.test(state) ? state : ''}` }, state === 'idle' ? 'ready' : state);
}

function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a ?? '').localeCompare(String(b ?? ''));
}
