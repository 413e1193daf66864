// k6's counts by phase: a table and, if SUMMARY_FILE is set, a JSON file.
import { modeName } from './settings.js';
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
    started: data.setup_data ? data.setup_data.started : null,
    phases: phases.map((phase) => forPhase(phase, latency, data.metrics)),
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
  const trend = (of(latency) || { values: {} }).values;
  return Object.assign({}, phase, counts(of), {
    p50: trend.med || 0, p95: trend['p(95)'] || 0, p99: trend['p(99)'] || 0, max: trend.max || 0,
  });
}

// Events by outcome. `unknown`: sent, and neither accepted nor refused.
function counts(of) {
  const value = (metric) => { const found = of(metric); return found ? found.values.count || 0 : 0; };
  const sent = value('events_sent');
  const created = value('events_new');
  const duplicate = value('events_duplicate');
  const refused = value('events_refused');
  return {
    sent, new: created, duplicate, refused,
    unknown: sent - created - duplicate - refused,
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
  const rows = summary.phases.map((phase) => [
    phase.name, phase.sent, Math.round((phase.new + phase.duplicate) / phase.seconds),
    ...[phase.p50, phase.p95, phase.p99].map((ms) => ms.toFixed(1)), phase.sent - phase.new - phase.duplicate,
  ]);
  rows.unshift(['phase', 'sent', 'events/s', 'p50 ms', 'p95 ms', 'p99 ms', 'failed']);
  const lines = rows.map((row) => row
    .map((cell, i) => (i === 0 ? String(cell).padEnd(16) : String(cell).padStart(10))).join(''));
  const result = summary.crossed.length > 0
    ? summary.crossed.map((rule) => `threshold crossed: ${rule}`).join('\n')
    : 'all thresholds passed';
  return `${summary.api}, ${summary.mode}\n${lines.join('\n')}\n${result}\n`;
}
