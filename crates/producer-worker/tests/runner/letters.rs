//! Dead letters: held, skipped, replayed, given up.

use producer_core::worker::DeadLetterState;
use producer_worker::config::{Mode, OnDead};
use producer_worker::update::Update;

use crate::support::{Db, Target, config, failed, on_both, refused};

on_both!(
    changes_wait_behind_a_dead_letter_and_follow_its_replay,
    changes_go_on_when_the_dead_letter_is_given_up,
    changes_do_not_wait_with_continue,
    a_stuck_change_can_be_skipped,
    a_newer_state_replaces_a_dead_letter,
    what_is_too_old_becomes_a_dead_letter,
    a_replay_that_is_refused_again_stays_dead,
);

fn is(update: &Update, id: &str, version: u64) -> bool {
    update.key().entity_id() == id && update.version() == version
}

fn states(letters: &[producer_core::worker::DeadLetter]) -> Vec<DeadLetterState> {
    letters.iter().map(|letter| letter.letter.state).collect()
}

use DeadLetterState::{Dead, Waiting};

async fn changes_wait_behind_a_dead_letter_and_follow_its_replay(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    target.behave(|update| if is(update, "a", 2) { Err(refused("no")) } else { Ok(()) });
    let running = db.run(&config, &target);
    for n in 0..5 {
        db.merge("a", n).await;
        db.merge("b", n).await;
    }
    target.becomes(|target| target.versions("b").len() == 5).await;
    let letters = db.letters_become(|letters| letters.len() == 4).await;
    assert_eq!(states(&letters), [Dead, Waiting, Waiting, Waiting]);
    assert_eq!(letters[0].letter.error, "no");
    assert_eq!(target.versions("a"), [1]);
    db.sink_becomes("all", |sink| {
        sink.lag.is_some_and(|lag| lag.changes == 0) && sink.dead_letters == 4
    })
    .await;
    target.behave(|_| Ok(()));
    db.store.replay_dead_letter(letters[0].id).await.expect("replayed");
    db.merge("a", 5).await;
    target.becomes(|target| target.versions("a").len() == 6).await;
    assert_eq!(target.versions("a"), [1, 2, 3, 4, 5, 6]);
    db.letters_become(|letters| letters.is_empty()).await;
    db.merge("a", 6).await;
    target.becomes(|target| target.versions("a").len() == 7).await;
    running.stop().await;
    assert!(db.letters().await.is_empty());
}

async fn changes_go_on_when_the_dead_letter_is_given_up(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    target.behave(|update| if is(update, "a", 1) { Err(refused("no")) } else { Ok(()) });
    let running = db.run(&config, &target);
    for n in 0..3 {
        db.merge("a", n).await;
    }
    let letters = db.letters_become(|letters| letters.len() == 3).await;
    running.stop().await;
    let running = db.run(&config, &target);
    db.merge("a", 3).await;
    db.letters_become(|letters| letters.len() == 4).await;
    assert!(target.seen().is_empty(), "a new worker holds too");
    assert!(db.store.delete_dead_letter(letters[0].id).await.expect("deleted"));
    target.becomes(|target| target.versions("a").len() == 3).await;
    assert_eq!(target.versions("a"), [2, 3, 4]);
    db.letters_become(|letters| letters.is_empty()).await;
    running.stop().await;
}

async fn changes_do_not_wait_with_continue(db: Db) {
    let (mut config, target) = (config("all", Mode::Log), Target::new());
    config.on_dead = OnDead::Continue;
    target.behave(|update| if is(update, "a", 2) { Err(refused("no")) } else { Ok(()) });
    let running = db.run(&config, &target);
    for n in 0..4 {
        db.merge("a", n).await;
    }
    target.becomes(|target| target.versions("a").len() == 3).await;
    assert_eq!(target.versions("a"), [1, 3, 4]);
    assert_eq!(states(&db.letters_become(|letters| letters.len() == 1).await), [Dead]);
    running.stop().await;
}

async fn a_stuck_change_can_be_skipped(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    target.behave(|update| if is(update, "a", 1) { Err(failed("stuck")) } else { Ok(()) });
    let running = db.run(&config, &target);
    db.merge("a", 0).await;
    db.merge("a", 1).await;
    let sink = db
        .sink_becomes("all", |sink| {
            sink.report.current.as_ref().is_some_and(|current| current.tries > 2)
        })
        .await;
    let current = sink.report.current.expect("it is stuck");
    assert_eq!((current.entity_type.as_str(), current.entity_id.as_str()), ("Car", "a"));
    assert!(sink.report.retrying);
    assert!(sink.report.last_error.is_some_and(|error| error.detail == "stuck"));
    assert!(db.store.skip("all", &current.token).await.expect("asked"));
    let letters = db.letters_become(|letters| letters.len() == 2).await;
    assert_eq!(states(&letters), [Dead, Waiting]);
    assert!(letters[0].letter.error.contains("stuck"), "{letters:?}");
    db.sink_becomes("all", |sink| sink.report.current.is_none()).await;
    running.stop().await;
}

async fn a_newer_state_replaces_a_dead_letter(db: Db) {
    let (config, target) = (config("cache", Mode::Latest), Target::new());
    target.behave(|update| {
        let is_odd = update.state.as_ref().is_some_and(|entity| entity.data.contains('7'));
        if is_odd { Err(refused("a seven")) } else { Ok(()) }
    });
    let running = db.run(&config, &target);
    db.merge("a", 7).await;
    db.letters_become(|letters| letters.len() == 1).await;
    db.merge("a", 77).await;
    db.letters_become(|letters| {
        letters.len() == 1
            && matches!(
                &letters[0].letter.place,
                producer_core::worker::DeadLetterPlace::Change { version: 2, .. }
            )
    })
    .await;
    db.merge("a", 8).await;
    db.letters_become(|letters| letters.is_empty()).await;
    target.becomes(|target| target.kept().get("a").is_some_and(|data| data.contains('8'))).await;
    running.stop().await;
}

async fn what_is_too_old_becomes_a_dead_letter(db: Db) {
    let (mut config, target) = (config("all", Mode::Log), Target::new());
    config.retry.max_age = Some(std::time::Duration::from_millis(300));
    config.on_dead = OnDead::Continue;
    target.behave(
        |update| if update.key().entity_id() == "a" { Err(failed("away")) } else { Ok(()) },
    );
    let running = db.run(&config, &target);
    db.merge("a", 0).await;
    db.merge("b", 0).await;
    let letters = db.letters_become(|letters| letters.len() == 1).await;
    assert!(letters[0].letter.error.contains("max_age"), "{letters:?}");
    assert!(letters[0].letter.tries > 1);
    target.becomes(|target| target.versions("b") == [1]).await;
    running.stop().await;
}

async fn a_replay_that_is_refused_again_stays_dead(db: Db) {
    let (config, target) = (config("all", Mode::Log), Target::new());
    target.behave(|update| if is(update, "a", 1) { Err(refused("no")) } else { Ok(()) });
    let running = db.run(&config, &target);
    db.merge("a", 0).await;
    db.merge("a", 1).await;
    let letters = db.letters_become(|letters| letters.len() == 2).await;
    target.behave(|update| if is(update, "a", 1) { Err(refused("no again")) } else { Ok(()) });
    db.store.replay_dead_letter(letters[0].id).await.expect("replayed");
    let again = db.letters_become(|letters| letters[0].letter.error == "no again").await;
    assert_eq!(states(&again), [Dead, Waiting]);
    assert_eq!(again[0].letter.tries, 2);
    assert!(target.versions("a").is_empty());
    running.stop().await;
}
