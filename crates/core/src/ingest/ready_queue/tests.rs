//! The queue beside a model that searches all jobs for the ones that can be taken.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use proptest::prelude::*;

use super::{JobId, Keyed, ReadyQueue};

#[derive(Debug, Clone, PartialEq)]
struct Item {
    id: JobId,
    keys: Vec<u64>,
}

impl Keyed for Item {
    fn keys(&self) -> &[u64] {
        &self.keys
    }
}

/// Of two writers; one may have a batch while the other takes one.
const WRITERS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Push(HashSet<u64>),
    /// A writer takes up to so many jobs; those with a key in `aside` are set aside.
    Take {
        writer: usize,
        limit: usize,
        aside: HashSet<u64>,
    },
    Finish(usize),
    /// A writer is done with all jobs of its batch but one, which is set aside.
    FinishBut(usize, prop::sample::Index),
    /// The nth job that waits.
    Cancel(prop::sample::Index),
    /// What was set aside is done.
    FinishAside,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::hash_set(0..6_u64, 1..4);
    let aside = prop_oneof![
        4 => Just(HashSet::new()),
        1 => prop::collection::hash_set(0..6_u64, 1..3),
    ];
    prop_oneof![
        6 => keys().prop_map(Step::Push),
        4 => (0..WRITERS, 1..6_usize, aside)
            .prop_map(|(writer, limit, aside)| Step::Take { writer, limit, aside }),
        3 => (0..WRITERS).prop_map(Step::Finish),
        1 => (0..WRITERS, any::<prop::sample::Index>())
            .prop_map(|(writer, index)| Step::FinishBut(writer, index)),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => Just(Step::FinishAside),
    ]
}

#[derive(Default)]
struct Model {
    waiting: Vec<Item>,
    batches: [Vec<Item>; WRITERS],
    aside: Vec<Item>,
}

impl Model {
    fn busy(&self) -> HashSet<u64> {
        let taken = self.batches.iter().flatten().chain(&self.aside);
        taken.flat_map(|item| item.keys.clone()).collect()
    }

    fn has_ready(&self) -> bool {
        let mut busy = self.busy();
        self.waiting.iter().any(|item| {
            let is_ready = !item.keys.iter().any(|key| busy.contains(key));
            busy.extend(&item.keys);
            is_ready
        })
    }

    fn take(&mut self, writer: usize, limit: usize, aside: &HashSet<u64>) {
        let mut busy = self.busy();
        let mut batch: Vec<Item> = Vec::new();
        let mut left = Vec::new();
        for item in std::mem::take(&mut self.waiting) {
            let shares = |keys: &HashSet<u64>| item.keys.iter().any(|key| keys.contains(key));
            let batch_keys: HashSet<u64> = batch.iter().flat_map(|i| i.keys.clone()).collect();
            if batch.len() == limit || shares(&busy) {
                busy.extend(&item.keys);
                left.push(item);
            } else if !shares(aside) {
                batch.push(item);
            } else if shares(&batch_keys) {
                busy.extend(&item.keys);
                left.push(item);
            } else {
                busy.extend(&item.keys);
                self.aside.push(item);
            }
        }
        self.waiting = left;
        self.batches[writer] = batch;
    }
}

/// As a writer does it.
fn take(queue: &mut ReadyQueue<Item>, limit: usize, aside: &HashSet<u64>) -> [Vec<Item>; 2] {
    let (mut batch, mut set_aside) = (Vec::new(), Vec::new());
    let mut picker = queue.pick();
    while let Some((item, follows)) = picker.next() {
        if batch.len() == limit {
            break;
        }
        if !item.keys.iter().any(|key| aside.contains(key)) {
            batch.extend(picker.take());
        } else if follows {
            picker.skip_follower();
        } else {
            set_aside.extend(picker.take_without_followers());
        }
    }
    [batch, set_aside]
}

fn release(queue: &mut ReadyQueue<Item>, items: Vec<Item>) {
    let keys: Vec<u64> = items.into_iter().flat_map(|item| item.keys).collect();
    queue.release(&keys);
}

fn run(steps: Vec<Step>) {
    let mut queue = ReadyQueue::default();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Push(keys) => {
                let item = Item { id: queue.next_id(), keys: keys.into_iter().collect() };
                model.waiting.push(item.clone());
                queue.push(item);
            }
            Step::Take { writer, limit, aside } if model.batches[writer].is_empty() => {
                let aside_before = model.aside.len();
                model.take(writer, limit, &aside);
                let expected =
                    [model.batches[writer].clone(), model.aside[aside_before..].to_vec()];
                assert_eq!(take(&mut queue, limit, &aside), expected);
            }
            Step::Take { .. } => {}
            Step::Finish(writer) => {
                release(&mut queue, std::mem::take(&mut model.batches[writer]));
            }
            Step::FinishBut(writer, index) => {
                let mut batch = std::mem::take(&mut model.batches[writer]);
                if !batch.is_empty() {
                    model.aside.push(batch.remove(index.index(batch.len())));
                }
                release(&mut queue, batch);
            }
            Step::FinishAside => release(&mut queue, std::mem::take(&mut model.aside)),
            Step::Cancel(index) if !model.waiting.is_empty() => {
                let item = model.waiting.remove(index.index(model.waiting.len()));
                assert_eq!(queue.remove(item.id), Some(item.clone()));
                assert_eq!(queue.remove(item.id), None);
            }
            Step::Cancel(_) => {}
        }
        assert_eq!(queue.len(), model.waiting.len());
        assert_eq!(queue.oldest(), model.waiting.first());
        assert_eq!(queue.has_ready(), model.has_ready());
    }
    drain(queue, model);
}

/// With nothing under way, everything can be taken at once, and nothing is left behind.
fn drain(mut queue: ReadyQueue<Item>, mut model: Model) {
    for batch in model.batches {
        release(&mut queue, batch);
    }
    release(&mut queue, std::mem::take(&mut model.aside));
    let [batch, _] = take(&mut queue, usize::MAX, &HashSet::new());
    assert_eq!(batch, model.waiting);
    release(&mut queue, batch);
    assert!(queue.lanes.is_empty() && queue.jobs.is_empty() && queue.ready.min().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn takes_what_a_search_would_find(steps in prop::collection::vec(step(), 0..120)) {
        run(steps);
    }
}

fn item(queue: &mut ReadyQueue<Item>, keys: &[u64]) -> JobId {
    let id = queue.next_id();
    queue.push(Item { id, keys: keys.to_vec() });
    id
}

fn ids(items: &[Item]) -> Vec<JobId> {
    items.iter().map(|item| item.id).collect()
}

#[test]
fn jobs_of_one_key_share_a_batch_in_their_order_and_block_other_writers() {
    let mut queue = ReadyQueue::default();
    let jobs: Vec<JobId> = (0..4).map(|_| item(&mut queue, &[1])).collect();
    let other = item(&mut queue, &[2]);
    let [first, _] = take(&mut queue, 3, &HashSet::new());
    assert_eq!(ids(&first), jobs[..3]);
    let [second, _] = take(&mut queue, 3, &HashSet::new());
    assert_eq!(ids(&second), [other], "the fourth waits for the three");
    assert!(!queue.has_ready());
    release(&mut queue, first);
    let [third, _] = take(&mut queue, 3, &HashSet::new());
    assert_eq!(ids(&third), jobs[3..]);
}

#[test]
fn a_job_waits_for_each_of_its_keys() {
    let mut queue = ReadyQueue::default();
    item(&mut queue, &[1]);
    item(&mut queue, &[2]);
    let [one, _] = take(&mut queue, 1, &HashSet::new());
    let [two, _] = take(&mut queue, 1, &HashSet::new());
    let both = item(&mut queue, &[1, 2]);
    release(&mut queue, one);
    assert!(!queue.has_ready());
    release(&mut queue, two);
    let [batch, _] = take(&mut queue, 1, &HashSet::new());
    assert_eq!(ids(&batch), [both]);
}

#[test]
fn a_cancelled_job_frees_those_behind_it() {
    let mut queue = ReadyQueue::default();
    item(&mut queue, &[1]);
    let [taken, _] = take(&mut queue, 1, &HashSet::new());
    let cancelled = item(&mut queue, &[1, 2]);
    let behind = item(&mut queue, &[2]);
    assert!(!queue.has_ready());
    assert!(queue.remove(cancelled).is_some());
    assert!(queue.remove(taken[0].id).is_none(), "it is not in the queue any more");
    let [batch, _] = take(&mut queue, 1, &HashSet::new());
    assert_eq!(ids(&batch), [behind]);
}

/// A job that counts how often it is looked at.
struct Counted {
    keys: Vec<u64>,
    looks: Rc<Cell<usize>>,
}

impl Keyed for Counted {
    fn keys(&self) -> &[u64] {
        self.looks.set(self.looks.get() + 1);
        &self.keys
    }
}

#[test]
fn jobs_that_have_to_wait_are_not_searched() {
    const JOBS: usize = 15_000;
    let looks = Rc::new(Cell::new(0));
    let mut queue = ReadyQueue::default();
    let counted = |uuid| Counted { keys: vec![uuid, u64::MAX], looks: Rc::clone(&looks) };
    queue.push(counted(0));
    assert_eq!(queue.pick().take().map(|job| job.keys[0]), Some(0));
    (1..=JOBS as u64).for_each(|uuid| queue.push(counted(uuid)));
    assert_eq!(looks.get(), JOBS + 1, "each once, when it is queued");
    looks.set(0);
    for _ in 0..JOBS {
        assert!(queue.pick().next().is_none());
    }
    assert_eq!(looks.get(), 0, "with the key busy");
    queue.release(&[0, u64::MAX]);
    let mut picker = queue.pick();
    while picker.next().is_some() {
        picker.take();
    }
    assert_eq!(looks.get(), JOBS - 1, "each but the last once, for the one behind it");
}
