// The outcomes of events, counted so that they can be compared with the rows of the database.
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';
import { remember } from './events.js';

const sent = new Counter('events_sent'); // counted before the call: sent without another outcome is unknown
const created = new Counter('events_new');
const duplicate = new Counter('events_duplicate');
const refused = new Counter('events_refused'); // the service says that nothing was stored
const wrong = new Counter('wrong_responses'); // OK with the wrong content
const errors = new Rate('errors');

const MAX_LOGGED = 3; // errors per user
let logged = 0;

export function countSent() {
  sent.add(1);
}

// `answer` is null if the status wasn't OK, else {success, eventId, duplicate, entities} with
// entities of {id, version, created}. `stored` is false if the response says that nothing was stored.
export function checkResponse(event, { answer, stored, text }) {
  const ok = check(answer, {
    'accepted': (answer) => answer !== null,
    'the response is correct': (answer) => answer === null || isCorrect(event, answer),
  });
  errors.add(!ok);
  if (ok) {
    (event.duplicate ? duplicate : created).add(1);
    remember(event, answer.entities[0].version);
    return;
  }
  if (answer !== null) {
    wrong.add(1);
  } else if (!stored) {
    refused.add(1);
  }
  log(event, text);
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

function log(event, text) {
  if (logged < MAX_LOGGED) {
    logged += 1;
    console.error(`${event.name} ${event.uuid}${event.duplicate ? ' again' : ''}: ${text()}`);
  }
}
