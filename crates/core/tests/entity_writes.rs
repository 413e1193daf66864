//! Writes of one entity become events.

mod common;

use common::clock;
use producer_core::decode::{EntityMethod, EntityRequest, IdempotencyKey};
use producer_core::{
    Condition, Event, Field, Header, Operation, Patch, Precondition, Problem, ProblemKind, decode,
};

const UUID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

fn request(method: EntityMethod, attributes: &str) -> EntityRequest<'static> {
    EntityRequest {
        method,
        entity_type: "Car",
        entity_id: "c1",
        header: Header::default(),
        key: None,
        precondition: Precondition::None,
        condition: Field::Absent,
        attributes: Patch::parse(attributes),
    }
}

fn made(request: EntityRequest<'_>) -> Result<Event, Problem> {
    request.into_write(&clock()).map(|write| write.event().clone())
}

fn pointers(problem: &Problem) -> Vec<String> {
    problem.violations.listed().iter().map(|one| one.location.pointer()).collect()
}

#[test]
fn each_method_is_an_event_of_one_update() {
    let versions = || Precondition::Versions([3].into());
    use EntityMethod::{Create, Delete, Merge, Replace};
    for (method, asked, name, operation, precondition) in [
        (Create, Precondition::None, "EntityCreated", Operation::Replace, Precondition::Absent),
        (Replace, Precondition::None, "EntityReplaced", Operation::Replace, Precondition::None),
        (Replace, Precondition::Absent, "EntityReplaced", Operation::Replace, Precondition::Absent),
        (Merge, Precondition::None, "EntityUpdated", Operation::Merge, Precondition::Exists),
        (Merge, versions(), "EntityUpdated", Operation::Merge, versions()),
        (Delete, Precondition::None, "EntityDeleted", Operation::Delete, Precondition::Exists),
        (Delete, versions(), "EntityDeleted", Operation::Delete, versions()),
    ] {
        let attributes = if method == Delete { "{}" } else { r#"{"a":1}"# };
        let event = made(EntityRequest { precondition: asked, ..request(method, attributes) });
        let event = event.expect(name);
        let [update] = event.updates() else { panic!("{event:?}") };
        assert_eq!((event.name(), update.operation()), (name, operation));
        assert_eq!(*update.precondition(), precondition, "{name}");
        assert_eq!(update.patch().text(), attributes);
        let id = update.key().entity_id();
        let expected = if method == Create { event.uuid().to_string() } else { "c1".to_owned() };
        assert_eq!(id, expected);
    }
}

#[test]
fn a_condition_is_kept_beside_what_the_method_demands() {
    use EntityMethod::{Create, Delete, Merge, Replace};
    for (method, precondition) in [
        (Create, Precondition::Absent),
        (Replace, Precondition::None),
        (Merge, Precondition::Exists),
        (Delete, Precondition::Exists),
    ] {
        let condition = Field::Text("data.a == 1".into());
        let event = made(EntityRequest { condition, ..request(method, "{}") }).expect("an event");
        let [update] = event.updates() else { panic!("{event:?}") };
        assert_eq!(update.condition().map(Condition::text), Some("data.a == 1"), "{method:?}");
        assert_eq!(*update.precondition(), precondition, "{method:?}");
    }
}

#[test]
fn an_entity_can_not_both_exist_and_be_absent() {
    let asked =
        EntityRequest { precondition: Precondition::Absent, ..request(EntityMethod::Merge, "{}") };
    let event = made(asked).expect("an event");
    let precondition = event.updates()[0].precondition();
    assert!([None, Some(1)].iter().all(|version| !precondition.holds(*version)));
}

#[test]
fn a_key_is_the_event_s_uuid_and_a_created_entity_s_id() {
    let key = |text| Some(IdempotencyKey::parse(text).expect("a key"));
    let create = |text| EntityRequest { key: key(text), ..request(EntityMethod::Create, "{}") };
    let event = made(create(UUID)).expect("an event");
    assert_eq!(
        (event.uuid().to_string(), event.updates()[0].key().entity_id()),
        (UUID.into(), UUID)
    );
    let [first, again] = [(); 2].map(|()| made(create("order-1")).expect("an event"));
    assert_eq!(first, again);
    let merge = EntityRequest { key: key("order-1"), ..request(EntityMethod::Merge, "{}") };
    assert_ne!(made(merge).expect("an event").uuid(), first.uuid());

    let uuid = || Header { uuid: Field::Text(UUID.into()), ..Header::default() };
    let by_header = EntityRequest { header: uuid(), ..request(EntityMethod::Create, "{}") };
    assert_eq!(made(by_header).expect("an event").updates()[0].key().entity_id(), UUID);
    let both =
        EntityRequest { key: key(UUID), header: uuid(), ..request(EntityMethod::Merge, "{}") };
    assert_eq!(made(both).expect_err("two keys").kind, ProblemKind::Malformed);
}

#[test]
fn an_event_has_its_uuid_from_one_place() {
    let uuid = decode::uuid(UUID).expect("a uuid");
    let event = |header: &str| {
        let body = format!(
            r#"{{"eventHeader":{{"eventName":"Tested"{header}}},"eventBody":{{"entities":[
                {{"entityType":"Car","entityId":"c1","updatedAttributes":{{}}}}]}}}}"#
        );
        decode::event_with_uuid(body.as_bytes(), uuid, &clock())
    };
    for absent in ["", r#","uuid":null"#] {
        assert_eq!(event(absent).expect("an event").uuid(), uuid);
    }
    for given in [format!(r#","uuid":"{UUID}""#), r#","uuid":"no""#.into(), r#","uuid":1"#.into()] {
        assert_eq!(event(&given).expect_err("two").kind, ProblemKind::Malformed, "{given}");
    }
}

#[test]
fn broken_rules_have_their_place_in_the_request() {
    let header = Header {
        uuid: Field::Text("no".into()),
        source: Field::Text("s".repeat(256).into()),
        ..Header::default()
    };
    let broken = EntityRequest {
        header,
        entity_type: "",
        ..request(EntityMethod::Replace, r#"{"a":{"b":"\u0000"}}"#)
    };
    let problem = made(broken).expect_err("broken");
    assert_eq!(problem.kind, ProblemKind::Validation);
    let expected =
        ["/eventHeader/uuid", "/eventHeader/source", "/entityType", "/updatedAttributes/a/b"];
    assert_eq!(pointers(&problem), expected);
    let condition = |text: &'static str| Field::Text(text.into());
    let no_filter = EntityRequest {
        condition: condition("version = 1"),
        ..request(EntityMethod::Delete, r#"{"a":1}"#)
    };
    let problem = made(no_filter).expect_err("no filter");
    assert_eq!(problem.kind, ProblemKind::Malformed);
    assert_eq!(pointers(&problem), ["/condition", "/updatedAttributes"]);
    let detail = &problem.detail;
    let place = "/condition column 9: expected ";
    assert!(detail.starts_with(place) && detail.ends_with(" (and 1 more)"), "{detail}");
    let full = EntityRequest { entity_id: "..", ..request(EntityMethod::Delete, r#"{"a":1}"#) };
    assert_eq!(pointers(&made(full).expect_err("broken")), ["/entityId", "/updatedAttributes"]);
}
