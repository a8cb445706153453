// Ballast's HTTP API. The key lives in this variable and nowhere else.

let key = '';

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

export function send(method, path, body) {
  return call(method, path, body);
}

async function call(method, path, body) {
  // Relative to the page, so that a stage prefix before /dashboard stays.
  const url = new URL(path, document.baseURI);
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers: { Authorization: `Bearer ${key}`, ...(body && { 'Content-Type': 'application/json' }) },
      body: body && JSON.stringify(body),
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.timeout(20000),
    });
  } catch (error) {
    throw new ApiError(0, 'The server does not answer.');
  }
  const content = await answer.json().catch(() => null);
  if (!answer.ok || content === null || content.success === false) {
    throw new ApiError(answer.status, content?.msg ?? content?.error_msg ?? content?.error ?? `HTTP ${answer.status}`);
  }
  return content;
}
