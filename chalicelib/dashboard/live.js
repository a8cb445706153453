// What the page saw itself, look by look: it goes on where the finished minutes end.

const KEPT_S = 900;
const MINUTE_S = 60;

export class LivePoints {
  constructor() {
    this.points = [];
  }

  /** One look at a group. */
  add(group, at) {
    const values = {
      arriving_load: group.load.arriving, hot_target: group.load.hot_target,
      queue_time_s: group.queue.queue_time_s, usd_per_hour: group.money.usd_per_hour,
    };
    for (const [type, amount] of Object.entries(group.ready_by_gpu)) values[`capacity:${type}`] = amount;
    for (const [type, amount] of Object.entries(group.cold_by_gpu)) values[`cold_capacity:${type}`] = amount;
    this.points = [...this.points.filter((one) => one.at > at - KEPT_S && one.at < at), { at, values }];
  }

  /** The minutes that had ended when the looks began, then the looks. */
  after({ t, values }) {
    const minutes = t.filter((at) => at + MINUTE_S <= this.points[0].at);
    const names = new Set([...Object.keys(values), ...this.points.flatMap((one) => Object.keys(one.values))]);
    const columns = [...names].map((name) => [name, [
      ...minutes.map((_, index) => values[name]?.[index] ?? null),
      ...this.points.map((one) => one.values[name] ?? null),
    ]]);
    return { t: [...minutes, ...this.points.map((one) => one.at)], values: Object.fromEntries(columns) };
  }
}
