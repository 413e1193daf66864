// Realistic attributes for each event, of the requested size.
import { sizes } from '../config.js';

// The rest of a request: header, names, ids.
const ENVELOPE_BYTES = 305;

const core = {
  CarCreated: { make: 'Skoda', model: 'Octavia', engine: { fuel: 'petrol', kW: 110 } },
  LoanCreated: { balance: 24439.75, rate: 4.9, term: { months: 60, paid: 0 } },
  LoanPaymentSubmitted: { amount: 512.37, currency: 'EUR', method: { kind: 'sepa', last4: '4711' } },
  ServiceDone: { odometer: 48210, workshop: { id: 'ws-17', bay: 3 }, cost: 389.9 },
};

// The items of the lists that make an event large, as text: serializing objects takes k6 ten times
// as long, and every user has its own copy.
const details = {
  CarCreated: ['equipment', (n) => `{"code":"EQ-${1000 + n}","name":"Adaptive cruise control",`
    + `"price":{"net":${410.5 + n},"currency":"EUR"},`
    + `"fitted":{"plant":"Mlada Boleslav","line":${n % 7},"checked":true}}`],
  LoanCreated: ['schedule', (n) => `{"due":"${2024 + Math.floor(n / 12)}-${10 + n % 3}-15","amount":460.12,`
    + `"parts":{"principal":${381.4 + n % 50},"interest":78.72},"state":"open"}`],
  LoanPaymentSubmitted: ['postings', (n) => `{"account":"DE89-3704-0044-${10000 + n}",`
    + `"side":"${n % 2 ? 'credit' : 'debit'}","amount":${12.75 + n},`
    + `"references":{"invoice":"INV-${20000 + n}","note":"Überweisung, fällig"}}`],
  ServiceDone: ['work', (n) => `{"step":${n + 1},"task":"Brake pads, front axle","minutes":${15 + n % 40},`
    + `"parts":[{"number":"5Q0-698-${100 + n}","count":2,"price":34.9},{"number":"N-911","count":8,"price":0.45}]}`],
};

// The text of an attributes object without its opening brace, so that a first member that differs
// from event to event can be put before it.
function text(name, bytes) {
  const [list, item] = details[name];
  let body = JSON.stringify(core[name]).slice(1, -1);
  const missing = () => bytes - ENVELOPE_BYTES - utf8(body);
  if (missing() > 500) {
    const count = Math.floor((missing() - 30) / (utf8(item(0)) + 4)); // later items have more digits
    body += `,"${list}":[${Array.from({ length: count }, (_, n) => item(n)).join(',')}]`;
  }
  const note = missing() - ',"note":""'.length;
  if (note > 0) {
    body += `,"note":"${'seen and signed, '.repeat(note / 17 + 1).slice(0, note)}"`;
  }
  return `${body}}`;
}

// The UTF-8 length of a text of one-byte and two-byte letters.
function utf8(string) {
  return string.length + (string.match(/[^\x00-\x7f]/g) || []).length;
}

const known = {};

// Attributes for an event of this name and size, as JSON text that differs with `revision`.
export function attributes(name, label, revision) {
  const key = name + label;
  if (known[key] === undefined) {
    known[key] = text(name, sizes[label].bytes);
  }
  return `{"revision":${revision},${known[key]}`;
}
