// What the load tests drive, and how hard. Environment variables that change it:
//   HOST           where the service is                     (127.0.0.1)
//   PORT           its port                                 (the service's own, below)
//   TEST_MODE      smoke, full, saturation, arrival or soak (smoke)
//   PHASE_SECONDS  length of a phase                        (120; smoke: 30)
//   PAYLOAD_SIZE   400, 4KiB, 8KiB, 32KiB, 64KiB or mixed   (default of the mode)
//   OPERATION      event, create, get, update, delete or mixed: what the users do (event)
//   EVENT_MIX      weights, as new:45,update:40,hot:10,repeat:5,LoanCreated:0
//   RATE           events a second of `arrival`             (500)
//   ATTRIBUTES     json, map or struct: how gRPC carries attributes (json)

// To add a service, add an entry here and a script that calls it. `proto` is below ../proto.
export const services = {
  rest: { port: 9083, path: '/api/v1/events', entities: '/api/v1/entities' },
  grpc: {
    port: 9092,
    proto: 'producer/v1/event_service.proto',
    method: 'producer.v1.EventService/ProcessEvent',
    entityProto: 'producer/v1/entity_service.proto',
    entityMethods: 'producer.v1.EntityService',
  },
};

// The events, each with the type of the entity that it changes, and their weights.
export const events = {
  CarCreated: { entityType: 'Car', weight: 25 },
  LoanCreated: { entityType: 'Loan', weight: 15 },
  LoanPaymentSubmitted: { entityType: 'LoanPayment', weight: 40 },
  ServiceDone: { entityType: 'ServiceRecord', weight: 20 },
};

// The target of an event, and the weights: a new entity, one of the working set, one of a few hot
// ones, or an accepted event sent again with its uuid.
export const kinds = { new: 45, update: 40, hot: 10, repeat: 5 };
export const workingSet = 1000;
export const hotKeys = 10;

// What the users do with each OPERATION, and the weights. `create`, `get`, `merge`, `replace` and
// `delete` are requests to the routes, or rpcs, of single entities. Each user writes entities of its own
// and so knows their versions; while it has fewer than `ownEntities`, it creates one instead.
export const operations = {
  event: { event: 1 },
  create: { create: 1 },
  get: { get: 1 },
  update: { merge: 60, replace: 40 },
  delete: { delete: 1 },
  mixed: { get: 55, merge: 25, replace: 10, delete: 5, event: 5 },
};
export const ownEntities = 10;
export const conditional = 0.5; // the share of updates and deletes that expect the known version

// Bytes of a whole REST request body, and how often `mixed` takes each.
export const sizes = {
  '400': { bytes: 400, weight: 70 },
  '4KiB': { bytes: 4096, weight: 15 },
  '8KiB': { bytes: 8192, weight: 10 },
  '32KiB': { bytes: 32768, weight: 4 },
  '64KiB': { bytes: 65536, weight: 1 },
};

// `users` are k6's virtual users, one phase for each number. With `sizes`, a short phase for each
// payload size follows. `errors` is the share of events that may fail.
export const modes = {
  smoke: { users: [10], seconds: 30, payload: 'mixed', errors: 0.001 },
  full: { users: [10, 50, 100], payload: '400', sizes: true, errors: 0.05 },
  saturation: { users: [10, 50, 100, 200, 500, 1000, 2000], payload: '400', sizes: true, errors: 0.05 },
  arrival: { rate: 500, payload: '400', errors: 0.05 },
  soak: { users: Array(15).fill(50), payload: 'mixed', errors: 0.05 },
};
export const phaseSeconds = 120;
export const sizeUsers = 50;

// A request that takes longer has failed. The service responds within REQUEST_TIMEOUT (3 s).
export const timeout = '10s';
// A pause after each phase for its last responses, so that the users are free for the next one.
export const pauseSeconds = 5;
export const limits = { p95: 2000, p99: 5000 }; // milliseconds
