// One endpoint group: figures, charts, decisions, autogroups, workers, failures.

import { get, question, send } from './api.js';
import { Charts } from './charts.js';
import { ask, bar, button, clean, el, fill, table } from './dom.js';
import { actAndReason, ago, brief, clock, count, duration, number, share, stateWord, usd } from './format.js';
import { askCost, editAutogroup, editGroup, planLines } from './forms.js';
import { LivePoints } from './live.js';
import { WorkerTable, failuresByHost } from './workers.js';

const RANGES = [['15 min', 900], ['1 h', 3600], ['6 h', 21600], ['24 h', 86400], ['7 d', 604800], ['30 d', 2592000]];
const SERIES_EVERY_MS = 10000;
const COMPARE_EVERY_MS = 60000;
const STATES = new Set(['state', 'worker_state']); // kinds of events that only follow from others

export class GroupView {
  constructor(id, look) {
    Object.assign(this, { id, look, rangeS: 3600, seriesAt: 0, comparedAt: 0 });
    this.heard = []; // the newest answers: workers, events, series, comparison; what never came is shown as nothing
    this.live = new LivePoints();
    this.charts = new Charts();
    this.workers = new WorkerTable();
    const section = (title, ...nodes) => el('section', {}, el('h3', {}, title), nodes);
    this.head = el('div', { class: 'head' });
    this.figures = el('dl', { class: 'figures' });
    this.ranges = el('div', { class: 'ranges', role: 'group', 'aria-label': 'Time range' });
    this.decisions = el('ol', { class: 'decisions' });
    this.showsStates = el('input', { type: 'checkbox', onchange: () => this.look() });
    this.autogroups = el('div');
    this.failures = el('div');
    this.node = el('div', { class: 'group' }, this.head, this.figures,
      el('div', { class: 'columns' },
        el('div', { class: 'charts' }, this.ranges, this.charts.node),
        section('What it did, and why', el('label', { class: 'check' }, this.showsStates, ' also every change of state'), this.decisions)),
      section('Autogroups', this.autogroups),
      section('Workers', this.workers.node),
      section('Failures by host', this.failures));
    this.showRanges();
  }

  /** Show the newest status, and ask for what else is due. */
  async refresh(status, isNewest) {
    const group = status.groups.find((one) => one.id === this.id);
    if (!group) return;
    this.group = group;
    this.live.add(group, status.now);
    this.showHead(group);
    this.showFigures(group, status.now);
    const asked = await Promise.allSettled([
      question('get_endpoint_workers/', { id: this.id }),
      get('api/v0/events', { endpoint_id: this.id, limit: 200 }),
      this.series(status.now),
      this.comparison(),
    ]);
    if (!isNewest()) return;
    const [workers, events, series, comparison] = asked.map((one, index) => (this.heard[index] = one.value ?? this.heard[index]));
    this.showAutogroups(group, comparison);
    if (events) this.showDecisions(events.events, status.now);
    if (workers) this.workers.show(workers, status.now);
    if (workers && events) fill(this.failures, failuresByHost(workers, events.events, status.now));
    if (series) {
      const points = this.live.after(series);
      // A young system's few points fill the chart instead of hiding at its edge.
      this.charts.show(points, group, [Math.max(status.now - this.rangeS, Math.min(points.t[0], status.now - 120)), status.now]);
    }
    const failed = asked.find((one) => one.reason);
    if (failed) throw failed.reason; // what did come is shown
  }

  repaint() {
    this.charts.repaint();
  }

  /** Nothing while the newest answer is young enough. */
  async series(now) {
    if (Date.now() - this.seriesAt < SERIES_EVERY_MS) return undefined;
    const { rangeS } = this;
    const found = await get('api/v0/series', {
      endpoint_id: this.id, t1: Math.floor(now - rangeS), t2: Math.ceil(now), max_points: 300,
    });
    if (rangeS === this.rangeS) this.seriesAt = Date.now();
    return found;
  }

  async comparison() {
    if (Date.now() - this.comparedAt < COMPARE_EVERY_MS) return undefined;
    const { rows } = await get('api/v0/compare', { endpoint_id: this.id, hours: 24 });
    this.comparedAt = Date.now();
    return rows;
  }

  showRanges() {
    this.ranges.replaceChildren(...RANGES.map(([text, seconds]) => el('button', {
      type: 'button', 'aria-pressed': String(seconds === this.rangeS),
      onclick: () => {
        this.rangeS = seconds;
        this.seriesAt = 0;
        this.showRanges();
        this.look();
      },
    }, text)));
  }

  showHead(group) {
    const isActive = group.endpoint_state === 'active';
    fill(this.head, el('h2', { title: clean(group.endpoint_name) }, group.endpoint_name),
      el('span', { class: 'badge' }, group.endpoint_state),
      group.is_frozen && el('span', { class: 'badge warn' }, 'frozen'),
      group.is_shadow && el('span', { class: 'badge' }, 'shadow: decides, does nothing'),
      el('span', { class: 'tools' },
        button('Edit', () => editGroup(group, this.look)),
        button('Plan', () => showPlan(group)),
        button(isActive ? 'Pause' : 'Resume', () => this.setState(group, isActive)),
        button(group.is_frozen ? 'Unfreeze' : 'Freeze', async () => {
          const body = { endpoint_id: group.id, unfreeze: true };
          if (group.is_frozen && !await askCost(`Unfreeze ${brief(clean(group.endpoint_name))}?`, body, 'Unfreeze', [], true)) return;
          await send('POST', 'api/v0/freeze', { endpoint_id: group.id, frozen: !group.is_frozen });
          await this.look();
        }),
        button('Delete', async () => {
          const lines = [`${group.n_workers ? states(group.workers_by_state) : 'No machine'}: ${usd(group.money.usd_per_hour)} an hour. ${count(group.queue.n_waiting, 'request')} waiting.`];
          if (!await ask(`Delete ${brief(clean(group.endpoint_name))} and destroy all its machines?`, lines, { yes: 'Delete', words: clean(group.endpoint_name) })) return;
          await send('DELETE', `api/v0/endptjobs/${group.id}/`, {});
          await this.look();
        })));
  }

  /** Pause (asks what stops) or resume (asks what that would start and cost). */
  async setState(group, isActive) {
    const body = { endpoint_state: isActive ? 'suspended' : 'active' };
    const yes = isActive
      ? await ask(`Pause ${brief(clean(group.endpoint_name))}?`, [`It serves nobody until it is resumed: ${count(group.workers_by_state.ready ?? 0, 'ready worker')} will drain and stop, ${count(group.queue.n_waiting, 'request')} waiting.`], { yes: 'Pause' })
      : await changeAsked(`api/v0/endptjobs/${group.id}/`, body, `Resume ${brief(clean(group.endpoint_name))}?`, { endpoint_id: group.id, endpoint: body }, 'Resume');
    if (!yes) return;
    if (isActive) await send('PUT', `api/v0/endptjobs/${group.id}/`, body);
    await this.look();
  }

  showFigures(group, now) {
    const { load, queue, money } = group;
    const needed = load.hot_target == null ? '' : ` ${number(load.hot_target)} is needed now.`;
    const figures = [
      ['Load', `${number(load.arriving)} /s`, bar(load.arriving, load.ready_capacity, 'of what ready workers can serve'),
        `Ready workers can serve ${number(load.ready_capacity)}, the stopped reserve ${number(load.cold_capacity)} more.${needed}`],
      ['Queue', duration(queue.queue_time_s), queue.queue_time_s != null && bar(queue.queue_time_s, queue.target_s, 'of the goal'),
        `${queue.queue_time_s == null ? 'Not known while no worker is ready' : 'A new request would wait so long'}; the goal is ${duration(queue.target_s)}. ${share(queue.late_share ?? 0)} started late.`],
      ['Waiting', number(queue.n_waiting), false,
        queue.n_waiting ? `The oldest for ${duration(queue.oldest_wait_s)}; ${queue.eta_s == null ? 'no worker is ready yet' : `all start in about ${duration(queue.eta_s)}`}.` : 'No request waits.'],
      ['Workers', `${number(group.n_workers)} of ${number(group.max_workers)}`, bar(group.n_workers, group.max_workers, 'of max_workers'), states(group.workers_by_state)],
      ['Cost', `${usd(money.usd_per_hour)}/h`, bar(money.usd_per_hour, money.cap_usd_per_hour, 'of the hourly limit'),
        `Limit ${usd(money.cap_usd_per_hour)} an hour. About ${usd(money.spent_today_usd)} today, limit ${usd(money.cap_usd_per_day)}.`],
    ];
    const bids = group.interruptible;
    if (bids) {
      const price = bids.mean_on_demand_usd_per_hour ? ` instead of ${usd(bids.mean_on_demand_usd_per_hour, 3)} on demand` : '';
      figures.push(['Interruptible', `${number(bids.n_held - bids.n_outbid)} of ${number(bids.n_held)}`, false,
        `${bids.n_outbid ? `${count(bids.n_outbid, 'machine')} outbid now. ` : ''}Mean bid ${usd(bids.mean_bid_usd_per_hour, 3)} an hour${price}.`]);
    }
    const { hit_share: hits, spared_share: spared } = group.cache ?? {};
    if (hits != null) {
      figures.push(['Cache', share(hits), bar(hits, 1, 'of prompt tokens were cached'),
        `So much of the prompts was found in workers' caches in ten minutes${spared ? `, which spares ${share(spared)} of the work` : ''}.`]);
    }
    fill(this.figures, figures.map(([name, value, gauge, note]) => el('div', {},
      el('dt', {}, name), el('dd', { class: 'value' }, value), gauge && el('dd', {}, gauge), el('dd', {}, note))));
    this.figures.dataset.at = String(now);
  }

  showDecisions(events, now) {
    const shown = events.filter((event) => this.showsStates.checked || !STATES.has(event.kind)).slice(0, 60);
    fill(this.decisions, shown.length ? shown.map((event) => {
      const beaten = event.facts?.reason?.beaten ?? [];
      const changes = changed(event.facts ?? {});
      const [what, why] = STATES.has(event.kind) ? [event.message, ''] : actAndReason(event.message);
      return el('li', { class: event.level },
        el('time', { datetime: new Date(event.at * 1000).toISOString(), title: clock(event.at) }, ago(event.at, now)),
        el('p', { class: 'what' }, what),
        why && el('p', {}, why),
        changes && el('p', {}, el('small', {}, changes)),
        beaten.length > 0 && el('details', { 'data-focus': `why ${event.event_id}` }, el('summary', {}, `${beaten.length} other choice${beaten.length > 1 ? 's' : ''}, and why not`),
          el('ul', {}, beaten.map((one) => el('li', {}, one)))));
    }) : el('li', { class: 'quiet' }, 'Nothing has happened yet.'));
  }

  showAutogroups(group, comparison) {
    const found = new Map((comparison ?? []).map((row) => [row.autogroup_id, row]));
    const columns = ['id', 'template', 'GPUs', 'workers', 'share', 'load/s each', '$ per 1M load', 'wait p95', 'errors', 'cache hits', 'verdict', ''];
    const isRight = new Set(['id', 'load/s each', '$ per 1M load', 'wait p95', 'errors', 'cache hits']);
    const rows = group.autogroups.map((one) => {
      const measured = found.get(one.id) ?? {};
      return [String(one.id), el('span', { title: clean(one.template_hash) }, (one.template_hash ?? '–').slice(0, 8)), (measured.gpu_types ?? []).join(', ') || '–',
        states(one.workers_by_state), shareOf(one), number(measured.perf_mean),
        usd(measured.usd_per_1k_load == null ? null : 1000 * measured.usd_per_1k_load, 3), duration(measured.queue_p95_s), share(measured.error_share), share(measured.cache_hit_share),
        measured.verdict ?? (comparison ? 'no data yet' : '–'), this.autogroupTools(one)];
    });
    fill(this.autogroups,
      table('Each is a template on some machines. Share of the requests, and how they compare over 24 hours.',
        columns.map((title) => ({ title, right: isRight.has(title) })), rows, 'No autogroup: nothing can be rented.'),
      button('New autogroup', () => editAutogroup(group, null, this.look)));
  }

  /** To the template and search before the last change, as the log of changes has them. */
  async rollBack(one) {
    const { events } = await get('api/v0/events', { endpoint_id: this.id, kinds: 'changed_autogroup', limit: 200 });
    const last = events.find((event) => event.message.startsWith(`autogroup ${one.id} `)
      && LAUNCHED.some((name) => name in (event.facts?.before ?? {}) && name in (event.facts?.after ?? {})));
    if (!last) throw new Error(`no earlier template or search of autogroup ${one.id} is kept`);
    const names = LAUNCHED.filter((name) => name in last.facts.before);
    const before = Object.fromEntries(names.map((name) => [name, last.facts.before[name]]));
    const lines = [changed({ before: last.facts.after, after: before })];
    if (await changeAsked(`api/v0/autojobs/${one.id}/`, before, `Roll autogroup ${one.id} back to before ${clock(last.at)}?`, { autogroup_id: one.id, autogroup: before }, 'Roll back', lines)) await this.look();
  }

  autogroupTools(one) {
    const percent = el('input', {
      type: 'number', min: 0, max: 100, step: 1, value: Math.round(100 * (one.share ?? 0)), 'aria-label': `Percent of the requests for autogroup ${one.id}`,
    });
    const act = (path, body, method = 'POST') => async () => { await send(method, path, body); await this.look(); };
    const paused = one.state === 'paused';
    return el('span', { class: 'tools' }, percent,
      button('Set %', async () => {
        await act('api/v0/rollout', { autogroup_id: one.id, percent: percent.valueAsNumber })();
      }, { 'data-focus': `set ${one.id}` }),
      button('Promote', async () => {
        const others = this.group.autogroups.filter((other) => other.id !== one.id && other.n_workers);
        const lines = [`It gets all requests; ${count(others.reduce((sum, other) => sum + other.n_workers, 0), 'worker')} of the others will drain and go.`];
        if (await ask(`Promote autogroup ${one.id}?`, lines, { yes: 'Promote' })) await act('api/v0/promote', { autogroup_id: one.id })();
      }, { 'data-focus': `promote ${one.id}`, title: 'Give it all requests' }),
      button('Update', async () => {
        const body = { autogroup_id: one.id, update_workers: true };
        if (await askCost(`Replace ${count(one.n_workers, 'worker')} of autogroup ${one.id} by ones of its present template?`, body, 'Replace')) {
          await act('update_workers/', { workergroup_id: one.id })();
        }
      }, { 'data-focus': `update ${one.id}`, title: 'Replace its workers by ones of its present template' }),
      button('Roll back', () => this.rollBack(one), { 'data-focus': `back ${one.id}`, title: 'To the template and search before the last change' }),
      button(paused ? 'Resume' : 'Pause', async () => {
        const body = { state: paused ? 'active' : 'paused' };
        const path = `api/v0/autojobs/${one.id}/`;
        if (paused) {
          if (await changeAsked(path, body, `Resume autogroup ${one.id}?`, { autogroup_id: one.id, autogroup: body }, 'Resume')) await this.look();
        } else if (await ask(`Pause autogroup ${one.id}?`, ['It gets no new requests, and nothing is rented for it.'], { yes: 'Pause' })) {
          await act(path, body, 'PUT')();
        }
      }, { 'data-focus': `pause ${one.id}` }),
      button('Edit', () => editAutogroup(this.group, one, this.look), { 'data-focus': `edit ${one.id}` }));
  }
}

const LAUNCHED = ['template_hash', 'template_id', 'search_params', 'launch_args'];

/** Ask with prices, then change: only what was asked about, never what another tab made of it meanwhile. */
async function changeAsked(path, change, title, body, yes, lines = []) {
  const { revision } = (await get(path)).result;
  if (!await askCost(title, body, yes, lines)) return false;
  await send('PUT', path, { ...change, revision });
  return true;
}

/** What the next round would do. */
async function showPlan(group) {
  const plan = await question('api/v0/plan', { endpoint_id: group.id });
  await ask(`The next round of ${brief(clean(group.endpoint_name))}`, planLines(plan), { yes: 'Close', no: '' });
}

/** What an owner changed: 'min_load 100 → 200'. */
function changed({ before, after }) {
  const names = Object.keys(before ?? {}).filter((name) => name in (after ?? {}));
  const text = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  return names.map((name) => `${name} ${text(before[name])} → ${text(after[name])}`).join(', ');
}

function states(byState) {
  const parts = Object.entries(byState ?? {}).filter(([, n]) => n).sort();
  return parts.map(([name, n]) => `${n} ${name === 'paused' ? 'outbid' : stateWord(name)}`).join(', ') || 'none';
}

/** The share of the requests that an autogroup of a tier gets. */
function shareOf({ share: part, tier }) {
  const overflow = tier ? ` of what overflows into tier ${tier}` : '';
  return el('span', { class: 'share' }, bar(part ?? 0, 1, 'of the requests', 1), `${share(part)}${overflow}`);
}
