use proptest::prelude::*;

use super::*;

const ALL: [Part; 3] = [Part::Type, Part::Id, Part::EventName];

fn template(text: &str) -> Template {
    Template::parse(text, &ALL).expect(text)
}

fn values<'a>(entity_type: &'a str, entity_id: &'a str) -> Values<'a> {
    Values { entity_type, entity_id, event_name: "Made" }
}

#[test]
fn a_template_is_text_and_names() {
    let parts = template("a{type}:{id}{eventName}z").0;
    let text = |text: &str| Part::Text(text.into());
    assert_eq!(
        parts,
        [text("a"), Part::Type, text(":"), Part::Id, Part::EventName, text("z")].to_vec()
    );
    // a hash tag of a Redis cluster
    let tagged = template("{{{type}}}:{id}").redis_key(values("Order", "7"));
    assert_eq!(tagged, "{Order}:7");
}

#[test]
fn what_is_no_template_says_why() {
    let parse = |text, allowed: &[Part]| Template::parse(text, allowed).expect_err(text);
    assert_eq!(parse("", &ALL), "must not be empty");
    assert_eq!(parse("a{", &ALL), "must have a } for each {, and {{ for a { itself");
    assert_eq!(parse("a}", &ALL), parse("a{", &ALL));
    assert_eq!(parse("{name}", &ALL), "must not have {name}, only {type}, {id} and {eventName}");
    assert_eq!(parse("{id}", &[Part::Type]), "must not have {id}, only {type}");
    assert_eq!(parse("{id}", &[]), "must not have {id}, but be the same for all");
}

#[test]
fn colons_keep_the_values_of_redis_keys_apart() {
    for (text, separated) in [
        ("entity:{type}:{id}", true),
        ("{id}", true),
        ("{type}-{id}", false),
        ("{type}{id}", false),
        ("{type}-:-{id}", true),
    ] {
        assert_eq!(template(text).is_separated_by_colons(), separated, "{text}");
    }
}

#[test]
fn values_in_redis_keys_are_percent_encoded() {
    let key = template("entity:{type}:{id}").redis_key(values("a:b", "50%\n\u{85}ä/ 1"));
    assert_eq!(key, "entity:a%3Ab:50%25%0A%C2%85ä/ 1");
}

#[test]
fn forbidden_characters_of_topics_become_underscores_with_a_hash() {
    let topic = |text: &str| template(text).topic(values("Order", "a b"));
    assert_eq!(topic("shop.{type}"), "shop.Order");
    assert_eq!(topic("{type}/{id}"), format!("Order_a_b-{}", hash("Order/a b", 4)));
    assert_eq!(topic("."), format!("_-{}", hash(".", 4)));
    let long = "x".repeat(250);
    assert_eq!(topic(&long), format!("{}-{}", "x".repeat(240), hash(&long, 4)));
    assert_eq!(topic(&long[1..]), long[1..]);
}

#[test]
fn indexes_are_small_and_begin_with_what_is_allowed() {
    let index = |name: &str| template("{type}").index(values(name, ""));
    assert_eq!(index("order"), "order");
    assert_eq!(index("störung"), "störung");
    assert_eq!(index("Order"), format!("order-{}", hash("Order", 4)));
    assert_eq!(index("ÄRGER"), format!("ärger-{}", hash("ÄRGER", 4)));
    assert_eq!(index("_all"), format!("all-{}", hash("_all", 4)));
    assert_eq!(index(".kibana"), format!("kibana-{}", hash(".kibana", 4)));
    assert_eq!(index("a:b c"), format!("a_b_c-{}", hash("a:b c", 4)));
    assert_eq!(index(".."), hash("..", 4));
    assert_eq!(index("+/"), hash("+/", 4));
}

#[test]
fn long_ids_of_documents_are_hashed() {
    assert_eq!(document_id(&"x".repeat(512)), "x".repeat(512));
    let long = document_id(&"😀".repeat(255)).into_owned();
    assert_eq!(long.len(), 64);
    assert!(long.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// Names with the characters that matter, and any others.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[aAbB.:_%+/ 3-]{1,4}",
        "[aäÄİΣ😀\u{1}\u{85}-]{1,3}",
        any::<String>(),
        ("[aA.]{0,2}", 60..300_usize).prop_map(|(end, length)| "é".repeat(length) + &end),
    ]
}

fn is_topic(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

fn is_index(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "\\/*?\"<>|,#:".contains(c);
    (1..=255).contains(&text.len())
        && !text.contains(forbidden)
        && !text.starts_with(['-', '_', '+', '.'])
        && text == text.chars().flat_map(char::to_lowercase).collect::<String>()
}

proptest! {
    #[test]
    fn names_are_allowed_and_stay_different(a in name(), b in name(), c in name(), d in name()) {
        let (key, type_alone) = (template("{type}:{id}"), template("{type}"));
        let differ = (&a, &b) != (&c, &d);
        prop_assert_eq!(key.redis_key(values(&a, &b)) != key.redis_key(values(&c, &d)), differ);
        let topics = [&a, &c].map(|name| type_alone.topic(values(name, "")));
        prop_assert!(topics.iter().all(|topic| is_topic(topic)), "{:?}", topics);
        prop_assert_eq!(topics[0] != topics[1], a != c);
        let indexes = [&a, &c].map(|name| type_alone.index(values(name, "")));
        prop_assert!(indexes.iter().all(|index| is_index(index)), "{:?}", indexes);
        prop_assert_eq!(indexes[0] != indexes[1], a != c);
        prop_assert!(document_id(&a).len() <= 512);
        prop_assert_eq!(document_id(&a) != document_id(&c), a != c);
    }
}
