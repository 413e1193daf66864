// The outcomes of requests, counted so that they can be compared with the rows of the database.
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';
import { forget, isExpected, written } from './entities.js';
import { remember } from './events.js';

const sent = new Counter('events_sent'); // counted before the call: sent without another outcome is unknown
const created = new Counter('events_new');
const duplicate = new Counter('events_duplicate');
const reads = new Counter('reads'); // answered requests that store no event
const refused = new Counter('events_refused'); // the service says that nothing was stored
const wrong = new Counter('wrong_responses'); // OK with the wrong content
const errors = new Rate('errors');

const MAX_LOGGED = 3; // errors per user
let logged = 0;

// `tags` are k6's; none where only events are sent.
export function countSent(tags) {
  sent.add(1, tags);
}

// The response to an event. `answer` is null if the status wasn't OK, else {success, eventId, duplicate,
// entities} with entities of {id, version, created}. `stored` is false if the response says that nothing
// was stored.
export function checkResponse(event, { answer, stored, text }, tags) {
  const accepted = event.duplicate ? duplicate : created;
  const label = `${event.name} ${event.uuid}${event.duplicate ? ' again' : ''}`;
  if (judge({ answer, stored, text }, () => isCorrect(event, answer), accepted, label, tags)) {
    remember(event, answer.entities[0].version);
  }
}

// The response to a request of entities.js, as above; see isExpected() for `answer`.
export function checkEntityResponse(request, { answer, stored, text }, tags) {
  const { operation, type, id, entity } = request;
  const reading = operation === 'get';
  const outcome = { answer, stored: stored && !reading, text }; // a read never stores anything
  const label = `${operation} ${type}/${id}`;
  if (!judge(outcome, () => isExpected(request, answer), reading ? reads : created, label, tags)) {
    if (answer !== null || stored) {
      forget(entity);
    }
  } else if (!reading) {
    written(request);
  }
}

// Counts a response, and returns whether it is the right one.
function judge({ answer, stored, text }, isCorrect, accepted, label, tags) {
  const ok = check(answer, {
    'accepted': (answer) => answer !== null,
    'the response is correct': (answer) => answer === null || isCorrect(),
  }, tags);
  errors.add(!ok, tags);
  if (ok) {
    accepted.add(1, tags);
    return true;
  }
  if (answer !== null) {
    wrong.add(1, tags);
  } else if (!stored) {
    refused.add(1, tags);
  }
  log(label, text);
  return false;
}

function isCorrect(event, answer) {
  if (answer.success !== true || answer.eventId !== event.uuid || answer.duplicate !== event.duplicate) {
    return false;
  }
  if (answer.entities.length !== 1) {
    return false;
  }
  const { id, version, created } = answer.entities[0];
  return id === event.entityId && version >= 1 && created === (version === 1)
    && (event.version === 0 || version === event.version);
}

function log(label, text) {
  if (logged < MAX_LOGGED) {
    logged += 1;
    console.error(`${label}: ${text()}`);
  }
}
