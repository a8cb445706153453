// Making and changing groups and autogroups. The server checks; the page shows what it would cost.

import { get, question, send } from './api.js';
import { ask, deed, el } from './dom.js';
import { Floors } from './floors.js';
import { actionWord, brief, count, number, usd } from './format.js';

const PREVIEW_AFTER_MS = 500;
const ASKED_ANEW_MS = 5 * 60 * 1000; // a price that was shown for longer is shown anew
const GROUP_FIELDS = [
  ['endpoint_name', 'Name', 'What clients call it', 'text'],
  ['min_load', 'Minimum load', 'Load per second to be ready for at any time (tokens/s for LLMs)'],
  ['target_util', 'Target utilisation', 'Share of ready capacity in use, 0 to 1; empty: automatic'],
  ['cold_mult', 'Cold multiple', 'Ready + stopped capacity as a multiple; empty: automatic'],
  ['cold_workers', 'Cold workers', 'Loaded workers kept stopped when idle'],
  ['max_workers', 'Most workers', 'In any state'],
  ['target_queue_time', 'Target wait (s)', 'Requests should start within'],
  ['max_queue_time', 'Longest queue (s)', 'At one worker'],
  ['max_usd_per_hour', 'Cap, $ per hour', 'Empty: only the account\'s caps'],
  ['max_usd_per_day', 'Cap, $ per day', 'UTC'],
];
const MORE_GROUP_FIELDS = [
  ['max_usd_per_month', 'Cap, $ per month', 'UTC'],
  ['slo_target', 'Share on time', 'Of the requests, 0 to 1'],
  ['min_cold_load', 'Least cold load', 'Ready + stopped capacity, load per second; empty: automatic'],
  ['inactivity_timeout', 'Idle until zero (s)', 'After the last request; empty: the hold alone; negative: never'],
  ['queue_order', 'Queue order', 'on_time_first or fifo', 'text'],
  ['interruptible', 'Interruptible', 'never, overflow or mixed: cheaper, and taken away without notice', 'text'],
  ['interruptible_share', 'Share at risk', 'Of what serves, 0 to 1'],
];
const AUTOGROUP_FIELDS = [
  ['template_hash', 'Template hash', 'A private copy that has HF_TOKEN', 'text'],
  ['search_params', 'Machines', 'Empty: the template\'s own search', 'text'],
  ['test_workers', 'Test workers', 'Rented and measured at the start'],
  ['weight', 'Weight', 'Share of the requests, relative to the others'],
  ['tier', 'Tier', '0 first; higher ones take what overflows'],
];
const MORE_AUTOGROUP_FIELDS = [
  ['launch_args', 'Launch arguments', 'Over the template\'s', 'text'],
  ['gpu_ram', 'Model, GB', 'To estimate how long it loads'],
  ['interruptible', 'Interruptible', 'auto (as the group), never, overflow or mixed', 'text'],
  ['ticket', 'Ticket', 'auto, A, B, C or D: what the worker understands', 'text'],
];

/** Make a group, or change one. */
export async function editGroup(group, done) {
  const row = group ? (await get(`api/v0/endptjobs/${group.id}/`)).result : {};
  const [autogroup = null] = group?.autogroups ?? [];
  openForm({
    title: group ? `Change ${brief(group.endpoint_name)}` : 'New endpoint group',
    fields: GROUP_FIELDS,
    more: MORE_GROUP_FIELDS,
    row,
    reread: group && (async () => (await get(`api/v0/endptjobs/${group.id}/`)).result),
    floors: new Floors(row.schedules ?? []),
    previewBody: (values) => (group ? { endpoint_id: group.id, endpoint: values, ...(autogroup && { autogroup_id: autogroup.id, autogroup: {} }) } : { endpoint: values, autogroup: null }),
    save: (values, { revision }) => (group ? send('PUT', `api/v0/endptjobs/${group.id}/`, { ...values, revision }) : send('POST', 'api/v0/endptjobs/', values)),
    done,
  });
}

/** Make an autogroup of a group, or change one. */
export async function editAutogroup(group, autogroup, done) {
  const row = autogroup ? (await get(`api/v0/autojobs/${autogroup.id}/`)).result : {};
  openForm({
    title: autogroup ? `Change autogroup ${autogroup.id}` : `New autogroup of ${brief(group.endpoint_name)}`,
    fields: AUTOGROUP_FIELDS,
    more: MORE_AUTOGROUP_FIELDS,
    row,
    reread: autogroup && (async () => (await get(`api/v0/autojobs/${autogroup.id}/`)).result),
    previewBody: (values) => (autogroup ? { autogroup_id: autogroup.id, autogroup: values } : { endpoint_id: group.id, autogroup: values }),
    save: (values, { revision }) => (autogroup ? send('PUT', `api/v0/autojobs/${autogroup.id}/`, { ...values, revision })
      : send('POST', 'api/v0/autojobs/', { endpoint_id: group.id, endpoint_name: group.endpoint_name, ...values })),
    done,
  });
}

function openForm({ title, fields, more, row: read, reread, floors, previewBody, save, done }) {
  let row = read;
  const dialog = document.getElementById('dialog');
  const error = el('p', { class: 'error', role: 'alert' });
  const preview = el('p', { class: 'preview', 'aria-live': 'polite' }, 'What it would cost appears here.');
  const inputs = new Map();
  const labels = (some) => some.map(([name, text, hint, type = 'number']) => {
    const input = el('input', { name, type, step: 'any', value: row[name] ?? '', required: name === 'endpoint_name', spellcheck: 'false', autocomplete: 'off' });
    inputs.set(name, input);
    return el('label', {}, el('span', {}, text), input, el('small', {}, hint));
  });
  const changes = () => ({ ...changedValues(inputs, row, fields === GROUP_FIELDS), ...floors?.changes() });
  let timer = 0;
  let turn = 0;
  const priced = async () => {
    turn += 1;
    const own = turn;
    await showPreview(preview, error, () => previewBody(changes()), () => own === turn); // not an older one's answer
  };
  const typed = () => { try { return Object.keys(changes()).length > 0; } catch { return true; } };
  const leave = async () => {
    if (!typed() || await ask('Close without saving?', ['What was typed is lost.'], { yes: 'Close' })) dialog.close();
  };
  const submit = async () => {
    const values = changes();
    const isChanged = Object.keys(values).length > 0;
    if (!isChanged && !row.id) throw new Error('Nothing is filled in yet.');
    if (isChanged) {
      if (!await askCost(`${row.id ? 'Save this change' : 'Create it'}?`, previewBody(values), row.id ? 'Save' : 'Create', [], true)) return;
      try {
        await save(values, row);
      } catch (problem) {
        if (problem.status !== 409 || !reread) throw problem;
        await takeOver(problem);
        return;
      }
    }
    dialog.close();
    await done();
  };
  /** Somebody else saved first: their values stand where nothing was typed, and saving asks again. */
  const takeOver = async (problem) => {
    const before = row;
    const now = await reread();
    if (JSON.stringify(now) === JSON.stringify(before)) throw problem; // another conflict
    row = now;
    const theirs = [...inputs].filter(([name]) => String(before[name] ?? '') !== String(row[name] ?? ''));
    for (const [name, input] of theirs) {
      if (input.value.trim() === String(before[name] ?? '')) input.value = row[name] ?? '';
    }
    const changed = theirs.map(([name]) => `${name} ${before[name] ?? 'auto'} → ${row[name] ?? 'auto'}`);
    if (JSON.stringify(before.schedules) !== JSON.stringify(row.schedules)) changed.push('floors by time of day');
    error.textContent = `Not saved: it was changed meanwhile${changed.length ? ` (${changed.join(', ')})` : ''}. What you typed is still here: look, and save again.`;
  };
  const form = el('form', {
    method: 'dialog', novalidate: true,
    oninput: () => { clearTimeout(timer); timer = setTimeout(priced, PREVIEW_AFTER_MS); },
    onsubmit: (event) => {
      event.preventDefault();
      clearTimeout(timer);
      turn += 1;
      deed(row.id ? 'Save' : 'Create', submit, { fail: (problem) => { error.textContent = problem.message; } });
    },
  }, el('h2', { id: 'dialog-title' }, title), el('div', { class: 'fields' }, labels(fields)), floors?.node,
  el('details', {}, el('summary', {}, 'More parameters'), el('div', { class: 'fields' }, labels(more))), preview, error,
  el('p', { class: 'tools' }, el('button', { type: 'submit' }, row.id ? 'Save' : 'Create'),
    el('button', { type: 'button', onclick: leave }, 'Cancel')));
  dialog.replaceChildren(form);
  dialog.oncancel = (event) => { event.preventDefault(); leave(); }; // Escape
  dialog.onclose = () => dialog.open || clearTimeout(timer); // a form that is gone asks for no price
  dialog.showModal();
  if (row.id) priced();
}

/** What differs from the row; a group's number that was emptied becomes automatic again. */
function changedValues(inputs, row, mayUnset) {
  const values = {};
  const unset = [];
  for (const [name, input] of inputs) {
    const text = input.value.trim();
    const isNumber = input.type === 'number';
    if (isNumber && input.validity.badInput) throw new Error(`${name}: not a number`);
    if (text === '' && isNumber) {
      if (row[name] != null && !mayUnset) throw new Error(`${name}: a number is needed`);
      if (row[name] != null) unset.push(name);
    } else if (String(row[name] ?? '') !== text) {
      values[name] = isNumber ? Number(text) : text;
    }
  }
  return unset.length ? { ...values, unset } : values;
}

function capsRow(caps) {
  return { ...Object.fromEntries(Object.entries(caps).map(([name, value]) => [`max_${name}`, value])), id: 'account' };
}

/** The account's caps. */
export function editCaps(caps, done) {
  const fields = [['max_usd_per_hour', 'Cap, $ per hour', 'All groups'], ['max_usd_per_day', 'Cap, $ per day', 'UTC'],
    ['max_usd_per_month', 'Cap, $ per month', 'UTC'], ['max_idle_usd_per_day', 'Idle cap, $ per day', 'For machines that serve nobody']];
  openForm({
    title: 'Caps of the account', fields, more: [], row: capsRow(caps), done,
    reread: async () => capsRow((await get('api/v0/status')).account.caps),
    previewBody: (values) => ({ account: values }),
    save: (values, { id, ...expected }) => send('PUT', 'api/v0/account', { ...values, expected }),
  });
}

/**
 * Show what a change would do and cost, and ask; with `onlyIfNeeded` where the server says so, as it
 * does to the command. A yes to an old answer is asked again: prices and machines have moved on.
 */
export async function askCost(title, body, yes, lines = [], onlyIfNeeded = false) {
  let shown;
  try {
    const answer = await question('api/v0/preview', body);
    if (onlyIfNeeded && answer.must_ask === false) return true;
    shown = [...(answer.risks ?? []), ...(answer.plan ? planLines(answer.plan) : [answer.no_plan]),
      answer.offers && priceLine(answer), capsLeft(answer.plan), ...(answer.warnings ?? [])].filter(Boolean);
  } catch (problem) {
    if (problem.status >= 400 && problem.status < 500) throw problem;
    shown = [`What it would cost cannot be told now: ${problem.message}`];
  }
  const askedAt = Date.now();
  if (!await ask(title, [...lines, ...shown], { yes })) return false;
  return Date.now() - askedAt < ASKED_ANEW_MS || askCost(title, body, yes, lines, onlyIfNeeded);
}

function bidOf(offer) {
  if (!offer.is_bid) return '';
  return ` (bid ${usd(offer.bid_usd_per_hour, 3)}${offer.on_demand_usd_per_hour ? ` of ${usd(offer.on_demand_usd_per_hour, 3)} on demand` : ''})`;
}

/** A plan in sentences: deeds with prices, what caps refuse, the first hour. */
export function planLines(plan) {
  const what = (one) => (one.offer ? `${one.offer.gpu_type}, machine ${one.offer.machine_id}, at ${usd(one.offer.usd_per_hour, 3)} an hour${bidOf(one.offer)}` : `instance ${one.instance_id}`);
  const done = plan.actions.map((one) => `${actionWord(one.action)} ${what(one)}: ${one.sentence}`);
  const refused = plan.refused.map((one) => `refused by ${one.cap_name ?? one.cap}: ${actionWord(one.action)} ${what(one)}`);
  const notes = (plan.notes ?? []).map((one) => one.sentence);
  const money = done.length ? [`${usd(plan.usd_per_hour_now)} an hour now, ${usd(plan.usd_per_hour_after)} after; first hour at most ${usd(plan.worst_first_hour_usd)}, ${usd(plan.once_usd)} of it for downloads.`]
    : ['Nothing would be rented, started or stopped in the next round.'];
  return [...(plan.is_shadow ? ['In shadow mode: told, not done.'] : []), ...done, ...refused, ...notes, ...money];
}

/** What every cap still leaves; nothing without a plan. */
function capsLeft(plan) {
  const parts = (plan?.caps ?? []).map((one) => `${usd(one.usd - one.used_usd)} of ${usd(one.usd)} (${one.cap_name})`);
  return parts.length > 0 && `Caps leave: ${parts.join(' · ')}.`;
}

/** What the offers cost; where there are none nobody knows, and the warnings say why. */
function priceLine({ offers, bids, usd_per_hour_idle: idle, usd_per_hour_max: most }) {
  if (!offers?.n) return 'What it would cost is not known:';
  const [low, high] = idle;
  const least = bids?.n ? ` Interruptible: least bids ${usd(bids.cheapest_usd_per_hour, 3)} to ${usd(bids.dearest_usd_per_hour, 3)}.` : '';
  return `Idle it would cost ${usd(low)} to ${usd(high)} an hour, at most ${usd(most)}. ${count(offers.n, 'offer')}, ${usd(offers.cheapest_usd_per_hour, 3)} to ${usd(offers.dearest_usd_per_hour, 3)} an hour each.${least}`;
}

/** A plan in one line: 'rent 2, stop 1'. */
function deeds({ actions }) {
  const words = actions.map((one) => actionWord(one.action));
  return [...new Set(words)].map((word) => `${word} ${words.filter((one) => one === word).length}`).join(', ');
}

async function showPreview(preview, error, body, isNewest) {
  try {
    const answer = await question('api/v0/preview', body());
    if (!isNewest()) return;
    error.textContent = '';
    const { plan, offers } = answer;
    const said = plan ? [plan.actions.length > 0 && `At once: ${deeds(plan)}, first hour at most ${usd(plan.worst_first_hour_usd)}.`, offers && priceLine(answer)] : [answer.no_plan];
    preview.textContent = [...said, ...(answer.risks ?? []), ...(answer.warnings ?? [])].filter(Boolean).join(' ');
  } catch (problem) {
    if (isNewest()) error.textContent = problem.message;
  }
}
