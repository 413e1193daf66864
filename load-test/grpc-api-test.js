// Events over gRPC. `k6 run grpc-api-test.js`; config.js names the settings.
import grpc from 'k6/net/grpc';
import { services, timeout } from './config.js';
import { nextEvent } from './lib/events.js';
import { checkResponse, countSent } from './lib/outcomes.js';
import * as plan from './lib/phases.js';
import { host, port } from './lib/settings.js';
import { summarize } from './lib/summary.js';

export { setup } from './lib/summary.js';

const LATENCY = 'grpc_req_duration';
const address = `${host}:${port(services.grpc)}`;
const params = { timeout };

export const options = plan.options(LATENCY);

const client = new grpc.Client();
client.load(['../proto'], services.grpc.proto);
let connected = false; // once per user, for all its phases

export function sendEvent() {
  const event = nextEvent(__ENV.SIZE);
  countSent();
  let response;
  try {
    connect();
    response = client.invoke(services.grpc.method, message(event), params);
  } catch (error) {
    response = { status: null, error: { message: String(error) } };
  }
  checkResponse(event, {
    answer: response.status === grpc.StatusOK ? answerOf(response.message) : null,
    stored: !refusedByService(response),
    text: () => `${response.status} ${JSON.stringify(response.error || response.message).slice(0, 500)}`,
  });
}

export function handleSummary(data) {
  return summarize('grpc', LATENCY, data);
}

function connect() {
  if (!connected) {
    client.connect(address, { plaintext: true, timeout });
    connected = true;
  }
}

function message(event) {
  return {
    event_header: {
      uuid: event.uuid, event_name: event.name, event_type: event.name, created_date: event.createdDate,
    },
    event_body: {
      entities: [Object.assign(
        { entity_type: event.entityType, entity_id: event.entityId }, attributesOf(event.attributes),
      )],
    },
  };
}

const attributesOf = {
  // exact and fastest
  json: (text) => ({ attributes_json: text }),
  // typed; numbers are doubles
  struct: (text) => ({ attributes: JSON.parse(text) }),
  // as older clients send: every value is a string
  map: (text) => ({
    updated_attributes: Object.fromEntries(Object.entries(JSON.parse(text))
      .map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)])),
  }),
}[__ENV.ATTRIBUTES || 'json'];

if (attributesOf === undefined) {
  throw new Error(`ATTRIBUTES: '${__ENV.ATTRIBUTES}' must be json, map or struct`);
}

// uint64 is text in JSON.
function answerOf(answer) {
  const entities = answer.entities
    .map(({ entityId, version, created }) => ({ id: entityId, version: Number(version), created }));
  return { success: answer.success, eventId: answer.eventId, duplicate: answer.duplicate, entities };
}

// UNAVAILABLE from the service itself; without its ErrorInfo the outcome is unknown.
function refusedByService(response) {
  return response.status === grpc.StatusUnavailable
    && JSON.stringify(response.error || {}).includes('"producer"');
}
