// The requests to single entities that a virtual user makes with OPERATION, one after the other.
import { conditional, ownEntities } from '../config.js';
import { below, byWeight } from './choose.js';
import { nextContent, nextEvent } from './events.js';
import { operationWeights } from './settings.js';

const chooseOperation = byWeight(operationWeights);

// {type, id, name, version, revision} of the entities that only this user writes. `revision` is the
// attribute that differs with every write.
let own = [];

// The next request: {operation, event} for an event, else {operation, uuid, type, id, attributes,
// revision, version, expected}. `version` is what the answer must have; `expected`, if it isn't 0, is
// the version that the entity must have before.
export function nextRequest(size) {
  const operation = own.length < ownEntities ? 'create' : chooseOperation();
  if (operation === 'event') {
    return { operation, event: nextEvent(size) };
  }
  if (operation === 'create') {
    const { uuid, name, entityType, attributes, revision } = nextContent(size);
    const entity = { type: entityType, id: uuid, name, version: 0, revision: 0 };
    return Object.assign(request(operation, entity), { uuid, attributes, revision });
  }
  const entity = own[below(own.length)];
  if (operation === 'get') {
    return request(operation, entity);
  }
  const { uuid, attributes, revision } = nextContent(size, entity.name);
  const expected = Math.random() < conditional ? entity.version : 0;
  return Object.assign(request(operation, entity), { uuid, attributes, revision, expected });
}

function request(operation, entity) {
  const { type, id, revision } = entity;
  const version = operation === 'get' ? entity.version : entity.version + 1;
  return { operation, entity, type, id, version, revision, expected: 0 };
}

// Whether an answer is the right one. That to a read has {id, version, revision}, that to a write
// {eventId, duplicate, id, version, created}.
export function isExpected(request, answer) {
  if (answer.id !== request.id || answer.version !== request.version) {
    return false;
  }
  if (request.operation === 'get') {
    return answer.revision === request.revision;
  }
  return answer.eventId === request.uuid && answer.duplicate === false
    && answer.created === (request.operation === 'create');
}

// Keeps what a correct answer to a write says.
export function written({ operation, entity, version, revision }) {
  if (operation === 'delete') {
    forget(entity);
    return;
  }
  Object.assign(entity, { version, revision });
  if (operation === 'create' && own.length < ownEntities) {
    own.push(entity);
  }
}

// After a request of unknown outcome, the entity's version is unknown too.
export function forget(entity) {
  own = own.filter((other) => other !== entity);
}
