#!/usr/bin/env python3
"""Sends the histories of 406 real cars to a running producer, in four ways, and checks the result.
After each way it corrects one car (PUT with If-Match) and removes another (DELETE).

Needs Python 3.8 or newer and nothing else; the gRPC stream goes through grpcurl.
An event's uuid depends only on the car and the event, and so do the keys of the correction and the
removal. So a second run, in any way, changes nothing: everything is answered as a duplicate.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from threading import Lock
from urllib.parse import quote, urlsplit

DATA = Path(__file__).parent / "data" / "cars.json"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:producer:examples:cars")
WORKERS = 8  # concurrent connections for single events
BULK_SIZE = 500  # events in one array; the service takes up to 10,000
CORRECTED = "car-007"
REMOVED = "car-005"


# --- the events of a car -------------------------------------------------------------------------


def life_of(number, car):
    """Yields (event name, time, updates) of one car; an update is (type, id, attributes)."""
    car_id, loan_id, year = f"car-{number:03}", f"loan-{number:03}", int(car["Year"][:4])
    price = 1500 + 10 * (car["Horsepower"] or 100) + number

    yield "CarCreated", f"{year}-03-01T09:00:00Z", [("Car", car_id, {
        "name": car["Name"],
        "year": year,
        "origin": car["Origin"],
        "price": price,
        "milesPerGallon": car["Miles_per_Gallon"],  # null for eight cars: no such member then
        "engine": {
            "cylinders": car["Cylinders"],
            "displacement": car["Displacement"],
            "horsepower": car["Horsepower"],
        },
        "body": {"weightLbs": car["Weight_in_lbs"], "acceleration": car["Acceleration"]},
    })]
    yield "CarServiced", f"{year}-09-12T08:30:00Z", [("Car", car_id, {
        "service": {
            "last": {"date": f"{year}-09-12", "miles": 4000 + 7 * number, "workshop": "North"},
            "next": {"date": f"{year + 1}-09-12"},
        },
    })]
    # Nested: only these members change, the workshop is kept.
    yield "CarServiced", f"{year + 1}-09-15T08:30:00Z", [("Car", car_id, {
        "service": {"last": {"date": f"{year + 1}-09-15", "miles": 15000 + 7 * number}},
    })]
    if number % 2 == 0:
        yield from loan_of(car_id, loan_id, year, price)
    if number % 3 == 0:
        # null removes: a sold car has no next service.
        yield "CarSold", f"{year + 3}-05-20T14:00:00Z", [("Car", car_id, {
            "sold": {"date": f"{year + 3}-05-20", "price": price // 2},
            "service": {"next": None},
        })]


def loan_of(car_id, loan_id, year, price):
    """Yields the events of a loan on a car; the first and the last update both entities atomically."""
    yield "LoanTaken", f"{year + 1}-10-01T10:00:00Z", [
        ("Loan", loan_id, {"car": car_id, "balance": price, "terms": {"months": 2, "rate": 0.045}}),
        ("Car", car_id, {"loan": {"id": loan_id, "state": "open"}}),
    ]
    yield "LoanPaymentSubmitted", f"{year + 1}-11-01T10:00:00Z", [("Loan", loan_id, {
        "balance": price - price // 2,
        "payments": {"1": {"date": f"{year + 1}-11-01", "amount": price // 2}},
    })]
    yield "LoanPaymentSubmitted", f"{year + 1}-12-01T10:00:00Z", [
        ("Loan", loan_id, {
            "balance": 0,
            "payments": {"2": {"date": f"{year + 1}-12-01", "amount": price - price // 2}},
        }),
        ("Car", car_id, {"loan": {"state": "settled"}}),
    ]


def events_of(number, car):
    """The history of one car as events in the API's format."""
    return [
        {
            "eventHeader": {
                "uuid": str(uuid.uuid5(NAMESPACE, f"car-{number:03}/{place}")),
                "eventName": name,
                "eventType": name,
                "createdDate": moment,
            },
            "eventBody": {
                "entities": [
                    {"entityType": kind, "entityId": id_, "updatedAttributes": attributes}
                    for kind, id_, attributes in updates
                ]
            },
        }
        for place, (name, moment, updates) in enumerate(life_of(number, car), start=1)
    ]


def merge(target, patch):
    """JSON Merge Patch, RFC 7396: what the service does with every update."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def fold(lives):
    """The expected final state: (type, id) -> (version, document)."""
    states = {}
    for event in (event for life in lives for event in life):
        for update in event["eventBody"]["entities"]:
            key = update["entityType"], update["entityId"]
            version, document = states.get(key, (0, {}))
            states[key] = version + 1, merge(document, update["updatedAttributes"])
    return states


# --- the four ways to send -----------------------------------------------------------------------


class Problem(Exception):
    """An error for the user, in one line."""


class Rest:
    """One connection to the REST service."""

    def __init__(self, url):
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.url, self.prefix = url, parts.path.rstrip("/")
        self.connection = kind(parts.netloc, timeout=60)

    def call(self, method, path, body=None, content_type="application/json", **more):
        """Returns the status and the decoded answer; retries a 503 after its Retry-After."""
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if body is not None:
            headers["content-type"] = content_type
        for _ in range(10):
            try:
                chunked = body is not None and not isinstance(body, bytes)
                self.connection.request(
                    method, self.prefix + path, body, headers, encode_chunked=chunked)
                answer = self.connection.getresponse()
                document = json.loads(answer.read())
            except (OSError, HTTPException, ValueError) as error:
                self.connection.close()
                raise Problem(f"no valid answer from {self.url}: {error!r}; is it running?")
            if answer.status != 503 or not (body is None or isinstance(body, bytes)):
                break
            time.sleep(int(answer.headers.get("retry-after", 1)))
        return answer.status, document


class Progress:
    """Counts events; on a terminal it shows the count on one line."""

    def __init__(self, way, total):
        self.way, self.total, self.done, self.duplicates = way, total, 0, 0
        self.started, self.lock = time.monotonic(), Lock()

    def add(self, duplicate):
        with self.lock:
            self.done += 1
            self.duplicates += duplicate
        if sys.stderr.isatty() and self.done % 20 == 0:
            print(f"\r{self.way:>7}: {self.done} of {self.total}", end="", file=sys.stderr)

    def finish(self):
        seconds = time.monotonic() - self.started
        if sys.stderr.isatty():
            print("\r", end="", file=sys.stderr)
        fresh = self.done - self.duplicates
        print(f"{self.way:>7}: {self.done} events in {seconds:.1f} s, "
              f"{fresh} new, {self.duplicates} duplicates", flush=True)
        if self.done != self.total:
            raise Problem(f"{self.total - self.done} events were not answered")


def send_single(options, lives, progress):
    """One POST per event over several connections; each car uses one, which keeps its order."""

    def send(cars):
        rest = Rest(options.url)
        for event in (event for life in cars for event in life):
            status, answer = rest.call("POST", "/api/v1/events", json.dumps(event).encode())
            if status != 200:
                raise Problem(f"event refused with {status}: {answer.get('detail', answer)}")
            progress.add(answer["duplicate"])

    in_shares(send, lives)


def in_shares(work, items):
    """Splits the items among the workers, which run at the same time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, (items[start::WORKERS] for start in range(WORKERS))))


def send_bulk(options, lives, progress):
    """Arrays of events."""
    rest = Rest(options.url)
    events = [event for life in lives for event in life]
    for start in range(0, len(events), BULK_SIZE):
        body = json.dumps(events[start:start + BULK_SIZE]).encode()
        count_results(rest.call("POST", "/api/v1/events/bulk", body), progress)


def send_ndjson(options, lives, progress):
    """One chunked request with an event per line, which the service reads as it arrives."""
    body = (line.encode() for line in ndjson(lives))
    answer = Rest(options.url).call("POST", "/api/v1/events/bulk", body, "application/x-ndjson")
    count_results(answer, progress)


def count_results(answer, progress):
    status, document = answer
    if status != 200:
        raise Problem(f"call refused with {status}: {document.get('detail', document)}")
    for result in document["results"]:
        if result["status"] not in ("processed", "duplicate"):
            raise Problem(f"event {result['index']} is {result['status']}: {result.get('error')}")
        progress.add(result["status"] == "duplicate")


def send_grpc(options, lives, progress):
    """One StreamEvents call; grpcurl gets the message types by reflection."""
    tool = grpcurl(options)
    if not tool:
        raise Problem("the gRPC stream needs grpcurl: https://github.com/fullstorydev/grpcurl")
    command = [tool, "-plaintext", "-d", "@", options.grpc, "producer.v1.EventService/StreamEvents"]
    messages = "".join(json.dumps(as_proto(event)) for life in lives for event in life)
    done = subprocess.run(command, input=messages, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"grpcurl: {done.stderr.strip()}")
    for result in each_json(done.stdout):
        status = result.get("status", "").replace("EVENT_STATUS_", "")
        if status not in ("PROCESSED", "DUPLICATE"):
            raise Problem(f"event {result.get('index', 0)} is {status}: {result.get('message')}")
        progress.add(status == "DUPLICATE")


def grpcurl(options):
    """The path of grpcurl, or None."""
    return shutil.which(options.grpcurl)


def as_proto(event):
    """The event as protobuf's JSON; attributes are sent as text, which keeps every digit."""
    updates = [
        {
            "entityType": update["entityType"],
            "entityId": update["entityId"],
            "attributesJson": json.dumps(update["updatedAttributes"]),
        }
        for update in event["eventBody"]["entities"]
    ]
    return {"eventHeader": event["eventHeader"], "eventBody": {"entities": updates}}


def each_json(text):
    """The JSON documents of a text, which follow one another."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        yield document


def ndjson(lives):
    """The events as lines."""
    return (json.dumps(event) + "\n" for life in lives for event in life)


# --- one car at a time -----------------------------------------------------------------------------


def correct(options, states):
    """Replaces one car's document and deletes another car; `states` gets the expected result.

    The correction holds only for the version that it was made from (If-Match). Both have a key, so that
    they take effect once, however often they are sent.
    """
    rest = Rest(options.url)
    version, document = states["Car", CORRECTED]
    corrected = {**document, "price": document["price"] - 100, "note": "price corrected"}
    body, path = json.dumps(corrected).encode(), f"/api/v1/entities/Car/{CORRECTED}"
    status, answer = rest.call(
        "PUT", path, body, if_match=f'"{version}"', idempotency_key=key_of("correct"))
    if (status, answer.get("version")) != (200, version + 1):
        raise Problem(f"correction refused with {status}: {answer.get('detail', answer)}")
    states["Car", CORRECTED] = version + 1, corrected

    # somebody else who read the same version comes too late, and learns the present one
    status, answer = rest.call("PUT", path, body, if_match=f'"{version}"')
    if (status, answer.get("currentVersion")) != (412, version + 1):
        raise Problem(f"an outdated correction got {status}: {answer}")

    status, answer = rest.call(
        "DELETE", f"/api/v1/entities/Car/{REMOVED}", idempotency_key=key_of("remove"))
    if status != 200:
        raise Problem(f"removal refused with {status}: {answer.get('detail', answer)}")
    states["Car", REMOVED] = None
    print(f"correct: {CORRECTED} corrected once, {REMOVED} removed", flush=True)


def key_of(purpose):
    """An idempotency key that is the same in every run."""
    return str(uuid.uuid5(NAMESPACE, purpose))


# --- the expected state --------------------------------------------------------------------------


def verify(options, states):
    """Reads every entity back and compares it with the merge of its events."""

    def differing(share):
        rest, lines = Rest(options.url), []
        for (kind, id_), expected in share:
            path = f"/api/v1/entities/{quote(kind, safe='')}/{quote(id_, safe='')}"
            status, answer = rest.call("GET", path)
            found = None if status == 404 else (answer.get("version"), answer.get("data"))
            if found != expected:
                lines.append(f"{kind} {id_}: expected {expected}, got {status} {answer}")
        return lines

    wrong = [line for lines in in_shares(differing, list(states.items())) for line in lines]
    for line in wrong[:10]:
        print(line, file=sys.stderr)
    if wrong:
        raise Problem(f"{len(wrong)} of {len(states)} entities differ from the merge of their events")
    print(f"  state: {len(states)} entities match the merge of their events", flush=True)


WAYS = {"single": send_single, "bulk": send_bulk, "ndjson": send_ndjson, "grpc": send_grpc}


def chosen_ways(options):
    """The selected ways; `all` skips the gRPC stream, with a message, if grpcurl is not installed."""
    if options.way != "all":
        return [options.way]
    if grpcurl(options):
        return list(WAYS)
    print("   grpc: skipped, it needs grpcurl: https://github.com/fullstorydev/grpcurl")
    return [way for way in WAYS if way != "grpc"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=[*WAYS, "all"], default="all",
                        help="how to send; all: one way after the other (default: all)")
    parser.add_argument("--url", default="http://127.0.0.1:9083", help="REST URL (default: %(default)s)")
    parser.add_argument("--grpc", default="127.0.0.1:9092", help="gRPC address (default: %(default)s)")
    parser.add_argument("--grpcurl", default="grpcurl", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="only the first N cars")
    parser.add_argument("--events", action="store_true",
                        help="print the events as NDJSON, for curl and other tools, and send nothing")
    return parser.parse_args()


def main():
    options = parse_arguments()
    cars = json.loads(DATA.read_text(encoding="utf-8"))[:options.limit]
    lives = [events_of(number, car) for number, car in enumerate(cars, start=1)]
    if options.events:
        sys.stdout.writelines(ndjson(lives))
        return
    for way in chosen_ways(options):
        progress = Progress(way, sum(map(len, lives)))
        WAYS[way](options, lives, progress)
        progress.finish()
        states = fold(lives)
        if {("Car", CORRECTED), ("Car", REMOVED)} <= states.keys():  # not with a low --limit
            correct(options, states)
        verify(options, states)


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"cars.py: {problem}")
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
