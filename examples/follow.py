#!/usr/bin/env python3
"""Keeps a copy of entities in an SQLite file, true to a running producer, by its change feed.

The first run takes a snapshot, then the copy follows the changes. Every change is saved together with
its token: whatever is killed, this script, the service or the machine, the next run goes on from there.
The service may be away for any time; where it no longer keeps the changes that this copy has missed,
the script begins again with a snapshot by itself.

Each change of the copy is a line on stdout, and what happens to the connection is told on stderr.
Read the copy with any tool, also while it is followed:
    sqlite3 copy.db "SELECT type, id, version, data FROM entities"

Needs Python 3.8 or newer and nothing else. Exit status: 0, or 1 with one line that says why.
"""

import argparse
import json
import random
import sqlite3
import sys
import time
from decimal import Decimal
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import quote, urlencode, urlsplit

SILENCE = 45  # seconds; a stream has a bookmark at least every 15
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30  # seconds before the next connection, doubled each time
LOOKS = 5  # at an entity that differs, since it may change meanwhile

TABLES = """
CREATE TABLE IF NOT EXISTS entities (
    type TEXT, id TEXT, version INTEGER NOT NULL, data TEXT NOT NULL,
    snapshot INTEGER NOT NULL,  -- the number of the last one that had it
    PRIMARY KEY (type, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    types TEXT NOT NULL,        -- what this is a copy of: a JSON array, empty for all types,
    filter TEXT NOT NULL,       -- and of these what matches; empty for all
    token TEXT,                 -- what comes after it is not in the copy; NULL: begin with a snapshot
    snapshot INTEGER NOT NULL   -- how many were begun
);
"""

# Numbers keep their digits, so that only what is equal counts as equal.
exactly = partial(json.loads, parse_float=Decimal, parse_int=Decimal)


class Problem(Exception):
    """An error for the user, in one line."""


class Gone(Exception):
    """The service can't go on from the token."""


class Away(Exception):
    """The stream broke off, or the service can't serve it now."""


# --- the copy --------------------------------------------------------------------------------------


class Copy:
    """Entities and the token of the last item that was applied, in one file."""

    def __init__(self, file, types, filter_):
        self.file, self.types, self.filter = file, sorted(set(types)), filter_
        self.database = sqlite3.connect(file, timeout=30)
        # After a power failure the last items may be missing, and their tokens too: they come again.
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.executescript(TABLES)
        with self.database:
            self.database.execute(
                "INSERT OR IGNORE INTO place VALUES (1, ?, ?, NULL, 1)", [json.dumps(self.types), filter_])
        kept, matching, self.token, self.snapshot = self.database.execute(
            "SELECT types, filter, token, snapshot FROM place").fetchone()
        if json.loads(kept) != self.types or matching != filter_:
            of = ", ".join(json.loads(kept)) or "all types"
            of += f" where {matching}" if matching else ""
            raise Problem(f"{file} is a copy of {of}: give the same --type and --filter, or another --file")

    def apply(self, item, line):
        """Applies one item and saves its token: both or neither. Returns what changed, as lines."""
        with self.database:
            changes = []
            if item["kind"] in ("snapshot", "change"):
                changes = list(self.apply_entity(item, line))
            elif item["kind"] == "left":
                changes = self.drop_what_left(item)
            elif item["kind"] == "snapshotEnd":
                changes = self.drop_what_was_not_sent()
            self.move(item["token"], self.snapshot)
        return changes

    def apply_entity(self, item, line):
        """What has the higher version is kept. An item without a state is of an entity that is deleted."""
        key = item["entityType"], item["entityId"]
        version = item.get("dataVersion", item["version"])
        name = f"{key[0]} {key[1]}"
        kept, snapshot = self.database.execute(
            "SELECT version, snapshot FROM entities WHERE type = ? AND id = ?", key).fetchone() or (0, 0)
        # A deleted entity that is pruned and made anew has version 1: a new snapshot replaces any version.
        known = kept if snapshot == self.snapshot else 0
        if "data" in item:
            if version > known:
                # SQLite takes the document from the line as it is: json.dumps would round numbers.
                self.database.execute(
                    "INSERT OR REPLACE INTO entities VALUES (?, ?, ?, json_extract(?, '$.data'), ?)",
                    [*key, version, line, self.snapshot])
                if version != kept:
                    yield f"{name}: version {version}, {item.get('eventName', 'snapshot')}"
        elif kept and version >= known:
            self.database.execute("DELETE FROM entities WHERE type = ? AND id = ?", key)
            yield f"{name}: removed, {item['eventName']}"

    def drop_what_left(self, item):
        """It does not match the filter any more, whatever version is kept; maybe it never did."""
        key = item["entityType"], item["entityId"]
        dropped = self.database.execute("DELETE FROM entities WHERE type = ? AND id = ?", key).rowcount
        return [f"{key[0]} {key[1]}: removed, no longer matches"] * dropped

    def drop_what_was_not_sent(self):
        current = [self.snapshot]
        keys = self.database.execute("SELECT type, id FROM entities WHERE snapshot < ?", current).fetchall()
        self.database.execute("DELETE FROM entities WHERE snapshot < ?", current)
        return [f"{kind} {id_}: removed, not in the snapshot" for kind, id_ in keys]

    def begin_again(self):
        """The next stream begins with a snapshot. The copy keeps what it has until that is complete."""
        with self.database:
            self.move(None, self.snapshot + 1)

    def move(self, token, snapshot):
        moved = self.database.execute(
            "UPDATE place SET token = ?, snapshot = ? WHERE token IS ? AND snapshot = ?",
            [token, snapshot, self.token, self.snapshot])
        if moved.rowcount != 1:
            raise Problem(f"another process follows with {self.file}")
        self.token, self.snapshot = token, snapshot

    def state(self, key):
        """Version and document of an entity, or None."""
        found = self.database.execute(
            "SELECT version, data FROM entities WHERE type = ? AND id = ?", key).fetchone()
        return found and (found[0], exactly(found[1]))

    def keys(self):
        return self.database.execute("SELECT type, id FROM entities ORDER BY type, id").fetchall()


# --- the feed --------------------------------------------------------------------------------------


def connect(url):
    """A connection, which opens with its first request, and what goes before each path."""
    parts = urlsplit(url)
    kind = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
    try:
        return kind(parts.netloc, timeout=SILENCE), parts.path.rstrip("/")
    except (TypeError, HTTPException):
        raise Problem(f"--url must be like http://127.0.0.1:9083, not {url}") from None


def stream(options, copy, until_now):
    """Yields the items of one stream, each with its line, from behind the copy's token. Raises Gone or
    Away where it does not come to its end."""
    query = [("from", copy.token or "snapshot"), ("include", "data")]
    query += [("type", name) for name in copy.types]
    query += [("filter", copy.filter)] if copy.filter else []
    query += [("until", "now")] * until_now
    connection, prefix = connect(options.url)
    try:
        connection.request("GET", f"{prefix}/api/v1/changes?{urlencode(query)}",
                           headers={"accept": "application/x-ndjson"})
        answer = connection.getresponse()
        if answer.status != 200:
            refuse(answer.status, answer.read().decode(errors="replace"))
        item = {}
        for line in answer:
            if not line.endswith(b"\n"):
                break
            item = json.loads(line)
            if item["kind"] == "gone":
                raise Gone(item["detail"])
            if item["kind"] == "unavailable":
                raise Away(item["detail"])
            yield item, line.decode()
        if not (until_now and item.get("caughtUp")):
            raise Away("the stream broke off")
    except (OSError, HTTPException) as error:
        raise Away(f"no connection to {options.url}: {error!r}") from None
    finally:
        connection.close()


def refuse(status, text):
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = text.strip()[:200]
    if status == 410:
        raise Gone(detail)
    if status in (408, 429) or status >= 500:
        raise Away(f"{status}: {detail}")
    raise Problem(f"the service refuses with {status}: {detail}")


def follow(options, copy, until_now, say):
    """Applies the changes to the copy: without end, or until it has what was committed when this began."""
    pause = FIRST_PAUSE
    while True:
        try:
            for item, line in stream(options, copy, until_now):
                pause = FIRST_PAUSE
                for change in copy.apply(item, line):
                    say(change)
            return
        except Gone as gone:
            tell(f"{gone}; beginning again with a snapshot")
            copy.begin_again()
        except Away as away:
            tell(f"{away}; trying again in {pause:g} s")
        # not all followers of a service that restarts at the same moment
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, LONGEST_PAUSE)


def tell(text):
    print(f"follow.py: {text}", file=sys.stderr, flush=True)


# --- the proof -------------------------------------------------------------------------------------


def verify(options, copy):
    """Compares the copy, which has just caught up, with a fresh snapshot and with each entity's GET."""
    fresh = Copy(":memory:", copy.types, copy.filter)
    follow(options, fresh, True, lambda change: None)
    service = Service(options.url)
    keys = copy.keys()
    differing = {key for key in {*keys, *fresh.keys()} if copy.state(key) != fresh.state(key)}
    differing |= {key for key in keys if copy.state(key) != service.state(key)}
    for _ in range(LOOKS):  # what changed in between is the same as soon as the copy has it too
        if not differing:
            break
        follow(options, copy, True, lambda change: None)
        differing = {key for key in differing if copy.state(key) != service.state(key)}
    for key in sorted(differing)[:10]:
        here, there = (state and f"version {state[0]}" for state in (copy.state(key), service.state(key)))
        tell(f"{' '.join(key)}: {here or 'not'} in the copy, {there or 'not'} in the service"
             + ", with another document" * (here == there))
    if differing:
        raise Problem(f"the copy differs from the service, entities: {len(differing)}")
    print(f"verified: the copy is the same as the service, entities: {len(copy.keys())}")


class Service:
    """One connection for reading entities."""

    def __init__(self, url):
        self.url = url
        self.connection, self.prefix = connect(url)

    def state(self, key):
        """Version and document of an entity, or None."""
        kind, id_ = (quote(part, safe="") for part in key)
        try:
            self.connection.request("GET", f"{self.prefix}/api/v1/entities/{kind}/{id_}")
            answer = self.connection.getresponse()
            document = exactly(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise Problem(f"no valid answer from {self.url}: {error!r}") from None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Problem(f"the service answers {answer.status} for {kind} {id_}: {document.get('detail')}")
        return document["version"], document["data"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:9083", help="REST URL (default: %(default)s)")
    parser.add_argument("--file", default="copy.db", help="the copy (default: %(default)s)")
    parser.add_argument("--type", action="append", default=[], metavar="TYPE",
                        help="only entities of this type; may be repeated (default: all types)")
    parser.add_argument("--filter", default="", metavar="FILTER",
                        help="only entities that match, such as 'data.price > 5000'; it may name type, id "
                             "and data alone (default: all)")
    parser.add_argument("--once", action="store_true",
                        help="end as soon as the copy has what is committed now; for cron")
    parser.add_argument("--verify", action="store_true",
                        help="as --once, then compare the copy with the service, entity by entity; "
                             "exit status 1 if they differ")
    return parser.parse_args()


def main():
    options = parse_arguments()
    try:
        copy = Copy(options.file, options.type, options.filter)
        follow(options, copy, options.once or options.verify, partial(print, flush=True))
        tell(f"{options.file} has what was committed, entities: {len(copy.keys())}")
        if options.verify:
            verify(options, copy)
    except sqlite3.Error as error:
        raise Problem(f"{options.file}: {error}") from None


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"follow.py: {problem}")
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
