// Numbers and times as people read them.

const DASH = '–';

/** The one way to show a number: a dash for what is none, never -0, never an exponent, never a false zero. */
function shown(value, text, least, unit = (amount) => amount) {
  if (!Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  const sign = value < 0 ? '-' : '';
  return size > 0 && size < least ? `<${unit(String(least))}` : `${sign}${unit(text(size))}`;
}

/** Dollars; less than the last digit shows is said to be less: '<$0.01'. */
export function usd(value, digits = 2) {
  const text = (size) => size.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return shown(value, text, 10 ** -digits, (amount) => `$${amount}`);
}

/** A load or count to three digits or so. */
export function number(value) {
  return shown(value, (size) => (Number.isInteger(size) || size >= 100 ? Math.round(size).toLocaleString('en') : String(Number(size.toPrecision(3)))), 0.001);
}

/** A number with its noun: '1 worker', '2 workers'. */
export function count(n, noun) {
  return `${number(n)} ${noun}${n === 1 ? '' : 's'}`;
}

/** A state as an owner reads it. */
export function stateWord(state) {
  return state === 'unavail' ? 'unavailable' : state;
}

/** What a plan does, as an owner reads it: a drain that is cancelled keeps its machine. */
export function actionWord(action) {
  return { recall: 'keep', bid: 'bid more for' }[action] ?? action;
}

/** A long name among others: its beginning and its end, which tell most names apart. */
export function brief(name) {
  return name.length > 40 ? `${name.slice(0, 24)}…${name.slice(-12)}` : name;
}

export function share(value) {
  return shown(Number.isFinite(value) ? 100 * value : null, (size) => String(Number(size.toPrecision(3))), 0.001, (amount) => `${amount} %`);
}

/** A duration in its two largest units: '4m 12s'. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return DASH;
  if (seconds < 10) return shown(Math.max(seconds, 0), (size) => size.toFixed(1), 0.05, (amount) => `${amount}s`);
  let left = Math.floor(seconds);
  const parts = [];
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]]) {
    const amount = Math.floor(left / size);
    left -= amount * size;
    if (amount || parts.length) parts.push(`${amount}${unit}`);
  }
  return parts.slice(0, 2).join(' ');
}

export function age(at, now) {
  return Number.isFinite(at) && at > 0 ? duration(now - at) : DASH;
}

export function ago(at, now) {
  return Number.isFinite(at) && at > 0 ? `${duration(now - at)} ago` : 'never';
}

export function clock(at) {
  return Number.isFinite(at) && at > 0 ? new Date(at * 1000).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' }) : DASH;
}

/** What was done, and why: "Start instance 7: Load rose." → two sentences' worth. */
export function actAndReason(message) {
  const refused = /^Not done \((.*?)\): ([^:]*)(?:: (.*))?$/s.exec(message);
  if (refused) return [`Not done: ${refused[2]}`, [refused[1], refused[3]].filter(Boolean).map(capital).join('. ')];
  const at = message.indexOf(': ');
  if (at < 0) return [capital(message), ''];
  return [capital(message.slice(0, at)), capital(message.slice(at + 2))];
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
