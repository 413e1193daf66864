//! Test cases for both APIs: an event as JSON, what is stored before it, and the expected result.

/// The expected result of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// It is stored.
    Stored,
    /// It is refused with a problem of this type (`validation`, `malformed`) with exactly these JSON
    /// Pointers in this order. An item of a call is invalid with them, whatever the type.
    Refused(&'static str, Vec<String>),
    /// It is refused because an entity does not fulfil a condition.
    Unmet {
        /// The JSON Pointer of the update.
        pointer: String,
        /// The entity's version; `None`: it does not exist.
        current_version: Option<u64>,
    },
}

/// A test case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The rule. The prefix `json: ` marks cases that protobuf can't express.
    pub name: &'static str,
    /// Events that must be stored before it, in their order.
    pub before: Vec<String>,
    /// The event as JSON text, with a uuid only if the case is about it.
    pub event: String,
    /// The expected result.
    pub expect: Expect,
}

impl Case {
    /// Whether all values have the types of the contract, so that protobuf can express the event,
    /// with the attributes as `attributes_json`.
    pub fn is_typed(&self) -> bool {
        !self.name.starts_with("json: ")
    }

    /// Whether the result depends on what is stored. Such a case is to be tried with
    /// [`Case::on_own_entities`].
    pub fn depends_on_state(&self) -> bool {
        self.event.contains(OWN)
    }

    /// The same case on entities that no other case has. `run` makes them the run's own too.
    #[must_use]
    pub fn on_own_entities(&self, run: &str) -> Self {
        let entity_type = format!(r#""{} {run}""#, self.name);
        let own = |event: &String| event.replace(OWN, &entity_type);
        Self {
            before: self.before.iter().map(own).collect(),
            event: own(&self.event),
            ..self.clone()
        }
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [
        headers(),
        dates(),
        entities(),
        attributes(),
        texts(),
        sources(),
        operations(),
        conditions(),
        deleted_entities(),
        sequences(),
    ]
    .concat()
}

const ENTITY: &str = r#"{"entityType":"Case","entityId":"one","updatedAttributes":{"a":1}}"#;
/// Stands for an entity type that no other case has.
const OWN: &str = "\"OWN TYPE\"";
const UUID: &str = "/eventHeader/uuid";
const NAME: &str = "/eventHeader/eventName";
const TYPE: &str = "/eventHeader/eventType";
const CREATED: &str = "/eventHeader/createdDate";
const ENTITIES: &str = "/eventBody/entities";
const FIRST: &str = "/eventBody/entities/0";
const SECOND: &str = "/eventBody/entities/1";
const FIRST_OPERATION: &str = "/eventBody/entities/0/operation";
const FIRST_VERSION: &str = "/eventBody/entities/0/expectedVersion";
const FIRST_EXISTS: &str = "/eventBody/entities/0/exists";
const FIRST_CONDITION: &str = "/eventBody/entities/0/condition";
const FIRST_TYPE: &str = "/eventBody/entities/0/entityType";
const FIRST_ID: &str = "/eventBody/entities/0/entityId";
const FIRST_PATCH: &str = "/eventBody/entities/0/updatedAttributes";
const SECOND_PATCH: &str = "/eventBody/entities/1/updatedAttributes";
/// Of the default limit of an entity's document.
const TWICE_THE_LIMIT: usize = 2 << 20;
const FIRST_A: &str = "/eventBody/entities/0/updatedAttributes/a";
/// Four bytes in UTF-8.
const CAR: &str = "\u{1f697}";

fn stored(name: &'static str, event: String) -> Case {
    Case { name, before: vec![], event, expect: Expect::Stored }
}

fn refused(name: &'static str, event: String, pointers: &[&str]) -> Case {
    let pointers = pointers.iter().map(|&pointer| pointer.into()).collect();
    Case { name, before: vec![], event, expect: Expect::Refused("validation", pointers) }
}

fn malformed(name: &'static str, event: impl Into<String>) -> Case {
    let expect = Expect::Refused("malformed", vec![]);
    Case { name, before: vec![], event: event.into(), expect }
}

/// A condition is no filter.
fn no_filter(name: &'static str, event: String, pointers: &[&str]) -> Case {
    let pointers = pointers.iter().map(|&pointer| pointer.into()).collect();
    let expect = Expect::Refused("malformed", pointers);
    Case { name, before: vec![], event, expect }
}

/// The condition of the update at `pointer` does not hold.
fn unmet(
    name: &'static str,
    event: String,
    pointer: &str,
    current_version: impl Into<Option<u64>>,
) -> Case {
    let expect = Expect::Unmet { pointer: pointer.into(), current_version: current_version.into() };
    Case { name, before: vec![], event, expect }
}

/// The same case, for which these events are stored before.
fn after<const N: usize>(before: [String; N], case: Case) -> Case {
    Case { before: before.into(), ..case }
}

/// An event with this header.
fn header(members: &str) -> String {
    format!(r#"{{"eventHeader":{members},"eventBody":{{"entities":[{ENTITY}]}}}}"#)
}

/// An event with a name and another member in its header.
fn named(member: &str) -> String {
    header(&format!(r#"{{"eventName":"Tried",{member}}}"#))
}

/// An event with these entities.
fn with_entities(entities: &str) -> String {
    format!(r#"{{"eventHeader":{{"eventName":"Tried"}},"eventBody":{{"entities":{entities}}}}}"#)
}

/// An event of one entity with this type and id.
fn key(entity_type: &str, entity_id: &str) -> String {
    with_entities(&format!(
        r#"[{{"entityType":"{entity_type}","entityId":"{entity_id}","updatedAttributes":{{}}}}]"#
    ))
}

/// An event of one entity with these attributes.
fn with_attributes(attributes: &str) -> String {
    with_entities(&format!(
        r#"[{{"entityType":"Case","entityId":"one","updatedAttributes":{attributes}}}]"#
    ))
}

fn headers() -> Vec<Case> {
    let name = |text: String| header(&format!(r#"{{"eventName":"{text}"}}"#));
    let with_type = |length: usize| named(&format!(r#""eventType":"{}""#, "t".repeat(length)));
    let braced = r#""uuid":"{5f0e8400-e29b-41d4-a716-446655440000}""#;
    let urn = r#""uuid":"urn:uuid:5f0e8400-e29b-41d4-a716-446655440000""#;
    vec![
        stored("a plain event", header(r#"{"eventName":"Tried"}"#)),
        stored("uuid hyphenated", named(r#""uuid":"5f0e8400-e29b-41d4-a716-446655440000""#)),
        stored("uuid in capitals", named(r#""uuid":"6F0E8400-E29B-41D4-A716-446655440000""#)),
        stored("uuid as 32 digits", named(r#""uuid":"7f0e8400e29b41d4a716446655440000""#)),
        stored("json: uuid null", named(r#""uuid":null"#)),
        refused("uuid that is none", named(r#""uuid":"no""#), &[UUID]),
        refused("uuid in braces", named(braced), &[UUID]),
        refused("uuid as urn", named(urn), &[UUID]),
        refused("json: uuid a number", named(r#""uuid":5"#), &[UUID]),
        refused("name absent", header("{}"), &[NAME]),
        refused("name empty", header(r#"{"eventName":""}"#), &[NAME]),
        refused("json: name a number", header(r#"{"eventName":1}"#), &[NAME]),
        refused("json: name null", header(r#"{"eventName":null}"#), &[NAME]),
        stored("name of 255 characters", name("n".repeat(255))),
        stored("name of 255 four-byte characters", name(CAR.repeat(255))),
        refused("name of 256 characters", name("n".repeat(256)), &[NAME]),
        stored("type empty", named(r#""eventType":"""#)),
        stored("json: type null", named(r#""eventType":null"#)),
        stored("type of 255 characters", with_type(255)),
        refused("type of 256 characters", with_type(256), &[TYPE]),
        refused("json: type an array", named(r#""eventType":[]"#), &[TYPE]),
        stored("json: unknown fields", named(r#""extra":{"deep":[1,2]}"#)),
        refused("json: a duplicate key in the header", named(r#""eventName":"Two""#), &[NAME]),
        refused("two rules at once", header(r#"{"uuid":"no","eventName":""}"#), &[UUID, NAME]),
    ]
}

fn dates() -> Vec<Case> {
    let good = [
        ("RFC 3339 in UTC", r#""2024-01-15T10:30:00Z""#),
        ("RFC 3339 with an offset", r#""2024-01-15T10:30:00+05:30""#),
        ("an offset without colon", r#""2024-01-15T10:30:00-0800""#),
        ("no offset", r#""2024-01-15T10:30:00""#),
        ("nine digits of a second", r#""2024-01-15T10:30:00.123456789Z""#),
        ("year 0001", r#""0001-01-01T00:00:00Z""#),
        ("year 9999", r#""9999-12-31T23:59:59Z""#),
        ("a leap day", r#""2024-02-29T00:00:00Z""#),
        ("digits as text", r#""1705314605000""#),
        ("negative digits as text", r#""-1""#),
        ("json: milliseconds", "1705314605000"),
        ("json: date null", "null"),
    ];
    let bad = [
        ("second 60", r#""2024-01-15T23:59:60Z""#),
        ("a day that isn't", r#""2023-02-29T00:00:00Z""#),
        ("hour 24", r#""2024-01-15T24:00:00Z""#),
        ("before year 1 in UTC", r#""0001-01-01T00:00:00+01:00""#),
        ("after 9999 in UTC", r#""9999-12-31T23:59:59-01:00""#),
        ("words for a date", r#""yesterday""#),
        ("too many milliseconds", r#""253402300800000""#),
        ("json: a fraction of a millisecond", "1.5"),
        ("json: a bool for a date", "true"),
    ];
    let created = |date: &str| named(&format!(r#""createdDate":{date}"#));
    let good = good.into_iter().map(|(name, date)| stored(name, created(date)));
    let bad = bad.into_iter().map(|(name, date)| refused(name, created(date), &[CREATED]));
    good.chain(bad).collect()
}

fn entities() -> Vec<Case> {
    let many = |count: usize| with_entities(&format!("[{}]", vec![ENTITY; count].join(",")));
    let no_header = format!(r#"{{"eventBody":{{"entities":[{ENTITY}]}}}}"#);
    let no_body = r#"{"eventHeader":{"eventName":"Tried"}}"#;
    let number_id = r#"[{"entityType":"Case","entityId":1,"updatedAttributes":{}}]"#;
    let no_patch = r#"[{"entityType":"Case","entityId":"one"}]"#;
    vec![
        stored("one entity twice", many(2)),
        stored("1,000 entities", many(1000)),
        refused("1,001 entities", many(1001), &[ENTITIES]),
        refused("no entities", with_entities("[]"), &[ENTITIES]),
        refused("json: entities null", with_entities("null"), &[ENTITIES]),
        refused("json: entities an object", with_entities("{}"), &[ENTITIES]),
        refused("json: a number as entity", with_entities("[1]"), &["/eventBody/entities/0"]),
        refused("json: no body", no_body.into(), &["/eventBody"]),
        refused("json: no header", no_header, &["/eventHeader"]),
        refused("entity type empty", key("", "one"), &[FIRST_TYPE]),
        refused("entity id empty", key("Case", ""), &[FIRST_ID]),
        refused("entity id .", key("Case", "."), &[FIRST_ID]),
        refused("entity type ..", key("..", "one"), &[FIRST_TYPE]),
        stored("entity id ...", key("Case", "...")),
        stored("entity id with a slash and a blank", key("Case", "a/b c")),
        stored("the longest key", key(&CAR.repeat(255), &CAR.repeat(255))),
        refused("entity id too long", key("Case", &"i".repeat(256)), &[FIRST_ID]),
        refused("json: entity id a number", with_entities(number_id), &[FIRST_ID]),
        refused("json: attributes absent", with_entities(no_patch), &[FIRST_PATCH]),
        refused("json: attributes null", with_attributes("null"), &[FIRST_PATCH]),
        refused("json: attributes an array", with_attributes("[]"), &[FIRST_PATCH]),
    ]
}

fn attributes() -> Vec<Case> {
    let a = |value: &str| with_attributes(&format!(r#"{{"a":{value}}}"#));
    let nested = |levels: usize| {
        let (open, close) = (r#"{"a":"#.repeat(levels), "}".repeat(levels));
        with_attributes(&format!("{open}1{close}"))
    };
    let escaped = format!("{FIRST_PATCH}/~1~0");
    let large = format!("\"{}\"", "x".repeat(TWICE_THE_LIMIT));
    let second = with_entities(&format!(
        r#"[{ENTITY},{{"entityType":"Case","entityId":"two","updatedAttributes":{{"a":{large}}}}}]"#
    ));
    let nulls: Vec<_> = (0..TWICE_THE_LIMIT / 1000).map(|n| format!("\"{n:1000}\":null")).collect();
    let nulls = format!("{{{}}}", nulls.join(","));
    vec![
        stored("attributes empty", with_attributes("{}")),
        stored("a null removes", a("null")),
        refused("a document over twice the limit", a(&large), &[FIRST_PATCH]),
        refused("a document over twice the limit behind another", second, &[SECOND_PATCH]),
        stored("nulls over twice the limit", with_attributes(&nulls)),
        stored("64 levels", nested(64)),
        refused("65 levels", nested(65), &[&format!("{FIRST_PATCH}{}", "/a".repeat(64))]),
        stored("a number of 400 digits", a(&"9".repeat(400))),
        refused("a number of 401 digits", a(&"9".repeat(401)), &[FIRST_A]),
        stored("1e399", a("1e399")),
        refused("1e400", a("1e400"), &[FIRST_A]),
        refused("1e131071", a("1e131071"), &[FIRST_A]),
        refused("1e-400", a("1e-400"), &[FIRST_A]),
        stored("more digits than a double has", a("24439.750000000000000001")),
        refused("NUL in a value", a(r#""x\u0000""#), &[FIRST_A]),
        refused("a lone surrogate", a(r#""\ud800""#), &[FIRST_A]),
        refused("surrogates turned round", a(r#""\udc00\ud800""#), &[FIRST_A]),
        stored("a surrogate pair", a(r#""\ud83d\ude97""#)),
        refused("a duplicate key", with_attributes(r#"{"a":1,"a":2}"#), &[FIRST_A]),
        refused("a duplicate key in escapes", with_attributes(r#"{"a":1,"\u0061":2}"#), &[FIRST_A]),
        stored("one key in two objects", with_attributes(r#"{"a":{"a":1},"b":{"a":1}}"#)),
        refused("a key to escape", with_attributes(r#"{"/~":"\u0000"}"#), &[&escaped]),
    ]
}

fn texts() -> Vec<Case> {
    let marked = format!("\u{feff}{}", header(r#"{"eventName":"Tried"}"#));
    vec![
        malformed("json: cut off", "{"),
        malformed("json: two values", "{} {}"),
        malformed("json: a trailing comma", r#"{"eventHeader":{"eventName":"Tried",}}"#),
        malformed("json: a leading zero", with_attributes(r#"{"a":01}"#)),
        malformed("json: NaN", with_attributes(r#"{"a":NaN}"#)),
        malformed("json: a byte order mark", marked),
        malformed("json: a raw line break in a string", header("{\"eventName\":\"a\nb\"}")),
    ]
}

/// An update of the case's own entity with this id.
fn own(entity_id: &str, members: &str) -> String {
    format!(r#"{{"entityType":{OWN},"entityId":"{entity_id}",{members}}}"#)
}

/// An event of one update of the case's own entity `one`.
fn one(members: &str) -> String {
    with_entities(&format!("[{}]", own("one", members)))
}

/// An event of updates of the case's own entities.
fn updates<const N: usize>(updates: [(&str, &str); N]) -> String {
    let updates = updates.map(|(entity_id, members)| own(entity_id, members));
    with_entities(&format!("[{}]", updates.join(",")))
}

const MERGE: &str = r#""updatedAttributes":{"a":"x"}"#;
const REPLACE: &str = r#""operation":"replace","updatedAttributes":{"b":"y"}"#;
const DELETE: &str = r#""operation":"delete""#;
const EXISTS: &str = r#""exists":true,"updatedAttributes":{"a":"x"}"#;
const ABSENT: &str = r#""exists":false,"updatedAttributes":{"a":"x"}"#;
const VERSION_1: &str = r#""expectedVersion":1,"updatedAttributes":{"a":"x"}"#;
const VERSION_2: &str = r#""expectedVersion":2,"updatedAttributes":{"a":"x"}"#;
const HAS_NO_B: &str = r#""condition":"!has(data.b)","updatedAttributes":{"b":"y"}"#;
const VERSION_3: &str = r#""expectedVersion":3,"updatedAttributes":{"a":"x"}"#;

fn sources() -> Vec<Case> {
    const SOURCE: &str = "/eventHeader/source";
    const ACTOR: &str = "/eventHeader/actor";
    let source = |text: &str| named(&format!(r#""source":"{text}""#));
    let actor = |text: &str| named(&format!(r#""actor":"{text}""#));
    vec![
        stored("source of 255 four-byte characters", source(&CAR.repeat(255))),
        stored("actor of 255 four-byte characters", actor(&CAR.repeat(255))),
        refused("source of 256 characters", source(&"s".repeat(256)), &[SOURCE]),
        refused("actor of 256 characters", actor(&"a".repeat(256)), &[ACTOR]),
        stored("source empty", source("")),
        stored("actor empty", actor("")),
        stored("json: source null", named(r#""source":null"#)),
        stored("json: actor null", named(r#""actor":null"#)),
        refused("NUL in source", source("x\\u0000"), &[SOURCE]),
        refused("NUL in actor", actor("x\\u0000"), &[ACTOR]),
        refused("json: source a number", named(r#""source":1"#), &[SOURCE]),
        refused("json: actor an object", named(r#""actor":{}"#), &[ACTOR]),
    ]
}

fn operations() -> Vec<Case> {
    let operation = |value: &str| one(&format!(r#""operation":{value},{MERGE}"#));
    let refused_operation = |name, value: &str| refused(name, operation(value), &[FIRST_OPERATION]);
    let delete_with = |attributes: &str| {
        one(&format!(r#""operation":"delete","updatedAttributes":{attributes}"#))
    };
    let no_attributes = |name, members: &str| refused(name, one(members), &[FIRST_PATCH]);
    vec![
        stored("merge by its name", operation(r#""merge""#)),
        stored("replace of what does not exist", one(REPLACE)),
        after([one(MERGE)], stored("replace of what exists", one(REPLACE))),
        after([one(MERGE)], stored("delete of what exists", one(DELETE))),
        unmet("delete of what does not exist", one(DELETE), FIRST, None),
        stored("json: operation null", operation("null")),
        refused_operation("json: an unknown operation", r#""remove""#),
        refused_operation("json: operation in another case", r#""Merge""#),
        refused_operation("json: operation empty", r#""""#),
        refused_operation("json: operation a number", "1"),
        refused_operation("json: operation an array", r#"["merge"]"#),
        refused(
            "json: an unknown operation alone",
            one(r#""operation":"drop""#),
            &[FIRST_OPERATION],
        ),
        no_attributes("json: merge without attributes", r#""operation":"merge""#),
        no_attributes("json: replace without attributes", r#""operation":"replace""#),
        no_attributes(
            "json: replace with null for attributes",
            r#""operation":"replace","updatedAttributes":null"#,
        ),
        stored(
            "replace with empty attributes",
            one(r#""operation":"replace","updatedAttributes":{}"#),
        ),
        after([one(MERGE)], stored("delete with empty attributes", delete_with("{}"))),
        after([one(MERGE)], stored("json: delete with null for attributes", delete_with("null"))),
        refused("delete with attributes", delete_with(r#"{"a":"x"}"#), &[FIRST_PATCH]),
        refused(
            "delete with a null among its attributes",
            delete_with(r#"{"a":null}"#),
            &[FIRST_PATCH],
        ),
        refused("json: delete with an array for attributes", delete_with("[]"), &[FIRST_PATCH]),
    ]
}

fn conditions() -> Vec<Case> {
    let version = |value: &str| one(&format!(r#""expectedVersion":{value},{MERGE}"#));
    let refused_version = |name, value: &str| refused(name, version(value), &[FIRST_VERSION]);
    let exists = |value: &str| one(&format!(r#""exists":{value},{MERGE}"#));
    let both = |version: &str, exists: &str| {
        one(&format!(r#""expectedVersion":{version},"exists":{exists},{MERGE}"#))
    };
    let condition = |value: &str| one(&format!(r#""condition":{value},{MERGE}"#));
    let long = format!(r#""data.a == '{}'""#, "x".repeat(5000));
    let version_0 = r#""expectedVersion":0,"updatedAttributes":{}"#;
    let snake_case = one(&format!(r#""expected_version":1,{MERGE}"#));
    let most = "18446744073709551615";
    vec![
        after([one(MERGE)], stored("the expected version", version("1"))),
        after([one(MERGE)], unmet("another expected version", version("2"), FIRST, 1)),
        unmet("a version of what does not exist", version("1"), FIRST, None),
        after([one(MERGE)], unmet("the highest expected version", version(most), FIRST, 1)),
        after([one(MERGE)], unmet("json: a huge expected version", version("1e300"), FIRST, 1)),
        after([one(MERGE)], stored("json: expected version 1.0", version("1.0"))),
        stored("json: expected version null", version("null")),
        refused_version("expected version 0", "0"),
        refused_version("json: a negative expected version", "-1"),
        refused_version("json: a fraction for an expected version", "1.5"),
        refused_version("json: text for an expected version", r#""1""#),
        refused_version("json: a bool for an expected version", "true"),
        refused(
            "json: an expected version in snake case",
            snake_case,
            &["/eventBody/entities/0/expected_version"],
        ),
        refused(
            "json: decisive members in other cases",
            one(&format!(r#""Operation":"delete","expectedversion":1,"EXISTS":true,{MERGE}"#)),
            &[
                "/eventBody/entities/0/Operation",
                "/eventBody/entities/0/expectedversion",
                "/eventBody/entities/0/EXISTS",
            ],
        ),
        after([one(MERGE)], stored("an entity that must exist", one(EXISTS))),
        unmet("no entity that must exist", one(EXISTS), FIRST, None),
        stored("no entity that must not exist", one(ABSENT)),
        after([one(MERGE)], unmet("an entity that must not exist", one(ABSENT), FIRST, 1)),
        stored("json: exists null", exists("null")),
        refused("json: text for exists", exists(r#""true""#), &[FIRST_EXISTS]),
        refused("json: a number for exists", exists("1"), &[FIRST_EXISTS]),
        refused("expected version and exists", both("1", "true"), &[FIRST_EXISTS]),
        refused("expected version and exists false", both("1", "false"), &[FIRST_EXISTS]),
        after([one(MERGE)], stored("json: expected version beside null", both("1", "null"))),
        no_filter("json: an empty condition", condition(r#""""#), &[FIRST_CONDITION]),
        no_filter("a condition with one =", condition(r#""version = 1""#), &[FIRST_CONDITION]),
        no_filter("a condition on no name", condition(r#""balance > 1""#), &[FIRST_CONDITION]),
        no_filter("a condition on a change", condition(r#""has(patch.a)""#), &[FIRST_CONDITION]),
        no_filter("a condition on a text", condition(r#""version == '1'""#), &[FIRST_CONDITION]),
        no_filter("a condition of 5 KiB", condition(&long), &[FIRST_CONDITION]),
        no_filter(
            "a condition that is no filter, after a broken rule",
            updates([("one", version_0), ("two", r#""condition":"1","updatedAttributes":{}"#)]),
            &[FIRST_VERSION, "/eventBody/entities/1/condition"],
        ),
        refused("json: an object for a condition", condition("{}"), &[FIRST_CONDITION]),
        refused("json: a bool for a condition", condition("true"), &[FIRST_CONDITION]),
        refused("json: a number for a condition", condition("1"), &[FIRST_CONDITION]),
        stored("json: condition null", condition("null")),
        after([one(MERGE)], stored("a condition that holds", condition(r#""data.a == 'x'""#))),
        after(
            [one(MERGE)],
            unmet("a condition that does not hold", condition(r#""data.a != 'x'""#), FIRST, 1),
        ),
        unmet("a condition on what does not exist", condition(r#""!has(data.a)""#), FIRST, None),
        after(
            [one(MERGE)],
            stored(
                "a condition beside a version",
                one(&format!(r#""expectedVersion":1,"condition":"has(data.a)",{MERGE}"#)),
            ),
        ),
        after(
            [one(MERGE)],
            unmet(
                "delete on a condition on its document",
                one(&format!(r#""condition":"data.a == 'y'",{DELETE}"#)),
                FIRST,
                1,
            ),
        ),
        after(
            [one(MERGE)],
            unmet(
                "replace on a condition",
                one(&format!(r#""expectedVersion":2,{REPLACE}"#)),
                FIRST,
                1,
            ),
        ),
        after(
            [one(MERGE)],
            unmet(
                "delete on a condition",
                one(&format!(r#""expectedVersion":2,{DELETE}"#)),
                FIRST,
                1,
            ),
        ),
        unmet(
            "delete of what must not exist",
            one(&format!(r#""exists":false,{DELETE}"#)),
            FIRST,
            None,
        ),
    ]
}

/// A deleted entity does not exist, but its version goes on.
fn deleted_entities() -> Vec<Case> {
    let deleted = || [one(MERGE), one(DELETE)];
    let anew = || [one(MERGE), one(DELETE), one(MERGE)];
    vec![
        after(deleted(), stored("a merge into what is deleted", one(MERGE))),
        after(deleted(), stored("a replace of what is deleted", one(REPLACE))),
        after(deleted(), unmet("a delete of what is deleted", one(DELETE), FIRST, None)),
        after(deleted(), unmet("the version of a delete", one(VERSION_2), FIRST, None)),
        after(deleted(), unmet("what is deleted must exist", one(EXISTS), FIRST, None)),
        after(deleted(), stored("what is deleted must not exist", one(ABSENT))),
        after(deleted(), unmet("a condition on what is deleted", one(HAS_NO_B), FIRST, None)),
        after(anew(), stored("the version goes on", one(VERSION_3))),
        after(anew(), unmet("the version does not begin again", one(VERSION_1), FIRST, 3)),
    ]
}

/// Updates of one event are judged in their order, each against what the former made; the first that
/// fails decides. The current version is that without the event, which is refused.
fn sequences() -> Vec<Case> {
    let large = format!(r#""updatedAttributes":{{"a":"{}"}}"#, "x".repeat(TWICE_THE_LIMIT));
    let large = large.as_str();
    vec![
        stored("created, then its version", updates([("one", ABSENT), ("one", VERSION_1)])),
        stored("replaced, then deleted", updates([("one", REPLACE), ("one", DELETE)])),
        stored(
            "created, deleted and created",
            updates([("one", ABSENT), ("one", DELETE), ("one", ABSENT), ("one", VERSION_3)]),
        ),
        after(
            [one(MERGE)],
            stored("deleted, then merged", updates([("one", DELETE), ("one", MERGE)])),
        ),
        after(
            [one(MERGE)],
            stored("deleted, then created anew", updates([("one", DELETE), ("one", ABSENT)])),
        ),
        after(
            [one(MERGE)],
            unmet("deleted twice", updates([("one", DELETE), ("one", DELETE)]), SECOND, 1),
        ),
        after(
            [one(MERGE)],
            unmet(
                "deleted, then its version",
                updates([("one", DELETE), ("one", VERSION_1)]),
                SECOND,
                1,
            ),
        ),
        unmet("created twice", updates([("one", ABSENT), ("one", ABSENT)]), SECOND, None),
        after(
            [one(MERGE)],
            unmet(
                "merged, then the version before",
                updates([("one", MERGE), ("one", VERSION_1)]),
                SECOND,
                1,
            ),
        ),
        stored(
            "a condition on what an update before it made",
            updates([("one", MERGE), ("one", HAS_NO_B), ("one", REPLACE), ("one", MERGE)]),
        ),
        after(
            [one(MERGE)],
            unmet(
                "a condition on what an update before it changed",
                updates([("one", HAS_NO_B), ("one", HAS_NO_B)]),
                SECOND,
                1,
            ),
        ),
        unmet(
            "an entity, then a condition on another",
            updates([("one", MERGE), ("two", EXISTS)]),
            SECOND,
            None,
        ),
        unmet(
            "a condition, then another",
            updates([("one", EXISTS), ("one", VERSION_1)]),
            FIRST,
            None,
        ),
        unmet(
            "a condition, then a document over twice the limit",
            updates([("one", EXISTS), ("two", large)]),
            FIRST,
            None,
        ),
        refused(
            "a document over twice the limit, then a condition",
            updates([("one", large), ("two", EXISTS)]),
            &[FIRST_PATCH],
        ),
    ]
}
