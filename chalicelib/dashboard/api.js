// Ballast's HTTP API. The key lives in this variable and nowhere else.

const TIMEOUT_MS = 20000;
const UNSURE = 'Whether it was done nobody knows: look before you ask again.';

let key = '';

/** What was asked was not answered as it should be; `status` is HTTP's, 0 without any answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useKey(text) {
  key = text;
}

export function hasKey() {
  return key !== '';
}

export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value != null);
  const text = new URLSearchParams(given).toString();
  return call('GET', text ? `${path}?${text}` : path);
}

/** Ask with a body; nothing is changed by it. */
export function question(path, body) {
  return call('POST', path, body);
}

/** Have something changed; where no answer says so, nobody knows whether it was. */
export async function send(method, path, body) {
  try {
    return await call(method, path, body);
  } catch (error) {
    if (error.status > 0 && error.status < 500) throw error;
    throw new ApiError(error.status, `${sentence(error.message)} ${UNSURE}`);
  }
}

async function call(method, path, body) {
  // Relative to the page, so that a stage prefix before /dashboard stays.
  const url = new URL(path, document.baseURI);
  let answer;
  let text;
  try {
    answer = await fetch(url, {
      method,
      headers: { Authorization: `Bearer ${key}`, ...(body && { 'Content-Type': 'application/json' }) },
      body: body && JSON.stringify(body),
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    text = await answer.text();
  } catch (error) {
    throw new ApiError(0, 'The server does not answer.');
  }
  const content = parsed(text);
  if (content === null) throw new ApiError(answer.ok ? 0 : answer.status, `What answered (HTTP ${answer.status}) is not Ballast: its answer is not JSON.`);
  if (!answer.ok || content.success === false) throw new ApiError(answer.status, said(content, answer.status));
  return content;
}

/** What JSON holds; null where the text is none, as a proxy's page is. */
function parsed(text) {
  try {
    const content = JSON.parse(text);
    return typeof content === 'object' ? content : null;
  } catch {
    return null;
  }
}

/** The server's words, or those of the door before it, which has only its own. */
function said(content, status) {
  if (status === 429 && content.error !== 'rate_limited') return 'Requests are turned away, this one too: more come than are let through (HTTP 429).';
  return content.msg ?? content.error_msg ?? content.message ?? content.error ?? `HTTP ${status}`;
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
