//! The fetcher: which place is asked, how often, and when a file counts as fetched.

use std::cell::Cell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sha2::{Digest, Sha256};

use crate::cause::Cause;
use crate::error::FetchError;
use crate::location;
use crate::part::{self, Part};
use crate::run::{self, Run};
use crate::settings::{Settings, SettingsError};
use crate::want::{Fetched, Progress, Want};
use crate::web::Web;

/// Fetches files. Its threads share connections.
pub struct Fetcher {
    settings: Settings,
    web: Web,
}

impl Fetcher {
    /// Makes a fetcher; reads the trusted roots, opens no connection.
    ///
    /// # Errors
    /// [`SettingsError`] if a setting cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self { web: Web::new(&settings)?, settings })
    }

    /// Brings a file to the path `deliver`, by a rename, once all of it is there and verified.
    ///
    /// Parts live in `folder`, which should be on the file system of `deliver`. A file that already
    /// stands at `deliver` with the right hash is taken as it is; one that does not verify is replaced.
    ///
    /// # Errors
    /// [`FetchError`]. Except for [`FetchError::HashMismatch`] the part stays for the next run.
    pub fn fetch(
        &self,
        want: &Want,
        folder: &Path,
        deliver: &Path,
        progress: &dyn Fn(Progress<'_>),
    ) -> Result<Fetched, FetchError> {
        let first =
            want.places.first().ok_or_else(|| FetchError::NoPlace { name: want.name.clone() })?;
        let key = want.sha256.unwrap_or_else(|| Sha256::digest(first).into());
        let waited = Cell::new(false);
        let mut part = Part::open(folder, &key, &|| {
            waited.set(true);
            progress(Progress::Waiting);
        })?;
        if let Some(there) = already(want, deliver, waited.get())? {
            part.discard()?;
            return Ok(there);
        }
        part.load()?;
        if want.size.is_some_and(|size| part.len() > size) {
            part.restart()?;
        }
        let mut run = Run { web: &self.web, want, part, moved: 0, progress };
        let place = run.fill(self.settings.tries_per_place.max(1))?;
        let Run { part, moved, .. } = run;
        let fetched = Fetched {
            bytes_moved: moved,
            resumed_at: part.kept,
            place,
            sha256: part.sha256(),
            size: part.len(),
        };
        part.deliver(deliver)?;
        Ok(fetched)
    }

    /// Fetches many files, `parallel` at once. Results stand in the order of the wants; `progress`
    /// gets the index of the want, from several threads.
    pub fn fetch_all(
        &self,
        wants: &[(Want, PathBuf)],
        folder: &Path,
        progress: &(dyn Fn(usize, Progress<'_>) + Sync),
    ) -> Vec<Result<Fetched, FetchError>> {
        self.side_by_side(wants, &|index, (want, deliver)| {
            self.fetch(want, folder, deliver, &|event| progress(index, event))
        })
    }

    /// Says of each want whether a place has it, without fetching it; results stand in the order of the wants.
    ///
    /// # Errors
    /// [`FetchError`] where no place has it and not all of them say so.
    pub fn serves(&self, wants: &[Want]) -> Vec<Result<bool, FetchError>> {
        self.side_by_side(wants, &|_, want| {
            let mut failures = Vec::new();
            for place in &want.places {
                match self.serves_at(want, place) {
                    Ok(()) => return Ok(true),
                    Err(cause) => failures.push((location::shown(place), cause)),
                }
            }
            let error = FetchError::AllPlacesFailed { name: want.name.clone(), failures };
            if error.is_not_found() { Ok(false) } else { Err(error) }
        })
    }

    fn serves_at(&self, want: &Want, place: &str) -> Result<(), Cause> {
        let mut tries = 0;
        loop {
            tries += 1;
            let asked = match location::local(place) {
                Some(path) => path.and_then(|path| run::open_local(&path)).map(drop),
                None => self.web.ask(place, None).and_then(|answer| match answer.status {
                    200 => run::check_size(want, answer.length()),
                    _ => Err(answer.refusal()),
                }),
            };
            match asked {
                Err(cause) if cause.is_transient() && tries < self.settings.tries_per_place => {
                    run::pause(tries);
                }
                asked => return asked,
            }
        }
    }

    /// Does something with each, `parallel` at once; results stand in the order of the list.
    fn side_by_side<T: Sync, R: Send>(
        &self,
        list: &[T],
        work: &(dyn Fn(usize, &T) -> R + Sync),
    ) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(list.len()));
        thread::scope(|scope| {
            for _ in 0..self.settings.parallel.clamp(1, list.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = list.get(index) else { break };
                        let result = work(index, one);
                        results.lock().expect("no holder panics").push((index, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().expect("no holder panics");
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Gets a small file, at most `limit` bytes, whose hash is not known beforehand, such as a signed index.
    ///
    /// # Errors
    /// [`FetchError::AllPlacesFailed`] with the one URL.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.get_once(url, limit) {
                Ok(bytes) => return Ok(bytes),
                Err(cause) if cause.is_transient() && tries < self.settings.tries_per_place => {
                    run::pause(tries);
                }
                Err(cause) => {
                    let place = location::shown(url);
                    return Err(FetchError::AllPlacesFailed {
                        name: place.clone(),
                        failures: vec![(place, cause)],
                    });
                }
            }
        }
    }

    fn get_once(&self, url: &str, limit: u64) -> Result<Vec<u8>, Cause> {
        let mut bytes = Vec::new();
        if let Some(path) = location::local(url) {
            let file = run::open_local(&path?)?;
            file.take(limit.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(Cause::Unreadable)?;
        } else {
            let answer = self.web.ask(url, None)?;
            if answer.status != 200 {
                return Err(answer.refusal());
            }
            if answer.length().is_some_and(|length| length > limit) {
                return Err(Cause::TooBig { limit });
            }
            let mut body = answer.body.into_reader().take(limit.saturating_add(1));
            if let Err(error) = body.read_to_end(&mut bytes) {
                return Err(self.web.cause_of_read(error, bytes.len() as u64));
            }
        }
        if bytes.len() as u64 > limit { Err(Cause::TooBig { limit }) } else { Ok(bytes) }
    }
}

/// Finds the file already delivered, by another process as a rule. Without a hash it is believed
/// only if that process was seen at work.
fn already(want: &Want, deliver: &Path, waited: bool) -> Result<Option<Fetched>, FetchError> {
    if !deliver.is_file() || (want.sha256.is_none() && !waited) {
        return Ok(None);
    }
    let (size, sha256) = part::hash_file(deliver)?;
    let right = want.sha256.is_none_or(|wanted| wanted == sha256)
        && want.size.is_none_or(|wanted| wanted == size);
    Ok(right.then_some(Fetched {
        bytes_moved: 0,
        resumed_at: 0,
        place: String::new(),
        sha256,
        size,
    }))
}
