// What became of the events: counted, so that the sum can be held against the database.
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';
import { remember } from './events.js';

const sent = new Counter('events_sent'); // before the call: sent without an outcome is unknown
const created = new Counter('events_new');
const duplicate = new Counter('events_duplicate');
const refused = new Counter('events_refused'); // the service says that nothing was stored
const wrong = new Counter('wrong_answers'); // it says OK, but not what it should
const errors = new Rate('errors');

const MOST_COMPLAINTS = 3; // of a user
let complaints = 0;

export function sending() {
  sent.add(1);
}

// `answer` is null where the status wasn't OK, else {success, eventId, duplicate, entities} with
// entities of {id, version, created}. `stored` false: the answer says that nothing was stored.
export function judge(event, { answer, stored, text }) {
  const ok = check(answer, {
    'accepted': (answer) => answer !== null,
    'the answer is right': (answer) => answer === null || isRight(event, answer),
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
  complain(event, text);
}

function isRight(event, answer) {
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

function complain(event, text) {
  if (complaints < MOST_COMPLAINTS) {
    complaints += 1;
    console.error(`${event.name} ${event.uuid}${event.duplicate ? ' again' : ''}: ${text()}`);
  }
}
