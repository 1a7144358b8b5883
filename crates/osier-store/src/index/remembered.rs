//! Results that are looked up together: those of all components of one goal, in one row.
//!
//! A build that does nothing looks up the result of each of its components, and beside a million records each look-up
//! reads pages of its own. So the results of the last build are kept in a row as well. It counts as long as no result
//! of the index has been removed or replaced since: a number, the generation, grows with each that is, in the same
//! transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Boot, Index, row_sum};
use crate::record::{Entry, GENERATION, OUTPUTS, REMEMBERED, REUSED, TOGETHER, outputs};
use crate::{Digest, FileError, Key};

/// The outputs of a component by name, and whether they come from an earlier build's objects.
type Result = (Vec<(String, Digest)>, bool);

/// Results that were looked up together.
#[derive(Debug, Default)]
pub struct Remembered {
    /// By the key of each component's last step.
    pub results: HashMap<Key, Result>,
    /// Which results of the index these are; nothing where there is no index to read.
    generation: Option<i64>,
}

/// Says whether rows of a kind make a result.
pub(super) fn is_of_result(kind: &str) -> bool {
    matches!(kind, OUTPUTS | REUSED)
}

/// Says whether a row makes another result of one that there is.
pub(super) fn replaces(connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
    if !is_of_result(entry.kind) {
        return Ok(false);
    }
    let text = "SELECT 1 FROM record WHERE key = ? AND kind = ?";
    connection.prepare_cached(text)?.exists(params![entry.key.0, OUTPUTS])
}

/// Lets nothing that was remembered count any more.
pub(super) fn forget(connection: &Connection, boot: &mut Boot) -> rusqlite::Result<()> {
    let generation = generation(connection)?;
    // Where its row was lost, what was remembered under an earlier one of that number does not count again.
    if generation.is_none_or(|it| it == 0) {
        let text = "DELETE FROM record WHERE key = ? AND kind = ?";
        connection.execute(text, params![TOGETHER.0, REMEMBERED])?;
    }
    let value = generation.map_or(1, |it| it + 1).to_string();
    Entry { key: TOGETHER, kind: GENERATION, sub: Vec::new(), value }.write(connection, boot)
}

/// Reads the generation, which is 0 where there is none yet; nothing where its row is damaged. In which boot it was
/// written does not matter: the database is as it was after some transaction.
fn generation(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let text = "SELECT value, boot, number, sum FROM record WHERE key = ? AND kind = ?";
    let mut statement = connection.prepare_cached(text)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (value, boot, number, sum) =
            (row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?);
        let is_whole = sum == row_sum(&TOGETHER.0, GENERATION, &[], &value, boot, number);
        Ok(value.parse().ok().filter(|_| is_whole))
    };
    let found = statement.query_row(params![TOGETHER.0, GENERATION], read).optional()?;
    Ok(found.unwrap_or(Some(0)))
}

fn write(generation: i64, results: &HashMap<Key, Result>) -> String {
    let mut text = generation.to_string();
    for (key, (outputs, reused)) in results {
        text.push_str(&format!("\n{key} {}", u8::from(*reused)));
        for (name, digest) in outputs {
            text.push_str(&format!(" {name}={digest}"));
        }
    }
    text
}

fn read(text: &str) -> Option<(i64, HashMap<Key, Result>)> {
    let mut lines = text.split('\n');
    let generation = lines.next()?.parse().ok()?;
    let result = |line: &str| {
        let (key, rest) = line.split_once(' ')?;
        let (reused, text) = rest.split_once(' ')?;
        Some((key.parse().ok()?, (outputs(text)?, reused == "1")))
    };
    Some((generation, lines.map(result).collect::<Option<_>>()?))
}

impl Index {
    /// Gives the results that were remembered under a name, as far as they are still those of the index.
    pub fn remembered(&self, name: &Digest) -> Remembered {
        let generation = self.ask(|database| generation(&database.connection));
        let rest = "WHERE key = ? AND kind = ? AND sub = ?";
        let fields: [&dyn rusqlite::ToSql; 3] = [&TOGETHER.0, &REMEMBERED, &name.0];
        let found = self.many(rest, &fields, |found| read(found.value)).pop();
        let results = found.filter(|(at, _)| Some(*at) == generation);
        Remembered { results: results.unwrap_or_default().1, generation }
    }

    /// Remembers results under a name that were looked up since `looked` was. They do not count where one of them was
    /// removed or replaced meanwhile.
    pub fn remember(
        &mut self,
        name: &Digest,
        looked: &Remembered,
        results: &HashMap<Key, Result>,
    ) -> std::result::Result<(), FileError> {
        let Some(generation) = looked.generation else { return Ok(()) };
        // What has no generation yet gets one: that its row is lost must show.
        let value = write(generation.max(1), results);
        self.write(|index, connection| {
            if self::generation(connection)? != Some(generation) {
                return Ok(());
            }
            let mut boot = index.this_boot(connection)?;
            if generation == 0 {
                forget(connection, &mut boot)?;
            }
            let (kind, sub) = (REMEMBERED, name.0.to_vec());
            Entry { key: TOGETHER, kind, sub, value: value.clone() }
                .write(connection, &mut boot)?;
            boot.write(connection)
        })
    }
}
