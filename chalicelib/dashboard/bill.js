// What the last days cost, by day and group, deleted ones too; and what the month will.

import { get } from './api.js';
import { el, fill, table } from './dom.js';
import { count, share, usd } from './format.js';

const DAYS = 7;
const ASK_EVERY_MS = 60000;
const MAX_ROWS = 50;
const PARTS = [['GPU', 'gpu_usd'], ['disk', 'disk_usd'], ['traffic, estimated', 'bandwidth_usd'], ['downloads, estimated', 'download_usd'], ['total', 'total_usd']];

export class Bill {
  constructor() {
    this.askedAt = 0;
    this.content = el('div');
    this.node = el('section', {}, el('h3', {}, 'What it cost'), this.content);
  }

  /** Ask anew once a minute. */
  async refresh(isNewest) {
    if (Date.now() - this.askedAt < ASK_EVERY_MS) return;
    const answer = await get('api/v0/spend', { days: DAYS });
    if (!isNewest()) return;
    this.askedAt = Date.now();
    const rows = [...answer.rows].sort((a, b) => String(b.day).localeCompare(String(a.day)) || b.total_usd - a.total_usd);
    const columns = [{ title: 'day' }, { title: 'group' }, ...PARTS.map(([title]) => ({ title, right: true }))];
    const cells = rows.slice(0, MAX_ROWS).map((row) => [
      row.day, `${row.endpoint_name}${row.is_deleted ? ' (deleted)' : ''}`, ...PARTS.map(([, name]) => usd(row[name], 3)),
    ]);
    fill(this.content, el('p', {}, month(answer)), table(`The last ${DAYS} days (UTC)`, columns, cells, 'Nothing was spent yet.'));
  }
}

function month({ month: { so_far_usd: soFar, forecast_usd: forecast, cap_usd: cap }, aws_estimate_usd: aws, fixed_fleet: fixed }) {
  const saved = fixed
    ? ` A fixed fleet of ${count(fixed.n_workers, 'worker')} (the most that were ever ready at once, running all the time) would have cost ${usd(fixed.usd)}: ${compared(fixed)}.` : '';
  const then = forecast == null ? 'its end is not known before an hour has passed' : `about ${usd(forecast)} by its end at this rate`;
  return `This month ${usd(soFar)} so far, ${then}; the limit is ${usd(cap)}. AWS itself: about ${usd(aws)} in these days (an estimate).${saved}`;
}

/** What was saved, of the fixed fleet's price; or how much less that fleet costs, of ours. */
function compared({ usd: fixedUsd, saved_share: saved }) {
  return saved >= 0 ? `${share(saved)} saved` : `${share(1 - fixedUsd / (fixedUsd * (1 - saved)))} less than was spent`;
}
