//! One fetch of one file: the order of places, what each is asked, when the part is whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::cause::Cause;
use crate::error::FetchError;
use crate::location;
use crate::part::{BUFFER, Origin, Part};
use crate::want::{Progress, Want};
use crate::web::{Answer, Resume, Web};

/// A try that brings the file this many bytes further than ever does not count against its place: a
/// line that is often cut still gets there, and a server that always starts from zero is given up.
const WORTHWHILE: u64 = 256 * 1024;

/// Why a try ended without the whole file.
enum Broken {
    Place(Cause),
    Local(FetchError),
}

impl From<Cause> for Broken {
    fn from(cause: Cause) -> Self {
        Self::Place(cause)
    }
}

impl From<FetchError> for Broken {
    fn from(error: FetchError) -> Self {
        Self::Local(error)
    }
}

/// How a place has done so far.
struct Standing<'a> {
    place: &'a str,
    tries_left: u32,
    /// Has already been asked for the whole file because a joined one was wrong.
    healed: bool,
    failure: Option<Cause>,
}

/// Fills the part of one want.
pub(crate) struct Run<'a> {
    pub(crate) web: &'a Web,
    pub(crate) want: &'a Want,
    pub(crate) part: Part,
    /// Bytes received so far, thrown-away ones included.
    pub(crate) moved: u64,
    pub(crate) progress: &'a dyn Fn(Progress<'_>),
}

impl Run<'_> {
    /// Asks the places in turn until the part is whole and verified; gives the last place asked, or
    /// nothing if an earlier run had all of it.
    ///
    /// A place that fails in passing keeps its turn for later, and the next one goes on at the same
    /// offset; a place whose answer will not change is struck out.
    pub(crate) fn fill(&mut self, tries_per_place: u32) -> Result<String, FetchError> {
        if self.is_whole() {
            return Ok(String::new());
        }
        let mut standings: Vec<_> =
            self.want.places.iter().map(|place| Standing::new(place, tries_per_place)).collect();
        let mut turn = 0;
        let mut furthest = self.part.len();
        while let Some(index) = next(&standings, turn) {
            let standing = &mut standings[index];
            if standing.failure.is_some() {
                pause(1 + tries_per_place - standing.tries_left);
            }
            let shown = location::shown(standing.place);
            let cause = match self.try_place(standing.place, &shown) {
                Err(Broken::Local(error)) => return Err(error),
                Err(Broken::Place(cause)) => cause,
                Ok(measured) => {
                    let found = self.part.sha256();
                    let Some(expected) = self.want.sha256.filter(|expected| *expected != found)
                    else {
                        return Ok(shown);
                    };
                    // Whose bytes were wrong cannot be known, or the end may be missing: this place
                    // gets to give all of them in one piece.
                    let doubtful = self.part.pieces > 1 || !measured;
                    self.part.restart()?;
                    if doubtful && !standing.healed {
                        standing.healed = true;
                        continue;
                    }
                    Cause::HashMismatch { expected, found }
                }
            };
            (self.progress)(Progress::Failed { place: &shown, cause: &cause });
            let gained = self.part.len().saturating_sub(furthest);
            furthest += gained;
            turn = index + 1;
            if !cause.is_transient() {
                standing.tries_left = 0;
            } else if gained < WORTHWHILE {
                standing.tries_left -= 1;
            } else {
                turn = index;
            }
            standing.failure = Some(cause);
        }
        Err(verdict(self.want, standings))
    }

    /// Asks one place for what the part lacks. Gives whether the end of the file was known by its
    /// length, and not only by the end of the connection.
    fn try_place(&mut self, place: &str, shown: &str) -> Result<bool, Broken> {
        if let Some(path) = location::local(place) {
            let file = open_local(&path?)?;
            let size = file.metadata().map_err(Cause::Unreadable)?.len();
            check_size(self.want, Some(size))?;
            self.part.restart()?;
            self.receive(file, Some(size), shown, |error, _| Cause::Unreadable(error))?;
            return Ok(true);
        }
        loop {
            let origin = self.part.origin();
            let resume = self.resume(origin.as_ref())?;
            let answer = self.web.ask(place, resume.as_ref())?;
            let total = match (answer.status, &resume) {
                (200, _) => {
                    check_size(self.want, answer.length())?;
                    self.part.restart()?;
                    answer.length()
                }
                (206, Some(resume)) => match answer.range() {
                    Some((first, total))
                        if first == resume.at && self.fits(&answer, origin.as_ref()) =>
                    {
                        check_size(self.want, total)?;
                        total
                    }
                    _ => {
                        self.part.restart()?;
                        continue;
                    }
                },
                (416, Some(_)) => {
                    self.part.restart()?;
                    continue;
                }
                _ => return Err(answer.refusal().into()),
            };
            let origin = Origin {
                url: location::shown(&answer.url),
                validator: answer.validator(),
                length: total,
            };
            self.part.set_origin(&origin)?;
            let (before, ranged) = (self.part.len(), answer.status == 206);
            let web = self.web;
            self.receive(answer.body.into_reader(), total, shown, |error, held| {
                web.cause_of_read(error, held)
            })?;
            let held = self.part.len();
            match total.or(self.want.size) {
                Some(whole) if held > whole => {
                    self.part.restart()?;
                    return Err(Cause::WrongSize { expected: whole, found: held }.into());
                }
                // A server may give less than it was asked for; go on as long as it gives anything.
                Some(whole) if held < whole && ranged && held > before => {}
                Some(whole) if held < whole => return Err(Cause::Cut { at: held }.into()),
                known => return Ok(known.is_some()),
            }
        }
    }

    /// Reads a body to its end into the part.
    fn receive(
        &mut self,
        mut body: impl Read,
        total: Option<u64>,
        place: &str,
        cause_of: impl Fn(io::Error, u64) -> Cause,
    ) -> Result<(), Broken> {
        let total = self.want.size.or(total);
        let bound = self.want.size.unwrap_or(self.want.limit);
        let mut buffer = vec![0; BUFFER];
        self.part.pieces += 1;
        loop {
            (self.progress)(Progress::Held { held: self.part.len(), total, place });
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cause_of(error, self.part.len()).into()),
            };
            self.moved += read as u64;
            let held = self.part.len() + read as u64;
            if held > bound {
                self.part.restart()?;
                check_size(self.want, Some(held))?;
            }
            self.part.write(&buffer[..read])?;
        }
    }

    /// Says whether an earlier run was stopped between the last byte and the rename.
    fn is_whole(&self) -> bool {
        let held = self.part.len();
        let right = match self.want.sha256 {
            Some(expected) => self.part.sha256() == expected,
            None => self.part.origin().is_some_and(|origin| origin.length == Some(held)),
        };
        right && self.want.size.is_none_or(|size| size == held)
    }

    /// Plans how to go on with the part; throws it away where nothing can vouch for the joined file.
    fn resume<'o>(&mut self, origin: Option<&'o Origin>) -> Result<Option<Resume<'o>>, FetchError> {
        let validator =
            origin.and_then(|origin| Some((origin.validator.as_deref()?, origin.url.as_str())));
        let validator = match (self.want.sha256, validator) {
            // The hash decides in the end. One server's validator means nothing to another.
            (Some(_), validator) => validator.map(|(validator, url)| (validator, Some(url))),
            // Two versions of a file may share a date, so without a hash only an entity tag will do.
            (None, Some((tag, _))) if tag.starts_with('"') => Some((tag, None)),
            (None, _) => {
                self.part.restart()?;
                None
            }
        };
        // As long as the file, and yet not the file: otherwise it would have been taken.
        if self.want.size == Some(self.part.len()) {
            self.part.restart()?;
        }
        let at = self.part.len();
        Ok((at > 0).then_some(Resume { at, validator }))
    }

    /// Says whether a 206 may be joined to the part. Without a hash the entity tags must agree.
    fn fits(&self, answer: &Answer, origin: Option<&Origin>) -> bool {
        self.want.sha256.is_some()
            || origin.is_some_and(|origin| origin.validator == answer.validator())
    }
}

impl<'a> Standing<'a> {
    fn new(place: &'a str, tries_left: u32) -> Self {
        Self { place, tries_left, healed: false, failure: None }
    }
}

/// Finds the next place that has tries left, from `turn` on and around.
fn next(standings: &[Standing<'_>], turn: usize) -> Option<usize> {
    (turn..turn + standings.len())
        .map(|index| index % standings.len())
        .find(|&index| standings[index].tries_left > 0)
}

/// Waits before the same place is asked again: 0.2 s, then twice as long each time, up to 3.2 s.
pub(crate) fn pause(failures: u32) {
    thread::sleep(Duration::from_millis(100 << failures.clamp(1, 5)));
}

/// Opens a regular file; anything else could block or never end.
pub(crate) fn open_local(path: &Path) -> Result<File, Cause> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Cause::NotFound,
        _ => Cause::Unreadable(error),
    };
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Cause::Unreadable(io::Error::other("not a regular file")));
    }
    File::open(path).map_err(unreadable)
}

pub(crate) fn check_size(want: &Want, found: Option<u64>) -> Result<(), Cause> {
    match (want.size, found) {
        (Some(expected), Some(found)) if expected != found => {
            Err(Cause::WrongSize { expected, found })
        }
        (None, Some(found)) if found > want.limit => Err(Cause::TooBig { limit: want.limit }),
        _ => Ok(()),
    }
}

fn verdict(want: &Want, standings: Vec<Standing<'_>>) -> FetchError {
    let name = want.name.clone();
    let failures: Vec<_> = standings
        .into_iter()
        .filter_map(|standing| Some((location::shown(standing.place), standing.failure?)))
        .collect();
    match failures.first() {
        Some((place, Cause::HashMismatch { expected, found }))
            if failures.iter().all(|(_, cause)| matches!(cause, Cause::HashMismatch { .. })) =>
        {
            FetchError::HashMismatch {
                name,
                place: place.clone(),
                expected: *expected,
                found: *found,
            }
        }
        _ => FetchError::AllPlacesFailed { name, failures },
    }
}
