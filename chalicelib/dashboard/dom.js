// Building the page from data that others wrote: every string becomes a text node, never markup.

const WAIT_SHOWN_AFTER_MS = 400;
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Text without control, invisible and direction-changing characters. */
export function clean(value) {
  return String(value ?? '').replace(CONTROL, '\ufffd');
}

/**
 * An element. `attributes` that are functions become event listeners (`onclick`), booleans are set
 * or left out, all others are plain attributes; children are nodes or text.
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  for (const child of children.flat()) {
    if (child == null || child === false || child === '') continue;
    node.append(child instanceof Node ? child : document.createTextNode(clean(child)));
  }
  return node;
}

let pressed = null; // between the button's going down and up, where a rebuild would lose the click
addEventListener('pointerdown', (event) => { pressed = event.target; }, true);
addEventListener('click', () => { pressed = null; }, true); // before whoever handles it paints anew
for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => setTimeout(() => { pressed = null; }), true);

/**
 * Replace a part of the page without taking the keyboard away: the focused element's successor with
 * the same `data-focus` gets the focus, and a part in which somebody types or clicks is left alone.
 */
export function fill(part, ...nodes) {
  if (pressed && part.contains(pressed)) return;
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  if (active && active.matches('input:not([type=checkbox]), select, textarea')) return;
  const focus = active?.dataset.focus;
  const open = [...part.querySelectorAll('details[open][data-focus]')].map((one) => one.dataset.focus);
  part.replaceChildren(...nodes.flat().filter(Boolean));
  for (const one of part.querySelectorAll('details[data-focus]')) {
    if (open.includes(one.dataset.focus)) one.open = true;
  }
  if (focus) part.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
}

/** A table: columns are {title, right}, rows are arrays of text or nodes. */
export function table(caption, columns, rows, empty = 'Nothing yet.') {
  const head = columns.map((one) => el('th', { scope: 'col', class: one.right && 'right' }, one.node ?? one.title));
  const body = rows.map((cells) => el('tr', {}, cells.map((cell, index) => el('td', {
    class: columns[index].right && 'right', 'data-title': columns[index].title,
  }, cell))));
  if (!rows.length) body.push(el('tr', {}, el('td', { colspan: columns.length, class: 'quiet' }, empty)));
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption, 'data-focus': `table ${caption}` },
    el('table', {}, el('caption', {}, caption), el('thead', {}, el('tr', {}, head)), el('tbody', {}, body)));
}

/** How much of a bound is used, from `high` on in another colour; nothing where there is no bound. */
export function bar(value, bound, label, high = 0.9 * bound) {
  if (!(bound > 0)) return false;
  const share = Math.round((100 * value) / bound);
  return el('meter', { min: 0, max: bound, value, high, 'aria-label': `${share} % ${label}` });
}

/** Text whose commands, between backticks, are set as such. */
export function withCommands(text) {
  const parts = String(text).split('`');
  return parts.length % 2 ? parts.map((part, index) => (index % 2 ? el('code', {}, part) : part)) : [text];
}

const underWay = []; // what somebody asked for, in turn, until the server has answered
let waitTimer = 0;
let session = 0; // grows when somebody leaves

/** Say what is waited for, once it takes long enough to wonder; not while the owner is asked. */
function showWaiting() {
  const part = document.getElementById('under-way');
  const [first] = underWay;
  clearTimeout(waitTimer);
  if (part.matches(':popover-open')) part.hidePopover();
  if (!first || document.getElementById('question').open) return;
  waitTimer = setTimeout(() => {
    part.textContent = `${clean(first.text)}: waiting for the server …`;
    part.showPopover(); // above an open dialog
  }, WAIT_SHOWN_AFTER_MS);
}

/**
 * Do what somebody asked for, one thing after the other; the same (`name`) pressed twice is done
 * once. What fails is told by `fail`. What is `urgent` waits for nothing.
 */
export async function deed(text, act, { name = text, fail = (error) => tell(`${text}: ${error.message}`), urgent = false } = {}) {
  if (underWay.some((one) => one.name === name)) return;
  const before = urgent ? [] : underWay.map((one) => one.done);
  const own = { text, name };
  const began = session;
  own.done = (async () => {
    await Promise.all(before);
    try {
      if (began === session) await act();
    } catch (error) {
      fail(error);
    } finally {
      underWay.splice(underWay.indexOf(own), 1);
      showWaiting();
    }
  })();
  underWay.push(own);
  showWaiting();
  await own.done;
}

/** Tell of something that went wrong, until somebody has read it and puts it away. */
export function tell(message) {
  const list = document.getElementById('problems');
  if ([...list.children].some((one) => one.dataset.text === message)) return;
  const item = el('li', { 'data-text': message }, message, ' ',
    el('button', { type: 'button', 'aria-label': `Dismiss: ${clean(message)}`, onclick: () => item.remove() }, 'Dismiss'));
  list.append(item);
}

let asked = Promise.resolve(); // the question before

/**
 * Ask before something that costs or stops; gives whether the answer was yes. `lines` are shown
 * below the question; with `words` these must be typed; without `no` it only tells. A question
 * never takes the place of another that somebody is about to answer.
 */
export function ask(question, lines = [], choices = {}) {
  const own = session;
  asked = asked.catch(() => false).then(() => own === session && open(question, lines, choices));
  return asked;
}

/** Nobody is there any more who could answer, or go on with a form. */
export function dropDialogs() {
  session += 1;
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
}

async function open(question, lines, { yes = 'Do it', no = 'Cancel', words = '' }) {
  const dialog = document.getElementById('question');
  const answer = await new Promise((resolve) => {
    const typed = words && el('input', { 'aria-label': `Type ${words}`, autocomplete: 'off', placeholder: words });
    const done = (answer) => { dialog.onclose = null; dialog.close(); resolve(answer); };
    dialog.onclose = () => dialog.open || resolve(false); // the end of the question before is told late
    dialog.replaceChildren(el('form', {
      method: 'dialog',
      onsubmit: (event) => {
        event.preventDefault();
        if (!words || typed.value.trim() === words) done(true);
        else typed.focus();
      },
    }, el('h2', { id: 'question-title' }, question), lines.map((text) => el('p', {}, text)),
    words && el('p', {}, `Type “${words}” to go on.`), typed,
    el('p', { class: 'tools' }, el('button', { type: 'submit' }, yes),
      // What changes nothing has the keyboard first: a second Enter must not answer.
      no && el('button', { type: 'button', autofocus: !words, onclick: () => done(false) }, no))));
    dialog.showModal();
    dialog.scrollTop = 0; // the question is read from its beginning, wherever the keyboard is
    showWaiting();
  });
  showWaiting();
  return answer;
}

/** A button whose failure is told at the top of the page, where it stays. */
export function button(text, act, attributes = {}) {
  const made = el('button', { type: 'button', 'data-focus': text, ...attributes }, text);
  made.addEventListener('click', () => deed(text, act, { name: made.dataset.focus }));
  return made;
}
