#!/usr/bin/env python3
"""Loads 10,000 real books into a running producer, declares what is indexed and searched, and asks.

Each question is printed as a curl command, to copy and change, with its answer below. With an argument it
asks just that: words, "a phrase", -not, a OR b, begin*.

Needs Python 3.8 or newer and nothing else. An event's uuid depends only on the book, so a second run
changes nothing: every event is answered as a duplicate, and the definition is the same.
"""

import argparse
import html
import json
import re
import shlex
import sys
import time
import uuid
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

DATA = Path(__file__).parent / "books.json"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:producer:examples:books")
READY_WITHIN = 120  # seconds

DEFINITION = {
    "indexes": ["data.rating", ["data.language", "data.year"]],
    "search": {
        "paths": {"data.title": 4, "data.authors": 2, "data.originalTitle": 1},
        "language": "english",
    },
}

SEARCH, LIST = "/api/v1/search", "/api/v1/entities/Book"

# What is asked, where, and its parameters.
QUESTIONS = [
    ("Words, all of which must be there, in any form; with the places where they were found", SEARCH, [
        ("query", "tolkien ring"), ("highlight", "true"), ("pageSize", 3)]),
    ("A phrase, and a word that must not be there", SEARCH, [
        ("query", '"the lord of the rings" -towers'), ("pageSize", 3)]),
    ("One name or another, and the beginning of a word", SEARCH, [
        ("query", "austen OR bront*"), ("pageSize", 3)]),
    ("Facets: what the hits have in common", SEARCH, [
        ("query", "love"), ("facet", "data.authors:4"), ("facet", "data.language:4"), ("pageSize", 1)]),
    ("A filter: of these words only the old and good ones", SEARCH, [
        ("query", "history OR war"), ("filter", "data.year < 1950 && data.rating >= 4"),
        ("pageSize", 3)]),
    ("A list in the order of an index: the best of all", LIST, [
        ("filter", "data.rating >= 4.7"), ("orderBy", "data.rating desc"), ("count", "exact"),
        ("pageSize", 3)]),
    ("A list by two paths, the second one a range", LIST, [
        ("filter", 'data.language == "fre" && data.year >= 1900'), ("count", "exact"),
        ("pageSize", 3)]),
]


class Problem(Exception):
    """An error for the user, in one line."""


class Rest:
    """One connection to the REST service."""

    def __init__(self, url):
        parts = urlsplit(url)
        kind = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
        try:
            self.connection = kind(parts.netloc, timeout=60)
        except (TypeError, HTTPException):
            raise Problem(f"--url must be like http://127.0.0.1:9083, not {url}") from None
        self.url, self.prefix = url.rstrip("/"), parts.path.rstrip("/")

    def call(self, method, path, body=None, content_type="application/json"):
        """Returns the decoded answer, which must be a success."""
        headers = {} if body is None else {"content-type": content_type}
        chunked = body is not None and not isinstance(body, bytes)
        try:
            self.connection.request(method, self.prefix + path, body, headers, encode_chunked=chunked)
            answer = self.connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise Problem(f"no valid answer from {self.url}: {error!r}; is it running?") from None
        if answer.status not in (200, 201):
            raise Problem(f"{method} {path}: {answer.status}: {document.get('detail', document)}")
        return document


# --- loading ---------------------------------------------------------------------------------------


def events():
    """The books as lines, one event each."""
    for book in json.loads(DATA.read_text(encoding="utf-8"))["books"]:
        attributes = {name: value for name, value in book.items() if name != "id"}
        yield json.dumps({
            "eventHeader": {
                "uuid": str(uuid.uuid5(NAMESPACE, book["id"])),
                "eventName": "BookAdded",
            },
            "eventBody": {"entities": [
                {"entityType": "Book", "entityId": book["id"], "updatedAttributes": attributes},
            ]},
        }) + "\n"


def load(rest):
    """Sends one chunked request with an event per line, which the service reads as it arrives."""
    started = time.monotonic()
    body = (line.encode() for line in events())
    answer = rest.call("POST", "/api/v1/events/bulk?results=failed", body, "application/x-ndjson")
    if answer["results"]:
        raise Problem(f"event {answer['results'][0]['index']} is refused: {answer['results'][0]}")
    seconds = time.monotonic() - started
    duplicates = answer["duplicateCount"]
    fresh = answer["processedCount"] - duplicates
    print(f"{fresh} new books, {duplicates} duplicates in {seconds:.1f} s", flush=True)


def declare(rest):
    """Stores the definition, and waits until all of it is ready."""
    started = time.monotonic()
    stored = rest.call("PUT", "/api/v1/types/Book", json.dumps(DEFINITION).encode())
    while any(part["status"] != "ready" for part in stored["parts"]):
        if time.monotonic() - started > READY_WITHIN:
            raise Problem(f"indexes and search are not ready after {READY_WITHIN} s: {stored['parts']}")
        time.sleep(0.1)
        stored = rest.call("GET", "/api/v1/types/Book")
    seconds = time.monotonic() - started
    indexes = len(DEFINITION["indexes"])
    print(f"{indexes} indexes and search are ready after {seconds:.1f} s", flush=True)


# --- asking ----------------------------------------------------------------------------------------


def ask(rest, what, path, parameters):
    """Prints a question, how to ask it with curl, and the answer."""
    started = time.monotonic()
    answer = rest.call("GET", f"{path}?{urlencode(parameters)}")
    seconds = time.monotonic() - started
    print(f"\n{bold(what)}\n{faint(curl(rest.url + path, parameters))}")
    total = answer.get("total") or answer["count"]
    found = total["value"] if total["exact"] else f"more than {total['value']}"
    print(f"  {found} found in {1000 * seconds:.0f} ms")
    for hit in answer["hits"] if path == SEARCH else answer["entities"]:
        print_book(hit.get("entity", hit)["data"], hit.get("highlights", {}))
    for name, values in answer.get("facets", {}).items():
        print_facet(name, values)


def curl(url, parameters):
    """The same as a command."""
    words = ["curl", "-s", "-G", url]
    for name, value in parameters:
        plain = re.fullmatch(r"[\w.:-]+", str(value), re.ASCII)
        words += ["-d" if plain else "--data-urlencode", f"{name}={value}"]
    return " ".join(map(shlex.quote, words))


def print_book(book, highlights):
    def text(name, plain):
        fragments = highlights.get(f"data.{name}")
        return " … ".join(map(marked, fragments)) if fragments else plain

    print(f"    {text('title', book['title'].strip())}")
    year = book.get("year")
    when = "" if year is None else f", {year}" if year > 0 else f", {-year} BC"
    print(f"      {text('authors', ', '.join(book['authors']))}{when}; {book['rating']} of 5")


def print_facet(name, values):
    print(f"  {name}")
    widest = max((len(str(value["value"])) for value in values), default=0)
    most = max((value["count"] for value in values), default=1)
    for value in values:
        bar = "█" * max(1, round(30 * value["count"] / most))
        print(f"    {value['value']:<{widest}} {bar} {value['count']}")


def marked(fragment):
    """A fragment of HTML as text, with its marks in bold, or between asterisks."""
    parts = re.split(r"<em>(.*?)</em>", fragment)
    parts[1::2] = [bold(part) if sys.stdout.isatty() else f"*{part}*" for part in parts[1::2]]
    return html.unescape("".join(parts))


def bold(text):
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def faint(text):
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("query", nargs="?", help="what to ask (default: some questions of all kinds)")
    parser.add_argument("--url", default="http://127.0.0.1:9083", help="REST URL (default: %(default)s)")
    parser.add_argument("--events", action="store_true",
                        help="print the events as NDJSON, for curl and other tools, and send nothing")
    return parser.parse_args()


def main():
    options = parse_arguments()
    if options.events:
        sys.stdout.writelines(events())
        return
    rest = Rest(options.url)
    load(rest)
    declare(rest)
    questions = QUESTIONS
    if options.query is not None:
        own = [("query", options.query), ("highlight", "true"), ("facet", "data.authors:3"), ("pageSize", 5)]
        questions = [("What you ask", SEARCH, own)]
    for what, path, parameters in questions:
        scope = [("type", "Book")] if path == SEARCH else []
        ask(rest, what, path, scope + parameters)


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"books.py: {problem}")
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
