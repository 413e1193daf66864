// The phases of a mode as k6's options: a scenario each, one after the other.
import { limits, pauseSeconds, sizes, sizeUsers } from '../config.js';
import { mode, operationNames, payload, payloadGiven, rate, seconds } from './settings.js';

// {name, users or rate, size, seconds, start}, in their order.
export const phases = plan();

function plan() {
  const width = String((mode.users || []).length).length;
  const repeated = mode.users && new Set(mode.users).size < mode.users.length;
  const all = mode.rate
    ? [{ name: `${rate}-per-second`, rate, size: payload, seconds }]
    : mode.users.map((users, i) => ({
      name: repeated ? `part-${String(i + 1).padStart(width, '0')}` : `${users}-users`,
      users, size: payload, seconds,
    }));
  if (mode.sizes && !payloadGiven) {
    const short = Math.max(5, Math.round(seconds / 4));
    for (const size of Object.keys(sizes)) {
      all.push({ name: `size-${size}`, users: sizeUsers, size, seconds: short, bySize: true });
    }
  }
  let start = 0;
  for (const phase of all) {
    phase.start = start;
    start += phase.seconds + pauseSeconds;
  }
  return all;
}

function scenario(phase) {
  const common = {
    exec: operationNames.length > 0 ? 'operate' : 'sendEvent',
    startTime: `${phase.start}s`,
    duration: `${phase.seconds}s`,
    gracefulStop: `${pauseSeconds}s`,
    env: { SIZE: phase.size },
  };
  if (phase.rate) {
    const users = Math.ceil(phase.rate / 5); // enough for responses that take 200 ms
    return Object.assign(common, {
      executor: 'constant-arrival-rate', rate: phase.rate, timeUnit: '1s',
      preAllocatedVUs: Math.min(users, 1000), maxVUs: Math.max(users, 2000),
    });
  }
  return Object.assign(common, { executor: 'constant-vus', vus: phase.users });
}

const counters = [
  'events_sent', 'events_new', 'events_duplicate', 'events_refused', 'reads', 'wrong_responses',
];

// Thresholds decide the result; they also make k6 keep a metric for each phase.
function thresholds(latency) {
  const all = { wrong_responses: ['count==0'], errors: [`rate<${mode.errors}`] };
  for (const phase of phases) {
    const of = (metric) => `${metric}{scenario:${phase.name}}`;
    all[of(latency)] = [`p(95)<${limits.p95}`, `p(99)<${limits.p99}`];
    all[of('errors')] = [`rate<${mode.errors}`];
    for (const count of counters) {
      all[of(count)] = ['count>=0'];
    }
    if (phase.rate) {
      all[of('dropped_iterations')] = [`count<${Math.ceil(phase.rate * phase.seconds * mode.errors)}`];
    }
  }
  for (const name of operationNames) {
    const of = (metric) => `${metric}{operation:${name}}`;
    all[of(latency)] = [`p(95)<${limits.p95}`, `p(99)<${limits.p99}`];
    all[of('errors')] = [`rate<${mode.errors}`];
    for (const count of counters) {
      all[of(count)] = ['count>=0'];
    }
    all[of('events_sent')] = ['count>0']; // one that is never tried has not passed
  }
  return all;
}

// `latency` is k6's own metric of a call.
export function options(latency) {
  return {
    scenarios: Object.fromEntries(phases.map((phase) => [phase.name, scenario(phase)])),
    thresholds: thresholds(latency),
    summaryTrendStats: ['avg', 'min', 'med', 'p(95)', 'p(99)', 'max'],
    systemTags: ['scenario'], // every further tag costs k6 CPU
  };
}
