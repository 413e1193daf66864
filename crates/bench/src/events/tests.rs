use producer_core::{Clock, decode};

use super::*;

fn parsed(json: &[u8]) -> producer_core::Event {
    decode::event(json, &Clock::system()).expect("a valid event")
}

#[test]
fn events_are_valid_and_have_their_size() {
    for (size, bytes) in [(Size::Base, 400), (Size::Medium, 4096), (Size::Large, 65_536)] {
        let mut template = Template::new(json(Keys::New, size).into_bytes(), Keys::New, 7);
        let text = template.next();
        assert_eq!(text.len(), bytes);
        assert!(parsed(text).updates()[0].patch().is_flat());
    }
    let mut deep = Template::new(json(Keys::Hot, Size::Deep).into_bytes(), Keys::Hot, 7);
    assert!(!parsed(deep.next()).updates()[0].patch().is_flat());
}

#[test]
fn a_rendering_can_have_a_given_key() {
    let mut template = Template::new(json(Keys::New, Size::Base).into_bytes(), Keys::New, 3);
    let number = Keys::New.numbers().start + 17;
    let first = parsed(template.with_key(number));
    assert_eq!(first.updates()[0].key().entity_id(), format!("{KEY_PREFIX}{number}"));
    assert_ne!(parsed(template.with_key(number)).uuid(), first.uuid());
}

#[test]
fn each_rendering_has_a_new_uuid_and_a_key_of_the_set() {
    let two = [json(Keys::Set, Size::Base), json(Keys::Set, Size::Base)].join("\n");
    let mut template = Template::new(two.into_bytes(), Keys::Set, 3);
    assert_eq!(template.events(), 2);
    let mut uuids = std::collections::HashSet::new();
    for _ in 0..1000 {
        for line in template.next().split(|&byte| byte == b'\n') {
            let event = parsed(line);
            assert!(uuids.insert(event.uuid()), "a uuid twice");
            assert_eq!(event.uuid().get_version_num(), 4);
            let number = event.updates()[0].key().entity_id().strip_prefix(KEY_PREFIX);
            let number: u64 = number.and_then(|n| n.parse().ok()).expect("a number");
            assert!(Keys::Set.numbers().contains(&number));
        }
    }
}
