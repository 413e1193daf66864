// The events that a virtual user sends, one after the other.
import { events, hotKeys, sizes, workingSet } from '../config.js';
import { attributes } from './attributes.js';
import { below, byWeight } from './choose.js';
import { eventWeights, kindWeights } from './settings.js';

const chooseKind = byWeight(kindWeights);
const chooseName = byWeight(eventWeights);
const chooseSize = byWeight(Object.fromEntries(Object.entries(sizes).map(([label, size]) => [label, size.weight])));

let revision = 0;
let accepted = null;

// What the next write is about: a new uuid, and attributes of this size for an event of this name.
export function nextContent(size, name = chooseName()) {
  revision += 1;
  return {
    uuid: crypto.randomUUID(),
    name,
    entityType: events[name].entityType,
    attributes: attributes(name, size === 'mixed' ? chooseSize() : size, revision),
    revision,
  };
}

// The next event. `size` is a label of config.js or 'mixed'. `version` and `duplicate` are what the
// response must have; version 0: any.
export function nextEvent(size) {
  const kind = chooseKind();
  if (kind === 'repeat' && accepted !== null) {
    return accepted;
  }
  const content = nextContent(size);
  return Object.assign(content, {
    entityId: entityId(kind, content.uuid),
    createdDate: new Date().toISOString(),
    version: kind === 'new' ? 1 : 0,
    duplicate: false,
  });
}

// Keeps an accepted event to send it again: the response to the same uuid and content must be a
// duplicate with the same version.
export function remember(event, version) {
  if (!event.duplicate) {
    accepted = Object.assign({}, event, { version, duplicate: true });
  }
}

function entityId(kind, uuid) {
  switch (kind) {
    case 'update':
      return `known-${below(workingSet)}`;
    case 'hot':
      return `hot-${below(hotKeys)}`;
    default: // also a repetition while nothing has been accepted
      return `new-${uuid}`;
  }
}
