// Believable attributes for each event, brought to the wished size.
import { SharedArray } from 'k6/data';
import { events, sizes } from '../config.js';

// What a request has besides: header, names, ids.
const ENVELOPE_BYTES = 305;

const core = {
  CarCreated: { make: 'Skoda', model: 'Octavia', engine: { fuel: 'petrol', kW: 110 } },
  LoanCreated: { balance: 24439.75, rate: 4.9, term: { months: 60, paid: 0 } },
  LoanPaymentSubmitted: { amount: 512.37, currency: 'EUR', method: { kind: 'sepa', last4: '4711' } },
  ServiceDone: { odometer: 48210, workshop: { id: 'ws-17', bay: 3 }, cost: 389.9 },
};

// The lists that make an event large.
const details = {
  CarCreated: ['equipment', (n) => ({
    code: `EQ-${1000 + n}`, name: 'Adaptive cruise control', price: { net: 410.5 + n, currency: 'EUR' },
    fitted: { plant: 'Mlada Boleslav', line: n % 7, checked: true },
  })],
  LoanCreated: ['schedule', (n) => ({
    due: `20${24 + Math.floor(n / 12) % 60}-${String(1 + n % 12).padStart(2, '0')}-15`,
    amount: 460.12, parts: { principal: 381.4 + n % 50, interest: 78.72 }, state: 'open',
  })],
  LoanPaymentSubmitted: ['postings', (n) => ({
    account: `DE89-3704-0044-${10000 + n}`, side: n % 2 ? 'credit' : 'debit', amount: 12.75 + n,
    references: { invoice: `INV-${20000 + n}`, note: 'Überweisung, fällig' },
  })],
  ServiceDone: ['work', (n) => ({
    step: n + 1, task: 'Brake pads, front axle', minutes: 15 + n % 40,
    parts: [{ number: `5Q0-698-${100 + n}`, count: 2, price: 34.9 }, { number: 'N-911', count: 8, price: 0.45 }],
  })],
};

// The text of an attributes object without its opening brace, so that a first member that differs
// from event to event can be put before it.
function text(name, bytes) {
  const [list, item] = details[name];
  const attributes = Object.assign({}, core[name]);
  let missing = bytes - ENVELOPE_BYTES - utf8(JSON.stringify(attributes));
  const items = [];
  for (let n = 0; missing > 400; n += 1) {
    items.push(item(n));
    missing -= utf8(JSON.stringify(items[n])) + 1;
  }
  if (items.length > 0) {
    attributes[list] = items;
    missing -= `,"${list}":[]`.length;
  }
  const noteBytes = missing - ',"note":""'.length;
  if (noteBytes > 0) {
    attributes.note = 'seen and signed, '.repeat(noteBytes / 17 + 1).slice(0, noteBytes);
  }
  return JSON.stringify(attributes).slice(1);
}

function utf8(string) {
  return encodeURIComponent(string).replace(/%../g, '_').length;
}

const names = Object.keys(events);
const labels = Object.keys(sizes);
// One copy for all users; it is read out of here anew on each access, so users keep what they use.
const shared = new SharedArray('attributes', () =>
  names.flatMap((name) => labels.map((label) => text(name, sizes[label].bytes))));
const known = {};

// Attributes for an event of this name and size, as JSON text that differs with `revision`.
export function attributes(name, label, revision) {
  const key = name + label;
  let tail = known[key];
  if (tail === undefined) {
    tail = shared[names.indexOf(name) * labels.length + labels.indexOf(label)];
    known[key] = tail;
  }
  return `{"revision":${revision},${tail}`;
}
