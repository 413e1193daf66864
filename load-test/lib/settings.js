// The environment variables, read and checked once.
import { events, kinds, modes, operations, phaseSeconds, sizes } from '../config.js';

export const modeName = __ENV.TEST_MODE || 'smoke';
export const mode = oneOf('TEST_MODE', modes, modeName);

export const host = __ENV.HOST || '127.0.0.1';
export const seconds = number('PHASE_SECONDS', mode.seconds || phaseSeconds);
export const rate = number('RATE', mode.rate || 1);
export const payload = __ENV.PAYLOAD_SIZE || mode.payload;
export const payloadGiven = Boolean(__ENV.PAYLOAD_SIZE);
if (payload !== 'mixed') {
  oneOf('PAYLOAD_SIZE', sizes, payload);
}

export const operation = __ENV.OPERATION || 'event';
export const operationWeights = oneOf('OPERATION', operations, operation);
// Those that may occur; 'create' comes before any other one of a single entity. None where only events
// are sent: they need no tag.
export const operationNames = operation === 'event'
  ? [] : [...new Set(['create', ...Object.keys(operationWeights)])];

const given = parseMix(__ENV.EVENT_MIX || '');
export const kindWeights = pick(kinds, (kind) => kinds[kind]);
export const eventWeights = pick(events, (name) => events[name].weight);

export function port(service) {
  return number('PORT', service.port);
}

function oneOf(setting, allowed, value) {
  if (!Object.prototype.hasOwnProperty.call(allowed, value)) {
    throw new Error(`${setting}: '${value}' must be one of ${Object.keys(allowed).join(', ')}`);
  }
  return allowed[value];
}

function number(setting, otherwise) {
  const value = __ENV[setting] ? Number(__ENV[setting]) : otherwise;
  if (!(value > 0)) {
    throw new Error(`${setting}: '${__ENV[setting]}' must be a number above 0`);
  }
  return value;
}

// 'new:45,LoanCreated:0' as an object; the keys are kinds and names of events.
function parseMix(text) {
  const mix = {};
  for (const part of text.split(',').filter((part) => part.trim() !== '')) {
    const [key, weight] = part.split(':').map((word) => word.trim());
    oneOf('EVENT_MIX', Object.assign({}, kinds, events), key);
    if (!(Number(weight) >= 0)) {
      throw new Error(`EVENT_MIX: the weight of '${key}' must be a number: '${weight}'`);
    }
    mix[key] = Number(weight);
  }
  return mix;
}

// The given weights of one group if there are any, else the defaults.
function pick(group, byDefault) {
  const keys = Object.keys(group);
  const weights = {};
  const any = keys.some((key) => given[key] > 0);
  for (const key of keys) {
    weights[key] = given[key] !== undefined ? given[key] : any ? 0 : byDefault(key);
  }
  return weights;
}
