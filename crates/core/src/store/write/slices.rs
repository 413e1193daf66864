//! Splits a batch into slices that fit in memory: what is read and planned together, and what one
//! statement writes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::model::{EntityKey, EntityUpdate, Event};

/// Bytes of stored documents that a transaction holds in memory at once. A parsed document of small
/// members takes up to fifteen times its size.
const SLICE_BYTES: usize = 8 << 20;

/// What a transaction reads, plans and writes at once.
#[derive(Debug, PartialEq)]
pub(crate) enum Slice<'a> {
    /// Events whose documents fit in memory together.
    Whole(&'a [Event]),
    /// One event whose documents don't: runs of its updates that do, as far as single documents
    /// allow.
    InParts(&'a Event, Vec<Range<usize>>),
}

/// Cuts a batch so that the stored documents of each part fit in memory together. `sizes` are those
/// of the documents that exist.
pub(crate) fn slices<'a>(batch: &'a [Event], sizes: &HashMap<EntityKey, usize>) -> Vec<Slice<'a>> {
    let slice_of = |run: Range<usize>| {
        if let [event] = &batch[run.clone()] {
            let parts = runs(event.updates(), std::slice::from_ref, sizes);
            if parts.len() > 1 {
                return Slice::InParts(event, parts);
            }
        }
        Slice::Whole(&batch[run])
    };
    runs(batch, Event::updates, sizes).into_iter().map(slice_of).collect()
}

/// Cuts `items` into runs whose stored documents, each counted once, have at most [`SLICE_BYTES`],
/// or are those of one item.
fn runs<'a, T>(
    items: &'a [T],
    updates: impl Fn(&'a T) -> &'a [EntityUpdate],
    sizes: &HashMap<EntityKey, usize>,
) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut bytes, mut seen) = (0, 0_usize, HashSet::new());
    for (index, item) in items.iter().enumerate() {
        let keys: HashSet<_> = updates(item).iter().map(EntityUpdate::key).collect();
        let size_of = |&key: &&EntityKey| sizes.get(key).copied().unwrap_or(0);
        let added: usize = keys.difference(&seen).map(size_of).sum();
        if index > start && bytes + added > SLICE_BYTES {
            runs.push(start..index);
            (start, bytes) = (index, keys.iter().map(size_of).sum());
            seen.clear();
        } else {
            bytes += added;
        }
        seen.extend(keys);
    }
    runs.push(start..items.len());
    runs
}

/// Cuts what is to be written into statements that a database takes: both refuse a gigabyte.
pub(crate) fn parts<T>(mut rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let mut sum = 0;
        let fits = rows.iter().take_while(|row| {
            sum += bytes(row);
            sum <= SLICE_BYTES
        });
        let (part, rest) = rows.split_at(fits.count().max(1));
        parts.push(part);
        rows = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use crate::model::{Clock, Timestamp};

    const MIB: usize = 1 << 20;

    fn event(ids: &[usize]) -> Event {
        let entity =
            |id| format!(r#"{{"entityType":"Car","entityId":"{id}","updatedAttributes":{{}}}}"#);
        let entities: Vec<_> = ids.iter().map(entity).collect();
        let text = format!(
            r#"{{"eventHeader":{{"eventName":"Tested"}},"eventBody":{{"entities":[{}]}}}}"#,
            entities.join(",")
        );
        let clock = Clock::from_fn(|| Timestamp::from_micros(0));
        decode::event(text.as_bytes(), &clock).expect("an event")
    }

    fn stored(ids: impl IntoIterator<Item = usize>, size: usize) -> HashMap<EntityKey, usize> {
        let key = |id: usize| EntityKey::new_unchecked("Car", id.to_string());
        ids.into_iter().map(|id| (key(id), size)).collect()
    }

    /// Bytes of the stored documents of some updates.
    fn load<'a>(
        updates: impl IntoIterator<Item = &'a EntityUpdate>,
        sizes: &HashMap<EntityKey, usize>,
    ) -> usize {
        let keys: HashSet<_> = updates.into_iter().map(EntityUpdate::key).collect();
        keys.iter().filter_map(|key| sizes.get(key)).sum()
    }

    #[test]
    fn an_event_of_a_thousand_full_documents_never_holds_more_than_fits() {
        let ids: Vec<_> = (0..1000).collect();
        let (batch, sizes) = ([event(&ids)], stored(ids, MIB));
        let cut = slices(&batch, &sizes);
        let [Slice::InParts(event, parts)] = cut.as_slice() else { panic!("{cut:?}") };
        assert!(parts.iter().flat_map(Clone::clone).eq(0..1000), "in order, all of them");
        for part in parts {
            assert!(load(&event.updates()[part.clone()], &sizes) <= SLICE_BYTES);
        }
    }

    #[test]
    fn a_batch_is_cut_between_events_and_a_document_counts_once() {
        let batch: Vec<_> = (0..40).map(|n| event(&[n % 20, 20 + n])).collect();
        let sizes = stored(0..20, MIB);
        let mut events = 0;
        for slice in slices(&batch, &sizes) {
            let Slice::Whole(part) = slice else { panic!("{slice:?}") };
            assert!(load(part.iter().flat_map(Event::updates), &sizes) <= SLICE_BYTES);
            assert_eq!(part, &batch[events..events + part.len()]);
            events += part.len();
        }
        assert_eq!(events, 40);
        let hot: Vec<_> = (0..40).map(|_| event(&[1])).collect();
        assert_eq!(slices(&hot, &sizes), [Slice::Whole(&hot)]);
    }

    #[test]
    fn a_document_too_large_for_any_slice_stands_alone() {
        let batch = [event(&[1, 1])];
        let sizes = stored([1], 3 * SLICE_BYTES);
        assert_eq!(slices(&batch, &sizes), [Slice::InParts(&batch[0], vec![0..1, 1..2])]);
        let batch = [event(&[2]), event(&[1, 3]), event(&[2])];
        let sizes = stored([1, 2, 3], SLICE_BYTES);
        let [before, large, after] = &batch;
        let one = std::slice::from_ref;
        let expected = [
            Slice::Whole(one(before)),
            Slice::InParts(large, vec![0..1, 1..2]),
            Slice::Whole(one(after)),
        ];
        assert_eq!(slices(&batch, &sizes), expected);
    }

    #[test]
    fn what_is_written_is_cut_into_parts_that_fit() {
        let rows = [SLICE_BYTES / 2, SLICE_BYTES / 2, 1, 2 * SLICE_BYTES, 1];
        let cut: Vec<usize> = parts(&rows, |&row| row).iter().map(|part| part.len()).collect();
        assert_eq!(cut, [2, 1, 1, 1]);
        assert!(parts(&[0_usize; 0], |&row| row).is_empty());
    }
}
