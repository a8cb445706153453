// The page: sign in, then follow the fleet by asking again and again.

import { ApiError, get, hasKey, send, useKey } from './api.js';
import { Bill } from './bill.js';
import { ask, bar, button, clean, deed, dropDialogs, el, fill, tell, withCommands } from './dom.js';
import { actAndReason, ago, brief, capital, count, duration, number, usd } from './format.js';
import { askCost, editCaps, editGroup } from './forms.js';
import { GroupView } from './group.js';

const STATUS_EVERY_MS = 2000;
const SLOWEST_EVERY_MS = 32000; // while the door turns requests away
const STALE_AFTER_S = 15;
const WORDS = { ok: 'Healthy', warn: 'Attention', bad: 'Trouble', empty: 'Nothing yet' };
const ORDER = ['ok', 'warn', 'bad'];
const SHOWN_REASONS = 4;
const SEARCHED_FROM = 9; // groups: fewer are seen at a glance
const PANIC_WORDS = 'destroy everything';
const KEPT_KEY = 'ballast.key'; // in this tab's session storage, by choice
const KEPT_THEME = 'ballast.theme';
const ACCOUNT_ACTIONS = ['leave', 'freeze', 'caps', 'panic'];

const part = (id) => document.getElementById(id);
const state = {
  status: null, selected: null, heardAt: 0, problem: '', partProblem: '', panickedAt: 0, timer: 0, view: null, bill: null, turn: 0, everyMs: STATUS_EVERY_MS,
};

part('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const key = part('key').value.trim();
  useKey(key);
  if (part('remember').checked) sessionStorage.setItem(KEPT_KEY, key);
  part('key').value = '';
  part('sign-in-error').textContent = '';
  await deed('Sign in', look);
});
part('leave').addEventListener('click', () => leave(''));
part('find-text').addEventListener('input', () => showGroups(state.status));
part('caps').addEventListener('click', () => deed('Caps', () => editCaps(state.status.account.caps, look)));
part('panic').addEventListener('click', () => deed('Destroy everything', panic, { fail: panicFailed, urgent: true }));
part('freeze').addEventListener('click', () => deed(part('freeze').textContent, freeze, { urgent: !state.status.account.is_frozen }));
part('theme').addEventListener('click', () => {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme === 'dark'
    || (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  root.dataset.theme = isDark ? 'light' : 'dark';
  localStorage.setItem(KEPT_THEME, root.dataset.theme);
  state.view?.repaint();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => state.view?.repaint());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && hasKey()) look();
});
setInterval(showFreshness, 1000);
if (localStorage.getItem(KEPT_THEME)) document.documentElement.dataset.theme = localStorage.getItem(KEPT_THEME);
if (sessionStorage.getItem(KEPT_KEY)) {
  useKey(sessionStorage.getItem(KEPT_KEY));
  look();
}

/** One look at the fleet; the next one follows by itself while the page is visible. */
async function look() {
  clearTimeout(state.timer);
  state.turn += 1;
  const { turn } = state;
  const isNewest = () => turn === state.turn; // an older question's answer may come after a newer one's
  let failed = await caught(async () => {
    const status = await get('api/v0/status');
    if (!isNewest()) return;
    if (!status.account || !Array.isArray(status.groups)) throw new ApiError(0, 'What answered is not Ballast: it tells no status.');
    Object.assign(state, { status, heardAt: Date.now(), problem: '' });
    show();
  });
  if (!isNewest()) return;
  if (failed) {
    state.problem = failed.message;
    if (!state.status) part('sign-in-error').textContent = failed.message;
  } else {
    const parts = [() => state.view?.refresh(state.status, isNewest), () => state.bill.refresh(isNewest)];
    failed = (await Promise.all(parts.map(caught))).find(Boolean);
    if (!isNewest()) return;
    state.partProblem = failed?.message ?? '';
  }
  if (failed?.status === 401 || failed?.status === 403) {
    leave(failed.message);
    return;
  }
  showFreshness();
  state.everyMs = failed?.status === 429 ? Math.min(2 * state.everyMs, SLOWEST_EVERY_MS) : STATUS_EVERY_MS;
  if (hasKey() && !document.hidden) state.timer = setTimeout(look, state.everyMs);
}

/** The error of an act; one of the page's own is reported, and ends no look at the fleet. */
async function caught(act) {
  try {
    await act();
    return null;
  } catch (error) {
    if (error instanceof ApiError) return error;
    reportError(error);
    return new ApiError(0, `The page cannot show the answer (${error.message}).`);
  }
}

function leave(message) {
  clearTimeout(state.timer);
  state.turn += 1; // what is still on its way shows nothing
  useKey('');
  dropDialogs();
  part('problems').replaceChildren();
  sessionStorage.removeItem(KEPT_KEY);
  document.body.classList.remove('stale');
  Object.assign(state, { status: null, view: null, bill: null, selected: null, heardAt: 0, problem: '', partProblem: '' });
  part('group').replaceChildren();
  part('bill').replaceChildren();
  part('fleet').hidden = true;
  for (const name of ACCOUNT_ACTIONS) part(name).hidden = true;
  part('sign-in').hidden = false;
  part('badges').replaceChildren();
  part('sign-in-error').textContent = message;
  part('key').focus();
}

function show() {
  const { status } = state;
  const opening = part('fleet').hidden;
  part('sign-in').hidden = true;
  part('fleet').hidden = false;
  for (const name of ACCOUNT_ACTIONS) part(name).hidden = false;
  const shown = status.groups.find((one) => one.id === state.selected) ?? worstFirst(status.groups)[0];
  state.selected = shown?.id ?? null;
  showBadges(status);
  showAnswers(status);
  showGroups(status);
  showGroup(shown);
  if (!state.bill) part('bill').replaceChildren((state.bill = new Bill()).node);
  if (opening) {
    scrollTo(0, 0);
    part('freeze').focus({ preventScroll: true });
  }
}

function showBadges(status) {
  const { account } = status;
  part('panic').textContent = account.is_panicking ? 'End the panic' : 'Destroy everything';
  fill(part('badges'),
    el('span', { class: 'badge' }, status.stage),
    status.is_simulated && el('span', { class: 'badge simulated' }, 'simulated market, no real money'),
    account.is_frozen && el('span', { class: 'badge warn' }, 'frozen: nothing is rented, started, stopped or destroyed'),
    account.is_panicking && el('span', { class: 'badge bad' }, 'panic: everything is being destroyed'));
  part('freeze').textContent = account.is_frozen ? 'Unfreeze everything' : 'Freeze everything';
}

/** What the button said when it was pressed, whatever another tab did since. */
async function freeze() {
  const frozen = !state.status.account.is_frozen;
  if (!frozen && !await askCost('Unfreeze everything?', { unfreeze: true }, 'Unfreeze', [], true)) return;
  await send('POST', 'api/v0/freeze', { frozen });
  await look();
}

/** The last resort: every machine of every group. */
async function panic() {
  const { account, groups, stage } = state.status;
  const n = groups.reduce((all, one) => all + one.n_workers, 0);
  const usdNow = groups.reduce((all, one) => all + one.money.usd_per_hour, 0);
  if (account.is_panicking) {
    if (!await ask('End the panic?', ['Groups rent and scale again.'], { yes: 'End it' })) return;
    await send('POST', 'api/v0/panic', { clear: true });
  } else {
    const lines = [`Deployment ${stage}: ${count(n, 'machine')} at ${usd(usdNow)} an hour. Requests fail until the panic is ended.`];
    if (!await ask('Destroy every machine of every group?', lines, { yes: 'Destroy everything', words: PANIC_WORDS })) return;
    state.panickedAt = state.status.now; // an older list of Vast's proves nothing
    await send('POST', 'api/v0/panic', { confirm: PANIC_WORDS });
  }
  await look();
}

/** The page needs the server to destroy anything; the command does not. */
function panicFailed(error) {
  const direct = state.status ? ` Without the server: ballast panic --direct --stage ${state.status.stage}` : '';
  tell(`Destroy everything: ${error.message}${direct}`);
}

/** The three answers a stranger wants within ten seconds. */
function showAnswers(status) {
  const { account, groups, now } = status;
  const health = accountHealth(status);
  const latest = groups.map((one) => ({ group: one, event: one.last_decision })).filter((one) => one.event)
    .sort((a, b) => b.event.at - a.event.at)[0];
  const [what, why] = latest ? actAndReason(latest.event.message) : [];
  say(clean(`${WORDS[health.level]}: ${health.reasons.map(([text]) => text).join(' ')}`));
  const { caps } = account;
  const sum = (read) => groups.reduce((all, one) => all + read(one), 0);
  fill(part('answers'),
    answer('Is it healthy?', WORDS[health.level], reasons(health.reasons), `judged ${health.level}`,
      `${number(sum((one) => one.workers_by_state.ready ?? 0))} of ${count(sum((one) => one.n_workers), 'worker')} ready, ${count(sum((one) => one.queue.n_waiting), 'request')} waiting. The scaler looked ${ago(account.scaler.last_round_at, now)}.`),
    answer('What does it cost?', `${usd(sum((one) => one.money.usd_per_hour))} an hour`,
      `About ${usd(account.spent_today_usd)} so far today. Limits: ${usd(caps.usd_per_hour)} an hour, ${usd(caps.usd_per_day)} a day, ${usd(caps.usd_per_month)} a month.`, costLevel(account),
      `Cap use (worst case): ${usd(account.committed_usd_per_hour)} of ${usd(caps.usd_per_hour)} an hour, ${usd(account.counted_today_usd)} of ${usd(caps.usd_per_day)} today, ${usd(account.counted_month_usd)} of ${usd(caps.usd_per_month)} this month.`,
      bar(account.committed_usd_per_hour, caps.usd_per_hour, 'of the hourly limit is used')),
    latest ? answer('Why did it last act?', what, why, 'plain', `${brief(latest.group.endpoint_name)}, ${ago(latest.event.at, now)}`)
      : answer('Why did it last act?', 'It has not acted yet', 'Each decision appears here with its reason.', 'plain'));
}

/** Read aloud what changed, and only that: all that is painted anew every two seconds would be noise. */
function say(text) {
  if (part('said').textContent !== text) part('said').textContent = text;
}

/** What is wrong, worst first; what does not fit is a click away, never left out. */
function reasons(found) {
  const items = (some) => some.map(([text, section]) => el('li', {}, withCommands(text), section && el('small', {}, ` (runbook: ${section})`)));
  const [first, rest] = [found.slice(0, SHOWN_REASONS), found.slice(SHOWN_REASONS)];
  return el('div', { class: 'reasons' }, el('ul', {}, items(first)),
    rest.length > 0 && el('details', { 'data-focus': 'more reasons' }, el('summary', {}, `and ${rest.length} more`), el('ul', {}, items(rest))));
}

function answer(question, short, sentence, level, foot, extra) {
  return el('article', { class: `answer ${level}` }, el('h2', {}, question),
    el('p', { class: `short ${short.length > 26 ? 'long' : ''}` }, short), extra, sentence instanceof Node ? sentence : el('p', {}, sentence),
    foot && el('p', { class: 'foot' }, foot));
}

function costLevel(account) {
  const used = Math.max(
    account.committed_usd_per_hour / (account.caps.usd_per_hour || Infinity),
    account.counted_today_usd / (account.caps.usd_per_day || Infinity),
    account.counted_month_usd / (account.caps.usd_per_month || Infinity));
  return used >= 0.999 ? 'bad' : used > 0.9 ? 'warn' : 'ok';
}

/** The worst level, and what is wrong, worst first. */
function accountHealth({ account, groups, now }) {
  const found = groups.flatMap((one) => one.health_reasons.map((text) => reasonOf(one, text)));
  const told = groups.flatMap((one) => one.troubles ?? []).map((one) => one.kind);
  if (account.scaler.silence) found.unshift(['bad', account.scaler.silence, 'scaler-silent']);
  const isTold = found.some(([, text]) => text.includes("list of instances"));
  if (account.inventory.state === 'unknown' && !isTold) found.push(['warn', `Vast's list of instances is not trusted (${account.inventory.problem || 'no answer'}); nothing is rented or destroyed on doubt.`]);
  if (account.inventory.n_strays && !told.includes('stray_machines')) found.push(['warn', `${count(account.inventory.n_strays, 'instance')} under our label, but in no book of ours: never touched.`]);
  found.sort((a, b) => ORDER.indexOf(b[0]) - ORDER.indexOf(a[0]));
  if (account.is_panicking) found.unshift(panicState(account, groups, now)); // first, whatever its level
  if (!groups.length && !found.length) return { level: 'empty', reasons: [['There is no endpoint group yet: nothing is rented, and nothing can be served.']] };
  const worst = Math.max(0, ...found.map(([level]) => ORDER.indexOf(level)));
  const sections = new Map(found.map(([, text, section]) => [text, section]));
  return { level: ORDER[worst], reasons: sections.size ? [...sections] : [['Requests start in time, and enough workers are ready.']] };
}

/** A reason with the runbook's section where it has one; what is wrong for all groups is told once. */
function reasonOf(group, text) {
  const trouble = (group.troubles ?? []).find((one) => one.message === text);
  const whole = trouble?.scope === 'account' ? capital(text) : `${brief(group.endpoint_name)}: ${text}`;
  return [group.health, whole, trouble?.runbook.split('#')[1]];
}

/** How far a panic has come: none is left only by a whole list of Vast's that is newer than it. */
function panicState({ inventory }, groups, now) {
  const n = groups.reduce((all, one) => all + one.n_workers, 0);
  if (n) return ['bad', `Panic: everything is being destroyed; ${count(n, 'machine')} left.`];
  if (inventory.state !== 'known' || !(inventory.at > state.panickedAt)) return ['bad', "Panic: no machine is known to be left; a whole list of Vast's that proves it has not come yet."];
  if (inventory.n_strays) return ['bad', `Panic: none of ours is left, but ${count(inventory.n_strays, 'instance')} under our label: not destroyed, see Vast's own page.`];
  return ['warn', `Panic: no machine is left, by Vast's list of ${ago(inventory.at, now)}. Nothing is rented until the panic is ended.`];
}

function worstFirst(groups) {
  const cost = (one) => one.money.usd_per_hour;
  return [...groups].sort((a, b) => ORDER.indexOf(b.health) - ORDER.indexOf(a.health) || cost(b) - cost(a));
}

function showGroups(status) {
  const wanted = part('find-text').value.trim().toLowerCase();
  part('find').hidden = status.groups.length < SEARCHED_FROM;
  const found = worstFirst(status.groups).filter((one) => one.endpoint_name.toLowerCase().includes(wanted));
  fill(part('groups'), found.map((group) => el('button', {
    type: 'button', class: 'tab', 'data-focus': `group ${group.id}`, 'aria-pressed': String(group.id === state.selected),
    onclick: () => { state.selected = group.id; show(); look(); },
    title: clean(group.endpoint_name),
  }, el('span', { class: `dot ${group.health}`, title: WORDS[group.health] }), el('span', { class: 'name' }, group.endpoint_name),
  el('small', {}, ` ${usd(group.money.usd_per_hour)}/h`))),
  button('New endpoint group', () => editGroup(null, look), { class: 'tab new' }));
}

function showGroup(group) {
  if (!group) {
    state.view = null;
    part('group').replaceChildren(el('p', { class: 'empty' }, 'No endpoint group yet. Make one here, or with ',
      el('code', {}, 'ballast create endpoint --endpoint_name NAME'), '.'));
  } else if (state.view?.id !== group.id) {
    state.view = new GroupView(group.id, look);
    part('group').replaceChildren(state.view.node);
  }
}

function showFreshness() {
  const quiet = state.heardAt ? (Date.now() - state.heardAt) / 1000 : 0;
  const stale = hasKey() && state.status && quiet > STALE_AFTER_S;
  const isOld = Boolean(state.status) && hasKey() && (stale || Boolean(state.problem));
  const seen = state.heardAt ? `Shown: ${new Date(state.heardAt).toLocaleTimeString('en-GB')}, ${duration(quiet)} ago.` : '';
  const older = state.status && state.partProblem ? `Parts of this page are older: ${state.partProblem}` : '';
  part('freshness').textContent = isOld ? `${state.problem || 'No news.'} ${seen}` : older;
  part('freshness').className = isOld || older ? 'error' : '';
  document.body.classList.toggle('stale', isOld);
  const judged = part('answers').querySelector('.answer .short');
  if (isOld && judged) {
    say('Not known: the page is old.');
    judged.textContent = `Not known for ${duration(quiet)}`;
    judged.closest('.answer').className = 'answer judged warn';
    part('answers').querySelector('.reasons').replaceChildren(el('p', {}, 'What is below is old. Is the deployment up? ', el('code', {}, 'ballast doctor'),
      ' looks closer; ', el('code', {}, `ballast panic --direct --stage ${state.status.stage}`), ' ends all spending without it.'));
  }
}
