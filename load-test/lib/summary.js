// k6's counts by phase: a table and, if SUMMARY_FILE is set, a JSON file.
import { modeName, operation, operationNames } from './settings.js';
import { phases } from './phases.js';

// Runs once, when the users are initialised and the first phase begins.
export function setup() {
  console.log(`phases begin: ${JSON.stringify(phases)}`);
  return { started: Date.now() };
}

export function summarize(api, latency, data) {
  const summary = {
    api,
    mode: modeName,
    operation,
    started: data.setup_data ? data.setup_data.started : null,
    phases: phases.map((phase) => forPhase(phase, latency, data.metrics)),
    operations: operationNames.map((name) => forOperation(name, latency, data.metrics)),
    total: counts((metric) => data.metrics[metric]),
    crossed: crossed(data.metrics),
  };
  const outputs = { stdout: table(summary) };
  if (__ENV.SUMMARY_FILE) {
    outputs[__ENV.SUMMARY_FILE] = JSON.stringify(summary, null, 1);
  }
  return outputs;
}

function forPhase(phase, latency, metrics) {
  const of = (metric) => metrics[`${metric}{scenario:${phase.name}}`];
  return Object.assign({}, phase, counts(of), latencies(of(latency)));
}

function forOperation(name, latency, metrics) {
  const of = (metric) => metrics[`${metric}{operation:${name}}`];
  return Object.assign({ name }, counts(of), latencies(of(latency)));
}

function latencies(metric) {
  const trend = (metric || { values: {} }).values;
  return { p50: trend.med || 0, p95: trend['p(95)'] || 0, p99: trend['p(99)'] || 0, max: trend.max || 0 };
}

// Requests by outcome. `unknown`: sent, and neither accepted nor refused.
function counts(of) {
  const value = (metric) => { const found = of(metric); return found ? found.values.count || 0 : 0; };
  const sent = value('events_sent');
  const created = value('events_new');
  const duplicate = value('events_duplicate');
  const read = value('reads');
  const refused = value('events_refused');
  return {
    sent, new: created, duplicate, read, refused,
    unknown: sent - created - duplicate - read - refused,
    wrong: value('wrong_responses'),
    dropped: value('dropped_iterations'),
  };
}

function crossed(metrics) {
  const all = [];
  for (const [metric, { thresholds }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) {
      if (!ok) {
        all.push(`${metric}: ${rule}`);
      }
    }
  }
  return all;
}

function table(summary) {
  const seconds = summary.phases.reduce((sum, phase) => sum + phase.seconds, 0);
  const row = (part, duration) => {
    const accepted = part.new + part.duplicate + part.read;
    return [
      part.name, part.sent, Math.round(accepted / duration),
      ...[part.p50, part.p95, part.p99].map((ms) => ms.toFixed(1)), part.sent - accepted,
    ];
  };
  const rows = summary.phases.map((phase) => row(phase, phase.seconds))
    .concat(summary.operations.map((one) => row(one, seconds)));
  rows.unshift(['phase', 'sent', 'events/s', 'p50 ms', 'p95 ms', 'p99 ms', 'failed']);
  const lines = rows.map((row) => row
    .map((cell, i) => (i === 0 ? String(cell).padEnd(16) : String(cell).padStart(10))).join(''));
  const result = summary.crossed.length > 0
    ? summary.crossed.map((rule) => `threshold crossed: ${rule}`).join('\n')
    : 'all thresholds passed';
  return `${summary.api}, ${summary.mode}, ${summary.operation}\n${lines.join('\n')}\n${result}\n`;
}
