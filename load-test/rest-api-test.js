// Events and single entities over REST. `k6 run rest-api-test.js`; config.js names the settings.
import http from 'k6/http';
import { services, timeout } from './config.js';
import { nextRequest } from './lib/entities.js';
import { nextEvent } from './lib/events.js';
import { checkEntityResponse, checkResponse, countSent } from './lib/outcomes.js';
import * as plan from './lib/phases.js';
import { host, port } from './lib/settings.js';
import { summarize } from './lib/summary.js';

export { setup } from './lib/summary.js';

const LATENCY = 'http_req_duration';
const server = `http://${host}:${port(services.rest)}`;
const url = server + services.rest.path;
const headers = { 'content-type': 'application/json' };

export const options = plan.options(LATENCY);

export function sendEvent() {
  post(nextEvent(__ENV.SIZE));
}

// One of OPERATION.
export function operate() {
  const request = nextRequest(__ENV.SIZE);
  const tags = { operation: request.operation };
  if (request.operation === 'event') {
    post(request.event, tags);
    return;
  }
  countSent(tags);
  const response = send[request.operation](entityUrl(request), request, tags);
  checkEntityResponse(request, {
    answer: isOk(request, response) ? entityOf(request, response) : null,
    stored: response.status !== 503,
    text: () => text(response),
  }, tags);
}

export function handleSummary(data) {
  return summarize('rest', LATENCY, data);
}

function post(event, tags) {
  countSent(tags);
  const response = http.post(url, body(event), { headers, timeout, tags });
  checkResponse(event, {
    answer: response.status === 200 ? answerOf(response) : null,
    stored: response.status !== 503,
    text: () => text(response),
  }, tags);
}

const send = {
  create: (url, request, tags) => http.post(url, request.attributes, write(request, tags)),
  get: (url, request, tags) => http.get(url, { timeout, tags }),
  merge: (url, request, tags) => http.patch(url, request.attributes, write(request, tags)),
  replace: (url, request, tags) => http.put(url, request.attributes, write(request, tags)),
  delete: (url, request, tags) => http.del(url, null, write(request, tags)),
};

function entityUrl({ operation, type, id }) {
  const collection = `${server}${services.rest.entities}/${type}`;
  return operation === 'create' ? collection : `${collection}/${id}`;
}

function write({ operation, uuid, expected }, tags) {
  const fields = { 'idempotency-key': uuid };
  if (operation !== 'delete') {
    fields['content-type'] = operation === 'merge' ? 'application/merge-patch+json' : 'application/json';
  }
  if (expected > 0) {
    fields['if-match'] = `"${expected}"`;
  }
  return { headers: fields, timeout, tags };
}

function isOk({ operation }, response) {
  return response.status === (operation === 'create' ? 201 : 200);
}

// Also the headers must be those of the body.
function entityOf({ operation, type, id }, response) {
  let answer;
  try {
    answer = JSON.parse(response.body);
  } catch (_) {
    return {};
  }
  const { eventId, duplicate, entityId, version, created, data } = answer;
  const location = operation !== 'create' || String(response.headers.Location).endsWith(`/${type}/${id}`);
  if (response.headers.Etag !== `"${version}"` || !location) {
    return {};
  }
  return { eventId, duplicate, id: entityId, version, created, revision: data && data.revision };
}

function text(response) {
  return `${response.status} ${response.error} ${String(response.body).slice(0, 500)}`;
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
