//! What a filter costs: parsing one, a typical one on a typical document, and the worst ones on documents of
//! 1 MiB.

use divan::Bencher;
use divan::counter::BytesCount;
use producer_core::Timestamp;
use producer_core::filter::{Facts, Filter, JudgingTime, Scope, State};

fn main() {
    divan::main();
}

fn facts(data: &str) -> Facts<'_> {
    let time = Timestamp::from_micros(1_705_311_000_000_000);
    Facts {
        entity_type: "Car",
        entity_id: "c-1",
        version: 3,
        state: Some(State { created_at: time, updated_at: time, data }),
        change: None,
        now: time,
    }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, Scope::Entity).expect(text)
}

const DOCUMENT: &str = r#"{"Name": "chevrolet chevelle malibu", "Year": "1970-01-01", "Origin": "USA", "Cylinders": 8, "Horsepower": 130, "Acceleration": 11.5, "Displacement": 307, "Weight_in_lbs": 3504, "Miles_per_Gallon": 18, "owner": {"name": "Ann", "address": {"city": "Köln", "zip": "50667"}}, "tags": ["red", "classic", "v8"], "services": [{"km": 10000, "price": 120.5}, {"km": 20000, "price": 340.75}]}"#;

const TYPICAL: [&str; 6] = [
    "data.Cylinders == 8",
    "data.Acceleration > 11.25",
    "type == 'Car' && data.Origin == 'USA' && data.Horsepower >= 100",
    "data.owner.address.city == 'Köln' && !has(data.sold)",
    "data.tags.exists(t, t == 'v8')",
    "data.services.exists(s, s.price > 300 && s.km < 50000)",
];

#[divan::bench(args = TYPICAL)]
fn typical(bencher: Bencher<'_, '_>, text: &str) {
    let (filter, facts) = (filter(text), facts(DOCUMENT));
    assert!(filter.matches(&facts), "{text}");
    bencher.bench(|| filter.matches(&facts));
}

/// The same by a task that shares its thread with others.
#[divan::bench(args = TYPICAL)]
fn typical_in_a_task(bencher: Bencher<'_, '_>, text: &str) {
    let (filter, facts) = (filter(text), facts(DOCUMENT));
    let mut time = JudgingTime::default();
    bencher.bench_local(|| time.matches(&filter, &facts));
}

#[divan::bench(args = TYPICAL)]
fn parse(bencher: Bencher<'_, '_>, text: &str) {
    bencher.bench(|| filter(text));
}

/// The same filter over a tree, which has to be built first.
#[divan::bench]
fn serde_json_value() -> bool {
    let value: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
    value["Origin"] == "USA" && value["Horsepower"].as_i64() >= Some(100)
}

/// About so many bytes.
const SIZE: usize = 1 << 20;

fn repeated(piece: &str) -> String {
    vec![piece; SIZE / (piece.len() + 1)].join(",")
}

/// As many conditions as a filter has room for, none of which holds.
fn any(most: usize, condition: impl Fn(usize) -> String) -> String {
    let mut filter = condition(0);
    for place in 1..most {
        let longer = format!("{filter}||{}", condition(place));
        if Filter::parse(&longer, Scope::Entity).is_err() {
            break;
        }
        filter = longer;
    }
    filter
}

/// A document and a filter of each kind that could take long.
fn worst(name: &str) -> (String, String) {
    let digits = "7".repeat(399);
    let array = |piece: &str| format!(r#"{{"a":[{}],"z":1}}"#, repeated(piece));
    let string = |piece: &str| format!(r#"{{"s":"{}","z":1}}"#, piece.repeat(SIZE / piece.len()));
    let half = format!(r#"{{"s":"{}","a":[{}1]}}"#, "y".repeat(SIZE / 2), "1,".repeat(SIZE / 4));
    match name {
        "one path, short keys" => {
            let members: Vec<_> = (0..SIZE / 11).map(|i| format!("\"{i:06x}\":1")).collect();
            (format!("{{{}}}", members.join(",")), "data.zz == 1".into())
        }
        "32 paths, short keys" => {
            let members: Vec<_> = (0..SIZE / 11).map(|i| format!("\"{i:06x}\":1")).collect();
            (format!("{{{}}}", members.join(",")), any(64, |i| format!("data['00z{i:03}']==1")))
        }
        "32 paths, keys with escapes" => {
            let members: Vec<_> =
                (0..SIZE / 20).map(|i| format!("\"\\u0061\\n{i:06x}\":1")).collect();
            (format!("{{{}}}", members.join(",")), any(64, |i| format!("data['az{i:06}']==1")))
        }
        "one path, deep" => {
            let open = "{\"a\":[".repeat(31);
            (format!("{open}{}{}", repeated("[1]"), "]}".repeat(31)), "data.z==1".into())
        }
        "21 exists, array of numbers" => {
            (array("1"), any(64, |i| format!("data.a.exists(x,x=={})", i + 2)))
        }
        "21 exists, array of objects" => {
            (array(r#"{"b":1}"#), any(64, |i| format!("data.a.exists(x,x.b=={})", i + 2)))
        }
        "31 conditions in one exists" => {
            let inner = any(31, |i| format!("data=={}", i + 2).replace("data", "data.x"));
            (array("1"), format!("data.a.exists(x,{})", inner.replace("data.x", "x")))
        }
        "31 paths in one exists" => {
            let inner = any(31, |i| format!("data.b{i:02}==2"));
            (array(r#"{"b":1}"#), format!("data.a.exists(x,{})", inner.replace("data", "x")))
        }
        "list of 1,000 in exists" => {
            let list: Vec<_> = (0..1000).map(|i| (i + 2).to_string()).collect();
            (array("1"), format!("data.a.exists(x,x in [{}])", list.join(",")))
        }
        "400 digits in exists" => {
            let inner = any(9, |i| format!("data.x=={digits}{i}"));
            (
                array(&format!("{digits}9")),
                format!("data.a.exists(x,{})", inner.replace("data.x", "x")),
            )
        }
        "a long string within exists" => {
            (half, "data.a.exists(x,data.s.contains('z')||size(data.s)==x||data.s==x)".into())
        }
        "32 contains, plain string" => {
            (string("aaaaaaaa"), any(64, |i| format!("data.s.contains('aaaab{i}')")))
        }
        "32 contains, escapes" => {
            (string("\\n"), any(64, |i| format!("data.s.contains('\\n{i}')")))
        }
        "32 sizes, array" => (array("1"), any(64, |i| format!("size(data.a)=={i}"))),
        "one exists, strings with escapes" => {
            (array("\"\\n\""), any(31, |i| format!("data.a.exists(x,x=='{i}')")))
        }
        _ => {
            let number = format!("1e{}1", "0".repeat(SIZE / 2));
            let inner = any(31, |_| "x.b<data.n".replace("x.b", "data.x"));
            let array = "1,".repeat(SIZE / 4);
            (
                format!(r#"{{"n":{number},"a":[{array}1]}}"#),
                format!("data.a.all(x,{})", inner.replace("data.x", "x").replace('<', ">")),
            )
        }
    }
}

const WORST: [&str; 16] = [
    "one path, short keys",
    "32 paths, short keys",
    "32 paths, keys with escapes",
    "one path, deep",
    "21 exists, array of numbers",
    "21 exists, array of objects",
    "31 conditions in one exists",
    "31 paths in one exists",
    "list of 1,000 in exists",
    "400 digits in exists",
    "a long string within exists",
    "32 contains, plain string",
    "32 contains, escapes",
    "32 sizes, array",
    "one exists, strings with escapes",
    "a long number within exists",
];

#[divan::bench(args = WORST, sample_count = 5, sample_size = 1)]
fn one_mebibyte(bencher: Bencher<'_, '_>, name: &str) {
    let (data, text) = worst(name);
    let (filter, facts) = (filter(&text), facts(&data));
    assert!(!filter.matches(&facts), "{name}");
    bencher.counter(BytesCount::of_str(&data)).bench(|| filter.matches(&facts));
}
