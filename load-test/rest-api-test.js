// Events over REST. `k6 run rest-api-test.js`; config.js names the settings.
import http from 'k6/http';
import { services, timeout } from './config.js';
import { nextEvent } from './lib/events.js';
import { checkResponse, countSent } from './lib/outcomes.js';
import * as plan from './lib/phases.js';
import { host, port } from './lib/settings.js';
import { summarize } from './lib/summary.js';

export { setup } from './lib/summary.js';

const LATENCY = 'http_req_duration';
const url = `http://${host}:${port(services.rest)}${services.rest.path}`;
const params = { headers: { 'content-type': 'application/json' }, timeout };

export const options = plan.options(LATENCY);

export function sendEvent() {
  const event = nextEvent(__ENV.SIZE);
  countSent();
  const response = http.post(url, body(event), params);
  checkResponse(event, {
    answer: response.status === 200 ? answerOf(response) : null,
    stored: response.status !== 503,
    text: () => `${response.status} ${response.error} ${String(response.body).slice(0, 500)}`,
  });
}

export function handleSummary(data) {
  return summarize('rest', LATENCY, data);
}

// Concatenated: the attributes are text already, and serializing an object would take k6 more CPU.
function body(event) {
  return `{"eventHeader":{"uuid":"${event.uuid}","eventName":"${event.name}","eventType":"${event.name}",`
    + `"createdDate":"${event.createdDate}"},"eventBody":{"entities":[{"entityType":"${event.entityType}",`
    + `"entityId":"${event.entityId}","updatedAttributes":${event.attributes}}]}}`;
}

function answerOf(response) {
  let answer;
  try {
    answer = JSON.parse(response.body);
  } catch (_) {
    return { success: false };
  }
  const entities = (answer.entities || [])
    .map(({ entityId, version, created }) => ({ id: entityId, version, created }));
  return { success: answer.success, eventId: answer.eventId, duplicate: answer.duplicate, entities };
}
