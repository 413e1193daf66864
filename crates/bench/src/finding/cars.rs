//! The entities that are found: cars with documents of about 400 bytes.

use std::fmt::Write as _;

use fastrand::Rng;

use crate::events::{self, Keys, Template};

/// Their type.
pub(super) const TYPE: &str = "Car";
/// The part of an id before its number.
const PREFIX: &str = "car-";
/// How many dealers have a car each by turns: one car in as many is found by its dealer.
pub(super) const DEALERS: u64 = 10_000;
/// How many words there are in titles and descriptions.
pub(super) const WORDS: u64 = 1000;
const MAKES: [&str; 10] =
    ["Audi", "BMW", "Citroen", "Fiat", "Ford", "Honda", "Opel", "Renault", "Toyota", "Volvo"];
const COLORS: [&str; 5] = ["black", "blue", "red", "silver", "white"];

/// What is declared where cars are found by their dealers.
pub(super) const DEALER: &str = r#"{"indexes":["data.dealer"]}"#;
/// And where they are also found by words.
pub(super) const DEALER_AND_WORDS: &str = r#"{"indexes":["data.dealer"],
    "search":{"paths":{"data.title":4,"data.description":1},"language":"simple"}}"#;
/// Three indexes, which every event changes: of a value that no other has, of one that many have, and of two.
pub(super) const THREE_INDEXES: &str =
    r#"{"indexes":["data.vin","data.price",["data.dealer","createdAt"]]}"#;

/// So many cars, with ids that are spread evenly over those of new ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cars {
    pub(super) count: u64,
}

impl Cars {
    /// The number in the id of the one at a place in their order.
    pub(super) fn number(self, place: u64) -> u64 {
        Keys::New.numbers().start + place * self.distance()
    }

    /// The difference of two successive numbers.
    pub(super) fn distance(self) -> u64 {
        let numbers = Keys::New.numbers();
        (numbers.end - numbers.start) / self.count
    }

    /// The id of the one at a place in their order.
    pub(super) fn id(self, place: u64) -> String {
        format!("{PREFIX}{}", self.number(place))
    }

    /// How many a page of 100 has of a dealer who has the fewest.
    pub(super) fn of_a_dealer(self) -> u64 {
        (self.count / DEALERS).min(100)
    }
}

/// The dealer's name.
pub(super) fn dealer(number: u64) -> String {
    format!("dealer-{number}")
}

/// One of the words.
pub(super) fn word(number: u64) -> String {
    format!("term{number}")
}

/// Writes the document of a car; `place` is its place in the order of cars.
pub(super) fn write_document(text: &mut String, id: &str, place: u64, random: &mut Rng) {
    let (make, color) = (MAKES[random.usize(..MAKES.len())], COLORS[random.usize(..COLORS.len())]);
    let (model, year, mileage) =
        (random.u32(1..100), random.u32(1990..2026), random.u32(..300_000));
    let (price, dealer) = (random.u32(1000..90_000), dealer(place % DEALERS));
    // writing to a string can't fail
    let _ = write!(text, r#"{{"vin":"{id}","make":"{make}","model":"Model {model}","title":""#);
    write_words(text, 3, random);
    text.push_str(r#"","description":""#);
    write_words(text, 12, random);
    let _ = write!(
        text,
        r#"","year":{year},"price":{price}.5,"mileage":{mileage},"dealer":"{dealer}","color":"{color}","available":{},"note":""#,
        random.bool()
    );
    events::write_random_text(text, 60, random);
    text.push_str("\"}");
}

fn write_words(text: &mut String, count: u32, random: &mut Rng) {
    for at in 0..count {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(&word(random.u64(..WORDS)));
    }
}

/// Requests of one event each, which makes a car.
pub(super) fn events() -> Template {
    let (mut random, id) = (Rng::with_seed(1), events::placeholder(PREFIX, Keys::New));
    let mut attributes = String::new();
    write_document(&mut attributes, &id, 0, &mut random);
    let (uuid, created) = (events::UUID, events::CREATED);
    let event = format!(
        r#"{{"eventHeader":{{"uuid":"{uuid}","eventName":"CarRegistered","eventType":"CarRegistered","createdDate":"{created}"}},"eventBody":{{"entities":[{{"entityType":"{TYPE}","entityId":"{id}","updatedAttributes":{attributes}}}]}}}}"#
    );
    let request = events::request("/api/v1/events", "application/json", &event);
    Template::with_prefix(request, PREFIX, Keys::New, crate::next_seed())
}

#[cfg(test)]
mod tests {
    use producer_core::{Clock, decode};

    use super::*;

    #[test]
    fn a_document_has_about_400_bytes_and_what_is_looked_for() {
        let mut random = Rng::with_seed(1);
        let cars = Cars { count: 1_000_000 };
        for place in [0, 9_999, 10_000, 999_999] {
            let mut text = String::new();
            write_document(&mut text, &cars.id(place), place, &mut random);
            assert!((330..470).contains(&text.len()), "{} bytes: {text}", text.len());
            let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(document.to_string().len(), text.len(), "as compact as can be");
            assert_eq!(document["dealer"], dealer(place % DEALERS));
            assert_eq!(document["description"].as_str().expect("text").split(' ').count(), 12);
        }
    }

    #[test]
    fn cars_lie_among_new_ones_in_the_order_of_their_places() {
        let cars = Cars { count: 3 };
        let (first, last) = (cars.number(0), cars.number(2));
        assert_eq!(first, Keys::New.numbers().start);
        assert_eq!(last - cars.number(1), cars.distance());
        assert!(Keys::New.numbers().contains(&last));
        assert_eq!((cars.of_a_dealer(), Cars { count: 10_000_000 }.of_a_dealer()), (0, 100));
    }

    #[test]
    fn each_event_makes_a_car() {
        let mut template = events();
        let parsed = |request: &[u8]| {
            let body = request.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
            decode::event(&request[body..], &Clock::system()).expect("a valid event")
        };
        assert_eq!(template.events(), 1);
        let (first, second) = (parsed(template.next()), parsed(template.next()));
        assert_ne!(first.uuid(), second.uuid());
        let key = |event: &producer_core::Event| event.updates()[0].key().clone();
        assert_eq!(key(&first).entity_type(), TYPE);
        assert_ne!(key(&first), key(&second));
    }
}
