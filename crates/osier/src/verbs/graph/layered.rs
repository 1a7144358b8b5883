//! Where the boxes and lines of a layered drawing go.
//!
//! The usual way for a graph without cycles: boxes get ranks, left to right; a line over several ranks gets a place of
//! its own in each rank between, so that it crosses no box; the order within ranks is sorted until fewer lines cross;
//! then heights are chosen so that lines run straight. All of it is a function of its input: equal graphs look equal.

/// Room between the boxes of one rank.
const GAP: f64 = 18.0;
/// Room between ranks, in which the lines bend.
const BEND: f64 = 56.0;
/// The height that a line takes in a rank that it passes.
const LINE: f64 = 6.0;
/// How often the order within the ranks is sorted.
const SORTS: usize = 24;
/// How often heights are evened out.
const EVENINGS: usize = 12;

/// A box or a place of a line in a rank.
struct Item {
    rank: usize,
    width: f64,
    height: f64,
    /// The middle.
    y: f64,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// A drawing.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The top left corner of each box.
    pub(super) boxes: Vec<(f64, f64)>,
    /// The points of each line; between an even point and the next it runs level, between an odd one and the next it bends.
    pub(super) lines: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Lays out boxes of these sizes and lines from one to a later one, the numbers of the boxes being those of `sizes`.
///
/// A line that does not lead from a lower number to a higher one has no place in the drawing.
pub(super) fn lay_out(sizes: &[(f64, f64)], lines: &[(usize, usize)]) -> Layout {
    let ranks = ranks(sizes.len(), lines);
    let mut items: Vec<Item> = sizes
        .iter()
        .zip(&ranks)
        .map(|((width, height), rank)| Item {
            rank: *rank,
            width: *width,
            height: *height,
            y: 0.0,
            before: Vec::new(),
            after: Vec::new(),
        })
        .collect();
    let mut ways = Vec::new();
    for (from, to) in lines {
        let mut way = Vec::new();
        if from < to && *to < sizes.len() {
            way.push(*from);
            for rank in ranks[*from] + 1..ranks[*to] {
                items.push(Item {
                    rank,
                    width: 0.0,
                    height: LINE,
                    y: 0.0,
                    before: Vec::new(),
                    after: Vec::new(),
                });
                way.push(items.len() - 1);
            }
            way.push(*to);
        }
        for pair in way.windows(2) {
            items[pair[0]].after.push(pair[1]);
            items[pair[1]].before.push(pair[0]);
        }
        ways.push(way);
    }
    let columns = order(&items);
    even_out(&mut items, &columns);
    place(&items, &columns, &ways, sizes.len())
}

/// Gives each box its rank: behind all that it uses, and close to what uses it where that makes lines shorter.
fn ranks(count: usize, lines: &[(usize, usize)]) -> Vec<usize> {
    let mut ranks = vec![0usize; count];
    let (mut before, mut after) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for (from, to) in lines.iter().filter(|(from, to)| from < to && *to < count) {
        before[*to].push(*from);
        after[*from].push(*to);
    }
    for number in 0..count {
        ranks[number] = before[number].iter().map(|one: &usize| ranks[*one] + 1).max().unwrap_or(0);
    }
    for number in (0..count).rev() {
        let nearest = after[number].iter().map(|one: &usize| ranks[*one]).min();
        if let Some(nearest) = nearest.filter(|_| after[number].len() >= before[number].len()) {
            ranks[number] = nearest - 1;
        }
    }
    ranks
}

/// Sorts the items of each rank so that few lines cross.
fn order(items: &[Item]) -> Vec<Vec<usize>> {
    let count = items.iter().map(|item| item.rank + 1).max().unwrap_or(0);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (number, item) in items.iter().enumerate() {
        columns[item.rank].push(number);
    }
    // Nothing can cross where no rank has two.
    if columns.iter().all(|column| column.len() < 2) {
        return columns;
    }
    // The position of each item in its column; what is not in the column that is looked at is never asked for.
    let mut places = vec![0.0; items.len()];
    let mut best = (crossings(items, &columns, &mut places), columns.clone());
    for sort in 0..SORTS {
        let forwards = sort % 2 == 0;
        for step in 1..count {
            let rank = if forwards { step } else { count - 1 - step };
            let fixed = if forwards { rank - 1 } else { rank + 1 };
            set_places(&columns[fixed], &mut places);
            let middle = |number: &usize| {
                let item = &items[*number];
                let others = if forwards { &item.before } else { &item.after };
                let sum: f64 = others.iter().map(|other| places[*other]).sum();
                (!others.is_empty()).then(|| sum / others.len() as f64)
            };
            // What has no neighbour there keeps its place among the rest.
            let mut keys: Vec<(f64, usize)> = Vec::with_capacity(columns[rank].len());
            for number in &columns[rank] {
                let last = keys.last().map_or(0.0, |(key, _)| *key);
                keys.push((middle(number).unwrap_or(last), *number));
            }
            keys.sort_by(|one, two| one.0.total_cmp(&two.0));
            columns[rank] = keys.into_iter().map(|(_, number)| number).collect();
        }
        let now = crossings(items, &columns, &mut places);
        if now < best.0 {
            best = (now, columns.clone());
        }
    }
    best.1
}

/// Notes the position of each item of a column, by the item's number.
fn set_places(column: &[usize], places: &mut [f64]) {
    for (place, number) in column.iter().enumerate() {
        places[*number] = place as f64;
    }
}

/// Counts how often lines cross between neighbouring ranks.
fn crossings(items: &[Item], columns: &[Vec<usize>], right: &mut [f64]) -> usize {
    let mut count = 0;
    for pair in columns.windows(2) {
        set_places(&pair[1], right);
        let mut passed: Vec<f64> = Vec::new();
        for number in &pair[0] {
            let ends: Vec<f64> = items[*number].after.iter().map(|to| right[*to]).collect();
            for end in &ends {
                count += passed.iter().filter(|other| *other > end).count();
            }
            passed.extend(ends);
        }
    }
    count
}

/// Gives each item a height near those of its neighbours, in the order of its column.
fn even_out(items: &mut [Item], columns: &[Vec<usize>]) {
    for column in columns {
        let mut top = 0.0;
        for number in column {
            items[*number].y = top + items[*number].height / 2.0;
            top += items[*number].height + GAP;
        }
    }
    for round in 0..EVENINGS {
        let forwards = round % 2 == 0;
        for step in 0..columns.len() {
            let column = &columns[if forwards { step } else { columns.len() - 1 - step }];
            let wishes: Vec<(f64, f64)> = column
                .iter()
                .map(|number| {
                    let item = &items[*number];
                    let others = item.before.iter().chain(&item.after);
                    let (sum, count) = others.fold((0.0, 0.0), |(sum, count), other| {
                        (sum + items[*other].y, count + 1.0)
                    });
                    let wish = if count > 0.0 { sum / count } else { item.y };
                    // A long line that bends at each rank is harder to follow than a box a little off its neighbours.
                    (wish, if item.width == 0.0 { 4.0 } else { 1.0 })
                })
                .collect();
            let apart =
                |pair: &[usize]| (items[pair[0]].height + items[pair[1]].height) / 2.0 + GAP;
            let distances: Vec<f64> = column.windows(2).map(apart).collect();
            for (number, y) in column.iter().zip(nearest(&wishes, &distances)) {
                items[*number].y = y;
            }
        }
    }
}

/// Finds the places nearest to the wished ones (each with its weight) that are in order and at least so far apart: the sum of
/// weighted squares is the least there is.
fn nearest(wishes: &[(f64, f64)], distances: &[f64]) -> Vec<f64> {
    // With the distances taken off, places only have to be in order: wishes out of order are pooled to their mean.
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wishes.len());
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (number, (wish, weight)) in wishes.iter().enumerate() {
        if number > 0 {
            offset += distances[number - 1];
        }
        offsets.push(offset);
        let mut pool = (wish - offset, *weight, 1);
        while let Some(last) = pools.pop_if(|last| last.0 > pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    let places = pools.into_iter().flat_map(|(place, _, count)| std::iter::repeat_n(place, count));
    places.zip(offsets).map(|(place, offset)| place + offset).collect()
}

/// Turns ranks and heights into points.
fn place(items: &[Item], columns: &[Vec<usize>], ways: &[Vec<usize>], count: usize) -> Layout {
    let mut layout = Layout::default();
    let mut left = 0.0;
    let mut sides = Vec::with_capacity(columns.len());
    for column in columns {
        let width = column.iter().map(|number| items[*number].width).fold(0.0, f64::max);
        sides.push((left, left + width));
        layout.width = left + width;
        left += width + BEND;
    }
    let top = items.iter().map(|item| item.y - item.height / 2.0).fold(f64::INFINITY, f64::min);
    let top = if top.is_finite() { top } else { 0.0 };
    for item in items {
        layout.height = layout.height.max(item.y + item.height / 2.0 - top);
    }
    for item in items.iter().take(count) {
        layout.boxes.push((sides[item.rank].0, item.y - item.height / 2.0 - top));
    }
    for way in ways {
        let mut points = Vec::with_capacity(way.len() * 2);
        for (at, number) in way.iter().enumerate() {
            let item = &items[*number];
            let (left, right) = sides[item.rank];
            let y = item.y - top;
            if at == 0 {
                points.push((left + item.width, y));
                points.push((right, y));
            } else if at + 1 < way.len() {
                points.push((left, y));
                points.push((right, y));
            } else {
                points.push((left, y));
            }
        }
        layout.lines.push(points);
    }
    layout
}

/// Leaves out the lines that say nothing new, because there is a way over other boxes; those that are kept stay in order.
pub(super) fn reduced(count: usize, lines: &[(usize, usize)]) -> Vec<bool> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in lines.iter().filter(|(from, to)| from < to && *to < count) {
        after[*from].push(*to);
    }
    // What the box `from` reaches over others, as far as its own lines lead: marked by its number, so that nothing is cleared.
    let mut reached_from = vec![usize::MAX; count];
    let mut open = Vec::new();
    let mut left_out = std::collections::HashSet::new();
    for (from, ends) in after.iter().enumerate() {
        let Some(last) = ends.iter().max().filter(|_| ends.len() > 1) else { continue };
        open.extend(ends.iter().flat_map(|end| &after[*end]).copied());
        while let Some(number) = open.pop() {
            // Lines lead to higher numbers, so what lies behind the last end is of no interest.
            if number > *last || reached_from[number] == from {
                continue;
            }
            reached_from[number] = from;
            open.extend(&after[number]);
        }
        let reached = ends.iter().filter(|end| reached_from[**end] == from);
        left_out.extend(reached.map(|end| (from, *end)));
    }
    lines.iter().map(|line| !left_out.contains(line)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_that_say_nothing_new_are_left_out() {
        let lines = [(0, 1), (1, 2), (0, 2), (0, 3), (1, 3)];
        assert_eq!(reduced(4, &lines), [true, true, false, false, true]);
    }

    #[test]
    fn a_long_chain_is_laid_out_at_once() {
        let count = 50_000;
        let lines: Vec<_> = (1..count).map(|to| (to - 1, to)).chain([(0, count - 1)]).collect();
        let kept = reduced(count, &lines);
        assert_eq!(kept.iter().filter(|kept| !**kept).count(), 1);
        let lines: Vec<_> =
            lines.iter().zip(kept).filter(|(_, kept)| *kept).map(|(line, _)| *line).collect();
        let layout = lay_out(&vec![(10.0, 10.0); count], &lines);
        assert_eq!(layout.boxes.len(), count);
    }

    #[test]
    fn lines_do_not_cross_where_they_need_not() {
        // Two pairs, given crosswise.
        let lines = [(0, 3), (1, 2)];
        let layout = lay_out(&[(10.0, 10.0); 4], &lines);
        let y = |number: usize| layout.boxes[number].1;
        assert_eq!(y(0) < y(1), y(3) < y(2));
        // Nothing keeps them from running straight.
        assert_eq!((y(0), y(1)), (y(3), y(2)));
    }

    #[test]
    fn a_line_over_several_ranks_passes_beside_the_boxes() {
        let layout = lay_out(&[(40.0, 30.0); 3], &[(0, 1), (1, 2), (0, 2)]);
        let (x, y) = layout.boxes[1];
        let passing: Vec<_> =
            layout.lines[2].iter().filter(|(at, _)| (x..x + 40.0).contains(at)).collect();
        assert!(!passing.is_empty());
        assert!(passing.iter().all(|(_, at)| *at < y || *at > y + 30.0), "{layout:?}");
    }

    #[test]
    fn places_are_the_nearest_in_order() {
        let even = |wishes: &[f64], distances: &[f64]| {
            nearest(&wishes.iter().map(|wish| (*wish, 1.0)).collect::<Vec<_>>(), distances)
        };
        assert_eq!(even(&[5.0, 20.0], &[10.0]), [5.0, 20.0]);
        assert_eq!(even(&[10.0, 10.0], &[10.0]), [5.0, 15.0]);
        assert_eq!(even(&[10.0, 0.0, 50.0], &[2.0, 2.0]), [4.0, 6.0, 50.0]);
        assert_eq!(nearest(&[(10.0, 1.0), (10.0, 4.0)], &[10.0]), [2.0, 12.0]);
        assert_eq!(nearest(&[], &[]), [0.0; 0]);
    }

    type Drawn = (Vec<(f64, f64)>, Vec<(usize, usize)>);

    fn graphs() -> impl Strategy<Value = Drawn> {
        (1usize..14).prop_flat_map(|count| {
            let size = (20.0f64..200.0, 10.0f64..100.0);
            let line = (0..count, 0..count);
            (prop::collection::vec(size, count), prop::collection::vec(line, 0..30))
        })
    }

    proptest! {
        #[test]
        fn boxes_never_overlap_and_lie_in_the_drawing((sizes, lines) in graphs()) {
            let layout = lay_out(&sizes, &lines);
            let placed: Vec<_> = layout.boxes.iter().zip(&sizes).collect();
            for (number, ((x, y), (width, height))) in placed.iter().enumerate() {
                prop_assert!(*x >= 0.0 && *y >= -1e-6);
                prop_assert!(x + width <= layout.width + 1e-6);
                prop_assert!(y + height <= layout.height + 1e-6);
                for ((other_x, other_y), (other_width, other_height)) in &placed[number + 1..] {
                    let apart = x + width <= *other_x
                        || other_x + other_width <= *x
                        || y + height <= other_y + 1e-6
                        || other_y + other_height <= y + 1e-6;
                    prop_assert!(apart, "{layout:?}");
                }
            }
            for ((from, to), line) in lines.iter().zip(&layout.lines) {
                if from < to {
                    prop_assert!(layout.boxes[*from].0 < layout.boxes[*to].0, "lines lead to the right");
                    prop_assert_eq!(line.len() % 2, 1);
                } else {
                    prop_assert!(line.is_empty());
                }
            }
        }

        #[test]
        fn what_is_left_out_can_still_be_reached((sizes, lines) in graphs()) {
            let forwards: Vec<_> = lines.into_iter().filter(|(from, to)| from < to).collect();
            let kept = reduced(sizes.len(), &forwards);
            let left: Vec<_> = forwards.iter().zip(kept).filter(|(_, kept)| *kept).map(|(line, _)| *line).collect();
            for (from, to) in &forwards {
                let mut seen = vec![*from];
                let mut at = 0;
                while let Some(now) = seen.get(at).copied() {
                    seen.extend(left.iter().filter(|(one, _)| *one == now).map(|(_, other)| *other));
                    at += 1;
                    if at > 10_000 { break; }
                }
                prop_assert!(seen.contains(to));
            }
        }
    }
}
