//! A model of senders that send again once they are answered, and of commits that cost more or less.

use super::*;

/// What a job costs the database.
const JOB: Duration = Duration::from_micros(40);
/// What it costs to answer a sender and to take what it sends next, one sender after the other.
const ANSWER: Duration = Duration::from_micros(35);

/// When the job that was answered at `answered` as the `n`th is followed by the sender's next.
type Sends = fn(answered: Instant, n: u32) -> Instant;

fn at_once(answered: Instant, n: u32) -> Instant {
    answered + ANSWER * (n + 1)
}

/// Runs `batches`, and returns the jobs a second of the later ones.
fn rate(grouping: &mut Grouping, commit: Duration, senders: usize, sends: Sends) -> f64 {
    const BATCHES: usize = 4000;
    let mut now = Instant::now();
    let mut arrivals = vec![now; senders];
    let (mut jobs, mut counted_from) = (0, now);
    let mut batches = 0;
    while batches < BATCHES {
        arrivals.sort_unstable();
        let waiting = arrivals.iter().filter(|at| **at <= now).count();
        let Next::Take(at_most) = grouping.next(waiting, now) else {
            now = next_look(grouping, &arrivals, now);
            continue;
        };
        let batch = at_most.min(waiting);
        grouping.begin(batch, now);
        now += commit + JOB * u32::try_from(batch).unwrap();
        for (n, arrival) in (0..).zip(&mut arrivals[..batch]) {
            *arrival = sends(now, n);
        }
        batches += 1;
        jobs += batch;
        if batches == BATCHES / 10 {
            (jobs, counted_from) = (0, now);
        }
    }
    f64::from(u32::try_from(jobs).unwrap()) / (now - counted_from).as_secs_f64()
}

/// When enough jobs wait, or the writer's patience ends.
fn next_look(grouping: &Grouping, arrivals: &[Instant], now: Instant) -> Instant {
    let enough = arrivals[grouping.wanted().clamp(1, arrivals.len()) - 1];
    grouping.waits_until().map_or(enough, |until| enough.min(until)).max(now)
}

fn fixed(groups: Groups, commit: Duration, senders: usize) -> f64 {
    rate(&mut Grouping::always(groups), commit, senders, at_once)
}

#[test]
fn the_faster_way_is_found_whatever_a_commit_costs() {
    for (senders, commit_micros, faster) in [
        (2, 500, Groups::One),
        (8, 0, Groups::Two),
        (8, 2_000, Groups::One),
        (64, 0, Groups::Two),
        (64, 200, Groups::Two),
        (64, 2_000, Groups::Two),
        (64, 10_000, Groups::One),
        (64, 100_000, Groups::One),
    ] {
        let commit = Duration::from_micros(commit_micros);
        let one = fixed(Groups::One, commit, senders);
        let two = fixed(Groups::Two, commit, senders);
        let mut grouping = Grouping::default();
        let found = rate(&mut grouping, commit, senders, at_once);
        let figures = format!("{senders} senders, {commit:?}: {one:.0}, {two:.0}, {found:.0}");
        assert_eq!(grouping.groups, faster, "{figures}");
        assert!(found >= 0.97 * one.max(two), "{figures}");
    }
}

#[test]
fn nobody_waits_for_senders_that_pause() {
    let after_a_pause = |answered, n| at_once(answered, n) + Duration::from_millis(50);
    for commit in [Duration::from_micros(200), Duration::from_millis(2)] {
        let mut grouping = Grouping::default();
        rate(&mut grouping, commit, 64, after_a_pause);
        assert_eq!(grouping.groups, Groups::Two, "{commit:?}");
    }
}
