// Events and single entities over gRPC. `k6 run grpc-api-test.js`; config.js names the settings.
import grpc from 'k6/net/grpc';
import { services, timeout } from './config.js';
import { nextRequest } from './lib/entities.js';
import { nextEvent } from './lib/events.js';
import { checkEntityResponse, checkResponse, countSent } from './lib/outcomes.js';
import * as plan from './lib/phases.js';
import { host, operationNames, port } from './lib/settings.js';
import { summarize } from './lib/summary.js';

export { setup } from './lib/summary.js';

const LATENCY = 'grpc_req_duration';
const address = `${host}:${port(services.grpc)}`;

export const options = plan.options(LATENCY);

const client = new grpc.Client();
const { proto, entityProto } = services.grpc;
client.load(['../proto'], ...(operationNames.length > 0 ? [proto, entityProto] : [proto]));
let connected = false; // once per user, for all its phases

export function sendEvent() {
  process(nextEvent(__ENV.SIZE));
}

// One of OPERATION.
export function operate() {
  const request = nextRequest(__ENV.SIZE);
  const tags = { operation: request.operation };
  if (request.operation === 'event') {
    process(request.event, tags);
    return;
  }
  countSent(tags);
  const method = `${services.grpc.entityMethods}/${methods[request.operation]}`;
  const response = invoke(method, entityMessage(request), tags);
  checkEntityResponse(request, outcome(response, entityOf), tags);
}

export function handleSummary(data) {
  return summarize('grpc', LATENCY, data);
}

function process(event, tags) {
  countSent(tags);
  const response = invoke(services.grpc.method, message(event), tags);
  checkResponse(event, outcome(response, answerOf), tags);
}

function invoke(method, message, tags) {
  try {
    connect();
    return client.invoke(method, message, { timeout, tags });
  } catch (error) {
    return { status: null, error: { message: String(error) } };
  }
}

// What outcomes.js needs of a response.
function outcome(response, answerOf) {
  return {
    answer: response.status === grpc.StatusOK ? answerOf(response.message) : null,
    stored: !refusedByService(response),
    text: () => `${response.status} ${JSON.stringify(response.error || response.message).slice(0, 500)}`,
  };
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

const methods = {
  create: 'CreateEntity', get: 'GetEntity', merge: 'MergeEntity', replace: 'ReplaceEntity', delete: 'DeleteEntity',
};

function entityMessage({ operation, uuid, type, id, attributes, expected }) {
  const message = { entity_type: type };
  if (operation !== 'create') {
    message.entity_id = id;
  }
  if (operation === 'get') {
    return message;
  }
  message.event_header = { uuid };
  if (expected > 0) {
    message.expected_version = expected;
  }
  return operation === 'delete' ? message : Object.assign(message, attributesOf(attributes));
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

// As above; with ATTRIBUTES=map the revision is text in the document.
function entityOf({ eventId, duplicate, entityId, version, created, attributesJson }) {
  const [, revision] = /"revision": ?"?(\d+)/.exec(attributesJson || '') || [];
  return { eventId, duplicate, id: entityId, version: Number(version), created, revision: Number(revision) };
}

// UNAVAILABLE from the service itself; without its ErrorInfo the outcome is unknown.
function refusedByService(response) {
  return response.status === grpc.StatusUnavailable
    && JSON.stringify(response.error || {}).includes('"producer"');
}
