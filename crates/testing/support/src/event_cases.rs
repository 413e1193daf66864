//! Test cases for both APIs: an event as JSON, and the expected result.

/// The expected result of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// It is stored.
    Stored,
    /// It is refused with a problem of this type (`validation`, `malformed`) with exactly these JSON
    /// Pointers in this order.
    Refused(&'static str, Vec<String>),
}

/// A test case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The rule. The prefix `json: ` marks cases that protobuf can't express.
    pub name: &'static str,
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
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [headers(), dates(), entities(), attributes(), texts()].concat()
}

const ENTITY: &str = r#"{"entityType":"Case","entityId":"one","updatedAttributes":{"a":1}}"#;
const UUID: &str = "/eventHeader/uuid";
const NAME: &str = "/eventHeader/eventName";
const TYPE: &str = "/eventHeader/eventType";
const CREATED: &str = "/eventHeader/createdDate";
const ENTITIES: &str = "/eventBody/entities";
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
    Case { name, event, expect: Expect::Stored }
}

fn refused(name: &'static str, event: String, pointers: &[&str]) -> Case {
    let pointers = pointers.iter().map(|&pointer| pointer.into()).collect();
    Case { name, event, expect: Expect::Refused("validation", pointers) }
}

fn malformed(name: &'static str, event: impl Into<String>) -> Case {
    Case { name, event: event.into(), expect: Expect::Refused("malformed", vec![]) }
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
