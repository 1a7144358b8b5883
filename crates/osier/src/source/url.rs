//! Pins of files at addresses.

use osier_recipe::{LockedFile, LockedSource, Pin, SourceKind};
use osier_store::Digest;

use super::Asked;
use crate::network::{Download, Network, Place};
use crate::report::problem::{Outcome, Problem};

/// Gives the name of the file that an address leads to: without a query, as in `a.tar.gz?inline=false`.
fn file_name(url: &str) -> &str {
    /// As long as the name of a file may be in a lock.
    const LONGEST: usize = 200;
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name =
        path.split_once('/').and_then(|(_, path)| path.rsplit('/').find(|part| !part.is_empty()));
    let name = name.filter(|name| !matches!(*name, "." | "..")).unwrap_or("source");
    // The end of a long one says how the file is packed, for those who read the lock.
    let mut start = name.len().saturating_sub(LONGEST);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    &name[start..]
}

/// Pins a file by the SHA-256 of the recipe.
pub(super) fn pin(asked: &Asked<'_>, network: &Network<'_>) -> Outcome<LockedSource> {
    let Asked { recipe, source, version, .. } = *asked;
    let SourceKind::Url { urls, sha256, size, .. } = &source.kind else {
        return Err(Problem::defect("a source of another kind was taken for one with an address"));
    };
    let digest: Digest =
        sha256.parse().map_err(|error| Problem::of(osier_recipe::Code::WrongForm, error))?;
    let places = source.urls(version);
    let name = file_name(places.first().map_or("", String::as_str)).to_owned();
    let size = match size {
        Some(size) => *size,
        // The size enters the lock, so the file is fetched now.
        None => network.fetched_size(&Download {
            name: name.clone(),
            digest,
            size: None,
            from: Place::Urls(places.clone()),
            wanted_by: recipe.to_owned(),
            recipe: Some(recipe.to_owned()),
        })?,
    };
    let files = vec![LockedFile {
        name,
        place: osier_recipe::Place::Urls(places),
        size,
        sha256: sha256.value.clone(),
    }];
    let url = urls.first().map(|url| url.value.clone()).unwrap_or_default();
    Ok(LockedSource {
        recipe: recipe.to_owned(),
        name: source.name.value.clone(),
        pin: Pin::Url { url },
        files,
    })
}
